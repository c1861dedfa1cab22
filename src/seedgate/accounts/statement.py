"""Statements of account: what came, what went, and what there was behind each entry, as lines, CSV or JSON.

A statement is read from one snapshot, so it is exact beside a running gateway and takes no more memory for a million
lines than for ten. The snapshot must not wait for anybody: whoever sends a statement to a slow reader writes it into a
temporary file first, closes the statement, and sends the file. So nothing goes out that is not whole, too.
"""

import csv
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from seedgate.domain.errors import InvalidRequest, OperatorError, RateLimited, Unavailable
from seedgate.domain.ledger import Entry
from seedgate.domain.money import dollars
from seedgate.domain.statement import Balance, Line, Position, line
from seedgate.store.database import Database, Tx
from seedgate.store.statement import BEGINNING, END, AccountBalance, read_balance, read_change, read_movements

COLUMNS = (
    "at", "entry", "task_id", "adjustment_id", "amount", "available_change", "held_change",
    "available", "held", "balance", "reason", "actor",
)  # fmt: skip
_ADJUSTMENTS = (Entry.GRANT, Entry.DEBIT)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which entries, in which order. Raises InvalidRequest where that cannot be."""

    since: datetime | None = None
    until: datetime | None = None
    """Exclusive, as `since` is inclusive: what one month closes with, the next one opens with."""
    newest_first: bool = False
    limit: int | None = None
    after: Position | None = None
    """Go on behind this line of the same statement."""
    actors: bool = True
    """Whether it says who booked what: for operators."""

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidRequest("A statement begins before it ends", param="until")
        if self.limit is not None and self.limit < 1:
            raise InvalidRequest("A statement has at least one line", param="limit")

    @property
    def low(self) -> Position:
        """The first position that may be shown."""
        low = Position(self.since, UUID(int=0), 0) if self.since else BEGINNING
        if self.after is None or self.newest_first:
            return low
        return max(low, Position(self.after.at, self.after.subject_id, self.after.entry + 1))

    @property
    def high(self) -> Position:
        """The first position that is too late."""
        high = Position(self.until, UUID(int=0), 0) if self.until else END
        return min(high, self.after) if self.after is not None and self.newest_first else high


@dataclass(slots=True, kw_only=True)
class Turns:
    """The statements that callers have asked for and that are under way. One per process."""

    at_once: int = 2
    """How many may be read at the same time: each has a connection of the pool, for a second or so."""
    _reading: int = 0
    _accounts: set[UUID] = field(default_factory=set)

    @contextmanager
    def account(self, account_id: UUID) -> Iterator[None]:
        """Until it is sent. Raises RateLimited where another one of the account is under way."""
        if account_id in self._accounts:
            raise RateLimited("Another statement of the account is under way", retry_after_s=1)
        self._accounts.add(account_id)
        try:
            yield
        finally:
            self._accounts.remove(account_id)

    @contextmanager
    def read(self) -> Iterator[None]:
        """Until it is read. Raises Unavailable where too many are."""
        if self._reading >= self.at_once:
            raise Unavailable("Too many statements are made now", retry_after_s=1)
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1


class Statement:
    """A statement while it is read: `lines` once, and behind them what they came to."""

    def __init__(self, tx: Tx, account_id: UUID, scope: Scope, *, now: AccountBalance, start: Balance) -> None:
        self._tx = tx
        self._account_id = account_id
        self.scope = scope
        self.now = now
        """The account at the moment of the statement."""
        self.start = start
        """The balance where the lines begin: opening, or closing where the newest comes first."""
        self.end = start
        """The balance where they end."""
        self.moved: Counter[Entry] = Counter()
        """Micro-dollars that were shown, by kind of entry."""
        self.next: Position | None = None
        """The last line, where the limit left others out."""

    @property
    def opening(self) -> Balance:
        """What there was before the oldest line."""
        return self.end if self.scope.newest_first else self.start

    @property
    def opened_at(self) -> datetime | None:
        """The moment of the opening balance; None for the beginning of the account."""
        cut = self.next if self.scope.newest_first else self.scope.after
        return cut.at if cut else self.scope.since

    @property
    def closing(self) -> Balance:
        """What there was behind the newest line."""
        return self.start if self.scope.newest_first else self.end

    @property
    def closed_at(self) -> datetime:
        """The moment of the closing balance."""
        cut = self.scope.after if self.scope.newest_first else self.next
        return cut.at if cut else min(self.scope.until or self.now.at, self.now.at)

    async def lines(self) -> AsyncIterator[Line]:
        """The lines, in the scope's order. Raises OperatorError behind the last one where they do not add up."""
        scope = self.scope
        movements = read_movements(
            self._tx,
            self._account_id,
            low=scope.low,
            high=scope.high,
            newest_first=scope.newest_first,
            most=scope.limit + 1 if scope.limit else None,  # one more tells whether there are others
        )
        shown, last = 0, None
        async for movement in movements:
            if shown == scope.limit:
                self.next = last
                return
            told = movement if scope.actors else replace(movement, actor=None)
            made, self.end = line(told, self.end, newest_first=scope.newest_first)
            self.moved[movement.entry] += movement.amount_micros
            shown, last = shown + 1, movement.position
            yield made
        if scope.low == BEGINNING and self.opening != Balance():
            raise OperatorError(
                "The account's entries do not add up to its balance", hint="`seedgate ledger check` says where."
            )


