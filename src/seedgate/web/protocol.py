"""uvicorn's HTTP protocol with three things added: limits on slow and endless requests, one write per response, and a
short way for whole answers.

uvicorn waits for ever for a head or a body; `transport.py` tells what it does to writing and closing. An application
that has its whole answer at hand gives it to `RESPOND` instead of sending two messages, whose checks and joins cost
more than making the answer does.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import chain
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from seedgate.web.transport import JoinedTransport

SWEEP_S = 1.0
_FORGET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time."""
MAX_PIPELINED = 256
BODY_BYTES_PER_S = 32_768
"""The pace of a body: one that keeps it may take as long as its size needs."""
LINGER_S = 5.0
LINGER_BYTES = 1 << 26
"""What is read and dropped, and for how long, of a request that was answered before it was whole."""
SPARE_CONNECTIONS = 100
"""Beyond the limit these are heard, too, so that somebody can still ask after our health."""
FULL = "Too many connections"
HEALTH = frozenset({"/healthz", "/readyz"})
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
    """Time by which a request's body may fall behind its pace."""
    stall_s: float
    """Time without taking anything of an answer."""
    connections: int
    """How many there may be."""
    connections_per_address: int
    """How many from one IPv4 address or IPv6 network of 64 bits; 0 is no limit."""
    connections_from_loopback: int
    """The same for this machine's own addresses, where a proxy brings everybody from."""


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
        self._body_until: float | None = None
        self._idle_since: float | None = None
        self._stalled_since: float | None = None
        self._linger_until: float | None = None
        self._surplus = False
        """Whether it came when there were as many connections as there may be."""
        self._head_size = 0
        self._body_size = 0
        self._framing = 0
        self._dropped = 0
        self._trailers = _Trailers()
        self._peer: str | None = None
        """As it is counted."""
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; those that were sent after it wait."""
        self._extensions = {RESPOND: self._respond}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has come; until its first head is complete it is on the clock."""
        super().connection_made(
            cast("asyncio.Transport", JoinedTransport(cast("asyncio.Transport", transport), self.loop, self._linger))
        )
        name = transport.get_extra_info("peername")
        self._peer, loopback = peer_of(name[0] if name else "")
        self.peers[self._peer] += 1
        most = self.limits.connections_from_loopback if loopback else self.limits.connections_per_address
        if most and self.peers[self._peer] > most:
            self._end_with(503, "Too many connections from this address")
        elif len(self.connections) > self.limits.connections + SPARE_CONNECTIONS:
            self._end_with(503, FULL)
        self._surplus = len(self.connections) > self.limits.connections
        self._head_since = self.loop.time()

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
        if self._linger_until is not None:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self.transport.close()
            return
        self._idle_since = None
        in_body = self._body_until is not None
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
        if self._head_since is not None and self._head_size > self.limits.head_bytes and self._linger_until is None:
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
        if running is None or running.response_complete or (running is self.cycle and self._body_until is not None):
            self.send_400_response("Invalid HTTP request received.")
        else:
            running.keep_alive = False

    def _end_with(self, status: int, message: str) -> None:
        """A last word and no more: `send_400_response` for another status."""
        body = b'{"error":"%b"}' % message.encode("ascii")
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        again = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[status], head, again, body))
        self.transport.close()

    def _linger(self) -> bool:
        """Whether a request is still coming in; what comes from now on is dropped."""
        if not self._head_size and self._body_until is None:
            return False
        self._linger_until = self.loop.time() + LINGER_S
        self.flow.resume_reading()
        return True

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve the request as if it had not asked for another protocol (RFC 9110, 7.8). The parser takes what follows
        such a head for that protocol, so a new one is given the head without the wish, and what followed it."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse()
            return
        lines = [b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode("ascii"))]
        for name, value in self.headers:
            if name != b"upgrade":
                lines.append(b"%b: %b\r\n" % (name, _no_upgrade(value) if name == b"connection" else value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
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
        self._body_until, self._body_size, self._framing = self.loop.time() + self.limits.body_s, 0, 0
        super().on_headers_complete()
        self._trailers.left = self.limits.head_bytes
        self.headers = self._trailers
        # The application runs in the loop's next turn, so it finds this in its scope.
        cast("dict[str, Any]", self.scope)["extensions"] = self._extensions

    def on_body(self, body: bytes) -> None:
        """Part of a body: it gives as much time as it takes at the pace, and never more than was there at first. What
        comes behind its answer gives none."""
        self._body_size += len(body)
        if self._body_until is not None and not self.cycle.response_complete:
            most = self.loop.time() + self.limits.body_s
            self._body_until = min(self._body_until + len(body) / BODY_BYTES_PER_S, most)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.parser.should_upgrade():
            return
        self._body_until = None
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
        if self._linger_until is not None:
            if now > self._linger_until:
                self._close(now)
        elif (self._head_since is not None and now - self._head_since > self.limits.head_s) or (
            self._stalled_since is not None and now - self._stalled_since > self.limits.stall_s
        ):
            self._reset()
        elif self._body_until is not None and now > self._body_until:
            self._end_body()
        elif self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            self._close(now)

    def _close(self, now: float) -> None:
        """End the connection; what a slow reader has not fetched yet is still sent, until it stalls."""
        self.transport.close()
        self._stalled_since = now
        self._head_since = self._body_until = self._idle_since = self._linger_until = None

    def shutdown(self) -> None:
        """The server ends: who was answered already need not hear it to the end."""
        super().shutdown()
        if self._linger_until is not None:
            self.transport.close()

    def _end_body(self) -> None:
        """The body is too late: say so, where that cannot be taken for another answer."""
        cycle = self.cycle
        if cycle is self._running and not cycle.response_started:
            cycle.disconnected = True
            cycle.message_event.set()
            self._end_with(408, "The request's body came too slowly")
        elif cycle.response_complete:
            self.transport.close()
        else:
            self._reset()

    def _reset(self) -> None:
        """End the connection, and have the system forget what was not taken yet: it would keep it for minutes."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if self._surplus and len(self.connections) > self.limits.connections and cycle.scope["path"] not in HEALTH:
            self.logger.warning(FULL)
            app = _refuse_surplus
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


async def _refuse_surplus(_scope: object, _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """The application of connections beyond the limit."""
    body = b'{"error":"%b"}' % FULL.encode("ascii")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _no_upgrade(value: bytes) -> bytes:
    """What else a Connection header says, such as `close`."""
    return b", ".join(token for each in value.split(b",") if (token := each.strip()).lower() != b"upgrade")


@lru_cache(maxsize=4096)
def peer_of(host: str) -> tuple[str, bool]:
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
