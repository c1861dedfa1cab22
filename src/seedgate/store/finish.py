"""T4: settle slots and end tasks, and what the sweep needs for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from seedgate.domain.reason import Reason
from seedgate.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEnding:
    """How a slot ended. `reason` None: its pictures are kept. `epoch` None: a decision about the whole task."""

    task_id: UUID
    ordinal: int
    epoch: int | None
    reason: Reason | None = None
    message: str | None = None


async def finish_slots(lane: Connection, batch: Sequence[SlotEnding]) -> list[bool]:
    """Settle a batch; False for a slot that was settled before or is in other hands: nothing of it was written."""
    rows = await lane.fetch_repeatable(
        "SELECT finish_slots($1::uuid[], $2::smallint[], $3::int[], $4::text[], $5::text[])",
        [ending.task_id for ending in batch],
        [ending.ordinal for ending in batch],
        [ending.epoch for ending in batch],
        [ending.reason for ending in batch],
        [ending.message for ending in batch],
    )
    won = {row["finish_slots"] for row in rows}
    return [position in won for position in range(1, len(batch) + 1)]


async def overdue(lane: Connection, *, most: int) -> list[tuple[UUID, int]]:
    """Unsettled slots of open tasks whose deadline has passed."""
    rows = await lane.fetch(
        "SELECT s.task_id, s.ordinal FROM (SELECT id FROM task"
        " WHERE state < 10 AND deadline_at < (SELECT seedgate_now()) ORDER BY deadline_at LIMIT $1) t,"
        " LATERAL (SELECT task_id, ordinal FROM slot WHERE task_id = t.id AND state < 10) s",
        most,
    )
    return [(row["task_id"], row["ordinal"]) for row in rows]


async def given_up(lane: Connection, *, max_losses: int, most: int) -> list[tuple[UUID, int]]:
    """Waiting slots that lost their worker too often."""
    rows = await lane.fetch(
        # The number stands in the text: a planner that must not look at parameters finds the partial index by it.
        f"SELECT task_id, ordinal FROM slot WHERE state = 1 AND losses >= {max_losses} LIMIT $1",
        most,
    )
    return [(row["task_id"], row["ordinal"]) for row in rows]
