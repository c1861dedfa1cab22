"""An account's keys, as one of them lists and changes them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from seedgate.domain.image import Route
from seedgate.domain.key import KeyLimits
from seedgate.store.access import LISTED
from seedgate.store.database import Database, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A key as it is now; nothing secret."""

    id: UUID
    kind: str
    name: str
    prefix: str
    state: str
    limits: KeyLimits
    spent_micros: int
    open_holds: int
    older_secrets: int
    """Secrets that were replaced and still work."""
    created_at: datetime
    revoked_at: datetime | None

    @property
    def left_micros(self) -> int | None:
        """What is left of the budget, if there is one."""
        budget = self.limits.budget_micros
        return None if budget is None else max(0, budget - self.spent_micros)


async def page_keys(database: Database, *, account_id: UUID, before: UUID | None, most: int) -> list[Listed]:
    """Newest first."""
    rows = await database.fetch(
        f"{LISTED} WHERE k.account_id = $1 AND ($2::uuid IS NULL OR k.id < $2) ORDER BY k.id DESC LIMIT $3",
        account_id,
        before,
        most,
    )
    return [_listed(row) for row in rows]


async def count_active(database: Database | Tx, *, account_id: UUID) -> int:
    """How many of the account's keys are neither revoked nor expired."""
    rows = await database.fetch(
        "SELECT count(*) AS n FROM api_key WHERE account_id = $1 AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > seedgate_now())",
        account_id,
    )
    return int(rows[0]["n"])


async def lock_account(tx: Tx, account_id: UUID) -> None:
    """One change to the account's keys at a time, and no submit meanwhile: those read budgets under the same lock."""
    await tx.execute("SELECT FROM account WHERE id = $1 FOR NO KEY UPDATE", account_id)


async def read_key(tx: Tx, key_id: UUID, *, account_id: UUID) -> Listed | None:
    """A key of the account, locked."""
    rows = await tx.fetch(f"{LISTED} WHERE k.id = $1 AND k.account_id = $2 FOR UPDATE OF k", key_id, account_id)
    return _listed(rows[0]) if rows else None


async def find_name(tx: Tx, name: str, *, account_id: UUID) -> UUID | None:
    """The key of the account that has this name and is not revoked."""
    rows = await tx.fetch(
        "SELECT id FROM api_key WHERE account_id = $1 AND name = $2 AND revoked_at IS NULL", account_id, name
    )
    return rows[0]["id"] if rows else None


async def is_newest(tx: Tx, key_id: UUID, *, digest: bytes) -> bool:
    """Whether a secret of the key was not replaced by another one."""
    rows = await tx.fetch(
        "SELECT FROM key_secret WHERE key_id = $1 AND digest = $2 AND expires_at IS NULL", key_id, digest
    )
    return bool(rows)


async def take_budget(tx: Tx, key_id: UUID, *, amount_micros: int) -> bool:
    """Lower a key's budget, under the account's lock; false where not as much is left of it."""
    rows = await tx.fetch(
        "UPDATE key_state SET budget_micros = budget_micros - $2"
        " WHERE key_id = $1 AND budget_micros - spent_micros >= $2 RETURNING key_id",
        key_id,
        amount_micros,
    )
    return bool(rows)


def _listed(row: Row) -> Listed:
    limits = (
        "submits_per_minute",
        "concurrent_tasks",
        "polls_per_minute",
        "budget_micros",
        "manages_keys",
        "expires_at",
    )
    rest = ("id", "kind", "name", "prefix", "state", "spent_micros", "open_holds", "older_secrets", "created_at")
    return Listed(
        **{name: row[name] for name in (*rest, "revoked_at")},
        limits=KeyLimits(
            **{name: row[name] for name in limits},
            models=None if row["models"] is None else tuple(row["models"]),
            route=Route(row["route"]),
        ),
    )
