"""Removing what ended tasks hold of somebody, at an operator's word."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from seedgate.domain.reference import LOCAL_PREFIX
from seedgate.store.database import Database, Tx

ERASED = 6
"""The kind of the event that remains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedRows:
    """What was removed from the rows, and whose files must go now."""

    tasks: int
    """How many had anything left."""
    pictures: int
    """How many were still there."""
    names: Sequence[str]
    """Of all pictures, marked before or now: so the repetition of a command that broke off finishes it."""
    digests: Sequence[str]
    """Of the references, as they are stored and as they came inside the request."""


async def erase(database: Database, task_ids: Sequence[UUID], *, note: str) -> ErasedRows:
    """Remove pictures, prompt, addresses and references of those of the tasks that have ended, in one transaction.

    The first erasure of a task leaves an event with `note`.
    """
    async with database.write() as tx:
        rows = await tx.fetch(
            "SELECT id FROM task WHERE id = ANY ($1::uuid[]) AND state >= 10 ORDER BY id FOR UPDATE", task_ids
        )
        ended = [row["id"] for row in rows]
        digests = await _digests(tx, ended)
        images = await tx.fetch(
            "WITH gone AS (UPDATE image SET deleted_at = seedgate_now()"
            "  WHERE task_id = ANY ($1::uuid[]) AND deleted_at IS NULL RETURNING task_id, name)"
            " SELECT i.task_id, i.name, g.name IS NOT NULL AS was_there"
            " FROM image i LEFT JOIN gone g USING (name) WHERE i.task_id = ANY ($1::uuid[])",
            ended,
        )
        wiped = await tx.fetch("SELECT id FROM task WHERE id = ANY ($1::uuid[]) AND wiped_at IS NULL", ended)
        await tx.execute("SELECT wipe_tasks($1::uuid[])", ended)
        await tx.execute(
            "INSERT INTO event (task_id, kind, ordinal, at, detail) SELECT id, $2, 0, seedgate_now(), $3"
            " FROM unnest($1::uuid[]) u (id) ON CONFLICT DO NOTHING",
            ended,
            ERASED,
            note,
        )
    there = [row["task_id"] for row in images if row["was_there"]]
    return ErasedRows(
        tasks=len({*there, *(row["id"] for row in wiped)}),
        pictures=len(there),
        names=[row["name"] for row in images],
        digests=digests,
    )


async def ended_before(database: Database, account_id: UUID, *, before: datetime, after: UUID, most: int) -> list[UUID]:
    """The next ended tasks of the account, behind the id `after`, that were made before `before`."""
    rows = await database.fetch(
        "SELECT id FROM task WHERE account_id = $1 AND id > $2 AND created_at < $3 AND state >= 10"
        " ORDER BY id LIMIT $4",
        account_id,
        after,
        before,
        most,
    )
    return [row["id"] for row in rows]


async def count_open(database: Database, account_id: UUID, *, before: datetime) -> int:
    """How many tasks of the account that were made before `before` are still open."""
    (row,) = await database.fetch(
        "SELECT count(*) AS n FROM task WHERE account_id = $1 AND created_at < $2 AND state < 10", account_id, before
    )
    return int(row["n"])


async def _digests(tx: Tx, task_ids: Sequence[UUID]) -> list[str]:
    rows = await tx.fetch(
        "SELECT sha256 AS digest FROM reference WHERE task_id = ANY ($1::uuid[])"
        " UNION SELECT original_sha256 FROM reference WHERE task_id = ANY ($1::uuid[])"
        " UNION SELECT substr(named, length($2) + 1) FROM task,"
        "  jsonb_array_elements_text(request::jsonb -> 'references') r (named)"
        "  WHERE id = ANY ($1::uuid[]) AND starts_with(named, $2)",
        task_ids,
        LOCAL_PREFIX,
    )
    return [row["digest"] for row in rows]
