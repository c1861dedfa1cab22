"""The command line. Heavy modules are imported inside the commands, so that `--help` answers at once.

Every command that reads or writes state takes `--data` or DATABASE_URL, and `--json` for one JSON document on standard
output. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not authenticated, 4 not enough credit, 5 content refused,
6 took too long.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from seedgate.cli import books, configuration, doctor, files, generate, keys, output, run, tasks
from seedgate.cli.credits import credit

USAGE: type[Exception] = typer.BadParameter.__mro__[1]
"""What a mistyped command raises: typer does not name it."""

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
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end of the process
    if sys.stdout is None:
        output.say("seedgate: Standard output is closed\n  hint: Send it to /dev/null where nobody reads it.")
        sys.exit(1)
    try:
        code = _run()
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            output.say(f"seedgate: The answer cannot be written: {error.strerror}\n  hint: Look at where it goes.")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _run() -> int | str | None:
    as_json = "--json" in sys.argv
    try:
        _check_text(sys.argv[1:])
        ended: int | None = app(standalone_mode=False)
    except SystemExit as ended_early:
        return ended_early.code
    except typer.Abort:
        return _report(output.Stop("Aborted", hint="Nothing was done.", code="aborted"), as_json=as_json)
    except USAGE as error:
        return _report_usage(error, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the outermost frame: a person sees a sentence
        return _report(_told(error), as_json=as_json)
    return ended


def _report(stop: output.Stop, *, as_json: bool) -> int:
    output.report(stop, as_json=as_json)
    return stop.exit_code


def _report_usage(error: Any, *, as_json: bool) -> int:
    error.show()
    if as_json:
        about = {"code": "usage", "message": error.format_message(), "hint": "`--help` behind the command says more."}
        output.document({"error": about})
    return int(error.exit_code)


def _told(error: Exception) -> output.Stop:
    """What ended a command. Where it is nobody's known mistake, the place in the program is told and not the text, in
    which anything may stand."""
    from seedgate.domain.errors import SeedgateError

    if isinstance(error, output.Stop):
        return error
    if isinstance(error, SeedgateError):
        return output.Stop.of(error)
    import traceback

    from seedgate import log

    # Whoever reads what a process that stays has left was not there: it gets the traceback, with secrets masked.
    if os.environ.get("SEEDGATE_LOG_LEVEL") == "debug" or {"up", "serve", "work"} & set(sys.argv[1:2]):
        sys.stderr.write(log.masked("".join(traceback.format_exception(error))))
    if isinstance(error, OSError) and error.errno is not None:
        message, code = f"The system refuses: {error.strerror}", "system"
        hint = "Look at the disk, the folders, and where the answer goes."
        return output.Stop(message, hint=hint, code=code)
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = f"Something went wrong that should not: {type(error).__name__} in {last.name}, line {last.lineno}"
    hint = "Report it, with what the same command says where SEEDGATE_LOG_LEVEL is debug."
    return output.Stop(message, hint=hint, code="bug")


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
