"""The report of changes: what became of every parameter that was not taken exactly as sent."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What was done to the parameter."""

    CLAMPED = "clamped"
    MAPPED = "mapped"
    DEFAULTED = "defaulted"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the report; `given` and `used` are JSON scalars, None where there is nothing to say."""

    kind: Kind
    field: str
    given: str | int | float | bool | None = None
    used: str | int | float | bool | None = None
    why: str = ""
