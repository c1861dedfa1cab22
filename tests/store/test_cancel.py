"""Cancelling: what nobody works on ends at once, what runs is found by its worker, and nothing is begun afterwards."""

import asyncio
from dataclasses import dataclass, field, replace
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_work import Bench
from world import PRICE, World, model_database

from seedgate.domain.outcome import SettledSlot, end
from seedgate.domain.reason import Reason
from seedgate.domain.slot import SlotEvent, SlotState, cancel, transition
from seedgate.store import slots
from seedgate.store.cancel import Unsettled, cancel_task, to_be_stopped
from seedgate.store.database import Database
from seedgate.store.slots import Claim, Handle, StoredReference

SLOTS = 3
RACES = 240


async def ask(world: World, task_id: UUID, **changes: object) -> Unsettled | None:
    asked = {"account_id": None, "listing_id": None, "actor": "test"} | changes
    return await cancel_task(world.database.work_lane, task_id, **asked)


async def task(world: World, *, credit: int = 10**9, **changes: object) -> tuple[UUID, UUID]:
    account = await world.account(credit=credit)
    made = world.task(account, await world.key(account), **changes)
    await world.accept(made)
    return made.id, account


async def state(world: World, task_id: UUID) -> tuple[int, str | None, int | None]:
    (row,) = await world.database.fetch("SELECT state, reason, charged_micros FROM task WHERE id = $1", task_id)
    return row["state"], row["reason"], row["charged_micros"]


# If this failed, a task that nobody has begun would be drawn, or paid, although its caller does not want it any more.
async def test_a_waiting_task_is_released_at_once(world: World) -> None:
    task_id, account = await task(world, credit=4 * PRICE, pictures=4, slots=4, callback_url="https://example.com/h")
    assert await ask(world, task_id) == Unsettled(running=0, in_doubt=0)
    assert await state(world, task_id) == (12, "cancelled", 0)
    assert await world.balance(account) == (4 * PRICE, 0, 0)
    assert await Bench(world).claim() == []
    assert await world.count("delivery") == 1
    assert await world.findings() == []


# If this failed, references would be waited for by slots that nobody wants.
async def test_slots_that_wait_for_references_are_released(world: World) -> None:
    task_id, _ = await task(world, pictures=3, slots=3, has_references=True)
    bench = Bench(world)
    (first,) = await bench.claim()
    assert await ask(world, task_id) == Unsettled(running=1, in_doubt=0)
    stored = StoredReference(original_sha256="a", sha256="b", format="png", width=9, height=9, size_bytes=1)
    assert await slots.record_references(bench.lane, task_id, first.epoch, [stored])
    assert await bench.claim() == []
    assert await bench.finish(first, Reason.CANCELLED)
    assert await state(world, task_id) == (12, "cancelled", 0)
    assert await world.findings() == []


# If this failed, somebody else could end a task, or learn that there is one.
async def test_only_the_owner_and_an_operator_cancel(world: World) -> None:
    task_id, account = await task(world)
    assert await ask(world, world.ids.new()) is None
    assert await ask(world, task_id, account_id=await world.account()) is None
    assert await ask(world, task_id, account_id=account, listing_id="apixo/seedream-5-0") is None
    assert await state(world, task_id) == (0, None, None)
    assert await world.count("event") == 0
    mine = {"account_id": account, "listing_id": "apixo/seedream-4-5", "actor": "key 7"}
    assert await ask(world, task_id, **mine) == Unsettled(running=0, in_doubt=0)
    rows = await world.database.fetch("SELECT kind, detail FROM event ORDER BY kind")
    assert [(row["kind"], row["detail"]) for row in rows] == [(1, ""), (5, "key 7")]


# If this failed, the second press of a button would be another event, or an ended task be changed.
async def test_asked_twice_or_too_late_it_changes_nothing(world: World) -> None:
    task_id, _ = await task(world, pictures=2, slots=2)
    bench = Bench(world)
    (claim,) = await bench.claim(want=1)
    for _ in range(2):
        assert await ask(world, task_id) == Unsettled(running=1, in_doubt=0)
    (before,) = await world.database.fetch("SELECT cancel_requested_at FROM task")
    await bench.attempt(claim)
    assert await state(world, task_id) == (10, None, PRICE)
    for _ in range(2):
        assert await ask(world, task_id) == Unsettled(running=0, in_doubt=0)
    assert (await world.database.fetch("SELECT cancel_requested_at FROM task")) == [before]
    other, _ = await task(world)
    (claim,) = await bench.claim()
    await bench.attempt(claim)
    await ask(world, other)
    (row,) = await world.database.fetch("SELECT cancel_requested_at FROM task WHERE id = $1", other)
    assert row["cancel_requested_at"] is None
    assert await world.findings() == []