@asynccontextmanager
async def open_statement(database: Database, account_id: UUID, scope: Scope) -> AsyncIterator[Statement]:
    """An account's statement, to be read within the block and sent behind it.

    Where it begins follows from the balance that the account has now: from there back to the scope's end.
    """
    async with database.snapshot() as tx:
        now = await read_balance(tx, account_id)
        begin = scope.high if scope.newest_first else scope.low
        start = now.balance
        if begin != END:
            start -= await read_change(tx, account_id, since=begin)
        yield Statement(tx, account_id, scope, now=now, start=start)


async def as_csv(statement: Statement) -> AsyncIterator[str]:
    """The statement as RFC 4180 has it, with a header and exact dollars, between rows for both its ends.

    The changes of a column, added to its opening, are its closing. No text is a formula to a spreadsheet: where it
    would be one it has an apostrophe before it, as has text that begins with an apostrophe itself.
    """
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    yield writer.writerow(_end_cells(statement, closing=statement.scope.newest_first))
    async for made in statement.lines():
        yield writer.writerow(_cells(made))
    yield writer.writerow(_end_cells(statement, closing=not statement.scope.newest_first))


async def as_json(statement: Statement) -> AsyncIterator[str]:
    """The statement as one JSON document; amounts are micro-dollars."""
    scope, now = statement.scope, statement.now
    head = {
        "account": now.account,
        "mode": now.mode,
        "at": _moment(now.at),
        "since": _moment(scope.since),
        "until": _moment(scope.until),
        "newest_first": scope.newest_first,
    }
    yield _json(head)[:-1] + ',"entries":['
    comma = ""
    async for made in statement.lines():
        yield comma + _json(_entry(made))
        comma = ","
    foot = {
        "opening": {"at": _moment(statement.opened_at)} | _amounts(statement.opening),
        "closing": {"at": _moment(statement.closed_at)} | _amounts(statement.closing),
        "totals": {f"{kind.name.lower()}_micros": statement.moved[kind] for kind in Entry},
        "next_cursor": str(statement.next) if statement.next else None,
    }
    yield "]," + _json(foot)[1:]


class _Echo:
    """A file for the CSV writer, which then returns each row."""

    def write(self, row: str) -> str:
        return row


def _cells(made: Line) -> list[str]:
    movement, change, after = made.movement, made.change, made.after
    subject = movement.subject_id.hex
    adjusts = movement.entry in _ADJUSTMENTS
    return [
        _moment(movement.at) or "",
        movement.entry.name.lower(),
        "" if adjusts else subject,
        subject if adjusts else "",
        dollars(movement.amount_micros),
        dollars(change.available_micros),
        dollars(change.held_micros),
        *_dollars(after),
        _harmless(movement.reason or ""),
        _harmless(movement.actor or ""),
    ]


def _end_cells(statement: Statement, *, closing: bool) -> list[str]:
    at = statement.closed_at if closing else statement.opened_at
    balance = statement.closing if closing else statement.opening
    return [_moment(at) or "", "closing" if closing else "opening", *[""] * 5, *_dollars(balance), "", ""]


def _entry(made: Line) -> dict[str, object]:
    movement = made.movement
    about = "adjustment_id" if movement.entry in _ADJUSTMENTS else "task_id"
    shown: dict[str, object] = {
        "at": _moment(movement.at),
        "entry": movement.entry.name.lower(),
        about: movement.subject_id.hex,
        "amount_micros": movement.amount_micros,
        "change": _amounts(made.change),
        "after": _amounts(made.after),
    }
    if movement.entry in _ADJUSTMENTS:
        shown |= {"reason": movement.reason, "actor": movement.actor}
    return shown


def _amounts(balance: Balance) -> dict[str, int]:
    return {
        "available_micros": balance.available_micros,
        "held_micros": balance.held_micros,
        "balance_micros": balance.micros,
    }


def _dollars(balance: Balance) -> tuple[str, str, str]:
    return dollars(balance.available_micros), dollars(balance.held_micros), dollars(balance.micros)


def _harmless(text: str) -> str:
    """Text that no spreadsheet executes; one apostrophe at its beginning is not part of it."""
    return f"'{text}" if text.startswith(("'", *_FORMULA)) or text.lstrip().startswith(_FORMULA) else text


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="microseconds") if at else None


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
