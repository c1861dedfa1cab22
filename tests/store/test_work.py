"""T2 to T4 and what moves a slot between them."""

import asyncio
import time
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import PRICE, World, model_database

from seedgate.domain.outcome import SettledSlot, end
from seedgate.domain.reason import Reason
from seedgate.store import finish, slots
from seedgate.store.database import Database
from seedgate.store.finish import SlotEnding
from seedgate.store.slots import Claim, Handle, Intent, Picture, StoredReference, WorkerIdentity

NOBODY = UUID(int=0)


class Bench:
    """A worker's hands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lane = world.database.work_lane
        self.me = WorkerIdentity(id=world.ids.new(), host="h", process="")

    async def claim(self, want: int = 10, cursor: UUID = NOBODY, lane: str = "engine:blank") -> list[Claim]:
        return await slots.claim(self.lane, self.me, name=lane, want=want, cursor=cursor)

    async def intend(self, claim: Claim, *, free: bool = True) -> bool:
        intent = Intent(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, lane=claim.lane, free=free)
        return (await slots.open_attempts(self.lane, [intent]))[0]

    async def handle(self, claim: Claim, handle: str = "h1") -> bool:
        found = Handle(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, handle=handle)
        return (await slots.record_handles(self.lane, [found]))[0]

    async def keep(self, claim: Claim, index: int | None = None) -> bool:
        picture = Picture(
            task_id=claim.task_id,
            ordinal=claim.first_picture if index is None else index,
            slot=claim.ordinal,
            epoch=claim.epoch,
            name=f"{self.world.ids.token()}.jpg",
            format="jpeg",
            width=8,
            height=8,
            size_bytes=1,
            sha256=b"s" * 32,
        )
        return (await slots.keep_images(self.lane, [picture]))[0]

    async def finish(self, claim: Claim, reason: Reason | None = None, *, force: bool = False) -> bool:
        ending = SlotEnding(
            task_id=claim.task_id, ordinal=claim.ordinal, epoch=None if force else claim.epoch, reason=reason
        )
        return (await finish.finish_slots(self.lane, [ending]))[0]

    async def attempt(self, claim: Claim) -> None:
        assert await self.intend(claim)
        assert await self.handle(claim)
        assert await self.keep(claim)
        assert await self.finish(claim)

    async def die(self) -> None:
        """Expire every lease, as if this worker had been silent for long."""
        async with self.world.database.write() as tx:
            await tx.execute("UPDATE worker SET lease_until = seedgate_now() - interval '1 second'")

    async def sweep(self) -> int:
        return await slots.sweep_workers(self.lane, [], most=100)


@pytest.fixture
def bench(world: World) -> Bench:
    return Bench(world)


async def _task(world: World, account: UUID | None = None, *, deadline_s: int = 180, **changes: object) -> UUID:
    account = account or await world.account()
    task = world.task(account, await world.key(account), **changes)
    await world.accept(task, deadline_s=deadline_s)
    return task.id


async def _row(world: World, task_id: UUID) -> dict[str, object]:
    rows = await world.database.fetch("SELECT * FROM task WHERE id = $1", task_id)
    return dict(rows[0])


# If this failed, a finished task would not be paid for exactly once.
async def test_a_task_goes_from_claim_to_charge(bench: Bench, world: World) -> None:
    account = await world.account(credit=10 * PRICE)
    task_id = await _task(world, account, pictures=2, slots=2)
    first, second = await bench.claim()
    assert (await _row(world, task_id))["state"] == 1
    await bench.attempt(first)
    assert (await _row(world, task_id))["state"] == 1
    await bench.attempt(second)
    row = await _row(world, task_id)
    assert (row["state"], row["delivered"], row["charged_micros"], row["released_micros"]) == (10, 2, 2 * PRICE, 0)
    assert await world.balance(account) == (8 * PRICE, 0, 0)
    assert await world.findings() == []


# If this failed, a customer would pay for pictures that never came.
async def test_partial_success_releases_the_rest(bench: Bench, world: World) -> None:
    account = await world.account(credit=10 * PRICE)
    task_id = await _task(world, account, pictures=3, slots=3)
    good, bad, worse = await bench.claim()
    await bench.attempt(good)
    assert await bench.finish(bad, Reason.CONTENT_REFUSED)
    assert await bench.finish(worse, Reason.INTERNAL)
    row = await _row(world, task_id)
    assert (row["state"], row["delivered"], row["reason"]) == (10, 1, None)
    assert await world.balance(account) == (9 * PRICE, 0, 0)
    assert await world.findings() == []


# If this failed, a callback that was asked for would be lost, or sent for a task that did not end.
async def test_the_outbox_row_comes_with_the_end(bench: Bench, world: World) -> None:
    await _task(world, callback_url="https://example.com/hook")
    (claim,) = await bench.claim()
    assert await world.count("delivery") == 0
    await bench.attempt(claim)
    assert await world.count("delivery") == 1


# If this failed, one busy account would make every other one wait for its whole queue.
async def test_claims_are_fair_between_accounts(bench: Bench, world: World) -> None:
    busy, calm = await world.account(), await world.account()
    key = await world.key(busy)
    await world.accept(*(world.task(busy, key) for _ in range(200)))
    calm_task = await _task(world, calm)
    claimed = await bench.claim(want=2)
    assert calm_task in {claim.task_id for claim in claimed}


# If this failed, an account with a long queue would keep everybody out, or make every claim slow.
async def test_a_backlog_of_ten_thousand_delays_nobody(bench: Bench, world: World) -> None:
    busy, calm = await world.account(), await world.account()
    key = await world.key(busy)
    for _ in range(20):
        await world.accept(*(world.task(busy, key) for _ in range(500)))
    assert await world.count("slot") == 10_000
    for _ in range(3):
        first = await bench.claim(want=1, cursor=busy)
        task_id = await _task(world, calm)
        # With one place, two turns at most: whichever account the last claim ended with, the other one is next.
        cursor = first[-1].account_id
        claims = await bench.claim(want=1, cursor=cursor)
        assert [claim.task_id for claim in claims] == [task_id]
        # With several places, the very next claim has both.
        task_id = await _task(world, calm)
        assert task_id in {claim.task_id for claim in await bench.claim(want=4, cursor=cursor)}
    started = time.monotonic()
    for _ in range(20):
        await bench.claim(want=4)
    assert (time.monotonic() - started) / 20 < 0.1


# If this failed, places would stay empty while one account has work for all of them.
async def test_one_account_may_fill_all_places(bench: Bench, world: World) -> None:
    account = await world.account()
    key = await world.key(account)
    await world.accept(*(world.task(account, key) for _ in range(20)))
    other = await _task(world)
    claimed = await bench.claim(want=16)
    assert len(claimed) == 16
    assert len({(claim.task_id, claim.ordinal) for claim in claimed}) == 16
    assert other in {claim.task_id for claim in claimed}


# If this failed, two workers would do the same work.
async def test_racing_workers_never_share_a_slot(world: World) -> None:
    for _ in range(10):
        account = await world.account()
        key = await world.key(account)
        await world.accept(*(world.task(account, key) for _ in range(20)))
    databases = [Database(world.database._dsn) for _ in range(4)]
    taken: list[tuple[UUID, int]] = []

    async def work(database: Database) -> None:
        bench = Bench(World(database))
        while claims := await bench.claim(want=7, cursor=world.ids.new()):
            taken.extend((claim.task_id, claim.ordinal) for claim in claims)

    await asyncio.gather(*(work(database) for database in databases))
    for database in databases:
        await database.close()
    assert len(taken) == len(set(taken)) == 200


# If this failed, an upstream would be given more than it takes, by several processes together.
async def test_a_lane_is_bounded_over_all_workers(bench: Bench, world: World) -> None:
    async with world.database.write() as tx:
        await tx.execute("INSERT INTO lane (name, capacity) VALUES ('engine:blank', 3)")
    account = await world.account()
    key = await world.key(account)
    await world.accept(*(world.task(account, key) for _ in range(10)))
    other = Bench(world)
    first = await bench.claim(want=2)
    second = await other.claim(want=5)
    assert (len(first), len(second)) == (2, 1)
    await bench.attempt(first[0])
    assert len(await other.claim(want=5)) == 1


# If this failed, a worker that was away could change what another one has taken over.
async def test_an_old_epoch_writes_nothing(bench: Bench, world: World) -> None:
    task_id = await _task(world)
    (old,) = await bench.claim()
    assert await bench.intend(old)
    await bench.die()
    assert await bench.sweep() == 1
    other = Bench(world)
    (new,) = await other.claim()
    assert new.epoch == old.epoch + 1
    assert not await bench.intend(old)
    assert not await bench.handle(old)
    assert not await bench.finish(old, Reason.INTERNAL)
    assert (await _row(world, task_id))["state"] == 1
    await other.attempt(new)
    assert (await _row(world, task_id))["state"] == 10
    assert await world.findings() == []


# If this failed, a picture that was paid for would be thrown away because its worker was slow.
async def test_pictures_of_a_slow_worker_count_while_the_task_is_open(bench: Bench, world: World) -> None:
    task_id = await _task(world)
    (slow,) = await bench.claim()
    assert await bench.intend(slow)
    await bench.die()
    await bench.sweep()
    assert await bench.keep(slow)
    assert await bench.finish(slow)
    row = await _row(world, task_id)
    assert (row["state"], row["delivered"]) == (10, 1)
    assert await bench.claim() == []
    assert await world.findings() == []


# If this failed, one place of a task could hold two pictures, or an ended task get another one.
async def test_a_place_takes_one_picture(bench: Bench, world: World) -> None:
    await _task(world)
    (claim,) = await bench.claim()
    await bench.intend(claim)
    assert await bench.keep(claim)
    assert not await bench.keep(claim)
    assert not await bench.keep(claim, index=1)
    assert await bench.finish(claim)
    assert not await bench.keep(claim)
    assert await world.count("image") == 1


# If this failed, a lost answer would make a worker discard a picture that counts, or an end that was taken.
async def test_repeated_writes_are_told_that_they_won(bench: Bench, world: World) -> None:
    await _task(world)
    (claim,) = await bench.claim()
    assert await bench.intend(claim)
    assert await bench.intend(claim)
    assert await bench.handle(claim)
    assert await bench.handle(claim)
    picture = Picture(
        task_id=claim.task_id,
        ordinal=0,
        slot=0,
        epoch=claim.epoch,
        name=f"{world.ids.token()}.png",
        format="png",
        width=1,
        height=1,
        size_bytes=1,
        sha256=b"s" * 32,
    )
    for _ in range(2):
        assert await slots.keep_images(bench.lane, [picture]) == [True]
    assert await bench.finish(claim)
    assert not await bench.finish(claim)
    rows = await world.database.fetch("SELECT kind FROM event")
    assert [row["kind"] for row in rows] == [1]


# If this failed, three finishers at once would charge a task more than once.
async def test_racing_finishers_settle_once(world: World) -> None:
    account = await world.account(credit=40 * PRICE)
    key = await world.key(account)
    await world.accept(*(world.task(account, key) for _ in range(40)))
    mine = Bench(world)
    claims = await mine.claim(want=40)
    for claim in claims:
        await mine.intend(claim)
        await mine.keep(claim)
    databases = [Database(world.database._dsn) for _ in range(3)]

    async def settle(database: Database, reason: Reason | None) -> int:
        hands = Bench(World(database))
        return sum([await hands.finish(claim, reason, force=reason is not None) for claim in claims])

    reasons = (None, Reason.DEADLINE, Reason.CANCELLED)
    won = await asyncio.gather(*(settle(d, r) for d, r in zip(databases, reasons, strict=True)))
    for database in databases:
        await database.close()
    assert sum(won) == 40
    assert await world.balance(account) == (0, 0, 0)
    assert await world.findings() == []


# If this failed, a poison slot would crash its engine for ever, or a slow host would count as poison.
async def test_crashes_and_losses_are_counted_apart(bench: Bench, world: World) -> None:
    await _task(world)
    (claim,) = await bench.claim()
    await bench.intend(claim)
    back = Handle(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, handle="")
    assert await slots.return_slot(bench.lane, back, crashed=True, delay_s=30)
    assert not await slots.return_slot(bench.lane, back, crashed=True)
    assert await bench.claim() == []
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = '31 seconds'")
    assert await slots.wake_delayed(bench.lane, most=10) == 1
    (again,) = await bench.claim()
    assert again.crashes == 1
    await bench.die()
    await bench.sweep()
    (row,) = await world.database.fetch("SELECT crashes, losses, state FROM slot")
    assert (row["crashes"], row["losses"], row["state"]) == (1, 1, 1)


# If this failed, a paid submission whose worker died would be sent again.
async def test_a_lost_submission_that_costs_money_is_in_doubt(bench: Bench, world: World) -> None:
    await _task(world)
    (claim,) = await bench.claim()
    await bench.intend(claim, free=False)
    await bench.die()
    await bench.sweep()
    assert await bench.claim() == []
    (row,) = await world.database.fetch("SELECT s.state AS s, a.state AS a FROM slot s JOIN attempt a USING (task_id)")
    assert (row["s"], row["a"]) == (4, "in_doubt")


# If this failed, a restart would submit again what an upstream has already taken.
async def test_a_known_handle_survives_its_worker(bench: Bench, world: World) -> None:
    await _task(world)
    (claim,) = await bench.claim()
    await bench.intend(claim, free=False)
    await bench.handle(claim, "upstream-7")
    await bench.die()
    await bench.sweep()
    (again,) = await Bench(world).claim()
    assert again.handle == "upstream-7"


# If this failed, slots would start before their references are there, or never.
async def test_references_are_fetched_once_and_unblock_the_rest(bench: Bench, world: World) -> None:
    task_id = await _task(world, pictures=3, slots=3, has_references=True)
    (first,) = await bench.claim()
    assert (first.ordinal, first.prepared) == (0, False)
    stored = StoredReference(
        original_sha256="a" * 64, sha256="b" * 64, format="jpeg", width=20, height=30, size_bytes=9
    )
    assert await slots.record_references(bench.lane, task_id, first.epoch, [stored])
    rest = await bench.claim()
    assert [(claim.ordinal, claim.prepared) for claim in rest] == [(1, True), (2, True)]
    assert await slots.read_references(bench.lane, task_id) == [stored]


# If this failed, a task whose references fail would leave its other slots, and its hold, open for ever.
async def test_a_failed_preparation_can_end_every_slot(bench: Bench, world: World) -> None:
    account = await world.account(credit=3 * PRICE)
    task_id = await _task(world, account, pictures=3, slots=3, has_references=True)
    (first,) = await bench.claim()
    assert await bench.finish(first, Reason.REFERENCE_FORMAT)
    row = await _row(world, task_id)
    assert (row["state"], row["reason"]) == (11, "reference_format")
    assert await world.balance(account) == (3 * PRICE, 0, 0)
    assert await world.findings() == []


# If this failed, overdue tasks would hold money for ever.
async def test_overdue_tasks_are_found(bench: Bench, world: World) -> None:
    task_id = await _task(world, pictures=2, slots=2, deadline_s=5)
    assert await finish.overdue(bench.lane, most=10) == []
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = '6 seconds'")
    assert await finish.overdue(bench.lane, most=10) == [(task_id, 0), (task_id, 1)]


# If this failed, a worker would never learn of slots that a lost answer leased to it.
async def test_strays_are_found(bench: Bench, world: World) -> None:
    await _task(world, pictures=2, slots=2)
    first, second = await bench.claim()
    found = await slots.strays(bench.lane, bench.me.id, [(first.task_id, first.ordinal)])
    assert [(stray.task_id, stray.ordinal, stray.epoch) for stray in found] == [
        (second.task_id, second.ordinal, second.epoch)
    ]


_REASONS = st.none() | st.sampled_from((Reason.INTERNAL, Reason.CANCELLED, Reason.DEADLINE, Reason.PROMPT_REFUSED))


# If this failed, the database would end a task otherwise than the model that is reasoned about.
@given(
    endings=st.lists(st.tuples(_REASONS, st.booleans()), min_size=1, max_size=4), price=st.sampled_from((0, 1, PRICE))
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_database_ends_tasks_like_the_model(endings, price: int, server) -> None:
    asyncio.run(_compare(endings, price, server))


async def _compare(endings, price: int, server) -> None:
    database = Database(server.dsn(await model_database(server)))
    world = World(database)
    try:
        bench = Bench(world)
        account = await world.account(credit=10**9)
        lane = f"engine:{world.ids.token()}"
        n = len(endings)
        task_id = await _task(world, account, pictures=n, slots=n, unit_price_micros=price, lane=lane)
        claims = await bench.claim(want=n, lane=lane)
        for claim, (reason, drawn) in zip(claims, endings, strict=True):
            await bench.intend(claim)
            if drawn:
                await bench.keep(claim)
            assert await bench.finish(claim, reason)
        expected = end(
            slots=[SettledSlot(reason=reason) for reason, _ in endings],
            delivered=sum(drawn for _, drawn in endings),
            held_micros=n * price,
            unit_price_micros=price,
        )
        row = await _row(world, task_id)
        assert row["state"] == expected.state
        assert row["reason"] == expected.reason
        assert row["charged_micros"] == expected.settlement.charge_micros
        assert row["released_micros"] == expected.settlement.release_micros
        assert await world.balance(account) == (10**9 - expected.settlement.charge_micros, 0, 0)
        assert await world.findings() == []
    finally:
        await database.close()
