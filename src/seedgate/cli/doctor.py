"""`doctor`: is everything there that a gateway needs? The list of what it looks at is `CHECKS` in `checkup.py`."""

import sys
from typing import TYPE_CHECKING

import typer

from seedgate.cli import output
from seedgate.cli.ground import settings_for
from seedgate.cli.output import Json
from seedgate.cli.run import Config, Data

if TYPE_CHECKING:
    from seedgate.cli.patient import Finding


def doctor(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Look for what is wrong, beside a running gateway or before the first start; exit code 1 where something fails."""
    import asyncio

    from seedgate.cli.checkup import CHECKS
    from seedgate.cli.patient import examine

    settings = settings_for(config, data)
    shown = print_finding if not as_json else lambda _finding: None
    findings = asyncio.run(examine(settings, CHECKS, shown))
    ok = all(finding.status != "fail" for finding in findings)
    if as_json:
        output.document({"ok": ok, "checks": [finding.document() for finding in findings]})
    elif not ok:
        output.say("Something is wrong where it says FAIL.")
    if not ok:
        raise typer.Exit(1)


def print_finding(finding: "Finding") -> None:
    """One line, and a hint below it; the word says what a colour would."""
    word = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}[finding.status]
    output.line(f"{word}  {finding.name:<14} {output.clean(finding.sentence)}")
    if finding.hint:
        output.line(f"      {'':<14} hint: {output.clean(finding.hint)}")
    sys.stdout.flush()
