"""uvicorn's HTTP protocol with three things added: limits on slow and endless requests, one write per response, and a
short way for whole answers.

uvicorn waits for ever for a head or a body, and hands head and body of a response to the socket one by one, which
costs a second system call per answer. The wrapper below holds a head back until its body comes, or until the loop's
next turn. An application that has its whole answer at hand gives it to `RESPOND` instead of sending two messages, whose
checks and joins cost more than making the answer does.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

SWEEP_S = 1.0
RESPOND = "seedgate.respond"
"""Among a scope's extensions: a `Respond`."""

Respond = Callable[[int, bytes, bytes], bool]
"""Takes status, header lines (each ended by CR LF, Content-Length among them) and body of a whole answer to a request
that is no HEAD, and sends it. False when the connection is not ready for it: then the usual messages must be sent."""


class JoinedTransport:
    """A transport that sends a response's head together with what follows it."""

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, or keep a head for what comes next."""
        if self._head is not None:
            data, self._head = self._head + data, None
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            self._head = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head to which nothing came."""
        if self._head is not None:
            data, self._head = self._head, None
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Send what is kept and close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is going away."""
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `head_bytes` and the two times are set by `guard` on a subclass."""

    head_bytes = 16_384
    head_s = 10.0
    body_s = 15.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_since: float | None = None
        self._body_since: float | None = None
        self._idle_since: float | None = None
        self._head_size = 0
        self._running: RequestResponseCycle
        """The request that is being answered; those that were sent after it wait."""
        self._extensions = {RESPOND: self._respond}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has come; until its first head is complete it is on the clock."""
        super().connection_made(
            cast("asyncio.Transport", JoinedTransport(cast("asyncio.Transport", transport), self.loop))
        )
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes while it comes in; a head that is too long ends the connection."""
        self._idle_since = None
        if self._body_since is None:
            if self._head_since is None:
                self._head_since = self.loop.time()
            self._head_size += len(data)
        super().data_received(data)
        if self._head_since is not None and self._head_size > self.head_bytes:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is there; the body is on the clock now."""
        if sum(map(len, chain.from_iterable(self.headers))) + len(self.url) > self.head_bytes:
            raise ValueError("The request head is too large")  # the parser hands it to uvicorn, which answers 400
        self._head_since, self._head_size = None, 0
        self._body_since = self.loop.time()
        super().on_headers_complete()
        # The application runs in the loop's next turn, so it finds this in its scope.
        cast("dict[str, Any]", self.scope)["extensions"] = self._extensions

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._body_since = None
        if self.cycle.response_complete:  # refused before its body had come: the silence begins now
            self._idle_since = self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn does, but for the keep-alive timer: a time that the sweep looks at costs less than a timer that
        every next request cancels."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._idle_since = self.loop.time()

    def cut_off(self, now: float) -> None:
        """End the connection if the caller has taken longer than it may, or has asked nothing for a while."""
        if (self._head_since is not None and now - self._head_since > self.head_s) or (
            self._body_since is not None and now - self._body_since > self.body_s
        ):
            self.transport.abort()
        elif self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()  # what a slow reader has not fetched yet is still sent

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _respond(self, status: int, head: bytes, body: bytes) -> bool:
        """See `Respond`. What `RequestResponseCycle.send` does for the two messages of such an answer."""
        cycle = self._running
        if cycle.disconnected or cycle.response_started or cycle.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        usual = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        self.transport.write(b"".join((STATUS_LINE[status], usual, head, end, body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True


def guard(*, head_bytes: int, head_s: float, body_s: float) -> type[GuardedProtocol]:
    """The protocol with these limits."""
    return type("LimitedProtocol", (GuardedProtocol,), {"head_bytes": head_bytes, "head_s": head_s, "body_s": body_s})


async def cut_off_late(connections: Iterable[object], *, pause_s: float = SWEEP_S) -> None:
    """Close late and idle connections, once a second, for ever: one pass instead of a timer for each request."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(pause_s)
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, GuardedProtocol):
                connection.cut_off(now)
