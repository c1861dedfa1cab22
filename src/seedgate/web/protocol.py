"""uvicorn's HTTP protocol with three things added: limits on slow and endless requests, one write per response, and a
short way for whole answers.

uvicorn waits for ever for a head or a body, and hands head and body of a response to the socket one by one, which
costs a second system call per answer. The wrapper below holds a head back until its body comes, or until the loop's
next turn. An application that has its whole answer at hand gives it to `RESPOND` instead of sending two messages, whose
checks and joins cost more than making the answer does.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import chain
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

SWEEP_S = 1.0
_FORGET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time."""
MAX_PIPELINED = 256
FRAMING_PER_BYTE = 16
"""What a chunked body may take beside its bytes: a length and two line ends for a chunk of one."""
RESPOND = "seedgate.respond"
"""Among a scope's extensions: a `Respond`."""

Respond = Callable[[int, bytes, bytes], bool]
"""Takes status, header lines (each ended by CR LF, Content-Length among them) and body of a whole answer to a request
that is no HEAD, and sends it. False when the connection is not ready for it: then the usual messages must be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What connections may take."""

    head_bytes: int
    """Size of a request's head, and of a chunked body's trailers."""
    head_s: float
    """Time for a request's head, from the connection or its first byte on."""
    body_s: float
    """Time for a request's body."""
    stall_s: float
    """Time without taking anything of an answer."""
    connections: int
    """How many there may be."""
    connections_per_address: int
    """How many from one IPv4 address or IPv6 network of 64 bits; 0 is no limit."""
    connections_from_loopback: int
    """The same for this machine's own addresses, where a proxy brings everybody from."""


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


class _Trailers(list[tuple[bytes, bytes]]):
    """Stands where the headers stood once a head is complete: trailers are counted and dropped, never merged."""

    left = 0

    def append(self, field: tuple[bytes, bytes]) -> None:
        """Forget a trailer."""
        self.left -= len(field[0]) + len(field[1])
        if self.left < 0:
            raise ValueError("The request's trailers are too large")


