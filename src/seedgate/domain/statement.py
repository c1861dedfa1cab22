"""A statement of account: every entry with the balances behind it, so that opening and changes make up closing.

What an account owns is available, or held for its open tasks. A hold moves money from the one to the other, a release
moves it back; only grants, debits and charges change the sum:

    entry     amount   available    held   balance
    opening                 0.00    0.00      0.00
    grant      10.00       10.00    0.00     10.00
    hold        0.07        9.93    0.07     10.00
    charge      0.035       9.93    0.035     9.965
    release     0.035       9.965   0.00      9.965
    closing                 9.965   0.00      9.965
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from seedgate.domain.ledger import MOVES, Book, Entry


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where an entry stands among all entries of an account: by time, and at one time by what it is about."""

    at: datetime
    subject_id: UUID
    entry: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read what `str` wrote. Raises ValueError."""
        at, subject_id, entry = text.split("_")
        if entry.upper() not in Entry.__members__:
            raise ValueError("a position is a time, an id and a kind of entry")
        return cls(moment(at), UUID(subject_id), Entry[entry.upper()])

    def __str__(self) -> str:
        at = self.at.isoformat().replace("+00:00", "Z")  # a plus in an address is a space
        return f"{at}_{self.subject_id.hex}_{Entry(self.entry).name.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What an account owns, or what an entry changes of it: then either part may be negative."""

    available_micros: int = 0
    held_micros: int = 0

    @property
    def micros(self) -> int:
        """Both together."""
        return self.available_micros + self.held_micros

    def __add__(self, other: "Balance") -> "Balance":
        return Balance(
            available_micros=self.available_micros + other.available_micros,
            held_micros=self.held_micros + other.held_micros,
        )

    def __sub__(self, other: "Balance") -> "Balance":
        return Balance(
            available_micros=self.available_micros - other.available_micros,
            held_micros=self.held_micros - other.held_micros,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """An entry as it was booked. `reason` and `actor` are an adjustment's."""

    at: datetime
    subject_id: UUID
    entry: Entry
    amount_micros: int
    reason: str | None = None
    actor: str | None = None

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.at, self.subject_id, self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a statement: the entry, what it changed, and what there was behind it."""

    movement: Movement
    change: Balance
    after: Balance

    @property
    def before(self) -> Balance:
        """What there was before it."""
        return self.after - self.change


def moment(text: str) -> datetime:
    """Read an ISO date or time; one without an offset is UTC. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"a date is written as 2026-11-01 or 2026-11-01T12:00:00Z: {text!r}") from None


def effect(entry: Entry, amount_micros: int) -> Balance:
    """What an entry changes of its account."""
    source, target = MOVES[entry]
    return Balance(
        available_micros=amount_micros * ((target is Book.AVAILABLE) - (source is Book.AVAILABLE)),
        held_micros=amount_micros * ((target is Book.HELD) - (source is Book.HELD)),
    )


def line(movement: Movement, reached: Balance, *, newest_first: bool) -> tuple[Line, Balance]:
    """The next line of a statement that has reached this balance, and the balance that it reaches.

    Oldest first, that is the balance after the entry; newest first, the one before it.
    """
    change = effect(movement.entry, movement.amount_micros)
    made = Line(movement=movement, change=change, after=reached if newest_first else reached + change)
    return made, made.before if newest_first else made.after
