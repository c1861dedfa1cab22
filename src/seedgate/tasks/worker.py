"""The worker: claims slots of its lane, runs an attempt for each, and keeps order among them.

At the engine, or next in the row, are at most two attempts per engine process. Those that wait for references before
it, and those that store and settle behind it, are bounded too, but no claim waits for them.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from seedgate import log
from seedgate.clock import Clock
from seedgate.domain.errors import Unavailable
from seedgate.loop import Loop, run
from seedgate.store import slots
from seedgate.store.cancel import to_be_stopped
from seedgate.store.slots import Claim, WorkerIdentity
from seedgate.tasks.attempt import Limit, Stage, Studio, attempt, broken
from seedgate.tasks.sweep import SWEEP_S, Sweep

POLL_S = 0.25
"""How often the queue is looked at when nobody says that there is something in it."""
STOP_POLL_S = 1.0
"""How often it is looked for cancelled tasks when nobody says that there are any."""
RECONCILE_S = 5.0
CLAIMS_PER_PLACE = 2
MAX_FETCHING = 128
"""Attempts that wait for references: slow hosts must not keep the engine idle, nor fill the memory."""
MAX_SETTLING = 64
"""Attempts that are past the engine and still storing or settling."""


@dataclass(slots=True, kw_only=True)
class _Running:
    task: asyncio.Task[None]
    limit: Limit
    stage: Stage = Stage.DRAWING


class Worker:
    """Works one lane until stopped."""

    def __init__(
        self, studio: Studio, *, lane: str, places: int, identity: WorkerIdentity, clock: Clock, cursor: UUID
    ) -> None:
        self._studio = studio
        self._lane = lane
        self._hand = places * CLAIMS_PER_PLACE
        self._identity = identity
        self._clock = clock
        self._cursor = cursor
        self._running: dict[tuple[UUID, int], _Running] = {}
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self.wake = asyncio.Event()
        """Set it when there may be something to claim."""
        self.wake_stop = asyncio.Event()
        """Set it when the cancellation of a task may have been asked for."""

    def start(self) -> None:
        """Begin to claim and to sweep."""
        sweep = Sweep(database=self._studio.database, writes=self._studio.writes)
        loops = (
            Loop(name="claim", turn=self._claim, pause_s=POLL_S, wake=self.wake),
            Loop(name="sweep", turn=sweep.turn, pause_s=SWEEP_S),
            Loop(name="stop", turn=self._stop_cancelled, pause_s=STOP_POLL_S, wake=self.wake_stop),
            Loop(name="reconcile", turn=self._reconcile, pause_s=RECONCILE_S),
        )
        self._loops = [asyncio.create_task(run(loop, clock=self._clock, stopping=self._stopping)) for loop in loops]

    async def stop(self, *, drain_s: float) -> None:
        """Stop claiming, give attempts `drain_s` to end, hand the rest back to the queue."""
        self._stopping.set()
        await asyncio.gather(*self._loops)
        tasks = [running.task for running in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self) -> bool:
        stages = Counter(running.stage for running in self._running.values())
        want = self._hand - stages[Stage.DRAWING]
        if want <= 0 or stages[Stage.FETCHING] >= MAX_FETCHING or stages[Stage.SETTLING] >= MAX_SETTLING:
            return False
        claims = await slots.claim(
            self._studio.database.work_lane, self._identity, name=self._lane, want=want, cursor=self._cursor
        )
        for claim in claims:
            self._start(claim)
        if claims:
            self._cursor = claims[-1].account_id
        return len(claims) == want

    def _start(self, claim: Claim) -> None:
        key = (claim.task_id, claim.ordinal)

        def moved(stage: Stage) -> None:
            running.stage = stage
            if stage is not Stage.DRAWING:
                self.wake.set()

        limit = Limit()
        task = asyncio.create_task(self._attempt(claim, limit, moved))
        running = self._running[key] = _Running(task=task, limit=limit)
        task.add_done_callback(lambda _: self._forget(key, task))

    def _forget(self, key: tuple[UUID, int], task: asyncio.Task[None]) -> None:
        running = self._running.get(key)
        if running is not None and running.task is task:
            del self._running[key]
        self.wake.set()

    async def _attempt(self, claim: Claim, limit: Limit, moved: Callable[[Stage], None]) -> None:
        logger = log.get("worker").bind(task=claim.task_id.hex, slot=claim.ordinal)
        try:
            await attempt(self._studio, claim, limit=limit, moved=moved)
        except Unavailable as error:
            logger.warning("attempt_interrupted", error=error.code)
        except Exception as error:
            logger.exception("attempt_failed", error=type(error).__name__)
            await self._studio.writes.finish(broken(claim))

    async def _stop_cancelled(self) -> bool:
        """Stop the attempts at tasks whose cancellation was asked for, wherever that was."""
        if not self._running:
            return False
        for key in await to_be_stopped(self._studio.database.work_lane, self._identity.id):
            running = self._running.get(key)
            # One that is past the engine ends by itself, and its pictures count.
            if running is not None and running.stage is not Stage.SETTLING:
                running.limit.cancel()
        return False

    async def _reconcile(self) -> bool:
        """Hand back what the database says this worker holds and no attempt of it knows: a lost answer to a claim, or
        an attempt that an outage ended."""
        known = list(self._running)
        lane = self._studio.database.work_lane
        for stray in await slots.strays(lane, self._identity.id, known):
            if (stray.task_id, stray.ordinal) not in self._running:
                await slots.return_slot(lane, stray, crashed=False)
        return False
