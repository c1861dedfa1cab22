"""Options that hold text: an empty one is refused, since it is a shell's variable that was not set.

Whoever writes `--account "$ACCOUNT"` means somebody, and an empty value must not become the default.
"""

from pathlib import Path
from typing import Any

import typer


def _text(given: str) -> str:
    if not given:
        raise typer.BadParameter("it is empty; leave it out for the default")
    return given


def _path(given: str | Path) -> Path:
    return Path(_text(str(given)))


TEXT: dict[str, Any] = {"parser": _text, "metavar": "TEXT"}
"""What such an option is declared with."""
PATH: dict[str, Any] = {"parser": _path, "metavar": "PATH"}
