"""An account's entries in order of time, and its balance at any moment.

There is no index on the postings' account or time: it would be paid for by every submit. An account's entries are found
through its tasks (`task_by_account`), those that were deleted, and adjustments; the time is filtered, since a task may
end long after its id was made. So a statement reads all entries of its account, 0.35 s for 1.5 million postings, and
sorts those it shows.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from seedgate.domain.ledger import Entry
from seedgate.domain.statement import Balance, Movement, Position, effect
from seedgate.store.database import Database, Tx

BEGINNING = Position(datetime(1, 1, 1, tzinfo=UTC), UUID(int=0), 0)
END = Position(datetime(9999, 12, 31, tzinfo=UTC), UUID(int=0), 0)

_FROM = (
    "(SELECT id, NULL AS reason, NULL AS actor FROM task WHERE account_id = $1"
    " UNION ALL SELECT task_id, NULL, NULL FROM retired_task WHERE account_id = $1"
    " UNION ALL SELECT id, reason, actor FROM adjustment WHERE account_id = $1) s"
    " JOIN posting p ON p.subject_id = s.id AND p.side = 2"
    " WHERE p.at >= $2 AND (p.at, p.subject_id, p.entry) >= ($2, $3::uuid, $4::int)"
)
_BEFORE = " AND p.at <= $5 AND (p.at, p.subject_id, p.entry) < ($5, $6::uuid, $7::int)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBalance:
    """An account and what it owns, at one moment."""

    account: str
    mode: str
    balance: Balance
    open_tasks: int
    at: datetime


async def list_balances(database: Database, *, account: str | None) -> list[AccountBalance]:
    """Every account by name, or the one of this name; empty where there is none."""
    async with database.snapshot() as tx:
        return await _balances(tx, "$1::text IS NULL OR name = $1", account)


async def read_balance(tx: Tx, account_id: UUID) -> AccountBalance:
    """What an account owns in this transaction's snapshot."""
    (found,) = await _balances(tx, "id = $1", account_id)
    return found


async def read_change(tx: Tx, account_id: UUID, *, since: Position) -> Balance:
    """What all entries from `since` on have changed together."""
    rows = await tx.fetch(
        f"SELECT p.entry, sum(p.amount_micros) AS amount_micros FROM {_FROM} GROUP BY p.entry",
        account_id,
        since.at,
        since.subject_id,
        since.entry,
    )
    return sum((effect(Entry(row["entry"]), int(row["amount_micros"])) for row in rows), Balance())


async def read_movements(
    tx: Tx, account_id: UUID, *, low: Position, high: Position, newest_first: bool, most: int | None
) -> AsyncIterator[Movement]:
    """The entries from `low` on and before `high`, in order of their positions, at most `most` of them."""
    way = "DESC" if newest_first else "ASC"
    rows = tx.stream(
        f"SELECT p.at, p.subject_id, p.entry, p.amount_micros, s.reason, s.actor FROM {_FROM}{_BEFORE}"
        f" ORDER BY p.at {way}, p.subject_id {way}, p.entry {way} LIMIT $8::bigint",
        account_id,
        low.at,
        low.subject_id,
        low.entry,
        high.at,
        high.subject_id,
        high.entry,
        most,
    )
    async for row in rows:
        yield Movement(
            at=row["at"],
            subject_id=row["subject_id"],
            entry=Entry(row["entry"]),
            amount_micros=row["amount_micros"],
            reason=row["reason"],
            actor=row["actor"],
        )


async def _balances(tx: Tx, condition: str, argument: object) -> list[AccountBalance]:
    rows = await tx.fetch(
        "SELECT name, mode, avail_micros, held_micros, open_holds, seedgate_now() AS at FROM account"
        f" WHERE {condition} ORDER BY name",
        argument,
    )
    return [
        AccountBalance(
            account=row["name"],
            mode=row["mode"],
            balance=Balance(available_micros=row["avail_micros"], held_micros=row["held_micros"]),
            open_tasks=row["open_holds"],
            at=row["at"],
        )
        for row in rows
    ]
