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
from functools import lru_cache
from typing import Any, assert_never
from uuid import UUID

from seedgate import log
from seedgate.accounts.credits import Balances
from seedgate.accounts.keys import Keys
from seedgate.dialect import Answer, Dialect, Incoming, Intent, Lookup, Route, StoreDataUrl, Submission
from seedgate.domain.caller import Caller
from seedgate.domain.errors import Bug, InvalidRequest, SeedgateError, ShuttingDown
from seedgate.domain.task import TaskView
from seedgate.store.funds import Spendable
from seedgate.tasks.lookup import Lookups
from seedgate.tasks.submit import Asked, Submits
from seedgate.web import dry_run, refusals
from seedgate.web.body import Bodies, Disconnected, Receive, check_text_size
from seedgate.web.protocol import RESPOND, Respond
from seedgate.web.refusals import CHARGED, NOTHING_CHARGED, Headers, Throttle

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_IDEMPOTENCY_KEY = 255
SLOW_BODY_S = 1.0
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
    cancel: Callable[[Lookup, Caller], Awaitable[TaskView]]
    """Cancels a caller's task and gives it as it is afterwards. Raises NotFound like `lookups`."""
    balances: Balances
    spendable: Callable[[Caller], Awaitable[Spendable]]
    bodies: Bodies
    store_data_url: StoreDataUrl
    name_data_url: StoreDataUrl
    """The same with nothing stored."""
    throttle: Throttle
    result_url: Callable[[str], str]
    """Absolute address of a result file by name."""


