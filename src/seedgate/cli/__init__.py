"""The command line. Heavy modules are imported inside the commands, so that `--help` answers at once.

Every command that reads or writes state takes `--data` or DATABASE_URL, and `--json` for one JSON document on standard
output. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not authenticated, 4 not enough credit, 5 content refused,
6 took too long.
"""

import os
import sys

import typer

from seedgate.cli import run

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


def main() -> None:
    """Run the command line; an error that a person can mend is one sentence and a hint, never a traceback."""
    from seedgate.domain.errors import OperatorError, SeedgateError

    try:
        app()
    except OperatorError as error:
        sys.stderr.write(f"seedgate: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  hint: {error.hint}\n")
        sys.exit(1)
    except SeedgateError as error:
        sys.stderr.write(f"seedgate: {error.message}\n")
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
