"""Logs: an event name plus fields, one line each; no secret, prompt or query string ever goes in.

Fields are passed by name, so what may be logged is visible where it is logged. A guard stands behind that: API keys,
result addresses, and the rows that a database's error quotes are masked wherever they occur in a value.
"""

import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, TextIO, cast

import structlog

_SECRETS = re.compile(
    r"sg_(live|test|dev)_[0-9A-Za-z]{8}[0-9A-Za-z_]*|(?<=/files/)[0-9A-Za-z]{22}|(?<=DETAIL:)[^\n]*|(?<=://)[^/@\s]*(?=@)"
)

Logger = structlog.typing.FilteringBoundLogger


def configure(*, level: str = "info", json_lines: bool | None = None, stream: TextIO | None = None) -> None:
    """Set up logging for this process; call once, from the command line. Lines go to standard error."""
    stream = stream or sys.stderr
    pretty = stream.isatty() if json_lines is None else not json_lines
    renderer: Any = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            *((escape,) if pretty else ()),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Libraries)] + [_Libraries()]


class _Libraries(logging.Handler):
    """What libraries say to the standard library's logging, warnings and worse, as events like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it; never raises."""
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - its arguments do not fit; a log line is no reason to fail
            said = str(record.msg)
        get(record.name).log(record.levelno, "library", said=said, exc_info=record.exc_info)


def warn_unknown(variables: Sequence[str]) -> None:
    """Say which variables of the environment look like settings and are none; their values stay unsaid."""
    for name in variables:
        get("settings").warning("unknown_variable", name=name)


def get(name: str) -> Logger:
    """A logger that says which part of the house speaks."""
    return cast("Logger", structlog.get_logger(part=name))


def mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace every secret in the event's text values."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = masked(value)
    return event


def masked(text: str) -> str:
    """The text without the secrets that can be told by their form."""
    return _SECRETS.sub("[masked]", text)


def escape(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave nothing in an event's text values that a terminal would obey or that would look like another line."""
    for name, value in event.items():
        if isinstance(value, str) and name != "exception":
            event[name] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value)
    return event
