"""Numbers as they are typed: plain decimal digits and nothing else, within bounds that the help shows.

`int` and `float` would also take blanks, underscores, other scripts' digits, and NaN, which is on no side of a bound.
"""

import re
from typing import Any

import typer

_WHOLE = re.compile("[0-9]{1,10}")
_DECIMAL = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?")


def whole(least: int, most: int) -> dict[str, Any]:
    """What an option that takes an integer is declared with."""

    def parse(given: str | int) -> int:
        if not _WHOLE.fullmatch(str(given)) or not least <= int(given) <= most:
            raise typer.BadParameter(f"a number from {least} to {most}, in plain digits")
        return int(given)

    return {"parser": parse, "metavar": f"{least}-{most}"}


def decimal(least: int, most: int) -> dict[str, Any]:
    """What an option that takes a number with decimals is declared with."""

    def parse(given: str | float) -> float:
        if not _DECIMAL.fullmatch(str(given)) or not least <= float(given) <= most:
            raise typer.BadParameter(f"a number from {least} to {most}, in plain digits")
        return float(given)

    return {"parser": parse, "metavar": f"{least}-{most}"}
