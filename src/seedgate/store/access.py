"""Accounts and keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from seedgate.store.database import Connection, Database, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as an authenticator needs it; never the key itself."""

    key_id: UUID
    account_id: UUID
    kind: str
    models: tuple[str, ...] | None
    route: str
    manages_keys: bool
    polls_per_minute: int | None
    account_polls_per_minute: int | None
    usable: bool
    """Neither revoked nor expired, by the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be stored; `digest` is its HMAC. A limit of None is the default, 0 is no limit."""

    key_id: UUID
    account_id: UUID
    kind: str
    name: str
    prefix: str
    digest: bytes
    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None
    polls_per_minute: int | None = None
    budget_micros: int | None = None
    models: Sequence[str] | None = None
    route: str = "auto"
    manages_keys: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMatch:
    """A key that somebody named."""

    key_id: UUID
    account_id: UUID
    kind: str
    name: str
    revoked_at: datetime | None
    expired: bool


_USABLE = (
    "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > seedgate_now())"
    " AND (s.expires_at IS NULL OR s.expires_at > seedgate_now())"
)


async def find_keys(lane: Connection, digests: Sequence[bytes]) -> list[KeyRecord | None]:
    """The keys with these digests, in order; None for an unknown one."""
    rows = await lane.fetch_repeatable(
        "SELECT s.digest, k.id AS key_id, k.account_id, k.kind, k.models, k.route, k.manages_keys,"
        " k.polls_per_minute, a.polls_per_minute AS account_polls_per_minute,"
        f" {_USABLE} AS usable"
        " FROM key_secret s JOIN api_key k ON k.id = s.key_id JOIN account a ON a.id = k.account_id"
        " WHERE s.digest = ANY ($1::bytea[])",
        digests,
    )
    found = {row["digest"]: _record(row) for row in rows}
    return [found.get(digest) for digest in digests]


def _record(row: Row) -> KeyRecord:
    values = {name: row[name] for name in row.keys() if name != "digest"}  # noqa: SIM118 - a driver's record iterates over values
    return KeyRecord(**values | {"models": row["models"] and tuple(row["models"])})


async def ensure_account(tx: Tx, *, account_id: UUID, name: str, mode: str) -> tuple[UUID, str]:
    """Id and mode of the account called `name`, made with the given ones if there is none."""
    await tx.execute(
        "INSERT INTO account (id, name, mode) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
        account_id,
        name,
        mode,
    )
    rows = await tx.fetch("SELECT id, mode FROM account WHERE name = $1", name)
    return rows[0]["id"], rows[0]["mode"]


async def find_account(database: Database, name: str) -> tuple[UUID, str] | None:
    """Id and mode of the account called `name`."""
    rows = await database.fetch("SELECT id, mode FROM account WHERE name = $1", name)
    return (rows[0]["id"], rows[0]["mode"]) if rows else None


async def add_key(tx: Tx, key: NewKey) -> None:
    """Store a key. Raises the driver's unique violation when the account has a key of that name."""
    await tx.execute(
        "INSERT INTO api_key (id, account_id, kind, name, models, route, manages_keys, polls_per_minute, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        key.key_id,
        key.account_id,
        key.kind,
        key.name,
        key.models,
        key.route,
        key.manages_keys,
        key.polls_per_minute,
        key.expires_at,
    )
    await add_secret(tx, key.key_id, prefix=key.prefix, digest=key.digest)
    await tx.execute(
        "INSERT INTO key_state (key_id, account_id, submits_per_minute, concurrent_tasks, budget_micros)"
        " VALUES ($1, $2, $3, $4, $5)",
        key.key_id,
        key.account_id,
        key.submits_per_minute,
        key.concurrent_tasks,
        key.budget_micros,
    )


async def add_secret(tx: Tx, key_id: UUID, *, prefix: str, digest: bytes) -> None:
    """One more secret by which the key is known."""
    await tx.execute("INSERT INTO key_secret (digest, key_id, prefix) VALUES ($1, $2, $3)", digest, key_id, prefix)


async def retire_secrets(tx: Tx, key_id: UUID, *, overlap: timedelta) -> None:
    """Let the secrets that the key has now work for `overlap` more, unless they end sooner anyway; forget the dead."""
    await tx.execute("DELETE FROM key_secret WHERE key_id = $1 AND expires_at <= seedgate_now()", key_id)
    await tx.execute(
        "UPDATE key_secret SET expires_at = least(expires_at, seedgate_now() + $2::interval) WHERE key_id = $1",
        key_id,
        overlap,
    )


async def revoke_key(tx: Tx, key_id: UUID) -> None:
    """End a key, with all its secrets; one that has ended stays as it is."""
    await tx.execute("UPDATE api_key SET revoked_at = seedgate_now() WHERE id = $1 AND revoked_at IS NULL", key_id)


async def match_keys(tx: Tx, wanted: str) -> list[KeyMatch]:
    """The keys that `wanted` means, locked: an id, the shown prefix of a secret, or the name of a key that still works.

    At most a few: whoever names a key in a way that fits several is told so.
    """
    rows = await tx.fetch(
        "SELECT k.id AS key_id, k.account_id, k.kind, k.name, k.revoked_at, k.expires_at <= seedgate_now() AS expired"
        " FROM api_key k"
        " WHERE replace(k.id::text, '-', '') = replace(lower($1), '-', '')"
        "  OR (k.revoked_at IS NULL AND (k.name = $1 OR EXISTS"
        "   (SELECT 1 FROM key_secret s WHERE s.key_id = k.id AND s.prefix = $1"
        "     AND (s.expires_at IS NULL OR s.expires_at > seedgate_now())))) ORDER BY k.id LIMIT 3 FOR UPDATE OF k",
        wanted,
    )
    found = [KeyMatch(**row | {"expired": bool(row["expired"])}) for row in map(dict, rows)]
    exact = [match for match in found if match.key_id.hex == wanted.lower().replace("-", "")]
    return exact or found


LISTED = (
    "SELECT k.id, a.name AS account, a.mode, k.kind, k.name, s.prefix, k.models, k.route, k.manages_keys,"
    " k.created_at, k.expires_at, k.revoked_at, s.others AS older_secrets, t.open_holds, t.submits_per_minute,"
    " t.concurrent_tasks, k.polls_per_minute, t.budget_micros, t.spent_micros,"
    " CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= seedgate_now() THEN 'expired'"
    "  ELSE 'active' END AS state"
    " FROM api_key k JOIN account a ON a.id = k.account_id JOIN key_state t ON t.key_id = k.id,"
    " LATERAL (SELECT (array_agg(prefix ORDER BY created_at DESC))[1] AS prefix,"
    "   count(*) FILTER (WHERE expires_at > seedgate_now()) AS others FROM key_secret WHERE key_id = k.id) s"
)
"""What may be shown of keys; nothing secret."""


async def list_keys(database: Database) -> list[dict[str, Any]]:
    """Every key with its limits, oldest first."""
    return [dict(row) for row in await database.fetch(f"{LISTED} ORDER BY k.id")]


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