class GuardedProtocol(HttpToolsProtocol):
    """One connection. The limits, and who is connected how often, are set by `guard` on a subclass."""

    limits: ConnectionLimits
    peers: Counter[str]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_since: float | None = None
        self._body_since: float | None = None
        self._idle_since: float | None = None
        self._stalled_since: float | None = None
        self._head_size = 0
        self._body_size = 0
        self._framing = 0
        self._trailers = _Trailers()
        self._peer: str | None = None
        """As it is counted."""
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; those that were sent after it wait."""
        self._extensions = {RESPOND: self._respond}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has come; until its first head is complete it is on the clock."""
        super().connection_made(
            cast("asyncio.Transport", JoinedTransport(cast("asyncio.Transport", transport), self.loop))
        )
        self._head_since = self.loop.time()
        name = transport.get_extra_info("peername")
        self._peer, loopback = _peer(name[0] if name else "")
        self.peers[self._peer] += 1
        most = self.limits.connections_from_loopback if loopback else self.limits.connections_per_address
        if most and self.peers[self._peer] > most:
            self._end_with(503, "Too many connections from this address.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered; uvicorn tells only the last one that came."""
        if self._peer is not None:
            self.peers[self._peer] -= 1
            if not self.peers[self._peer]:
                del self.peers[self._peer]
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what is no body: a head that is too long ends the connection, and so does a body's endless framing."""
        self._idle_since = None
        in_body = self._body_since is not None
        if not in_body:
            if self._head_since is None:
                self._head_since = self.loop.time()
            self._head_size += len(data)
        before = self._body_size
        self._feed(data)
        if in_body:
            self._framing += len(data) - (self._body_size - before)
            if self._framing > self.limits.head_bytes + FRAMING_PER_BYTE * self._body_size:
                self.transport.abort()
        if self._head_since is not None and self._head_size > self.limits.head_bytes:
            self.transport.close()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse()

    def _refuse(self) -> None:
        """Answer with 400; behind a whole request that is still being answered, end the connection with that answer,
        since a 400 would be taken for it."""
        running = self._running
        if running is None or running.response_complete or (running is self.cycle and self._body_since is not None):
            self.send_400_response("Invalid HTTP request received.")
        else:
            running.keep_alive = False

    def _end_with(self, status: int, message: str) -> None:
        """A last word and no more: `send_400_response` for another status."""
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(message)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], head, message.encode("ascii")))
        self.transport.close()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve the request as if it had not asked for another protocol (RFC 9110, 7.8). The parser takes what follows
        such a head for that protocol, so a new one is given the head without the wish, and what followed it."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse()
            return
        lines = [b"%b %b HTTP/1.1\r\n" % (method, self.url)]
        lines += [b"%b: %b\r\n" % field for field in self.headers if field[0] not in {b"upgrade", b"connection"}]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"".join([*lines, b"\r\n", rest]))

    def on_headers_complete(self) -> None:
        """The head is there; the body is on the clock now."""
        if self.parser.should_upgrade():
            return
        if sum(map(len, chain.from_iterable(self.headers))) + len(self.url) > self.limits.head_bytes:
            raise ValueError("The request head is too large")  # the parser hands it on as an error of its own: 400
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("Too many requests were sent without waiting for an answer")
        self._head_since, self._head_size = None, 0
        self._body_since, self._body_size, self._framing = self.loop.time(), 0, 0
        super().on_headers_complete()
        self._trailers.left = self.limits.head_bytes
        self.headers = self._trailers
        # The application runs in the loop's next turn, so it finds this in its scope.
        cast("dict[str, Any]", self.scope)["extensions"] = self._extensions

    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.parser.should_upgrade():
            return
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
        if self.pipeline:
            # No more is read until these are answered; a body's reader resumes by itself.
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.flow.resume_reading()
            self._idle_since = self.loop.time()

    def pause_writing(self) -> None:
        """The caller takes its answer more slowly than it is made."""
        self._stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has taken some of it."""
        self._stalled_since = None
        super().resume_writing()

    def cut_off(self, now: float) -> None:
        """End the connection if the caller has taken longer than it may, or has asked nothing for a while."""
        if (
            (self._head_since is not None and now - self._head_since > self.limits.head_s)
            or (self._body_since is not None and now - self._body_since > self.limits.body_s)
            or (self._stalled_since is not None and now - self._stalled_since > self.limits.stall_s)
        ):
            self._reset()
        elif self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()  # what a slow reader has not fetched yet is still sent, until it stalls
            self._idle_since, self._stalled_since = None, now

    def _reset(self) -> None:
        """End the connection, and have the system forget what was not taken yet: it would keep it for minutes."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _respond(self, status: int, head: bytes, body: bytes) -> bool:
        """See `Respond`. What `RequestResponseCycle.send` does for the two messages of such an answer."""
        cycle = self._running
        assert cycle is not None
        if self.transport.is_closing():
            cycle.disconnected = True
            return True  # nobody is there to be told
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


def guard(limits: ConnectionLimits) -> type[GuardedProtocol]:
    """The protocol with these limits, and a count of its own."""
    return type("LimitedProtocol", (GuardedProtocol,), {"limits": limits, "peers": Counter()})


@lru_cache(maxsize=4096)
def _peer(host: str) -> tuple[str, bool]:
    """How an address is counted, and whether it is this machine's own. Whoever has an IPv6 address has 2^64 of them."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host, False
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network((address, 64), strict=False)), address.is_loopback
        address = address.ipv4_mapped
    return str(address), address.is_loopback


async def cut_off_late(connections: Iterable[object], *, pause_s: float = SWEEP_S) -> None:
    """Close late and idle connections, once a second, for ever: one pass instead of a timer for each request."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(pause_s)
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, GuardedProtocol):
                connection.cut_off(now)
