"""JSON from strangers: what msgspec lets through, and the standard forbids or a database chokes on, is refused here.

`msgspec` already refuses NaN, trailing data, control characters, lone surrogates, a BOM, broken UTF-8 and numbers out
of range. What remains are duplicate member names (the last would win silently), NUL characters (PostgreSQL stores
none), and nesting.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from seedgate.domain.errors import InvalidRequest

MAX_DEPTH = 32
_FAR = object()
_TOO_DEEP = "The request body is nested too deeply"
_SHOWN = 64
"""How much of a stranger's member name, or of the path to it, a message repeats."""


def decode(body: bytes | memoryview) -> Any:
    """The value of one JSON text. Raises InvalidRequest with a sentence that says where it is malformed."""
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    except msgspec.ValidationError:
        raise _out_of_range(bytes(body)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}") from None
    raw = bytes(body)
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_depth(value, MAX_DEPTH)
    # A NUL can only arrive escaped: msgspec refuses a bare one.
    if b"\\u0000" in raw:
        _refuse_nul(value, "")
    # Written out again, the value has as many colons as the text, unless a member was lost to a second one of its name
    # or the text escapes a colon. Then the slow reader has the last word.
    if raw.count(b":") != msgspec.json.encode(value).count(b":") or b"\\u003" in raw:
        _refuse_duplicates(raw)
    return value


def _out_of_range(raw: bytes) -> InvalidRequest:
    """The error that names the number; the path in `msgspec`'s own message is one without names: `$[...][...]`."""
    try:
        path = _path_to_far(json.loads(raw, parse_int=_far, parse_float=_far), "")
    except (ValueError, RecursionError):
        path = None
    field = (path or "").removeprefix(".")
    subject = f"member {field}" if field else "request body"
    return InvalidRequest(f"The {subject} has a number out of range", param=field or None)


def _far(text: str) -> object:
    """`_FAR` for what `msgspec` refuses: a float that would be infinite, or more digits than Python reads."""
    if text.strip("-0123456789"):
        return _FAR if math.isinf(float(text)) else None
    return _FAR if len(text.lstrip("-")) > sys.get_int_max_str_digits() else None


def _path_to_far(value: Any, path: str) -> str | None:
    """The path to the first `_FAR`."""
    if value is _FAR:
        return path
    parts: Iterable[tuple[str, Any]] = ()
    if type(value) is dict:
        parts = ((f".{name[:_SHOWN]}", part) for name, part in value.items())
    elif type(value) is list:
        parts = ((f"[{index}]", part) for index, part in enumerate(value))
    found = (_path_to_far(part, path[:_SHOWN] + step) for step, part in parts)
    return next((each for each in found if each is not None), None)


def _refuse_depth(value: Any, levels: int) -> None:
    """Refuse deeper nesting than `levels`."""
    if type(value) is dict:
        value = list(value.values())
    if type(value) is list:
        if levels == 0:
            raise InvalidRequest(_TOO_DEEP)
        for part in value:
            _refuse_depth(part, levels - 1)


def _refuse_nul(value: Any, path: str) -> None:
    """Refuse a NUL character in a name or string; `\\\\u0000`, an escaped backslash and five characters, is none."""
    path = path[: _SHOWN + 1]  # at every level, or a long name would be copied for each of its many parts
    if type(value) is str and "\x00" in value:
        field = path.removeprefix(".")
        subject = f"member {field}" if field else "request body"
        raise InvalidRequest(f"The {subject} contains a NUL character", param=field or None)
    if type(value) is dict:
        for name, part in value.items():
            if "\x00" in name:
                _refuse_nul(name, f"{path}.{name[:_SHOWN]}".replace("\x00", "\\u0000"))
            _refuse_nul(part, f"{path}.{name[:_SHOWN]}")
    if type(value) is list:
        for index, part in enumerate(value):
            _refuse_nul(part, f"{path}[{index}]")


def _refuse_duplicates(raw: bytes) -> None:
    try:
        json.loads(raw, object_pairs_hook=_unique)
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidRequest(f"The member {twice[:_SHOWN]!r} appears twice", param=twice[:_SHOWN])
    return seen
