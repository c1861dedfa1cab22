"""The command line. Heavy modules are imported inside the commands, so that `--help` answers at once.

Every command that reads or writes state takes `--data` or DATABASE_URL, and `--json` for one JSON document on standard
output. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not authenticated, 4 not enough credit, 5 content refused,
6 took too long.
"""

import os
import sys
from typing import Annotated

import typer

from seedgate.cli import books, configuration, doctor, files, generate, keys, output, run, tasks
from seedgate.cli.credits import credit

app = typer.Typer(
    name="seedgate",
    help="An image-generation API platform that anyone can run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run.up)
app.command()(run.serve)
app.command()(run.work)
app.command()(generate.generate)
app.add_typer(tasks.tasks, name="tasks")
app.add_typer(files.files, name="files")
app.add_typer(keys.keys, name="keys")
app.add_typer(credit, name="credits")
app.add_typer(configuration.configuration, name="configuration")
app.add_typer(books.ledger, name="ledger")
app.command("check")(books.check)
app.add_typer(books.db, name="db")
app.command()(doctor.doctor)


@app.command()
def version(as_json: output.Json = False) -> None:
    """Say which version this is."""
    if as_json:
        output.document({"version": _version()})
    else:
        output.line(f"seedgate {_version()}")


def _print_version(asked: bool) -> None:
    if asked:
        output.line(f"seedgate {_version()}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """An image-generation API platform that anyone can run."""


def main() -> None:
    """Run the command line; an error that a person can mend is one sentence and a hint, never a traceback."""
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _run() -> int | str | None:
    from seedgate.domain.errors import SeedgateError

    as_json = "--json" in sys.argv
    try:
        _check_text(sys.argv[1:])
        app()
    except SystemExit as ended:
        return ended.code
    except output.Stop as stop:
        output.report(stop, as_json=as_json)
        return stop.exit_code
    except SeedgateError as error:
        output.report(output.Stop.of(error), as_json=as_json)
        return 1
    return 0


def _check_text(arguments: list[str]) -> None:
    """Refuse what no name or prompt can be: bytes that are no UTF-8, which Python hands on as lone surrogates."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            hint = "Arguments are text in UTF-8."
            raise output.Stop(
                f"Argument {number} is not text", hint=hint, code="invalid_request", exit_code=2
            ) from None


def _version() -> str:
    from importlib.metadata import version

    return version("seedgate")
