"""T1: what is let in, by the database and by its pure model alike."""

import asyncio
import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import PRICE, World, model_database

from seedgate.domain.admission import AccountState, Books, Code, KeyState, Memory, Request, Stored, admit
from seedgate.domain.errors import Unavailable
from seedgate.domain.limits import Defaults
from seedgate.store.accept import NewTask, Terms, Verdict
from seedgate.store.database import Database


# If this failed, an account could spend more than it has, or be refused what it could pay for.
async def test_last_credits_are_spent_exactly_and_in_order(world: World) -> None:
    account = await world.account(credit=5 * PRICE)
    key = await world.key(account)
    batch = [world.task(account, key, pictures=n, slots=n) for n in (4, 4, 1, 1)]
    codes = [verdict.code for verdict in await world.accept(*batch)]
    assert codes == [Code.ACCEPTED, Code.BALANCE, Code.ACCEPTED, Code.BALANCE]
    assert await world.balance(account) == (0, 5 * PRICE, 2)
    assert await world.findings() == []


# If this failed, concurrent processes could overspend one account.
async def test_racing_lanes_accept_exactly_what_the_balance_allows(world: World) -> None:
    account = await world.account(credit=100 * PRICE)
    key = await world.key(account)
    others = [Database(world.database._dsn) for _ in range(4)]

    async def spend(database: Database) -> int:
        accepted = 0
        for _ in range(10):
            verdicts = await World(database).accept(*(world.task(account, key) for _ in range(8)))
            accepted += sum(verdict.code is Code.ACCEPTED for verdict in verdicts)
        return accepted

    assert sum(await asyncio.gather(*(spend(database) for database in others))) == 100
    for database in others:
        await database.close()
    assert await world.balance(account) == (0, 100 * PRICE, 100)
    assert await world.findings() == []


