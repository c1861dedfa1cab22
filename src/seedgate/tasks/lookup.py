"""Read a task for its owner: one call in, many calls in one statement, never an upstream call."""

from collections.abc import Sequence
from uuid import UUID

from seedgate.combine import Combiner
from seedgate.dialect import Lookup
from seedgate.domain.errors import NotFound, SeedgateError
from seedgate.domain.task import TaskView
from seedgate.store.database import Database
from seedgate.store.tasks import read_tasks


class Lookups:
    """The way to a task's status. One per process."""

    def __init__(self, database: Database) -> None:
        async def run(ids: Sequence[UUID]) -> Sequence[TaskView | SeedgateError]:
            return [view or NotFound() for view in await read_tasks(database.read_lane, ids)]

        self._combine: Combiner[UUID, TaskView] = Combiner(run)

    async def find(self, lookup: Lookup, *, account_id: UUID) -> TaskView:
        """The task. NotFound alike for an unknown id, another account's task, and one of another listing."""
        view = await self._combine(lookup.task_id)
        if view.account_id != account_id or view.listing_id != lookup.listing.id:
            raise NotFound
        return view

    async def close(self) -> None:
        """Refuse new questions and answer those under way."""
        await self._combine.close()