class Dispatch:
    """Routes dialect requests; everything else goes to `rest`."""

    def __init__(self, dialects: Sequence[Dialect], services: Services, *, measured: Measured, rest: App) -> None:
        self._services = services
        self._rest = rest
        self._exact, self._prefixes = _table(dialects)
        self._id_prefix = secrets.token_hex(6).encode()
        self._numbers = itertools.count(1)
        self.measured = measured

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request. No coroutine of its own: each is walked through every time a request goes on."""
        bound = None
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            segment = ""
            bound = self._exact.get((method, path))
            if bound is None:
                prefix, _, segment = path.rpartition("/")
                bound = self._prefixes.get((method, prefix)) if segment else None
        if bound is None:
            return self._rest(scope, receive, send)
        return self._serve(_Request(bound, segment, scope, receive), send)

    async def _serve(self, request: "_Request", send: Send) -> None:
        request.began = started = time.perf_counter()
        request_id = b"%b%08x" % (self._id_prefix, next(self._numbers))
        dialect = request.bound.dialect
        extra: Headers = ()
        try:
            answer, extra = await self._answer(request)
        except Disconnected:
            return
        except SeedgateError as error:
            if isinstance(error, Bug):
                _log_bug(request, request_id, error)
            self._services.throttle.count_refusal(request.scope, request.headers, error)
            submits = request.bound.route.intent is Intent.SUBMIT
            extra = refusals.headers(error, submits=submits)
            answer = dialect.render_error(error, request.incoming())
        except Exception as error:  # noqa: BLE001 - no raw exception reaches a caller
            _log_bug(request, request_id, error)
            answer, extra = dialect.render_error(Bug(), request.incoming()), (NOTHING_CHARGED,)
        names = request.bound.names
        self.measured.answers[*names, answer.status] += 1
        self.measured.seconds[names] += time.perf_counter() - started
        await _send(request.scope, send, answer, request_id, extra)

    async def _answer(self, request: "_Request") -> tuple[Answer, Headers]:
        services, dialect = self._services, request.bound.dialect
        intent = request.bound.route.intent
        credential = dialect.credential(request.headers)
        if services.throttle and (intent is Intent.SUBMIT or not services.keys.knows(credential)):
            services.throttle.refuse_address(request.scope, request.headers)
        caller = await services.keys.authenticate(credential)
        if intent is Intent.SUBMIT:
            return await self._submit(request, caller, credential)
        services.throttle.count_poll(caller)
        match intent:
            case Intent.STATUS:
                lookup = dialect.parse_lookup(request.incoming())
                view = await services.lookups.find(lookup, account_id=caller.account_id)
                return self._told(dialect, view)
            case Intent.CANCEL:
                return self._told(dialect, await services.cancel(dialect.parse_lookup(request.incoming()), caller))
            case Intent.BALANCE:
                return dialect.render_balance(await services.balances.read(caller.account_id)), ()
            case _:
                assert_never(intent)

    def _told(self, dialect: Dialect, view: TaskView) -> tuple[Answer, Headers]:
        answer = dialect.render(view, [self._services.result_url(name) for name in view.files])
        return answer, () if view.charged_micros is None else ((CHARGED, b"%d" % view.charged_micros),)

    async def _submit(self, request: "_Request", caller: Caller, credential: str | None) -> tuple[Answer, Headers]:
        if self.measured.draining:
            raise ShuttingDown(retry_after_s=5)
        services, dialect = self._services, request.bound.dialect
        if dry_run.asked(request.headers):
            submission = await self._parse(request, services.name_data_url)
            quote = services.submits.quote(submission, caller)
            return dry_run.render(quote, await services.spendable(caller)), dry_run.MARKS
        submission = await self._parse(request, services.store_data_url)
        if time.perf_counter() - request.began > SLOW_BODY_S:
            caller = await services.keys.authenticate(credential)  # it may have been revoked while the body came in
        rendered: list[Answer] = []

        def render(task_id: UUID) -> bytes:
            rendered.append(dialect.render_accepted(task_id, submission))
            return rendered[0].body

        accepted = await services.submits.submit(
            submission, caller=caller, render=render, asked=_asked(request.headers)
        )
        template = rendered[0]
        if not accepted.replayed:
            return template, ()
        replay = Answer(status=template.status, body=accepted.answer, headers=template.headers)
        return replay, ((b"idempotency-replayed", b"true"),)

    async def _parse(self, request: "_Request", store: StoreDataUrl) -> Submission:
        bodies = self._services.bodies
        dialect, headers = request.bound.dialect, request.headers
        announced = headers.get(b"content-length")
        carries_images = request.bound.route.carries_images
        if carries_images and bodies.is_large(announced, b"transfer-encoding" in headers):
            async with bodies.large(request.receive, announced) as view:
                await asyncio.to_thread(check_text_size, view, bodies.small_bytes)
                return await asyncio.to_thread(dialect.parse, request.incoming(view), store)
        body = await bodies.small(request.receive, announced)
        if carries_images and b"data:" in body:
            return await asyncio.to_thread(dialect.parse, request.incoming(body), store)
        return dialect.parse(request.incoming(body), store)


class _Request:
    """A request on a dialect's route."""

    __slots__ = ("began", "bound", "headers", "receive", "scope", "segment")
    began: float

    def __init__(self, bound: _Bound, segment: str, scope: Scope, receive: Receive) -> None:
        self.bound = bound
        self.segment = segment
        self.scope = scope
        self.receive = receive
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])

    def incoming(self, body: bytes | memoryview = b"") -> Incoming:
        """As the dialect sees it."""
        return Incoming(
            route=self.bound.route,
            last_segment=self.segment,
            query=self.scope["query_string"].decode("latin-1"),
            headers=self.headers,
            body=body,
        )


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


def _asked(headers: Mapping[bytes, bytes]) -> Asked:
    """How a submit wants to be recognised. Clients made by Stainless count their tries, and some send no key."""
    return Asked(
        key=_idempotency_key(headers), retry=headers.get(b"x-stainless-retry-count", b"0").strip() not in {b"0", b""}
    )


async def _send(scope: Scope, send: Send, answer: Answer, request_id: bytes, extra: Headers) -> None:
    respond: Respond | None = scope.get("extensions", _NONE).get(RESPOND)
    if respond is not None:
        lines = _lines(answer.headers) + _lines(extra) if extra else _lines(answer.headers)
        head = b"%bcontent-length: %d\r\nx-request-id: %b\r\n" % (lines, len(answer.body), request_id)
        if respond(answer.status, head, answer.body):
            return
    length = (b"content-length", b"%d" % len(answer.body))
    headers = [*answer.headers, length, (b"x-request-id", request_id), *extra]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


@lru_cache(maxsize=256)
def _lines(headers: Headers) -> bytes:
    """Kept, because nearly all answers have the same few headers."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def _log_bug(request: _Request, request_id: bytes, error: Exception) -> None:
    dialect, intent = request.bound.names
    log.get("web").error(
        "request_failed",
        dialect=dialect,
        intent=intent,
        request_id=request_id.decode(),
        error=type(error).__name__,
        exc_info=error,
    )
