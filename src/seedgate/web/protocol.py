"""uvicorn's HTTP protocol with two things added: limits on slow and endless requests, and one write per response.

uvicorn waits for ever for a head or a body, and hands head and body of a response to the socket one by one, which
costs a second system call per answer. The wrapper below holds a head back until its body comes, or until the loop's
next turn.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SWEEP_S = 1.0


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
        self._head_size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has come; until its first head is complete it is on the clock."""
        super().connection_made(
            cast("asyncio.Transport", JoinedTransport(cast("asyncio.Transport", transport), self.loop))
        )
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes while it comes in; a head that is too long ends the connection."""
        if self._body_since is None:
            if self._head_since is None:
                self._head_since = self.loop.time()
            self._head_size += len(data)
        super().data_received(data)
        if self._head_since is not None and self._head_size > self.head_bytes:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is there; the body is on the clock now."""
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > self.head_bytes:
            raise ValueError("The request head is too large")  # the parser hands it to uvicorn, which answers 400
        self._head_since, self._head_size = None, 0
        self._body_since = self.loop.time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._body_since = None
        super().on_message_complete()

    def late(self, now: float) -> bool:
        """Whether the caller has taken longer than it may."""
        return (self._head_since is not None and now - self._head_since > self.head_s) or (
            self._body_since is not None and now - self._body_since > self.body_s
        )


def guard(*, head_bytes: int, head_s: float, body_s: float) -> type[GuardedProtocol]:
    """The protocol with these limits."""
    return type("LimitedProtocol", (GuardedProtocol,), {"head_bytes": head_bytes, "head_s": head_s, "body_s": body_s})


async def cut_off_late(connections: Iterable[object], *, pause_s: float = SWEEP_S) -> None:
    """Close connections whose request takes too long, once a second, for ever: one pass instead of a timer each."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(pause_s)
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, GuardedProtocol) and connection.late(now):
                connection.transport.abort()
