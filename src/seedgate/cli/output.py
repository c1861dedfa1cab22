"""What commands say: one JSON document for programs; tables and sentences for people, coloured or not."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from seedgate.domain.errors import (
    Forbidden,
    InvalidRequest,
    KeyReused,
    NotFound,
    OperatorError,
    SeedgateError,
    Unavailable,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

_HINTS: dict[type[SeedgateError], str] = {
    Forbidden: "`seedgate keys list` shows every account with its mode.",
    InvalidRequest: "`--help` behind the command says what it takes.",
    KeyReused: "Name another with --idempotency-key, or repeat the order exactly as it was.",
    NotFound: "`seedgate keys list` shows the accounts, `seedgate tasks list` the tasks.",
    Unavailable: "Try again; `seedgate doctor` says what is wrong.",
    SeedgateError: "`seedgate doctor` looks for what is wrong.",
}


class Stop(Exception):
    """The command ends here, with a sentence and a hint."""

    def __init__(
        self, message: str, *, hint: str, code: str = "failed", exit_code: int = 1, task_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.exit_code = exit_code
        self.task_id = task_id
        """The task that goes on, or ended, without the command."""

    @classmethod
    def of(cls, error: SeedgateError) -> "Stop":
        """What an error of the house means to the person at the terminal."""
        hint = error.hint if isinstance(error, OperatorError) else ""
        usual = next(_HINTS[kind] for kind in type(error).__mro__ if kind in _HINTS)
        return cls(error.message.rstrip("."), hint=hint or usual, code=error.code)


def report(stop: Stop, *, as_json: bool) -> None:
    """Say why a command ended: on standard error, and as the one document where a program reads along."""
    message = "\n    ".join(map(clean, stop.message.split("\n")))
    say(f"seedgate: {message}\n  hint: {clean(stop.hint)}")
    if as_json:
        task = {"task_id": stop.task_id} if stop.task_id else {}
        document({"error": {"code": stop.code, "message": stop.message, "hint": stop.hint}} | task)


def make_sure(what: str, *, yes: bool) -> None:
    """Ask the person at the terminal, unless that was said already. `what` goes on from "This"."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(f"This {what}", hint="Say that you mean it with --yes.", code="unsure")
    typer.confirm(f"This {what}. Go on?", abort=True)


def document(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, default=_plain, separators=(",", ":")) + "\n")


def line(text: str) -> None:
    """A line of the answer, on standard output."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """A remark beside the answer, on standard error."""
    sys.stderr.write(text + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str = "") -> None:
    """Rows under their headings; `nothing` is said, beside the answer, where there are none."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not rows:
        say(nothing)
    elif sys.stdout.isatty():
        _rich_table(columns, cells)
    else:
        widths = [max(len(row[at]) for row in [columns, *cells]) for at in range(len(columns))]
        for row in [columns, *cells]:
            line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def clean(text: str) -> str:
    """A stranger's text with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in cells:
        made.add_row(*(Text(cell) for cell in row))
    Console().print(made)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return clean(str(value))


def _plain(value: object) -> str:
    """What JSON has no type for."""
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return value.hex
    raise TypeError(f"no JSON for {type(value).__name__}")
