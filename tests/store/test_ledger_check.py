"""A check is only evidence if it can fail: one seeded bug per invariant, and the invariant that finds it."""

from contextlib import suppress
from datetime import timedelta

import pytest
from test_work import Bench
from world import PRICE, World

from seedgate.domain.reason import Reason
from seedgate.store import ledger, upkeep

NO_TASK = "NOT EXISTS (SELECT 1 FROM task t WHERE t.id = p.subject_id)"
BUGS = {
    "I1": "UPDATE account SET avail_micros = avail_micros + 1",
    "I1 sum": "UPDATE posting SET amount_micros = amount_micros + 1 WHERE entry = 2 AND side = 2",
    "I1 mode": "UPDATE posting SET mode = 'live' WHERE entry = 3",
    "I1 adjustment": "UPDATE adjustment SET amount_micros = amount_micros + 1",
    "I9": "UPDATE idempotency SET task_id = gen_random_uuid()",
    "I3": "DELETE FROM posting WHERE entry = 1",
    "I4": "DELETE FROM posting WHERE entry = 3",
    "I3 retired": "DELETE FROM task WHERE state = 10",
    "I4 retired": "UPDATE posting SET subject_id = gen_random_uuid() WHERE entry = 2",
    "I5": "DELETE FROM image",
    "I8": "UPDATE key_state SET open_holds = open_holds + 1",
    "I8 budget": "UPDATE key_state SET spent_micros = spent_micros + 1",
    "I8 slots": "UPDATE slot SET state = 1 WHERE ordinal = 0",
    "I8 cancel": "UPDATE task SET cancel_requested_at = seedgate_now() WHERE state < 10",
    "I14": "DELETE FROM event WHERE kind = 1",
    "I14 parts": "DELETE FROM task WHERE state = 11",
}
# Of tasks that have retired, only sums and postings are left.
RETIRED_BUGS = {
    "a task is noted that was not there": ("I3 retired", "UPDATE retirement SET tasks = tasks + 1"),
    "a wrong hold": (
        "I3 retired",
        "UPDATE retirement SET held_micros = held_micros + 1, released_micros = released_micros + 1",
    ),
    "charged instead of released": (
        "I3 retired",
        "UPDATE retirement SET charged_micros = charged_micros + 1, released_micros = released_micros - 1",
    ),
    "on another account": ("I3 retired", "UPDATE retirement SET account_id = gen_random_uuid()"),
    "in the other mode": ("I3 retired", "UPDATE retirement SET mode = 'live'"),
    "never noted": ("I3 retired", "DELETE FROM retirement"),
    "an open task went too": ("I3 retired", "DELETE FROM task"),
    "a charge was deleted": ("I4 retired", "DELETE FROM posting WHERE entry = 2"),
    "a hold was deleted": ("I4 retired", "DELETE FROM posting p WHERE entry = 1 AND " + NO_TASK),
    "all of a task was deleted": ("I3 retired", "DELETE FROM posting p WHERE entry <= 3 AND " + NO_TASK),
    "a side was deleted": ("I1 sum", "DELETE FROM posting p WHERE entry = 3 AND side = 2"),
}
# What the schema itself makes impossible: the check would find it, but no statement can bring it about.
IMPOSSIBLE = {
    "I2": "UPDATE account SET avail_micros = -1",
    "I6": "UPDATE task SET charged_micros = 1 WHERE state = 11",
}


async def _history(world: World) -> None:
    """One task with a picture and a failure, one that failed, one that is open."""
    account = await world.account(credit=100 * PRICE)
    key = await world.key(account)
    bench = Bench(world)
    await world.accept(world.task(account, key, pictures=2, slots=2), world.task(account, key))
    claims = await bench.claim()
    await bench.attempt(claims[0])
    for claim in claims[1:]:
        await bench.finish(claim, Reason.INTERNAL)
    await world.accept(world.task(account, key, idempotency_key="r\nk", fingerprint=b"f" * 32))


# If this failed, `ledger check` could say that the books are right when they are not.
@pytest.mark.parametrize("name", BUGS)
async def test_every_invariant_finds_its_bug(name: str, world: World) -> None:
    await _history(world)
    assert await world.findings() == []
    async with world.database.write() as tx:
        await tx.execute(BUGS[name])
    _, findings = await ledger.check(world.database)
    assert name in {finding.invariant for finding in findings}


class _Undone(Exception):
    """Takes the bug back."""


# If this failed, deleting a task could hide what became of its money.
async def test_postings_without_a_task_are_proved(world: World) -> None:
    await _history(world)
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = '91 days'")
    await upkeep.expire_images(world.database, age=timedelta(days=15), most=10)
    assert await upkeep.wipe_requests(world.database, age=timedelta(days=15), most=10) == 2
    assert await upkeep.retire_tasks(world.database, age=timedelta(days=90), most=10) == 2
    assert await world.findings() == []
    for name, (invariant, bug) in RETIRED_BUGS.items():
        _, query = ledger.invariants()[invariant]
        with suppress(_Undone):
            async with world.database.write() as tx:
                await tx.execute(bug)
                assert await tx.fetch(query), name
                raise _Undone
    assert await world.findings() == []


# If this failed, the last line of defence would be gone.
@pytest.mark.parametrize("name", IMPOSSIBLE)
async def test_the_schema_refuses_what_must_never_be(name: str, world: World) -> None:
    from seedgate.domain.errors import InvalidRequest

    await _history(world)
    with pytest.raises(InvalidRequest):
        async with world.database.write() as tx:
            await tx.execute(IMPOSSIBLE[name])


# If this failed, an invariant would be listed and not checked, or have no bug to prove it.
def test_no_invariant_is_forgotten() -> None:
    assert set(ledger.invariants()) == BUGS.keys() | IMPOSSIBLE.keys()
