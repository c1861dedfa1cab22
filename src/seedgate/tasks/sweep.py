"""Whatever nobody else moves: slots of dead workers, delays that are over, deadlines that have passed, and what frozen
accounts have open.

Any number of processes may sweep at the same time: every statement skips what another one has in its hands.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from seedgate import log
from seedgate.domain.reason import Reason
from seedgate.domain.slot import MAX_LOSSES
from seedgate.store import cancel, finish, slots
from seedgate.store.database import Database
from seedgate.store.finish import SlotEnding
from seedgate.tasks import presence
from seedgate.tasks.finish import Writes

SWEEP_S = 1.0
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The sweep of one process."""

    database: Database
    writes: Writes

    async def turn(self) -> bool:
        """One round; True when there is probably more to do."""
        done: dict[str, int] = {}
        failure: Exception | None = None
        for step in (self._workers, self._delays, self._deadlines, self._losses, self._frozen):
            try:
                done[step.__name__.strip("_")] = await step()
            except Exception as error:  # noqa: BLE001 - no step waits for the one before it
                failure = failure or error
        if any(done.values()):
            log.get("sweep").info("swept", **done)
        if failure is not None:
            raise failure
        return max(done.values()) >= BATCH

    async def _workers(self) -> int:
        """What dead workers left."""
        lane = self.database.work_lane
        neighbours = await slots.workers_of(lane, presence.this_host())
        dead = [worker.id for worker in neighbours if presence.is_dead(worker)]
        return await slots.sweep_workers(lane, dead, most=BATCH)

    async def _delays(self) -> int:
        return await slots.wake_delayed(self.database.work_lane, most=BATCH)

    async def _deadlines(self) -> int:
        return await self._end(await finish.overdue(self.database.work_lane, most=BATCH), Reason.DEADLINE)

    async def _losses(self) -> int:
        lost = await finish.given_up(self.database.work_lane, max_losses=MAX_LOSSES, most=BATCH)
        return await self._end(lost, Reason.INTERNAL)

    async def _frozen(self) -> int:
        """What is open of an account that was frozen: nothing of it is begun, and what is delivered is paid for."""
        lane = self.database.work_lane
        found = await cancel.open_of_frozen(lane, most=BATCH)
        for task_id in found:
            await cancel.cancel_task(lane, task_id, account_id=None, listing_id=None, actor="frozen account")
        return len(found)

    async def _end(self, places: Sequence[tuple[UUID, int]], reason: Reason) -> int:
        endings = [SlotEnding(task_id=task, ordinal=ordinal, epoch=None, reason=reason) for task, ordinal in places]
        return sum(await asyncio.gather(*(self.writes.finish(ending) for ending in endings)))