# If this failed, a worker would draw on for nobody, or another one's slots would be stopped.
async def test_each_worker_finds_its_own_slots(world: World) -> None:
    task_id, _ = await task(world, pictures=2, slots=2)
    mine, other = Bench(world), Bench(world)
    (first,) = await mine.claim(want=1)
    (second,) = await other.claim(want=1)
    assert await to_be_stopped(mine.lane, mine.me.id) == []
    await ask(world, task_id)
    assert await to_be_stopped(mine.lane, mine.me.id) == [(task_id, first.ordinal)]
    assert await to_be_stopped(mine.lane, other.me.id) == [(task_id, second.ordinal)]


# Every rule at once, against a model ------------------------------------------------------------------------------


@dataclass
class Model:
    """What the slots of one task should be."""

    states: list[SlotState]
    asked: bool = False
    claims: dict[int, Claim] = field(default_factory=dict)
    paid: set[int] = field(default_factory=set)
    """Slots with an attempt that would be paid for."""
    handles: set[int] = field(default_factory=set)
    delayed: set[int] = field(default_factory=set)
    reasons: dict[int, Reason] = field(default_factory=dict)
    drawn: set[int] = field(default_factory=set)

    def move(self, slot: int, event: SlotEvent) -> None:
        self.states[slot] = transition(self.states[slot], event)

    def settle(self, slot: int, reason: Reason | None) -> None:
        self.move(slot, SlotEvent.SETTLE)
        if reason is not None:
            self.reasons[slot] = reason

    def judge(self) -> None:
        """What a cancellation that was asked for does to slots that are, or have come back, in the queue."""
        for slot, present in enumerate(self.states) if self.asked else ():
            if cancel(present, resumes=slot in self.handles) is not present:
                self.settle(slot, Reason.CANCELLED)

    def leased(self, slot: int) -> bool:
        return self.states[slot] in {SlotState.CLAIMED, SlotState.SUBMITTED}


_STEPS = st.one_of(
    st.tuples(st.sampled_from(("claim", "sweep", "wake", "references", "cancel"))),
    st.tuples(
        st.sampled_from(("free", "paid", "handle", "keep", "done", "failed", "return", "delay", "crash")),
        st.integers(0, SLOTS - 1),
    ),
)


