"""Cancel a task: what nobody works on is released at once, workers are told to stop the rest.

What was delivered by then is kept and paid for. Whoever is first wins, the cancellation or the task's own end; asking
again changes nothing and answers alike.
"""

from dataclasses import dataclass
from uuid import UUID

from seedgate.dialect import Lookup
from seedgate.domain.caller import Caller
from seedgate.domain.errors import NotFound
from seedgate.domain.task import TaskView
from seedgate.store.cancel import Unsettled, cancel_task
from seedgate.store.database import Database
from seedgate.store.tasks import read_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """A task as it is after its cancellation was asked for, and what of it still goes on."""

    task: TaskView
    unsettled: Unsettled


async def cancel_for_caller(database: Database, lookup: Lookup, caller: Caller) -> TaskView:
    """The task as it is afterwards.

    NotFound alike for an unknown id, another account's task, and one of another listing.
    """
    actor = f"key {caller.key_id.hex}"
    cancelled = await _cancel(
        database, lookup.task_id, actor=actor, account_id=caller.account_id, listing_id=lookup.listing.id
    )
    return cancelled.task


async def cancel_for_account(database: Database, task_id: UUID, caller: Caller) -> None:
    """Cancel a task of any listing. NotFound alike for an unknown id and another account's task."""
    actor = f"key {caller.key_id.hex}"
    await _cancel(database, task_id, actor=actor, account_id=caller.account_id, listing_id=None)


async def cancel_for_operator(database: Database, task_id: UUID, *, operator: str) -> Cancelled:
    """Cancel anybody's task. NotFound for an unknown id."""
    return await _cancel(database, task_id, actor=f"operator {operator}", account_id=None, listing_id=None)


async def _cancel(
    database: Database, task_id: UUID, *, actor: str, account_id: UUID | None, listing_id: str | None
) -> Cancelled:
    lane = database.work_lane
    unsettled = await cancel_task(lane, task_id, account_id=account_id, listing_id=listing_id, actor=actor)
    if unsettled is None:
        raise NotFound
    (view,) = await read_tasks(lane, [task_id])
    if view is None:
        raise NotFound
    return Cancelled(task=view, unsettled=unsettled)
