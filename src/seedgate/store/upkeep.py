"""What the upkeep asks and removes, in bounded batches. Rows that another process is at are left to it."""

from collections.abc import Sequence
from datetime import timedelta

from seedgate.store.database import Database


async def expire_images(database: Database, *, age: timedelta, most: int) -> list[str]:
    """Mark pictures of tasks that ended longer ago than `age` as deleted; returns the names whose files must go."""
    async with database.write() as tx:
        rows = await tx.fetch(
            "UPDATE image SET deleted_at = seedgate_now() WHERE (task_id, ordinal) IN (SELECT i.task_id, i.ordinal"
            " FROM image i JOIN task t ON t.id = i.task_id WHERE i.deleted_at IS NULL"
            " AND i.at < (SELECT seedgate_now()) - $1::interval"
            " AND t.completed_at < (SELECT seedgate_now()) - $1::interval"
            " ORDER BY i.at LIMIT $2 FOR UPDATE OF i SKIP LOCKED)"
            " RETURNING name",
            age,
            most,
        )
    return [row["name"] for row in rows]


async def wipe_requests(database: Database, *, age: timedelta, most: int) -> int:
    """Remove what is personal in the requests of tasks that ended longer ago than `age`; returns of how many."""
    async with database.write() as tx:
        (row,) = await tx.fetch(
            "SELECT wipe_tasks(ARRAY(SELECT id FROM task WHERE completed_at IS NOT NULL AND wiped_at IS NULL"
            " AND completed_at < (SELECT seedgate_now()) - $1::interval"
            " ORDER BY completed_at LIMIT $2 FOR UPDATE SKIP LOCKED)) AS wiped",
            age,
            most,
        )
    return int(row["wiped"])


async def retire_tasks(database: Database, *, age: timedelta, most: int) -> int:
    """Delete wiped tasks that ended longer ago than `age`, and note their sums; returns how many."""
    async with database.write() as tx:
        (row,) = await tx.fetch("SELECT retire_tasks($1, $2) AS retired", age, most)
    return int(row["retired"])


async def unknown_images(database: Database, names: Sequence[str]) -> list[str]:
    """Those of the files that no living row knows."""
    rows = await database.fetch(
        "SELECT n FROM unnest($1::text[]) u (n) WHERE NOT EXISTS"
        " (SELECT 1 FROM image i WHERE i.name = u.n AND i.deleted_at IS NULL)",
        names,
    )
    return [row["n"] for row in rows]


async def unneeded_references(database: Database, digests: Sequence[str]) -> list[str]:
    """Those of the reference files that no caller keeps and no task names: a task's rows go when it is wiped."""
    rows = await database.fetch(
        "SELECT d FROM unnest($1::text[]) u (d) WHERE NOT EXISTS (SELECT 1 FROM reference r WHERE r.sha256 = u.d)"
        " AND NOT EXISTS (SELECT 1 FROM file f WHERE f.sha256 = u.d)",
        digests,
    )
    return [row["d"] for row in rows]


async def forget_idempotency(database: Database, *, age: timedelta, most: int) -> int:
    """Remove idempotency rows older than `age`; returns how many."""
    async with database.write() as tx:
        rows = await tx.fetch(
            "DELETE FROM idempotency WHERE ctid = ANY (ARRAY(SELECT ctid FROM idempotency"
            " WHERE at < (SELECT seedgate_now()) - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
            age,
            most,
        )
    return len(rows)
