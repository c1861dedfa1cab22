"""JSON from strangers: what msgspec lets through, and the standard forbids or a database chokes on, is refused here.

`msgspec` already refuses NaN, trailing data, control characters, lone surrogates, a BOM, broken UTF-8 and numbers beyond
64 bits. What remains are duplicate member names (the last would win silently), NUL characters (PostgreSQL stores none),
and nesting.
"""

import json
from typing import Any, NoReturn

import msgspec

from seedgate.domain.errors import InvalidRequest

MAX_DEPTH = 32


def decode(body: bytes | memoryview) -> Any:
    """The value of one JSON text. Raises InvalidRequest with a sentence that says where it is malformed."""
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The request body has a number out of range: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}") from None
    members, colons = _measure(value, 0)
    raw = bytes(body)
    # Every member has one colon outside strings. Where the count does not add up, or an escaped colon could hide one,
    # the slow reader has the last word.
    if raw.count(b":") != members + colons or b"\\u003" in raw:
        _refuse_duplicates(raw)
    return value


def _measure(value: Any, depth: int) -> tuple[int, int]:
    """How many object members the value has, and how many colons its strings; refuses NUL and deep nesting."""
    if isinstance(value, str):
        if "\x00" in value:
            raise InvalidRequest("The request body contains a NUL character")
        return 0, value.count(":")
    if not isinstance(value, dict | list):
        return 0, 0
    if depth >= MAX_DEPTH:
        raise InvalidRequest("The request body is nested too deeply")
    members = colons = 0
    parts = value
    if isinstance(value, dict):
        members = len(value)
        for name in value:
            colons += _measure(name, depth)[1]
        parts = list(value.values())
    for part in parts:
        inner = _measure(part, depth + 1)
        members += inner[0]
        colons += inner[1]
    return members, colons


def _refuse_duplicates(raw: bytes) -> None:
    json.loads(raw, object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"The member {twice[:64]!r} appears twice", param=twice[:64])
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"The request body is not valid JSON: {name}")
