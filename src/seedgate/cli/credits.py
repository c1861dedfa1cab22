"""`credits`: what accounts may spend, and how it came to that."""

import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seedgate.cli import numbers, output
from seedgate.cli.ground import on_ground, operator
from seedgate.cli.output import Json, Stop
from seedgate.cli.run import Config, Data
from seedgate.domain.errors import InsufficientBalance, NotFound
from seedgate.domain.ledger import Entry
from seedgate.domain.money import dollars, micros
from seedgate.domain.statement import Balance, Line, moment

if TYPE_CHECKING:
    from seedgate.accounts.statement import Scope, Statement
    from seedgate.compose.ground import Ground

NEWEST = 20
TABLE_LINES = 1000
SPOOL_BYTES = 1 << 20
NOT_ENOUGH_CREDIT = 4
_DONE = {Entry.GRANT: "granted", Entry.DEBIT: "debited", Entry.CHARGE: "charged"}
_PLAIN_ARGUMENTS = {"ignore_unknown_options": True}
"""So that -5 is an amount that is refused as such, and no option."""

credit = typer.Typer(help="Accounts' money.", no_args_is_help=True)


def _amount(text: str) -> int:
    try:
        amount_micros = micros(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if amount_micros == 0:
        raise typer.BadParameter("an amount is more than zero")
    return amount_micros


def _moment(text: str) -> datetime:
    try:
        return moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Account = Annotated[str, typer.Argument(help="The account's name.")]
AnyAccount = Annotated[str | None, typer.Argument(metavar="[ACCOUNT]", help="The account's name; all without one.")]
Amount = Annotated[int, typer.Argument(metavar="AMOUNT", parser=_amount, help="Dollars, such as 10 or 0.035.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept with it, and shown on the account's statement.")]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", help="The same order with it again does nothing.")
]
Since = Annotated[
    datetime | None, typer.Option("--since", metavar="DATE", parser=_moment, help="From this date or time on, UTC.")
]
Until = Annotated[
    datetime | None, typer.Option("--until", metavar="DATE", parser=_moment, help="Before this date or time, UTC.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", help="How many entries. [20; all with a date]", **numbers.whole(1, 2_147_483_647)),
]
Csv = Annotated[bool, typer.Option("--csv", help="CSV for a spreadsheet, on standard output.")]


