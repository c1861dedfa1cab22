"""Uploaded reference pictures: who keeps which, under which address, until when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from seedgate.domain.errors import NotFound
from seedgate.domain.quota import Quota, Usage
from seedgate.store.database import Connection, Database, Row, Tx

_COLUMNS = "id, account_id, name, sha256, format, width, height, size_bytes, created_at, expires_at"
NEWEST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """An upload that was checked and whose content is on the shelf."""

    id: UUID
    account_id: UUID
    name: str
    """Of its address: 131 random bits and an extension."""
    sha256: str
    format: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile(NewFile):
    """The same with its times."""

    created_at: datetime
    expires_at: datetime


async def add_file(tx: Tx, file: NewFile, *, quota: Quota, keep: timedelta) -> StoredFile:
    """Store an upload within the account's quota. Raises QuotaExceeded, or NotFound without such an account.

    The account's lock is held until the transaction ends, so racing uploads are decided one after the other.
    """
    locked = await tx.fetch("SELECT id FROM account WHERE id = $1 FOR NO KEY UPDATE", file.account_id)
    if not locked:
        raise NotFound
    used = await tx.fetch(_USAGE, file.account_id)
    quota.check(Usage(**used[0]), more_bytes=file.size_bytes)
    rows = await tx.fetch(
        f"INSERT INTO file ({_COLUMNS}) SELECT $1, $2, $3, $4, $5, $6, $7, $8, n.at, n.at + $9::interval"
        f" FROM (SELECT seedgate_now() AS at) n RETURNING {_COLUMNS}",
        file.id,
        file.account_id,
        file.name,
        file.sha256,
        file.format,
        file.width,
        file.height,
        file.size_bytes,
        keep,
    )
    return _file(rows[0])


_USAGE = (
    "SELECT count(*)::int AS files, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM file"
    " WHERE account_id = $1 AND expires_at > (SELECT seedgate_now())"
)


async def read_usage(database: Database, account_id: UUID) -> Usage:
    """What the account keeps."""
    rows = await database.fetch(_USAGE, account_id)
    return Usage(**rows[0])


async def page_files(
    database: Database, *, account_id: UUID | None, before: UUID | None, most: int
) -> list[StoredFile]:
    """Newest first, older than the file `before`; of all accounts where none is named."""
    rows = await database.fetch(
        f"SELECT {_COLUMNS} FROM file WHERE ($1::uuid IS NULL OR account_id = $1) AND id < $2"
        " AND expires_at > (SELECT seedgate_now()) ORDER BY id DESC LIMIT $3",
        account_id,
        before or NEWEST,
        most,
    )
    return [_file(row) for row in rows]


async def read_file(database: Database, file_id: UUID, *, account_id: UUID) -> StoredFile | None:
    """One file of the account; None where there is none, or no longer."""
    rows = await database.fetch(
        f"SELECT {_COLUMNS} FROM file WHERE id = $1 AND account_id = $2 AND expires_at > (SELECT seedgate_now())",
        file_id,
        account_id,
    )
    return _file(rows[0]) if rows else None


async def delete_file(tx: Tx, file_id: UUID, *, account_id: UUID | None) -> bool:
    """Forget a file of the account, or of any; False where there is none.

    The upkeep removes the content once nobody needs it.
    """
    rows = await tx.fetch(
        "DELETE FROM file WHERE id = $1 AND ($2::uuid IS NULL OR account_id = $2)"
        " AND expires_at > (SELECT seedgate_now()) RETURNING id",
        file_id,
        account_id,
    )
    return bool(rows)


async def erase_files(database: Database, account_id: UUID, *, before: datetime, most: int) -> list[str]:
    """Forget files of the account that were made before then; returns the digests of their contents, one per file."""
    async with database.write() as tx:
        rows = await tx.fetch(
            "DELETE FROM file WHERE id IN (SELECT id FROM file WHERE account_id = $1 AND created_at < $2 LIMIT $3)"
            " RETURNING sha256",
            account_id,
            before,
            most,
        )
    return [row["sha256"] for row in rows]


async def find_files(lane: Connection, names: Sequence[str]) -> list[tuple[StoredFile, timedelta] | None]:
    """The files with these names, in order, and how long each is still kept; None for one that is unknown or has
    expired."""
    rows = await lane.fetch_repeatable(
        f"SELECT {_COLUMNS}, expires_at - (SELECT seedgate_now()) AS kept FROM file"
        " WHERE name = ANY ($1::text[]) AND expires_at > (SELECT seedgate_now())",
        names,
    )
    found = {row["name"]: (_file({n: v for n, v in row.items() if n != "kept"}), row["kept"]) for row in rows}
    return [found.get(name) for name in names]


async def expire_files(database: Database, *, most: int) -> int:
    """Forget files whose time is over; returns how many."""
    async with database.write() as tx:
        rows = await tx.fetch(
            "DELETE FROM file WHERE id IN (SELECT id FROM file WHERE expires_at <= (SELECT seedgate_now())"
            " ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING 1",
            most,
        )
    return len(rows)


def _file(row: Row | dict[str, Any]) -> StoredFile:
    return StoredFile(**row)
