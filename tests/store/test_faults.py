"""T1 to T4 fail at every statement and lose their connection during COMMIT; nothing is half done, nothing done twice."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from faults import definition, everything, mutants, proxied
from test_work import Bench
from world import PRICE, World

from seedgate.domain.admission import Code, Memory
from seedgate.domain.errors import Unavailable
from seedgate.domain.reason import Reason
from seedgate.store import accept, cancel, finish, slots, upkeep
from seedgate.store import database as database_module
from seedgate.store.database import Database, Dsn, OutcomeUnknown
from seedgate.store.finish import SlotEnding
from seedgate.store.slots import StoredReference

Step = Callable[[World], Awaitable[object]]
Prepared = Callable[[World], Awaitable[Step]]


async def _t1(world: World) -> Step:
    account = await world.account()
    key = await world.key(account, per_minute=60)
    tasks = [
        world.task(account, key, pictures=2, slots=2, idempotency_key=f"r\n{n}", fingerprint=b"f" * 32)
        for n in range(3)
    ]
    # One that is remembered by its content, and one that is refused after it.
    for price in (PRICE, 10**12):
        fresh = {"idempotency_key": "r\t4", "memory": Memory.FRESH, "fingerprint": b"f" * 32}
        tasks.append(world.task(account, key, unit_price_micros=price, **fresh))

    async def accept(through: World) -> object:
        return [verdict.code for verdict in await through.accept(*tasks)] == [Code.ACCEPTED] * 4 + [Code.BALANCE]

    return accept


async def _two_claimable(world: World, **changes: object) -> None:
    account = await world.account()
    key = await world.key(account)
    await world.accept(*(world.task(account, key, callback_url="https://example.com/h", **changes) for _ in range(2)))


async def _t2(world: World) -> Step:
    await _two_claimable(world)
    bench = Bench(world)

    async def claim(through: World) -> object:
        return len(
            await slots.claim(through.database.work_lane, bench.me, name="engine:blank", want=2, cursor=world.ids.new())
        )

    return claim


async def _intent(world: World) -> Step:
    await _two_claimable(world)
    claims = await Bench(world).claim()
    intents = [
        slots.Intent(task_id=c.task_id, ordinal=c.ordinal, epoch=c.epoch, lane=c.lane, free=True) for c in claims
    ]

    async def intend(through: World) -> object:
        return all(await slots.open_attempts(through.database.work_lane, intents))

    return intend


async def _t3(world: World) -> Step:
    await _two_claimable(world)
    bench = Bench(world)
    claims = await bench.claim()
    for claim in claims:
        await bench.intend(claim)
    handles = [slots.Handle(task_id=c.task_id, ordinal=c.ordinal, epoch=c.epoch, handle="h") for c in claims]

    async def record(through: World) -> object:
        return all(await slots.record_handles(through.database.work_lane, handles))

    return record


async def _picture(world: World) -> Step:
    await _two_claimable(world)
    bench = Bench(world)
    (claim, _) = await bench.claim()
    await bench.intend(claim)
    name = f"{world.ids.token()}.png"

    async def keep(through: World) -> object:
        picture = slots.Picture(
            task_id=claim.task_id,
            ordinal=0,
            slot=0,
            epoch=claim.epoch,
            name=name,
            format="png",
            width=1,
            height=1,
            size_bytes=1,
            sha256=b"s" * 32,
        )
        return all(await slots.keep_images(through.database.work_lane, [picture]))

    return keep


async def _references(world: World) -> Step:
    await _two_claimable(world, has_references=True, pictures=2, slots=2)
    (claim, *_) = await Bench(world).claim()
    stored = StoredReference(original_sha256="a", sha256="b", format="png", width=9, height=9, size_bytes=1)

    async def record(through: World) -> object:
        return await slots.record_references(through.database.work_lane, claim.task_id, claim.epoch, [stored])

    return record


async def _t4(world: World) -> Step:
    await _two_claimable(world)
    bench = Bench(world)
    claims = await bench.claim()
    for claim in claims:
        await bench.intend(claim)
    await bench.keep(claims[0])
    endings = [
        SlotEnding(task_id=c.task_id, ordinal=c.ordinal, epoch=c.epoch, reason=reason)
        for c, reason in zip(claims, (None, Reason.INTERNAL), strict=True)
    ]

    async def end(through: World) -> object:
        won = await finish.finish_slots(through.database.work_lane, endings)
        # A repeated call finds its slots settled: nothing is left to win, and nothing was lost either.
        ended = await through.database.fetch("SELECT count(*) AS n FROM task WHERE state >= 10")
        return all(won) or ended[0]["n"] == 2

    return end


async def _return(world: World) -> Step:
    await _two_claimable(world)
    bench = Bench(world)
    (claim, _) = await bench.claim()
    await bench.intend(claim)
    slot = slots.Handle(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, handle="")

    async def give_back(through: World) -> object:
        await slots.return_slot(through.database.work_lane, slot, crashed=True)
        rows = await through.database.fetch("SELECT count(*) AS n FROM slot WHERE state = 1")
        return rows[0]["n"] == 1

    return give_back


async def _sweep(world: World) -> Step:
    await _two_claimable(world)
    bench = Bench(world)
    claims = await bench.claim()
    for claim in claims:
        await bench.intend(claim)
    await _cancel_one(world, claims[0].task_id)
    await bench.die()

    async def sweep(through: World) -> object:
        await slots.sweep_workers(through.database.work_lane, [], most=100)
        rows = await through.database.fetch("SELECT state FROM slot ORDER BY state")
        return [row["state"] for row in rows] == [1, 10]

    return sweep


async def _cancel_one(through: World, task_id: UUID) -> object:
    lane = through.database.work_lane
    return await cancel.cancel_task(lane, task_id, account_id=None, listing_id=None, actor="test")


async def _cancel(world: World) -> Step:
    await _two_claimable(world, pictures=2, slots=2)
    (claim,) = await Bench(world).claim(want=1)
    return lambda through: _cancel_one(through, claim.task_id)


STEPS: dict[str, Prepared] = {
    "accept_tasks": _t1,
    "claim_slots": _t2,
    "open_attempts": _intent,
    "record_handles": _t3,
    "keep_images": _picture,
    "record_references": _references,
    "finish_slots": _t4,
    "return_slot": _return,
    "sweep_workers": _sweep,
    "cancel_task": _cancel,
    "settle_cancelled": _cancel,
}


async def _wipe(world: World) -> Step:
    await _ended(world)

    async def wipe(through: World) -> object:
        return await upkeep.wipe_requests(through.database, age=timedelta(days=15), most=10) == 2

    return wipe


async def _retire(world: World) -> Step:
    await _ended(world)
    await upkeep.wipe_requests(world.database, age=timedelta(days=15), most=10)

    async def retire(through: World) -> object:
        return await upkeep.retire_tasks(through.database, age=timedelta(days=90), most=10) == 2

    return retire


async def _ended(world: World) -> None:
    """Two tasks with references that ended without pictures, long ago."""
    bench = Bench(world)
    await (await _references(world))(world)
    for claim in await bench.claim():
        await bench.intend(claim)
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = '91 days'")
    rows = await world.database.fetch("SELECT task_id, ordinal FROM slot")
    endings = [SlotEnding(**row, epoch=None, reason=Reason.DEADLINE) for row in rows]
    await finish.finish_slots(bench.lane, endings)
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = '182 days'")


# The upkeep repeats what was not done; a lost answer is the next turn's.
UPKEEP: dict[str, Prepared] = {"wipe_tasks": _wipe, "retire_tasks": _retire}


# If this failed, a statement that breaks in the middle would leave half a task, or money without a task, behind.
@pytest.mark.parametrize("name", [*STEPS, *UPKEEP])
async def test_a_failure_at_any_statement_leaves_nothing(name: str, world: World) -> None:
    step = await (STEPS | UPKEEP)[name](world)
    whole = await definition(world.database, name)
    broken = mutants(whole)
    assert len(broken) >= 3
    before = await everything(world)
    for mutant in broken:
        async with world.database.write() as tx:
            await tx.execute(mutant)
        with pytest.raises(asyncpg.InternalServerError, match="injected"):
            await step(world)
        assert await everything(world) == before
        assert await world.findings() == []
    async with world.database.write() as tx:
        await tx.execute(whole)
    assert await step(world)
    assert await world.findings() == []


# If this failed, a connection lost during COMMIT would lose a task, or do something twice.
@pytest.mark.parametrize("name", [name for name in STEPS if name != "claim_slots"])
@pytest.mark.parametrize("lose", ["question", "answer"])
async def test_a_lost_commit_is_done_once(name: str, lose: str, world: World, dsn: Dsn) -> None:
    step = await STEPS[name](world)
    with tempfile.TemporaryDirectory(prefix="sg") as folder:
        async with proxied(dsn, Path(folder)) as (proxy, database):
            through = World(database)
            await _warm(database)
            proxy.lose = lose
            assert await step(through)
            assert proxy.lost.is_set()
    tables = await everything(world)
    assert len(tables["task"]) == (4 if name == "accept_tasks" else 2)
    assert await world.findings() == []


# If this failed, slots leased by a claim whose answer was lost would be held for ever by a worker that lives.
@pytest.mark.parametrize("lose", ["question", "answer"])
async def test_a_lost_claim_is_found_again(lose: str, world: World, dsn: Dsn) -> None:
    await _two_claimable(world)
    bench = Bench(world)
    with tempfile.TemporaryDirectory(prefix="sg") as folder:
        async with proxied(dsn, Path(folder)) as (proxy, database):
            await _warm(database)
            proxy.lose = lose
            with pytest.raises(OutcomeUnknown):
                await slots.claim(database.work_lane, bench.me, name="engine:blank", want=2, cursor=world.ids.new())
    for stray in await slots.strays(bench.lane, bench.me.id, []):
        assert await slots.return_slot(bench.lane, stray, crashed=False)
    assert len(await bench.claim()) == 2
    assert await world.findings() == []


# If this failed, a server that is gone for good would be asked for ever, or its absence be called something else.
async def test_a_server_that_stays_away_is_unavailable(world: World, dsn: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await world.account(credit=PRICE)
    task = world.task(account, await world.key(account))
    with tempfile.TemporaryDirectory(prefix="sg") as folder:
        async with proxied(dsn, Path(folder)) as (proxy, database):
            await _warm(database)
            monkeypatch.setattr(accept, "LOOK_UP_S", 0.3)
            proxy._target = f"{folder}/nobody"
            proxy.lose = "answer"
            with pytest.raises(Unavailable):
                await World(database).accept(task)


# If this failed, a server that hangs would keep its callers waiting for as long as it does.
async def test_a_server_that_hangs_is_given_up_in_time(
    world: World, dsn: Dsn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account(credit=PRICE)
    task = world.task(account, await world.key(account))
    monkeypatch.setattr(accept, "LOOK_UP_S", 0.3)
    monkeypatch.setattr(
        database_module, "STATEMENT_TIMEOUT_S", -1.7
    )  # the client waits two seconds longer than the server
    monkeypatch.setattr(database_module, "CONNECT_TIMEOUT_S", 0.3)
    hanging = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hanging.wait()
        writer.close()

    with tempfile.TemporaryDirectory(prefix="sg") as folder:
        async with proxied(dsn, Path(folder)) as (proxy, database):
            server = await asyncio.start_unix_server(take, f"{folder}/nobody")
            await _warm(database)
            proxy._target = f"{folder}/nobody"
            async with world.database.write() as tx:
                await tx.fetch("SELECT 1 FROM account FOR UPDATE")
                async with asyncio.timeout(5):
                    with pytest.raises(Unavailable):
                        await World(database).accept(task)
            hanging.set()
            server.close()
            await server.wait_closed()
    assert await world.findings() == []


async def _warm(database: Database) -> None:
    """Connect, and let the driver look its types up, so that the next thing lost is the step itself."""
    for lane in (database.write_lane, database.work_lane):
        await lane.fetch(
            "SELECT $1::uuid[], $2::int[], $3::text[], $4::bytea[], $5::smallint[], $6::bool[], $7::bigint[]", *[[]] * 7
        )


# If this failed, a submit whose answer was lost while it was still at work would be an error, or be made twice.
async def test_a_batch_that_commits_while_it_is_looked_up_is_accepted(world: World) -> None:
    account = await world.account(credit=2 * PRICE)
    key = await world.key(account)
    task = world.task(account, key)
    (first,) = await world.accept(task)
    # The same submit again, as after a lost answer, by one who has not seen it: its id collides.
    (again,) = await world.accept(task)
    assert (first.code, again.code) == (Code.ACCEPTED, Code.ACCEPTED)
    assert await world.balance(account) == (PRICE, PRICE, 1)
    assert await world.findings() == []


# If this failed, a submit that was still waiting when its connection broke would be refused, and paid all the same.
@pytest.mark.parametrize("limit", [{"concurrent": 1}, {"per_minute": 1}, {}])
async def test_a_submit_that_was_still_at_work_is_not_refused(limit: dict[str, int], world: World) -> None:
    account = await world.account(credit=PRICE)
    key = await world.key(account, **limit)
    task = world.task(account, key)
    lane = world.database.write_lane
    await lane.fetch("SELECT 1")
    async with world.database.write() as tx:
        await tx.fetch("SELECT 1 FROM account FOR UPDATE")
        asking = asyncio.create_task(world.accept(task))
        async with asyncio.timeout(5):
            while not await world.database.fetch("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await asyncio.sleep(0.01)
        assert lane._connection is not None
        lane._connection.terminate()
        await asyncio.sleep(0.2)  # the second decision is on its way to the same lock
    (verdict,) = await asking
    assert verdict.code is Code.ACCEPTED
    assert await world.balance(account) == (0, PRICE, 1)
    assert await world.count("task") == 1
    assert await world.findings() == []
