"""Reading tasks."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from seedgate.domain.reason import Reason
from seedgate.domain.task import TaskState, TaskView
from seedgate.store.database import Connection, Database, Row

_COLUMNS = (
    "id, account_id, listing_id, listing_version, state, pictures, created_at, completed_at, files, reason, message,"
    " held_micros, charged_micros"
)


async def read_tasks(lane: Connection, ids: Sequence[UUID]) -> list[TaskView | None]:
    """The tasks with these ids, in this order; None for an unknown one."""
    rows = await lane.fetch_repeatable(f"SELECT {_COLUMNS} FROM task WHERE id = ANY ($1::uuid[])", ids)
    found = {row["id"]: row for row in rows}
    return [_view(found[task_id]) if task_id in found else None for task_id in ids]


async def list_tasks(database: Database, *, account_id: UUID | None, before: UUID | None, most: int) -> list[TaskView]:
    """Newest first, of one account or of all, older than the task `before`."""
    rows = await database.fetch(
        f"SELECT {_COLUMNS} FROM task WHERE ($1::uuid IS NULL OR account_id = $1) AND ($2::uuid IS NULL OR id < $2)"
        " ORDER BY id DESC LIMIT $3",
        account_id,
        before,
        most,
    )
    return [_view(row) for row in rows]


WALKED = 1000
"""How many tasks one page looks through for those in the asked states."""
_NEWEST = UUID(int=2**128 - 1)
_PAGE = f"""
WITH walked AS (SELECT {_COLUMNS} FROM task WHERE account_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3)
SELECT w.last, w.n, f.*
  FROM (SELECT (SELECT id FROM walked ORDER BY id LIMIT 1) AS last, (SELECT count(*) FROM walked) AS n) w
  LEFT JOIN LATERAL (SELECT * FROM walked WHERE $4::smallint[] IS NULL OR state = ANY ($4)
                      ORDER BY id DESC LIMIT $5) f ON true
 ORDER BY f.id DESC
"""


async def page_tasks(
    database: Database, *, account_id: UUID, before: UUID | None, states: Sequence[TaskState], most: int
) -> tuple[list[TaskView], UUID | None]:
    """A page of the account's tasks, newest first, and the id to go on behind; None at the end.

    A page looks through at most `WALKED` tasks for the asked states (all, when none is named), so it may be short, or
    even empty, with more to come.
    """
    walk = max(WALKED, most + 1) if states else most + 1
    rows = await database.fetch(_PAGE, account_id, before or _NEWEST, walk, list(states) or None, most + 1)
    views = [_view(row) for row in rows if row["id"] is not None]
    if len(views) > most:
        return views[:most], views[most - 1].id
    return views, rows[0]["last"] if rows[0]["n"] == walk else None


async def show_task(database: Database, task_id: UUID) -> dict[str, object] | None:
    """Everything about one task as plain values, for an operator: row, slots, attempts, pictures, postings, events."""
    rows = await database.fetch(
        "SELECT to_jsonb(t) - 'request' - 'changes' AS task, t.request, t.changes,"
        " (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'task_id' ORDER BY s.ordinal), '[]') FROM slot s"
        "   WHERE s.task_id = t.id) AS slots,"
        " (SELECT coalesce(jsonb_agg(to_jsonb(a) - 'task_id' ORDER BY a.slot, a.epoch), '[]') FROM attempt a"
        "   WHERE a.task_id = t.id) AS attempts,"
        " (SELECT coalesce(jsonb_agg(to_jsonb(i) - 'task_id' - 'sha256' - 'name' ORDER BY i.ordinal), '[]')"
        "   FROM image i WHERE i.task_id = t.id) AS images,"
        " (SELECT coalesce(jsonb_agg(to_jsonb(p) - 'subject_id' ORDER BY p.entry, p.side), '[]') FROM posting p"
        "   WHERE p.subject_id = t.id) AS postings,"
        " (SELECT coalesce(jsonb_agg(to_jsonb(e) - 'task_id' ORDER BY e.at), '[]') FROM event e"
        "   WHERE e.task_id = t.id) AS events"
        " FROM task t WHERE t.id = $1",
        task_id,
    )
    return dict(rows[0]) if rows else None


async def find_image(
    lane: Connection, names: Sequence[str]
) -> list[tuple[str, datetime | None, int, timedelta] | None]:
    """Format, time of deletion, size and age of each named picture, in order; None for an unknown name."""
    rows = await lane.fetch_repeatable(
        "SELECT name, format, size_bytes, deleted_at, (SELECT seedgate_now()) - at AS age"
        " FROM image WHERE name = ANY ($1::text[])",
        names,
    )
    found = {row["name"]: (row["format"], row["deleted_at"], row["size_bytes"], row["age"]) for row in rows}
    return [found.get(name) for name in names]


def _view(row: Row) -> TaskView:
    reason = row["reason"]
    return TaskView(
        id=row["id"],
        account_id=row["account_id"],
        listing_id=row["listing_id"],
        listing_version=row["listing_version"],
        state=TaskState(row["state"]),
        pictures=row["pictures"],
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        files=tuple(row["files"] or ()),
        reason=Reason(reason) if reason is not None else None,
        message=row["message"],
        held_micros=row["held_micros"],
        charged_micros=row["charged_micros"],
    )