@credit.command("grant", context_settings=_PLAIN_ARGUMENTS)
def grant(
    account: Account,
    amount: Amount,
    reason: Reason,
    idempotency_key: IdempotencyKey = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give an account credit."""
    order = {"account": account, "amount_micros": amount, "reason": reason, "idempotency_key": idempotency_key}
    document = on_ground(config, data, lambda ground: _adjust(ground, Entry.GRANT, order))
    _print_adjusted(Entry.GRANT, document, as_json=as_json)


@credit.command("debit", context_settings=_PLAIN_ARGUMENTS)
def debit(
    account: Account,
    amount: Amount,
    reason: Reason,
    idempotency_key: IdempotencyKey = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take credit away that an account can spend; what open tasks hold stays theirs."""
    order = {"account": account, "amount_micros": amount, "reason": reason, "idempotency_key": idempotency_key}
    document = on_ground(config, data, lambda ground: _adjust(ground, Entry.DEBIT, order))
    _print_adjusted(Entry.DEBIT, document, as_json=as_json)


@credit.command("balance")
def balance(account: AnyAccount = None, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """What accounts can spend, what is held for their open tasks, and how many those are."""

    async def read(ground: "Ground") -> list[dict[str, Any]]:
        from seedgate.store.statement import list_balances

        return [
            {
                "account": found.account,
                "mode": found.mode,
                "available_micros": found.balance.available_micros,
                "held_micros": found.balance.held_micros,
                "open_tasks": found.open_tasks,
            }
            for found in await list_balances(ground.database, account=account)
        ]

    found = on_ground(config, data, read)
    if account is not None and not found:
        raise NotFound(f"There is no account called {account!r}")
    if as_json:
        output.document({"accounts": found})
        return
    available = _column([row["available_micros"] for row in found])
    held = _column([row["held_micros"] for row in found])
    output.table(
        ("ACCOUNT", "MODE", "AVAILABLE $", "HELD $", "OPEN TASKS"),
        [
            (row["account"], row["mode"], *money, row["open_tasks"])
            for row, *money in zip(found, available, held, strict=True)
        ],
        nothing="There are no accounts. Make one with `seedgate keys create`.",
    )


@credit.command("ledger")
def ledger(
    account: Account,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_csv: Csv = False,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """An account's statement: the newest entries first; with a date, from the opening balance to the closing one."""
    from seedgate.accounts.statement import Scope

    if as_csv and as_json:
        raise typer.BadParameter("--csv or --json, not both", param_hint="--csv")
    dated = since is not None or until is not None
    most = limit or (None if dated else NEWEST)
    if not (as_csv or as_json):
        most = min(most or TABLE_LINES, TABLE_LINES)
    scope = Scope(since=since, until=until, newest_first=not dated, limit=most)
    if as_csv or as_json:
        statement = _send(config, data, account, scope, as_csv=as_csv)
    else:
        statement = _show(config, data, account, scope)
    if statement.next is not None:
        output.say("There are more entries. --limit gives more of them; a date with --csv or --json gives all.")


async def _adjust(ground: "Ground", kind: Entry, order: dict[str, Any]) -> dict[str, Any]:
    from seedgate.accounts.credits import debit, grant

    move = grant if kind is Entry.GRANT else debit
    try:
        adjusted = await move(ground.database, ground.ids, actor=operator(), **order)
    except InsufficientBalance as error:
        hint = "What open tasks hold cannot be taken; `seedgate credits balance` shows both."
        raise Stop(error.message, hint=hint, code=error.code, exit_code=NOT_ENOUGH_CREDIT) from None
    return {
        _DONE[kind]: adjusted.written,
        "adjustment_id": adjusted.id,
        "account": order["account"],
        "amount_micros": order["amount_micros"],
        "balance_micros": adjusted.available_micros,
    }


def _print_adjusted(kind: Entry, document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.document(document)
        return
    what = f"{_DONE[kind].capitalize()} ${dollars(document['amount_micros'])}"
    if not document[_DONE[kind]]:
        what += " before under this key, and not again"
    output.line(f"{what}. {output.clean(document['account'])} can spend ${dollars(document['balance_micros'])}.")


async def _read(
    ground: "Ground", account: str, scope: "Scope", use: "Callable[[Statement], Awaitable[None]]"
) -> "Statement":
    from seedgate.accounts.statement import open_statement
    from seedgate.store.access import find_account

    found = await find_account(ground.database, account)
    if found is None:
        raise NotFound(f"There is no account called {account!r}")
    async with open_statement(ground.database, found[0], scope) as statement:
        await use(statement)
        return statement


def _send(config: Path | None, data: Path | None, account: str, scope: "Scope", *, as_csv: bool) -> "Statement":
    """The whole document or none: it is complete in a temporary file before its first byte goes out."""
    from seedgate.accounts import statement as forms

    with SpooledTemporaryFile(SPOOL_BYTES, mode="w+", encoding="utf-8", newline="") as spool:

        async def write(statement: "Statement") -> None:
            async for piece in forms.as_csv(statement) if as_csv else forms.as_json(statement):
                _write(spool, piece)

        statement = on_ground(config, data, lambda ground: _read(ground, account, scope, write))
        spool.seek(0)
        shutil.copyfileobj(spool, sys.stdout)
    if not as_csv:
        output.line("")
    return statement


def _write(spool: IO[str], piece: str) -> None:
    try:
        spool.write(piece)
    except OSError as error:
        hint = "TMPDIR names another folder; --limit and shorter dates make less of it."
        raise Stop(f"The statement cannot be kept while it is read: {error.strerror}", hint=hint) from None


def _show(config: Path | None, data: Path | None, account: str, scope: "Scope") -> "Statement":
    lines: list[Line] = []

    async def collect(statement: "Statement") -> None:
        lines.extend([made async for made in statement.lines()])

    statement = on_ground(config, data, lambda ground: _read(ground, account, scope, collect))
    _print_statement(statement, lines)
    return statement


def _print_statement(statement: "Statement", lines: Sequence[Line]) -> None:
    """The lines between the balances at both ends, and the sum that leads from the one to the other."""
    opening = (statement.opened_at, "opening", None, statement.opening, "")
    closing = (statement.closed_at, "closing", None, statement.closing, "")
    first, last = (closing, opening) if statement.scope.newest_first else (opening, closing)
    rows = [first, *map(_shown, lines), last]
    amounts = _column([row[2] for row in rows])
    available = _column([row[3].available_micros for row in rows])
    held = _column([row[3].held_micros for row in rows])
    output.table(
        ("AT (UTC)", "ENTRY", "AMOUNT $", "AVAILABLE $", "HELD $", "TASK OR ADJUSTMENT"),
        [
            (at, entry, *money, about)
            for (at, entry, _, _, about), *money in zip(rows, amounts, available, held, strict=True)
        ],
    )
    moved = [
        f" {sign} {_DONE[kind]} ${dollars(statement.moved[kind])}"
        for kind, sign in ((Entry.GRANT, "+"), (Entry.DEBIT, "−"), (Entry.CHARGE, "−"))
        if statement.moved[kind]
    ]
    opened, closed = f"Opening ${dollars(statement.opening.micros)}", f"closing ${dollars(statement.closing.micros)}"
    output.line(f"{opened}{''.join(moved)} = {closed}, available and held together.")


def _shown(made: Line) -> tuple[datetime, str, int, Balance, str]:
    movement = made.movement
    why = f" {movement.reason} ({movement.actor})" if movement.reason else ""
    return movement.at, movement.entry.name.lower(), movement.amount_micros, made.after, movement.subject_id.hex + why


def _column(amounts: Sequence[int | None]) -> list[str]:
    """Amounts with their points in one column."""
    halves = [dollars(amount).split(".") if amount is not None else ("", "") for amount in amounts]
    wide, deep = (max((len(half[at]) for half in halves), default=0) for at in (0, 1))
    return [f"{whole:>{wide}}{'.' if part else ' '}{part:<{deep}}" for whole, part in halves]
