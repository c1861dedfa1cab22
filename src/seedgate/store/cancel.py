"""Asking for a task's cancellation, and hearing of it."""

from dataclasses import dataclass
from uuid import UUID

from seedgate.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """How many slots of a task go on after its cancellation was asked for; none when the task has ended."""

    running: int
    """With a worker, which is told to stop, or submitted and waiting to be resumed."""
    in_doubt: int


async def cancel_task(
    lane: Connection, task_id: UUID, *, account_id: UUID | None, listing_id: str | None, actor: str
) -> Unsettled | None:
    """Ask for the cancellation and settle what nobody works on.

    None for a task that is not there, or that is of another account or listing where these are given. May be repeated.
    """
    (row,) = await lane.fetch_repeatable(
        "SELECT * FROM cancel_task($1, $2, $3, $4)", task_id, account_id, listing_id, actor
    )
    return Unsettled(running=row["running"], in_doubt=row["in_doubt"]) if row["known"] else None


async def open_of_frozen(lane: Connection, *, most: int) -> list[UUID]:
    """Open tasks of frozen accounts whose cancellation nobody has asked for yet."""
    rows = await lane.fetch(
        "SELECT t.id FROM account a JOIN task t ON t.account_id = a.id"
        " WHERE a.frozen AND a.open_holds > 0 AND t.state < 10 AND t.cancel_requested_at IS NULL LIMIT $1",
        most,
    )
    return [row["id"] for row in rows]


async def to_be_stopped(lane: Connection, worker_id: UUID) -> list[tuple[UUID, int]]:
    """The slots that this worker holds of tasks whose cancellation was asked for."""
    rows = await lane.fetch(
        "SELECT s.task_id, s.ordinal FROM slot s JOIN task t ON t.id = s.task_id"
        " WHERE s.worker_id = $1 AND t.cancel_requested_at IS NOT NULL",
        worker_id,
    )
    return [(row["task_id"], row["ordinal"]) for row in rows]
