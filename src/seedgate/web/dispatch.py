"""The fast path of every dialect: an ASGI callable in front of the application.

    path ──▶ route ──▶ credential ──▶ body ──▶ dialect.parse ──▶ tasks ──▶ dialect.render ──▶ one write

Whatever happens in it, the caller gets an answer in the dialect's own shape with a request id; an exception that nobody
foresaw is logged with that id and answered like a bug.
"""

import asyncio
import itertools
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from seedgate import log
from seedgate.accounts.credits import Balances
from seedgate.accounts.keys import Keys
from seedgate.dialect import Answer, Dialect, Incoming, Intent, Route, StoreDataUrl, Submission
from seedgate.domain.caller import Caller
from seedgate.domain.errors import Bug, InvalidRequest, SeedgateError, ShuttingDown
from seedgate.tasks.lookup import Lookups
from seedgate.tasks.submit import Submits
from seedgate.web.body import Bodies, Disconnected, Receive
from seedgate.web.protocol import RESPOND, Respond

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = tuple[tuple[bytes, bytes], ...]

MAX_IDEMPOTENCY_KEY = 255
_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class _Bound:
    """A route and who answers on it."""

    dialect: Dialect
    route: Route
    names: tuple[str, str]
    """Dialect and intent, as they are counted."""


@dataclass(slots=True)
class Measured:
    """What the fast path has seen, for /metrics, and whether it still takes submits."""

    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """By dialect, intent and HTTP status."""
    seconds: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Time spent answering, by dialect and intent."""
    draining: bool = False
    """Set when the process is about to leave: submits are refused, questions still answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the fast path serves with."""

    keys: Keys
    submits: Submits
    lookups: Lookups
    balances: Balances
    bodies: Bodies
    store_data_url: StoreDataUrl
    result_url: Callable[[str], str]
    """Absolute address of a result file by name."""


class Dispatch:
    """Routes dialect requests; everything else goes to `rest`."""

    def __init__(self, dialects: Sequence[Dialect], services: Services, *, measured: Measured, rest: App) -> None:
        self._services = services
        self._rest = rest
        self._exact, self._prefixes = _table(dialects)
        self._id_prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self.measured = measured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        bound = None
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            segment = ""
            bound = self._exact.get((method, path))
            if bound is None:
                prefix, _, segment = path.rpartition("/")
                bound = self._prefixes.get((method, prefix)) if segment else None
        if bound is None:
            await self._rest(scope, receive, send)
            return
        await self._serve(bound, segment, scope, receive, send)

    async def _serve(self, bound: _Bound, segment: str, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = f"{self._id_prefix}{next(self._numbers):08x}"
        request = Incoming(
            route=bound.route,
            last_segment=segment,
            query=scope["query_string"].decode("latin-1"),
            headers=dict(scope["headers"]),
        )
        extra: Headers = ()
        try:
            answer, extra = await self._answer(bound, request, receive)
        except Disconnected:
            return
        except SeedgateError as error:
            if isinstance(error, Bug):
                _log_bug(bound, request_id, error)
            answer = bound.dialect.render_error(error, request)
        except Exception as error:  # noqa: BLE001 - no raw exception reaches a caller
            _log_bug(bound, request_id, error)
            answer = bound.dialect.render_error(Bug(), request)
        dialect, intent = bound.names
        self.measured.answers[dialect, intent, answer.status] += 1
        self.measured.seconds[bound.names] += time.perf_counter() - started
        headers = (
            *answer.headers,
            (b"content-length", b"%d" % len(answer.body)),
            (b"x-request-id", request_id.encode()),
            *extra,
        )
        respond: Respond | None = scope.get("extensions", _NONE).get(RESPOND)
        if respond is None or not respond(answer.status, _lines(headers), answer.body):
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, bound: _Bound, request: Incoming, receive: Receive) -> tuple[Answer, Headers]:
        services, dialect = self._services, bound.dialect
        caller = await services.keys.authenticate(dialect.credential(request.headers))
        match bound.route.intent:
            case Intent.SUBMIT:
                return await self._submit(bound, request, caller, receive)
            case Intent.STATUS:
                view = await services.lookups.find(dialect.parse_lookup(request), account_id=caller.account_id)
                return dialect.render(view, [services.result_url(name) for name in view.files]), ()
            case Intent.BALANCE:
                return dialect.render_balance(await services.balances.read(caller.account_id)), ()

    async def _submit(
        self, bound: _Bound, request: Incoming, caller: Caller, receive: Receive
    ) -> tuple[Answer, Headers]:
        if self.measured.draining:
            raise ShuttingDown(retry_after_s=5)
        services, dialect = self._services, bound.dialect
        submission = await self._parse(bound, request, receive)
        key = _idempotency_key(request.headers)
        rendered: list[Answer] = []

        def render(task_id: UUID) -> bytes:
            rendered.append(dialect.render_accepted(task_id, submission))
            return rendered[0].body

        accepted = await services.submits.submit(
            submission,
            caller=caller,
            render=render,
            idempotency=(f"{bound.route.path} {submission.listing.id}", key) if key else None,
        )
        template = rendered[0]
        if not accepted.replayed:
            return template, ()
        replay = Answer(status=template.status, body=accepted.answer, headers=template.headers)
        return replay, ((b"idempotency-replayed", b"true"),)

    async def _parse(self, bound: _Bound, request: Incoming, receive: Receive) -> Submission:
        bodies, store = self._services.bodies, self._services.store_data_url
        headers = request.headers
        announced = headers.get(b"content-length")
        if bound.route.carries_images and bodies.is_large(announced, b"transfer-encoding" in headers):
            async with bodies.large(receive, announced) as view:
                return await asyncio.to_thread(bound.dialect.parse, _with_body(request, view), store)
        body = await bodies.small(receive, announced)
        whole = _with_body(request, body)
        if bound.route.carries_images and b"data:" in body:
            return await asyncio.to_thread(bound.dialect.parse, whole, store)
        return bound.dialect.parse(whole, store)


def _table(dialects: Sequence[Dialect]) -> tuple[dict[tuple[str, str], _Bound], dict[tuple[str, str], _Bound]]:
    """Exact paths, and paths whose last segment is a parameter. Raises Bug when two dialects claim one address."""
    exact: dict[tuple[str, str], _Bound] = {}
    prefixes: dict[tuple[str, str], _Bound] = {}
    for dialect in dialects:
        for route in dialect.routes:
            head, _, last = route.path.rpartition("/")
            table, address = (prefixes, head) if last.startswith("{") else (exact, route.path)
            if (route.method, address) in table:
                raise Bug(f"Two dialects claim {route.method} {route.path}")
            table[route.method, address] = _Bound(dialect, route, (dialect.name, route.intent.value))
    return exact, prefixes


def _with_body(request: Incoming, body: bytes | memoryview) -> Incoming:
    return Incoming(
        route=request.route,
        last_segment=request.last_segment,
        query=request.query,
        headers=request.headers,
        body=body,
    )


def _idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    raw = headers.get(b"idempotency-key")
    if raw is None:
        return None
    key = raw.decode("latin-1").strip()
    if not 0 < len(key) <= MAX_IDEMPOTENCY_KEY or not key.isprintable():
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY} printable characters", param="Idempotency-Key"
        )
    return key


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _log_bug(bound: _Bound, request_id: str, error: Exception) -> None:
    log.get("web").error(
        "request_failed",
        dialect=bound.dialect.name,
        intent=bound.route.intent.value,
        request_id=request_id,
        error=type(error).__name__,
        exc_info=error,
    )
