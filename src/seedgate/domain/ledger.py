"""Double entry in micro-dollars: immutable postings with ids that follow from the business.

An entry (hold, charge, release, grant, debit) moves one amount from one book to another, so its two postings sum to
zero. An entry's identity is (subject, entry): the task or adjustment it is about and what it does. A replay therefore
collides with itself in the primary key instead of moving money twice.
"""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from seedgate.domain.errors import UnbalancedEntry


class Book(IntEnum):
    """Where money is. The first two belong to an account, the others to the house."""

    AVAILABLE = 1
    HELD = 2
    REVENUE = 3
    FUNDING = 4


class Entry(IntEnum):
    """What an entry does; the number is part of its identity."""

    HOLD = 1
    CHARGE = 2
    RELEASE = 3
    GRANT = 4
    DEBIT = 5


class Side(IntEnum):
    """FROM postings are ≤ 0, TO postings ≥ 0."""

    FROM = 1
    TO = 2


MOVES: dict[Entry, tuple[Book, Book]] = {
    Entry.HOLD: (Book.AVAILABLE, Book.HELD),
    Entry.CHARGE: (Book.HELD, Book.REVENUE),
    Entry.RELEASE: (Book.HELD, Book.AVAILABLE),
    Entry.GRANT: (Book.FUNDING, Book.AVAILABLE),
    Entry.DEBIT: (Book.AVAILABLE, Book.FUNDING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One half of an entry."""

    subject_id: UUID
    entry: Entry
    side: Side
    account_id: UUID
    book: Book
    amount_micros: int


def entry(kind: Entry, *, subject_id: UUID, account_id: UUID, amount_micros: int) -> tuple[Posting, Posting]:
    """The two postings that move `amount_micros` (≥ 0) the way `kind` moves money."""
    if amount_micros < 0:
        raise UnbalancedEntry("an entry moves a positive amount; the way is its kind")
    source, target = MOVES[kind]
    return (
        Posting(
            subject_id=subject_id,
            entry=kind,
            side=Side.FROM,
            account_id=account_id,
            book=source,
            amount_micros=-amount_micros,
        ),
        Posting(
            subject_id=subject_id,
            entry=kind,
            side=Side.TO,
            account_id=account_id,
            book=target,
            amount_micros=amount_micros,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of a hold when its task ends; charge + release = hold."""

    charge_micros: int
    release_micros: int


def settle(*, held_micros: int, unit_price_micros: int, delivered: int) -> Settlement:
    """Charge every delivered picture at the frozen price and release the rest. Never charges more than was held."""
    charge = min(delivered * unit_price_micros, held_micros)
    return Settlement(charge_micros=charge, release_micros=held_micros - charge)
