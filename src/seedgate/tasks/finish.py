"""The only place where a task ends, and the other writes of a worker, each batched."""

from collections.abc import Sequence

from seedgate.combine import Combiner
from seedgate.domain.errors import SeedgateError
from seedgate.store import slots
from seedgate.store.database import Database
from seedgate.store.finish import SlotEnding, finish_slots
from seedgate.store.slots import Handle, Intent, Picture


class Writes:
    """A worker's writes. Each gives True when the write won, False when the slot was in other hands."""

    def __init__(self, database: Database) -> None:
        lane = database.work_lane

        async def intents(batch: Sequence[Intent]) -> Sequence[bool | SeedgateError]:
            return await slots.open_attempts(lane, batch)

        async def handles(batch: Sequence[Handle]) -> Sequence[bool | SeedgateError]:
            return await slots.record_handles(lane, batch)

        async def pictures(batch: Sequence[Picture]) -> Sequence[bool | SeedgateError]:
            return await slots.keep_images(lane, batch)

        async def endings(batch: Sequence[SlotEnding]) -> Sequence[bool | SeedgateError]:
            return await finish_slots(lane, batch)

        self.intend: Combiner[Intent, bool] = Combiner(intents)
        self.handle: Combiner[Handle, bool] = Combiner(handles)
        self.keep: Combiner[Picture, bool] = Combiner(pictures)
        self.finish: Combiner[SlotEnding, bool] = Combiner(endings)

    async def close(self) -> None:
        """Finish what is under way."""
        for combiner in (self.intend, self.handle, self.keep, self.finish):
            await combiner.close()
