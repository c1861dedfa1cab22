"""What our own document says: made of the table that answers, so that it cannot tell another story."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from seedgate import interface
from seedgate.domain.errors import Refused, SeedgateError, ShuttingDown
from seedgate.interface import Interface, Reply
from seedgate.web.openapi import CHARGED, REQUEST_ID, Told, refused
from seedgate.web.own import files, wire
from seedgate.web.own.door import Operation
from seedgate.web.own.errors import render
from seedgate.web.own.operations import EVERYWHERE, OPERATIONS, PREFIX

_EXAMPLE_ID = "0192f3c84e1b7d0a9c55e2b4a6f81d37"
_ID = interface.Parameter(
    name="id",
    where="path",
    summary="Its id.",
    type=Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")],
    example=_EXAMPLE_ID,
)
_EXAMPLES: dict[Any, dict[str, Any]] = {
    wire.KeyWish: {
        "smallest": {"name": "ci"},
        "bounded": {
            "name": "storefront",
            "submits_per_minute": 10,
            "concurrent_tasks": 2,
            "polls_per_minute": 600,
            "budget": "2.50",
            "models": ["seedream-4-5"],
            "route": "auto",
            "manages_keys": False,
            "expires_at": "2999-01-01T00:00:00Z",
        },
    },
    wire.Rotation: {"a day": {"overlap_s": 86_400}, "at once": {"overlap_s": 0}},
}
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
}
_HEADERS: dict[type[wire.Body], dict[str, str]] = {
    wire.Task: CHARGED,
    wire.Statement: {
        "X-Next-Cursor": "Where the next part begins, as `cursor`; absent at the end.",
        "Content-Disposition": "Of CSV: the name of a file.",
        "Vary": "Accept",
    },
}


def describe() -> Interface:
    """All operations."""
    return Interface(
        title="Seedgate's own interface",
        version="1",
        description="What no vendor's format has a word for. Submits stay in the vendors' formats.",
        security={
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        },
        bases=(PREFIX,),
        error=wire.Failure,
        operations=tuple(_operation(each) for each in OPERATIONS),
    )


def _operation(given: Operation) -> interface.Operation:
    reply = Reply(
        status=given.status,
        summary=given.summary,
        type=given.gives,
        also=given.also_gives,
        headers=REQUEST_ID | _HEADERS.get(given.gives, {}),
    )
    other = given.takes if isinstance(given.takes, tuple) else ()
    return interface.Operation(
        method=given.method,
        path=given.path,
        summary=given.summary,
        parameters=(*((_ID,) if "{id}" in given.path else ()), *_query(given)),
        request=None if other else given.takes,
        request_examples={name.replace(" ", "-"): each for name, each in _EXAMPLES.get(given.takes, {}).items()},
        request_required=not given.may_be_empty,
        request_media={kind: _FORM if kind == files.FORM else {} for kind in other},
        replies=(reply, *refused(_told, wire.Failure, _errors(given))),
    )


def _query(given: Operation) -> Iterator[interface.Parameter]:
    for each in given.query:
        yield interface.Parameter(
            name=each.name,
            where="query",
            summary=each.description,
            type=each.kind,
            required=False,
            example=each.example,
        )


def _errors(given: Operation) -> Iterator[SeedgateError]:
    for kind in (*given.errors, *EVERYWHERE, *((ShuttingDown,) if given.writes else ())):
        yield kind(retry_after_s=1) if issubclass(kind, Refused) else kind()


def _told(error: SeedgateError) -> Told:
    status, failure, headers = render(error, "5f0c1d2e3a4b00000001")
    return Told(status=status, example=msgspec.to_builtins(failure), headers=tuple(headers))