# If this failed, a retried submit would be paid twice, or answered with somebody else's task.
async def test_racing_idempotency_keys_make_one_task_each(world: World) -> None:
    account = await world.account()
    key = await world.key(account)
    others = [Database(world.database._dsn) for _ in range(4)]
    answers: dict[str, set[bytes | None]] = {}

    async def submit(database: Database, seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(8):
            names = [f"route\nkey{rng.randrange(12)}" for _ in range(10)]
            tasks = []
            for name in names:
                task = world.task(account, key, idempotency_key=name, fingerprint=b"f" * 32)
                tasks.append(
                    world.task(
                        account, key, id=task.id, idempotency_key=name, fingerprint=b"f" * 32, answer=task.id.bytes
                    )
                )
            for name, verdict in zip(names, await World(database).accept(*tasks), strict=True):
                assert verdict.code in {Code.ACCEPTED, Code.REPLAY}
                answers.setdefault(name, set()).add(verdict.answer)

    await asyncio.gather(*(submit(database, seed) for seed, database in enumerate(others)))
    for database in others:
        await database.close()
    assert await world.count("task") == len(answers)
    assert all(len(found) == 1 for found in answers.values())
    assert await world.findings() == []


# If this failed, a key sent with another body would silently get the first task's answer.
async def test_reused_key_is_told(world: World) -> None:
    account = await world.account()
    key = await world.key(account)
    first = world.task(account, key, idempotency_key="r\nk", fingerprint=b"a" * 32, answer=b"first")
    other = world.task(account, key, idempotency_key="r\nk", fingerprint=b"b" * 32, answer=b"other")
    again = world.task(account, key, idempotency_key="r\nk", fingerprint=b"a" * 32, answer=b"again")
    verdicts = await world.accept(first, other, again)
    assert [(v.code, v.answer) for v in verdicts] == [
        (Code.ACCEPTED, b"first"),
        (Code.KEY_REUSED, None),
        (Code.REPLAY, b"first"),
    ]
    (late,) = await world.accept(world.task(account, key, idempotency_key="r\nk", fingerprint=b"a" * 32))
    assert (late.code, late.answer) == (Code.REPLAY, b"first")
    assert await world.count("task") == 1


# If this failed, a caller could submit faster than its rate, or wait longer than it must.
async def test_rate_is_exact(world: World) -> None:
    account = await world.account(credit=10**12)
    key = await world.key(account, per_minute=60)
    verdicts = await world.accept(*(world.task(account, key) for _ in range(100)))
    assert sum(v.code is Code.ACCEPTED for v in verdicts) == 60
    refused = [v for v in verdicts if v.code is Code.RATE]
    assert len(refused) == 40
    assert all(0 < v.wait_us <= 1_000_000 for v in refused)
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = '5 seconds'")
    verdicts = await world.accept(*(world.task(account, key) for _ in range(100)))
    assert sum(v.code is Code.ACCEPTED for v in verdicts) == 5


# If this failed, a refusal for concurrency would eat the rate that the next submit needs.
async def test_a_refusal_burns_nothing(world: World) -> None:
    account = await world.account()
    key = await world.key(account, per_minute=60, concurrent=1)
    await world.accept(*(world.task(account, key) for _ in range(50)))
    (row,) = await world.database.fetch("SELECT tat_us, open_holds FROM key_state WHERE key_id = $1", key)
    (now,) = await world.database.fetch("SELECT (extract(epoch FROM seedgate_now()) * 1000000)::bigint AS us")
    assert row["open_holds"] == 1
    assert row["tat_us"] <= now["us"] + 1_000_000


# If this failed, one broken submit would take its whole batch with it.
async def test_a_key_that_does_not_exist_is_the_only_one_to_suffer(world: World) -> None:
    from seedgate.combine import Combiner
    from seedgate.store.accept import accept

    account = await world.account()
    key = await world.key(account)
    combine: Combiner[NewTask, Verdict] = Combiner(
        lambda batch: accept(world.database.write_lane, batch, Terms(deadline_s=180))
    )
    tasks = [world.task(account, key) for _ in range(7)]
    tasks.insert(3, world.task(account, world.ids.new()))
    results = await asyncio.gather(*(combine(task) for task in tasks), return_exceptions=True)
    assert isinstance(results[3], Exception)
    assert [r.code for i, r in enumerate(results) if i != 3] == [Code.ACCEPTED] * 7


# If this failed, concurrency would cost statements: 32 submits must be one statement and one commit.
async def test_32_concurrent_submits_are_one_commit(world: World) -> None:
    from seedgate.combine import Combiner
    from seedgate.store.accept import accept

    account = await world.account()
    key = await world.key(account)
    lane = world.database.write_lane
    combine: Combiner[NewTask, Verdict] = Combiner(lambda batch: accept(lane, batch, Terms(deadline_s=180)))
    statements = lane.statements
    await asyncio.gather(*(combine(world.task(account, key)) for _ in range(32)))
    assert lane.statements - statements == 1
    # Every row carries the transaction that wrote it.
    for table in ("task", "slot", "posting"):
        where = "WHERE entry = 1" if table == "posting" else ""
        (row,) = await world.database.fetch(
            f"SELECT count(*) AS n, count(DISTINCT xmin::text) AS c FROM {table} {where}"
        )
        assert (row["n"], row["c"]) == (64 if table == "posting" else 32, 1)


# If this failed, an outage would be answered as something the caller did.
async def test_an_outage_is_unavailable(world: World) -> None:
    account = await world.account()
    key = await world.key(account)
    await world.accept(world.task(account, key))
    broken = Database(type(world.database._dsn)(world.database._dsn.arguments | {"port": 1}))
    with pytest.raises(Unavailable):
        await World(broken).accept(world.task(account, key))
    await broken.close()


@dataclass(frozen=True)
class Case:
    """A few batches, and the limits of the two accounts and three keys that they are about."""

    credits: tuple[int, int]
    account_limits: tuple[int | None, int | None]
    account_rates: tuple[int | None, int | None]
    frozen: tuple[bool, bool]
    rates: tuple[int | None, int | None, int | None]
    key_limits: tuple[int | None, int | None, int | None]
    budgets: tuple[int | None, int | None, int | None]
    defaults: Defaults
    batches: tuple[tuple[tuple[int, int, int, tuple[str, Memory] | None, int], ...], ...]
    """Per submit: key, pictures, price, idempotency key, content."""
    shifts: tuple[int, ...]
    """Minutes that pass before each batch."""


_LIMIT = st.none() | st.integers(0, 4)
_RATE = st.none() | st.sampled_from((0, 1, 2, 3, 7))
_NAMED = st.tuples(st.sampled_from(("a", "b", "c")), st.just(Memory.NAMED))
_CONTENT = st.tuples(st.sampled_from(("=d", "=e")), st.sampled_from((Memory.FRESH, Memory.RETRY)))
_SUBMIT = st.tuples(
    st.integers(0, 2),
    st.integers(1, 4),
    st.sampled_from((0, 1, 35_000)),
    st.none() | _NAMED | _CONTENT,
    st.integers(0, 1),
)
_CASES = st.builds(
    Case,
    credits=st.tuples(*[st.sampled_from((0, 1, 70_000, 200_000, 10**9))] * 2),
    account_limits=st.tuples(_LIMIT, _LIMIT),
    account_rates=st.tuples(_RATE, _RATE),
    frozen=st.tuples(st.just(False), st.booleans()),
    rates=st.tuples(_RATE, _RATE, _RATE),
    key_limits=st.tuples(_LIMIT, _LIMIT, _LIMIT),
    budgets=st.tuples(*[st.none() | st.sampled_from((0, 70_000, 140_001))] * 3),
    defaults=st.builds(Defaults, submits_per_minute=_RATE, concurrent_tasks=_LIMIT),
    batches=st.lists(st.lists(_SUBMIT, min_size=1, max_size=12).map(tuple), min_size=3, max_size=3).map(tuple),
    shifts=st.tuples(*[st.sampled_from((0, 0, 1, 14, 15, 20))] * 3),
)


# If this failed, the database and the model that is reasoned about would disagree about who is let in.
@given(case=_CASES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_database_decides_like_the_model(case: Case, server) -> None:
    asyncio.run(_compare(case, server))


async def _compare(case: Case, server) -> None:
    database = Database(server.dsn(await model_database(server)))
    world = World(database)
    try:
        accounts = [
            await world.account(credit=c, concurrent=n, per_minute=r)
            for c, n, r in zip(case.credits, case.account_limits, case.account_rates, strict=True)
        ]
        owners = (accounts[0], accounts[0], accounts[1])
        keys = [
            await world.key(owner, per_minute=rate, concurrent=limit, budget=budget)
            for owner, rate, limit, budget in zip(owners, case.rates, case.key_limits, case.budgets, strict=True)
        ]
        async with database.write() as tx:
            for account, frozen in zip(accounts, case.frozen, strict=True):
                await tx.execute("UPDATE account SET frozen = $2 WHERE id = $1", account, frozen)
            await tx.execute("UPDATE clock SET shift = '0'")
        books = _books(case, accounts, owners, keys)
        for shift, batch in zip(case.shifts, case.batches, strict=True):
            async with database.write() as tx:
                await tx.execute("UPDATE clock SET shift = shift + make_interval(mins => $1)", shift)
            tasks = [_submit(world, keys, owners, *submit) for submit in batch]
            books = await _compare_batch(world, books, tasks, case.defaults)
        assert await world.findings() == []
    finally:
        await database.close()


def _books(case: Case, accounts, owners, keys) -> Books:
    return Books(
        accounts={
            a: AccountState(avail_micros=c, concurrent_tasks=n, submits_per_minute=r, frozen=f)
            for a, c, n, r, f in zip(
                accounts, case.credits, case.account_limits, case.account_rates, case.frozen, strict=True
            )
        },
        keys={
            k: KeyState(account_id=o, submits_per_minute=r, concurrent_tasks=n, budget_micros=b)
            for k, o, r, n, b in zip(keys, owners, case.rates, case.key_limits, case.budgets, strict=True)
        },
        idempotency={},
    )


def _submit(
    world: World, keys, owners, key: int, pictures: int, price: int, name: tuple[str, Memory] | None, content: int
) -> NewTask:
    task_id = world.ids.new()
    return world.task(
        owners[key],
        keys[key],
        id=task_id,
        pictures=pictures,
        slots=pictures,
        unit_price_micros=price,
        idempotency_key=name[0] if name else None,
        memory=name[1] if name else Memory.NAMED,
        fingerprint=bytes([content]) * 32 if name else None,
        answer=task_id.bytes,
    )


async def _compare_batch(world: World, books: Books, batch: list[NewTask], defaults: Defaults) -> Books:
    # The rate depends on the moment of the decision, which the database takes: the stored one is read back.
    verdicts = await world.accept(*batch, defaults=defaults)
    (clock,) = await world.database.fetch("SELECT (extract(epoch FROM seedgate_now()) * 1000000)::bigint AS us")
    requests = [
        Request(
            task_id=t.id,
            key_id=t.key_id,
            amount_micros=t.offer.unit_price_micros * t.pictures,
            idempotency_key=t.idempotency_key,
            memory=t.memory,
            fingerprint=t.fingerprint or b"",
        )
        for t in batch
    ]
    created = await world.database.fetch(
        "SELECT (extract(epoch FROM max(created_at)) * 1000000)::bigint AS us FROM task WHERE id = ANY ($1::uuid[])",
        [t.id for t in batch],
    )
    exact = created[0]["us"] is not None
    now_us = created[0]["us"] if exact else clock["us"]
    decisions, after = admit(books, requests, now_us=now_us, defaults=defaults)
    assert [v.code for v in verdicts] == [d.code for d in decisions]
    for verdict, decision in zip(verdicts, decisions, strict=True):
        if decision.code in {Code.ACCEPTED, Code.REPLAY}:
            assert decision.task_id is not None
            assert verdict.answer == decision.task_id.bytes
        if exact:
            assert (verdict.wait_us, verdict.room) == (decision.wait_us, decision.room)
    await _compare_rows(world, after)
    return after


async def _compare_rows(world: World, books: Books) -> None:
    for account_id, state in books.accounts.items():
        assert await world.balance(account_id) == (state.avail_micros, state.held_micros, state.open_holds)
        (row,) = await world.database.fetch("SELECT tat_us FROM account WHERE id = $1", account_id)
        assert row["tat_us"] == state.tat_us
    rows = await world.database.fetch(
        "SELECT key_id, open_holds, spent_micros, tat_us FROM key_state WHERE key_id = ANY ($1::uuid[])",
        list(books.keys),
    )
    for row in rows:
        state = books.keys[row["key_id"]]
        assert (row["open_holds"], row["spent_micros"], row["tat_us"]) == (
            state.open_holds,
            state.spent_micros,
            state.tat_us,
        )
    stored = await world.database.fetch(
        "SELECT key_id, key, fingerprint, task_id, (extract(epoch FROM at) * 1000000)::bigint AS at_us FROM idempotency"
        " WHERE key_id = ANY ($1::uuid[])",
        list(books.keys),
    )
    assert {
        (r["key_id"], r["key"]): Stored(fingerprint=r["fingerprint"], task_id=r["task_id"], at_us=r["at_us"])
        for r in stored
    } == dict(books.idempotency)
