"""What every endpoint of our own interface shares, in front of the function that answers."""

import asyncio
import base64
import binascii
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from seedgate import log, strictjson
from seedgate.accounts.keyring import Keyring
from seedgate.accounts.keys import Keys
from seedgate.accounts.statement import Turns
from seedgate.accounts.uploads import Uploads
from seedgate.dialect import Listings
from seedgate.domain.caller import Caller
from seedgate.domain.configuration import Configuration
from seedgate.domain.errors import (
    Bug,
    InvalidRequest,
    NotFound,
    SeedgateError,
    ShuttingDown,
    Unauthenticated,
    WrongMediaType,
)
from seedgate.store.database import Database
from seedgate.web.body import Bodies, Disconnected, Receive
from seedgate.web.dispatch import Measured, Scope, Send
from seedgate.web.own import wire
from seedgate.web.own.errors import WrongMethod, render
from seedgate.web.refusals import CHARGED, Throttle

_T = TypeVar("_T")
MAX_QUERY_FIELDS = 16
DEFAULT_PAGE, MAX_PAGE = 20, 100
PIECE_BYTES = 1 << 16
_SHOWN = 64
_ID = re.compile(r"[0-9a-f]{32}")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What the functions answer from."""

    keys: Keys
    throttle: Throttle
    database: Database
    uploads: Uploads
    keyring: Keyring
    statements: Turns
    bodies: Bodies
    listings: Mapping[str, Listings]
    configuration: Callable[[], Configuration]
    model_of: Mapping[tuple[str, int], str]
    """Id of the catalogue's model by listing id and version."""
    result_days: int
    file_url: Callable[[str], str]
    """Absolute address of a result or upload by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request whose caller is known."""

    caller: Caller
    id: str
    """The parameter in the path; empty where there is none."""
    query: Mapping[str, str]
    request: Request
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answer, beside those that all have."""

    def charged(self, micros: int | None) -> None:
        """Say what was charged, where that is decided."""
        if micros is not None:
            self.headers[CHARGED.decode()] = str(micros)

    def uuid(self) -> UUID:
        """The id in the path. What cannot be one of ours is NotFound, like one that is unknown."""
        if not _ID.fullmatch(self.id):
            raise NotFound
        return UUID(self.id)

    def count(self, *, default: int = DEFAULT_PAGE, most: int = MAX_PAGE) -> int:
        """How many are asked for."""
        text = self.query.get("limit", str(default))
        if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
            raise InvalidRequest(f"limit is a number from 1 to {most}", param="limit")
        return int(text)

    def page(self) -> tuple[int, UUID | None]:
        """How many are asked for, and behind which one."""
        cursor = self.query.get("cursor")
        return self.count(), None if cursor is None else _place(cursor)

    async def json(self, kind: type[_T], bodies: Bodies, *, empty: _T | None = None) -> _T:
        """The body as one of our types, which forbid unknown members; `empty` stands for none, where none will do.

        Raises InvalidRequest that names the member.
        """
        media_type = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        announced = self.request.headers.get("content-length")
        if media_type != "application/json" and (empty is None or announced not in {None, "0"}):
            raise WrongMediaType("The Content-Type must be application/json", param="Content-Type")
        body = await bodies.small(self.request.receive, announced.encode("latin-1") if announced else None)
        if empty is not None and not body:
            return empty
        return understood(strictjson.decode(body), kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An answer that lies in a file. `close` is called once, when it went out or cannot any more."""

    file: IO[bytes]
    size_bytes: int
    media_type: str
    close: Callable[[], None]