# If this failed, a cancelled task would be begun again, never end, or end otherwise than the model says.
@given(before=st.lists(_STEPS, max_size=12), after=st.lists(_STEPS, min_size=2, max_size=12), references=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_database_cancels_like_the_model(before, after, references: bool, server) -> None:
    asyncio.run(_compare([("claim",), *before, ("cancel",), *after], references, server))


async def _compare(steps, references: bool, server) -> None:
    database = Database(server.dsn(await model_database(server)))
    try:
        await Play(World(database), references=references).run(steps)
    finally:
        await database.close()


class Play:
    """One task, moved by steps in the database and in the model alike."""

    def __init__(self, world: World, *, references: bool) -> None:
        self.world = world
        self.bench = Bench(world)
        self.lane = f"engine:{world.ids.token()}"
        self.references = references
        blocked = SlotState.BLOCKED if references else SlotState.WAITING
        self.model = Model(states=[SlotState.WAITING, *[blocked] * (SLOTS - 1)])
        self.task_id = UUID(int=0)

    async def run(self, steps) -> None:
        account = await self.world.account()
        key = await self.world.key(account)
        made = self.world.task(
            account, key, pictures=SLOTS, slots=SLOTS, lane=self.lane, has_references=self.references
        )
        await self.world.accept(made)
        self.task_id = made.id
        for name, *slot in steps:
            await getattr(self, f"_{name}")(*slot)
            self.model.judge()
            await self._alike()
        await self._ends()

    async def _alike(self) -> None:
        rows = await self.world.database.fetch(
            "SELECT state, handle, reason FROM slot WHERE task_id = $1 ORDER BY ordinal", self.task_id
        )
        model = self.model
        assert [row["state"] for row in rows] == model.states
        assert {slot: row["reason"] for slot, row in enumerate(rows) if row["reason"]} == model.reasons
        assert await self.world.findings() == []

    async def _ends(self) -> None:
        """What is left is ended by its deadline; the end is the model's, and there is one."""
        model = self.model
        for slot, present in enumerate(model.states):
            if present is not SlotState.SETTLED:
                claim = Claim(
                    task_id=self.task_id, ordinal=slot, epoch=0, account_id=self.task_id, first_picture=slot, pictures=1,
                    handle=None, crashes=0, request="", listing_id="", listing_version=1, left_s=0, prepared=True, lane="",
                )  # fmt: skip
                assert await self.bench.finish(claim, Reason.DEADLINE, force=True)
                model.settle(slot, Reason.DEADLINE)
        expected = end(
            slots=[SettledSlot(reason=model.reasons.get(slot)) for slot in range(SLOTS)],
            delivered=len(model.drawn),
            held_micros=SLOTS * PRICE,
            unit_price_micros=PRICE,
        )
        found = await state(self.world, self.task_id)
        assert found == (expected.state, expected.reason, expected.settlement.charge_micros)
        assert await self.world.findings() == []

    async def _cancel(self) -> None:
        unsettled = await ask(self.world, self.task_id)
        model = self.model
        if any(present is not SlotState.SETTLED for present in model.states):
            model.asked = True
        model.judge()
        in_doubt = model.states.count(SlotState.IN_DOUBT)
        running = sum(present is not SlotState.SETTLED for present in model.states) - in_doubt
        assert unsettled == Unsettled(running=running, in_doubt=in_doubt)

    async def _claim(self) -> None:
        found = await self.bench.claim(want=SLOTS, lane=self.lane)
        waiting = {slot for slot, present in enumerate(self.model.states) if present is SlotState.WAITING}
        assert {claim.ordinal for claim in found} == waiting
        for claim in found:
            self.model.move(claim.ordinal, SlotEvent.CLAIM)
            self.model.claims[claim.ordinal] = claim
            self.model.paid.discard(claim.ordinal)

    async def _intend(self, slot: int, *, free: bool) -> None:
        model = self.model
        begun = (slot, model.claims[slot].epoch) if slot in model.claims else None
        if begun is None or model.states[slot] is not SlotState.CLAIMED or begun in self._begun:
            return
        assert await self.bench.intend(model.claims[slot], free=free)
        self._begun.add(begun)
        if not free:
            model.paid.add(slot)

    async def _free(self, slot: int) -> None:
        if slot not in self.model.handles:
            await self._intend(slot, free=True)

    async def _paid(self, slot: int) -> None:
        await self._intend(slot, free=False)

    @property
    def _begun(self) -> set[tuple[int, int]]:
        return self.__dict__.setdefault("begun", set())

    def _has_attempt(self, slot: int) -> bool:
        return self.model.leased(slot) and (slot, self.model.claims[slot].epoch) in self._begun

    async def _handle(self, slot: int) -> None:
        if self._has_attempt(slot):
            assert await self.bench.handle(self.model.claims[slot])
            if self.model.states[slot] is SlotState.CLAIMED:
                self.model.move(slot, SlotEvent.HANDLE)
            self.model.handles.add(slot)

    async def _keep(self, slot: int) -> None:
        if self._has_attempt(slot) and slot not in self.model.drawn:
            assert await self.bench.keep(self.model.claims[slot])
            self.model.drawn.add(slot)

    async def _done(self, slot: int) -> None:
        if self._has_attempt(slot) and slot in self.model.drawn:
            assert await self.bench.finish(self.model.claims[slot])
            self.model.settle(slot, None)

    async def _failed(self, slot: int) -> None:
        if self._has_attempt(slot):
            assert await self.bench.finish(self.model.claims[slot], Reason.CONTENT_REFUSED)
            self.model.settle(slot, Reason.CONTENT_REFUSED)
            if slot == 0:
                for other, present in enumerate(self.model.states):
                    if present is SlotState.BLOCKED and other not in self.model.delayed:
                        self.model.settle(other, Reason.CONTENT_REFUSED)

    async def _return(self, slot: int, *, crashed: bool = False, delay_s: float = 0.0) -> None:
        model = self.model
        if not model.leased(slot):
            return
        claim = model.claims[slot]
        back = Handle(task_id=claim.task_id, ordinal=slot, epoch=claim.epoch, handle="")
        assert await slots.return_slot(self.bench.lane, back, crashed=crashed, delay_s=delay_s)
        model.move(slot, SlotEvent.DELAY if delay_s else SlotEvent.LOSE)
        if delay_s:
            model.delayed.add(slot)
        if crashed or (self._begun_here(slot) and slot not in model.paid):
            model.handles.discard(slot)

    def _begun_here(self, slot: int) -> bool:
        return (slot, self.model.claims[slot].epoch) in self._begun

    async def _delay(self, slot: int) -> None:
        await self._return(slot, delay_s=60)

    async def _crash(self, slot: int) -> None:
        await self._return(slot, crashed=True)

    async def _wake(self) -> None:
        async with self.world.database.write() as tx:
            await tx.execute("UPDATE slot SET not_before = seedgate_now() WHERE not_before IS NOT NULL")
        await slots.wake_delayed(self.bench.lane, most=10)
        for slot in sorted(self.model.delayed):
            if self.model.states[slot] is SlotState.BLOCKED:
                self.model.move(slot, SlotEvent.UNBLOCK)
        self.model.delayed.clear()

    async def _references(self) -> None:
        model = self.model
        if model.states[0] is not SlotState.CLAIMED:
            return
        stored = StoredReference(original_sha256="a", sha256="b", format="png", width=9, height=9, size_bytes=1)
        assert await slots.record_references(self.bench.lane, self.task_id, model.claims[0].epoch, [stored])
        for slot, present in enumerate(model.states):
            if present is SlotState.BLOCKED and slot not in model.delayed:
                model.move(slot, SlotEvent.UNBLOCK)

    async def _sweep(self) -> None:
        model = self.model
        await self.bench.die()
        await self.bench.sweep()
        self.bench.me = replace(self.bench.me, id=self.world.ids.new())
        for slot in range(SLOTS):
            if not model.leased(slot):
                continue
            begun, handle = self._begun_here(slot), model.states[slot] is SlotState.SUBMITTED
            if begun and slot in model.paid and not handle:
                model.move(slot, SlotEvent.DOUBT)
                continue
            model.move(slot, SlotEvent.LOSE)
            if begun and slot not in model.paid:
                model.handles.discard(slot)


# Races ------------------------------------------------------------------------------------------------------------


# If this failed, a cancellation that meets the end, a claim, a return or a sweep would end a task twice, or never.
async def test_a_cancellation_races_with_everything(world: World) -> None:
    account = await world.account(credit=RACES * 2 * PRICE)
    key = await world.key(account)
    tasks = [world.task(account, key, pictures=2, slots=2) for _ in range(RACES)]
    await world.accept(*tasks)
    mine = Bench(world)
    claims = {(claim.task_id, claim.ordinal): claim for claim in await mine.claim(want=2 * RACES)}
    databases = [Database(world.database._dsn) for _ in range(5)]
    worlds = [World(database) for database in databases]
    over = asyncio.Event()

    async def give_back(hands: World, claim: Claim) -> None:
        back = Handle(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, handle="")
        assert await slots.return_slot(hands.database.work_lane, back, crashed=False)

    async def claim_and_die() -> None:
        """Takes what comes back, and leaves it to the sweep."""
        while not over.is_set():
            hands = Bench(worlds[4])
            for claim in await hands.claim(want=20, cursor=world.ids.new()):
                await hands.intend(claim)
            async with worlds[4].database.write() as tx:
                await tx.execute("UPDATE worker SET lease_until = '-infinity' WHERE id = $1", hands.me.id)
            await hands.sweep()

    dying = asyncio.create_task(claim_and_die())
    for number, made in enumerate(tasks):
        first, second = claims[made.id, 0], claims[made.id, 1]
        assert await mine.intend(first)
        reason = (None, Reason.INTERNAL, Reason.CANCELLED)[number % 3]
        if reason is None:
            assert await mine.keep(first)
        finishes = Bench(worlds[2]).finish(first, reason)
        racers = [ask(worlds[0], made.id), ask(worlds[1], made.id), give_back(worlds[3], second)]
        racers.insert(number % 4, finishes)
        await asyncio.gather(*racers)
    over.set()
    await dying
    assert await mine.claim() == []
    await mine.die()
    await mine.sweep()
    for database in databases:
        await database.close()
    rows = await world.database.fetch(
        "SELECT t.state, t.charged_micros, (SELECT count(*) FROM image i WHERE i.task_id = t.id) AS images,"
        " (SELECT count(*) FROM event e WHERE e.task_id = t.id AND e.kind = 1) AS ends FROM task t"
    )
    assert len(rows) == RACES
    assert {row["ends"] for row in rows} == {1}
    assert all(row["charged_micros"] == row["images"] * PRICE for row in rows)
    assert {row["state"] for row in rows} == {10, 11, 12}
    assert await world.findings() == []
