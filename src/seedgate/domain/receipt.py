"""A receipt: what a task was held, charged and given back, line by line, from its postings and nothing else.

Every picture that was asked for is one line. It is charged if it was delivered, released if not; so the lines sum to
the postings, and charge and release to the hold. A receipt that does not add up is not written: UnbalancedEntry.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seedgate.domain.errors import UnbalancedEntry
from seedgate.domain.ledger import Entry, Side

SHORT = "fewer pictures were drawn than were asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A posting of the task."""

    entry: Entry
    side: Side
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of a task that one slot was asked for, and why it did not deliver all of it."""

    slot: int
    first_picture: int
    pictures: int
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A picture that counts, and the attempt that brought it."""

    picture: int
    slot: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One picture. Amounts are None until the task has ended."""

    picture: int
    slot: int
    epoch: int | None
    """Number of the attempt that delivered it; None where none has."""
    charged_micros: int | None = None
    released_micros: int | None = None
    reason: str | None = None
    """Why it was released."""
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Of one task. `charged_micros` and `released_micros` are None until it has ended."""

    unit_price_micros: int
    held_micros: int
    charged_micros: int | None
    released_micros: int | None
    lines: tuple[Line, ...]


def receipt(
    *,
    unit_price_micros: int,
    ended: bool,
    postings: Sequence[Posted],
    shares: Sequence[Share],
    delivered: Sequence[Delivered],
) -> Receipt:
    """The receipt of a task. Raises UnbalancedEntry where postings and pictures contradict each other."""
    held, charged, released = (_moved(kind, postings) for kind in (Entry.HOLD, Entry.CHARGE, Entry.RELEASE))
    lines = tuple(_lines(unit_price_micros, ended=ended, shares=shares, delivered=delivered))
    if len(lines) * unit_price_micros != held:
        raise UnbalancedEntry("The hold is not the price of all pictures")
    if not ended and (charged or released):
        raise UnbalancedEntry("An open task has a charge or a release")
    if ended and (charged, released) != (
        sum(line.charged_micros or 0 for line in lines),
        sum(line.released_micros or 0 for line in lines),
    ):
        raise UnbalancedEntry("Charge and release are not those of the pictures")
    return Receipt(
        unit_price_micros=unit_price_micros,
        held_micros=held,
        charged_micros=charged if ended else None,
        released_micros=released if ended else None,
        lines=lines,
    )


def _moved(kind: Entry, postings: Sequence[Posted]) -> int:
    """What the entry moved; 0 where there is none, since nothing is posted for nothing."""
    amounts = {side: [p.amount_micros for p in postings if p.entry is kind and p.side is side] for side in Side}
    if [-amount for amount in amounts[Side.FROM]] != amounts[Side.TO] or len(amounts[Side.TO]) > 1:
        raise UnbalancedEntry
    return sum(amounts[Side.TO])


def _lines(unit: int, *, ended: bool, shares: Sequence[Share], delivered: Sequence[Delivered]) -> Iterator[Line]:
    brought = {picture.picture: picture for picture in delivered}
    if len(brought) != len(delivered):
        raise UnbalancedEntry("A picture was delivered twice")
    for share in sorted(shares, key=lambda share: share.first_picture):
        for picture in range(share.first_picture, share.first_picture + share.pictures):
            found = brought.pop(picture, None)
            if found is not None:
                charge = (unit, 0) if ended else (None, None)
                yield Line(
                    picture=picture,
                    slot=found.slot,
                    epoch=found.epoch,
                    charged_micros=charge[0],
                    released_micros=charge[1],
                )
            else:
                yield _missing(picture, share, unit if ended else None)
    if brought:
        raise UnbalancedEntry("A picture was delivered that nobody asked for")


def _missing(picture: int, share: Share, unit: int | None) -> Line:
    if unit is None:
        return Line(picture=picture, slot=share.slot, epoch=None, reason=share.reason, message=share.message)
    return Line(
        picture=picture,
        slot=share.slot,
        epoch=None,
        charged_micros=0,
        released_micros=unit,
        reason=share.reason,
        message=share.message or (SHORT if share.reason is None else None),
    )