Answerer = Callable[[House, Asked], Awaitable[wire.Body | Sent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Of a query."""

    name: str
    description: str
    example: str | int
    kind: Any = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint: all that the router, the door and a description of the interface need to know."""

    name: str
    method: str
    path: str
    """Below the prefix. `{id}` stands for one segment."""
    summary: str
    answer: Answerer
    gives: type[wire.Body]
    also_gives: tuple[str, ...] = ()
    """Media types that it may be asked for beside JSON."""
    status: int = 200
    query: tuple[Parameter, ...] = ()
    takes: type[msgspec.Struct] | tuple[str, ...] | None = None
    """Type of the JSON body, or the media types of another one."""
    may_be_empty: bool = False
    """Whether the body may be left out."""
    writes: bool = False
    """Refused while the process is about to leave."""
    errors: tuple[type[SeedgateError], ...] = ()
    """Besides those that every operation may answer."""


class Door:
    """Answers for all operations. One per process."""

    def __init__(self, house: House, measured: Measured) -> None:
        self._house = house
        self._measured = measured
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    async def answer(self, request: Request, methods: Mapping[str, Operation]) -> Response | None:
        """The answer, whatever happens; None when nobody waits for it any more."""
        request_id = f"{self._prefix}{next(self._numbers):08x}"
        started = time.perf_counter()
        operation = methods.get("GET" if request.method == "HEAD" else request.method)
        name = operation.name if operation else "none"
        body: wire.Body | Sent
        try:
            status, body, headers = await self._answer(request, operation, methods)
        except Disconnected:
            return None
        except SeedgateError as error:
            if isinstance(error, Bug):
                _log_bug(name, request_id, error)
            self._house.throttle.count_refusal(request.scope, dict(request.headers.raw), error)
            status, body, headers = render(error, request_id)
        except Exception as error:  # noqa: BLE001 - no raw exception reaches a caller
            _log_bug(name, request_id, error)
            status, body, headers = render(Bug(), request_id)
        self._measured.answers["seedgate", name, status] += 1
        self._measured.seconds["seedgate", name] += time.perf_counter() - started
        headers |= {"x-request-id": request_id, "cache-control": "no-store", "x-content-type-options": "nosniff"}
        if isinstance(body, Sent):
            return _Download(body, status, headers)
        return Response(msgspec.json.encode(body), status, headers, "application/json")

    async def _answer(
        self, request: Request, operation: Operation | None, methods: Mapping[str, Operation]
    ) -> tuple[int, wire.Body | Sent, dict[str, str]]:
        key, keys, throttle = credential(request), self._house.keys, self._house.throttle
        if throttle and not keys.knows(key):
            throttle.refuse_address(request.scope, dict(request.headers.raw))
        caller = await keys.authenticate(key)
        throttle.count_poll(caller)
        if not methods:
            raise NotFound("There is nothing at this address")
        if operation is None:
            raise WrongMethod(allowed={*methods, "HEAD"} if "GET" in methods else set(methods))
        if operation.writes and self._measured.draining:
            raise ShuttingDown(retry_after_s=5)
        asked = Asked(
            caller=caller,
            id=request.path_params.get("id", ""),
            query=_query(request, {parameter.name for parameter in operation.query}),
            request=request,
        )
        return operation.status, await operation.answer(self._house, asked), asked.headers


class _Download(Response):
    """Sends a file piece by piece, and closes it in any case."""

    def __init__(self, sent: Sent, status: int, headers: dict[str, str]) -> None:
        super().__init__(None, status, headers | {"content-length": str(sent.size_bytes)}, sent.media_type)
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while piece := await asyncio.to_thread(self._sent.file.read, PIECE_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._sent.close()


class Entry:
    """The operations of one address, as an ASGI application."""

    def __init__(self, door: Door, operations: Sequence[Operation]) -> None:
        self._door = door
        self._methods = {operation.method: operation for operation in operations}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        response = await self._door.answer(Request(scope, receive), self._methods)
        if response is not None:
            await response(scope, receive, send)


def credential(request: Request) -> str | None:
    """The one key of the headers. Several that differ are none: whoever sends them does not know who is asking."""
    keys = set(request.headers.getlist("x-api-key"))
    for value in request.headers.getlist("authorization"):
        scheme, _, key = value.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated
        keys.add(key)
    keys = {key.strip() for key in keys}
    return keys.pop() or None if len(keys) == 1 else None


def cursor(last: UUID) -> str:
    """Where the next page begins, for `Asked.page`."""
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def understood(value: Any, kind: type[_T]) -> _T:
    """The value as one of our types. Raises InvalidRequest that names the member."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message = str(error)
    path = _PATH.search(message)
    where, what = (path[1] if path else ""), _PATH.sub("", message)
    for pattern, sentence in ((_UNKNOWN, "is unknown"), (_MISSING, "is required")):
        if found := pattern.fullmatch(what):
            name = f"{where}.{found[1]}".strip(".")[:_SHOWN]
            raise InvalidRequest(f"The member {name!r} {sentence}", param=name)
    raise InvalidRequest(f"{where or 'The request body'}: {what}", param=where[:_SHOWN] or None)


def _place(text: str) -> UUID:
    try:
        raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
        found = UUID(bytes=raw)
    except (ValueError, binascii.Error):
        raise InvalidRequest("cursor is none that was given here", param="cursor") from None
    if cursor(found) != text:
        raise InvalidRequest("cursor is none that was given here", param="cursor")
    return found


def _query(request: Request, known: set[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_QUERY_FIELDS,
        )
    except ValueError:
        raise InvalidRequest("The query cannot be read") from None
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise InvalidRequest(f"The query parameter {name[:_SHOWN]!r} is unknown", param=name[:_SHOWN])
        if name in query:
            raise InvalidRequest(f"The query parameter {name!r} appears twice", param=name)
        query[name] = value
    return query


def _log_bug(operation: str, request_id: str, error: Exception) -> None:
    log.get("own").error(
        "request_failed", operation=operation, request_id=request_id, error=type(error).__name__, exc_info=error
    )
