"""Money that an operator moves, and the proof that the books are right."""

import re
from dataclasses import dataclass
from importlib import resources
from uuid import UUID

from seedgate.domain.ledger import Entry, entry
from seedgate.store.database import Database, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A grant or debit: who, why, how much."""

    id: UUID
    account_id: UUID
    entry: Entry
    amount_micros: int
    reason: str
    actor: str
    idempotency_key: str | None = None


async def adjust(tx: Tx, adjustment: Adjustment) -> bool:
    """Write an adjustment and its postings; False when its idempotency key was used before, and nothing was written.

    Raises the driver's check violation when a debit would take more than is available.
    """
    rows = await tx.fetch(
        "INSERT INTO adjustment (id, account_id, entry, amount_micros, reason, actor, idempotency_key)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (idempotency_key) DO NOTHING RETURNING at",
        adjustment.id,
        adjustment.account_id,
        adjustment.entry,
        adjustment.amount_micros,
        adjustment.reason,
        adjustment.actor,
        adjustment.idempotency_key,
    )
    if not rows:
        return False
    signed = adjustment.amount_micros if adjustment.entry is Entry.GRANT else -adjustment.amount_micros
    await tx.execute("UPDATE account SET avail_micros = avail_micros + $2 WHERE id = $1", adjustment.account_id, signed)
    postings = entry(
        adjustment.entry,
        subject_id=adjustment.id,
        account_id=adjustment.account_id,
        amount_micros=adjustment.amount_micros,
    )
    for posting in postings:
        await tx.execute(
            "INSERT INTO posting (subject_id, entry, side, account_id, book, mode, amount_micros, at)"
            " SELECT $1, $2, $3, id, $5, mode, $6, $7 FROM account WHERE id = $4",
            posting.subject_id,
            posting.entry,
            posting.side,
            posting.account_id,
            posting.book,
            posting.amount_micros,
            rows[0]["at"],
        )
    return True


async def lock_available(tx: Tx, account_id: UUID) -> int:
    """What the account can spend, in micro-dollars; nobody else moves its money until this transaction ends."""
    rows = await tx.fetch("SELECT avail_micros FROM account WHERE id = $1 FOR UPDATE", account_id)
    available_micros: int = rows[0]["avail_micros"]
    return available_micros


async def find_adjustment(tx: Tx, idempotency_key: str) -> Adjustment | None:
    """The adjustment that was written under this idempotency key."""
    rows = await tx.fetch(
        "SELECT id, account_id, entry, amount_micros, reason, actor, idempotency_key FROM adjustment"
        " WHERE idempotency_key = $1",
        idempotency_key,
    )
    return Adjustment(**dict(rows[0]) | {"entry": Entry(rows[0]["entry"])}) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A place where an invariant does not hold."""

    invariant: str
    subject: str
    detail: str


_INVARIANT = re.compile(r"^-- (I[\w ]+): (.+)\n([^;]+);", re.MULTILINE)
MAX_FINDINGS = 100
"""Of each kind; the first hundred say as much as the next."""


def invariants() -> dict[str, tuple[str, str]]:
    """Sentence and query of every invariant, by name, from `invariants.sql`."""
    text = resources.files("seedgate.store").joinpath("invariants.sql").read_text(encoding="utf-8")
    return {name: (sentence, query) for name, sentence, query in _INVARIANT.findall(text)}


async def check(database: Database) -> tuple[dict[str, str], list[Finding]]:
    """Prove the money invariants on one snapshot, beside a running gateway.

    Returns the sentence of every invariant that was checked, by name, and every difference found.
    """
    findings = []
    checks = invariants()
    async with database.snapshot() as tx:
        for name, (_, sql) in checks.items():
            rows = await tx.fetch(f"SELECT subject, detail FROM ({sql}) f LIMIT {MAX_FINDINGS}")
            findings += [Finding(invariant=name, subject=row["subject"], detail=row["detail"]) for row in rows]
    return {name: sentence for name, (sentence, _) in checks.items()}, findings
