"""Accounts and keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from seedgate.store.database import Connection, Database, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as an authenticator needs it; never the key itself."""

    key_id: UUID
    account_id: UUID
    kind: str
    name: str
    prefix: str
    expires_at: datetime | None
    revoked_at: datetime | None
    usable: bool
    """Neither revoked nor expired, by the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be stored; `digest` is its HMAC."""

    key_id: UUID
    account_id: UUID
    kind: str
    name: str
    prefix: str
    digest: bytes
    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None
    expires_at: datetime | None = None


async def find_keys(lane: Connection, digests: Sequence[bytes]) -> list[KeyRecord | None]:
    """The keys with these digests, in order; None for an unknown one."""
    rows = await lane.fetch_repeatable(
        "SELECT digest, id AS key_id, account_id, kind, name, prefix, expires_at, revoked_at,"
        " revoked_at IS NULL AND (expires_at IS NULL OR expires_at > seedgate_now()) AS usable"
        " FROM api_key WHERE digest = ANY ($1::bytea[])",
        digests,
    )
    found = {row["digest"]: KeyRecord(**{name: row[name] for name in row.keys() if name != "digest"}) for row in rows}  # noqa: SIM118 - a driver's record iterates over values
    return [found.get(digest) for digest in digests]


async def ensure_account(tx: Tx, *, account_id: UUID, name: str, mode: str) -> tuple[UUID, bool]:
    """The account called `name`, made with `account_id` if there is none; and whether it was made."""
    rows = await tx.fetch(
        "INSERT INTO account (id, name, mode) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING RETURNING id",
        account_id,
        name,
        mode,
    )
    if rows:
        return account_id, True
    rows = await tx.fetch("SELECT id FROM account WHERE name = $1", name)
    return rows[0]["id"], False


async def find_account(database: Database, name: str) -> tuple[UUID, str] | None:
    """Id and mode of the account called `name`."""
    rows = await database.fetch("SELECT id, mode FROM account WHERE name = $1", name)
    return (rows[0]["id"], rows[0]["mode"]) if rows else None


async def add_key(tx: Tx, key: NewKey) -> None:
    """Store a key. Raises the driver's unique violation when the account has a key of that name."""
    await tx.execute(
        "INSERT INTO api_key (id, account_id, kind, name, prefix, digest, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        key.key_id,
        key.account_id,
        key.kind,
        key.name,
        key.prefix,
        key.digest,
        key.expires_at,
    )
    await tx.execute(
        "INSERT INTO key_state (key_id, account_id, submits_per_minute, concurrent_tasks) VALUES ($1, $2, $3, $4)",
        key.key_id,
        key.account_id,
        key.submits_per_minute,
        key.concurrent_tasks,
    )


async def list_keys(database: Database) -> list[dict[str, object]]:
    """Every key with its account and limits, oldest first; nothing secret."""
    rows = await database.fetch(
        "SELECT k.id, a.name AS account, a.mode, k.kind, k.name, k.prefix, k.created_at, k.expires_at, k.revoked_at,"
        " s.open_holds, s.submits_per_minute, s.concurrent_tasks"
        " FROM api_key k JOIN account a ON a.id = k.account_id JOIN key_state s ON s.key_id = k.id ORDER BY k.id"
    )
    return [dict(row) for row in rows]


async def read_balances(lane: Connection, account_ids: Sequence[UUID]) -> list[int]:
    """What each account can spend, in micro-dollars, in order."""
    rows = await lane.fetch_repeatable("SELECT id, avail_micros FROM account WHERE id = ANY ($1::uuid[])", account_ids)
    found = {row["id"]: row["avail_micros"] for row in rows}
    return [found[account_id] for account_id in account_ids]


async def installation(tx: Tx, *, new_id: UUID, secret_check: bytes) -> tuple[UUID, bytes]:
    """This installation's id and the check value of its secret; the given ones are stored by the first caller."""
    await tx.execute(
        "INSERT INTO installation (id, secret_check) VALUES ($1, $2) ON CONFLICT DO NOTHING", new_id, secret_check
    )
    rows = await tx.fetch("SELECT id, secret_check FROM installation")
    return rows[0]["id"], rows[0]["secret_check"]
