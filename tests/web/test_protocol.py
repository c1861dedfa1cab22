"""One connection: whole answers in one write, in order, and an end for whoever is silent."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import chain, repeat
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.server import ServerState

from seedgate.web.protocol import RESPOND, ConnectionLimits, GuardedProtocol, guard, peer_of
from seedgate.web.server import bind, serve

LIMITS = ConnectionLimits(
    head_bytes=16_384,
    head_s=5.0,
    body_s=5.0,
    stall_s=60.0,
    connections=100,
    connections_per_address=0,
    connections_from_loopback=0,
)

Ask = Callable[[bytes], Awaitable[bytes]]


async def app(scope, receive, send) -> None:
    """Answers with the path the short way, or the long way where the path says so; `/slow` takes its time, and `/body`
    is answered with its body's size."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    body = scope["path"].encode()
    if body == b"/body":
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            size, more = size + len(message["body"]), message["more_body"]
        body = b"%d" % size
    length = b"content-length: %d\r\n" % len(body)
    if scope["path"] != "/long" and scope["extensions"][RESPOND](200, length, body):
        return
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(limits: ConnectionLimits = LIMITS) -> AsyncIterator[int]:
    """The port of a server."""
    listener, stopping, ready = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(serve(app, listener, stopping=stopping, ready=ready, limits=limits))
    await ready.wait()
    yield listener.getsockname()[1]
    stopping.set()
    await running


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Sends bytes on a connection of their own and gives what comes back until it is closed, or for half a second."""

    async def send(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        got = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while part := await reader.read(65_536):
                    got += part
                got += b"<closed>"
        writer.close()
        await writer.wait_closed()
        return got

    async with serving() as port:
        yield send


def request(path: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: here", *headers, "", ""]).encode()


# If answers overtook each other, a caller who pipelines would read another request's answer as its own.
async def test_pipelined_requests_are_answered_in_order_whichever_way(ask: Ask):
    got = await ask(request("/slow") + request("/long") + request("/short"))
    assert [part.rpartition(b"\r\n\r\n")[2] for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]] == [
        b"/slow",
        b"/long",
        b"/short",
    ]


# If a refusal overtook an answer, a caller whose submit was taken would read that it was not.
@pytest.mark.parametrize("path", ["/slow", "/long", "/short"])
async def test_nonsense_behind_a_request_does_not_take_its_answer(ask: Ask, path: str):
    got = await ask(request(path) + b"HTTP/1.1 200 OK\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\n" + path.encode() + b"<closed>")
    assert b" 400 " not in got
    assert (await ask(b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


# If the connection stayed open, a client that reads to its end would wait until the keep-alive time is over.
@pytest.mark.parametrize("asked", [request("/a", "Connection: close"), request("/a", version="1.0")])
async def test_a_caller_that_wants_the_connection_closed_gets_that(ask: Ask, asked: bytes):
    got = await ask(asked)
    head, _, rest = got.partition(b"\r\n\r\n")
    assert rest == b"/a<closed>"
    assert b"connection: close" in head
    assert b"\r\ndate: " in head


# If the wish for another protocol took the caller's other wishes with it, a client would wait for an end that never
# comes, or be answered in a version that it does not speak.
@pytest.mark.parametrize(
    ("asked", "ends"),
    [
        (request("/a", "Connection: close, Upgrade", "Upgrade: h2c"), True),
        (request("/a", "Connection: upgrade", "Connection: Close", "Upgrade: h2c"), True),
        (request("/a", "Connection: Upgrade", "Upgrade: h2c", version="1.0"), True),
        (request("/a", "Connection: Upgrade, keep-alive", "Upgrade: h2c"), False),
    ],
)
async def test_a_declined_upgrade_takes_nothing_else_with_it(ask: Ask, asked: bytes, ends: bool):
    got = await ask(asked)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"connection: close" in got, got.endswith(b"/a<closed>")) == (ends, ends)


POST = b"POST %b HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n%b\r\n"


def _send(wire: socket.socket, parts: Iterable[bytes], pause_s: float) -> tuple[bytes, float]:
    """Sends to the end like a client that listens only afterwards; what came back, and how long that took."""
    started = time.monotonic()
    with wire, contextlib.suppress(BrokenPipeError):
        for part in parts:
            wire.sendall(part)
            time.sleep(pause_s)
        wire.settimeout(10)
        got = b""
        while part := wire.recv(65_536):
            got += part
    return got, time.monotonic() - started


# If the time for a body were a time for its whole, a picture would never come over an ordinary line.
async def test_a_body_that_keeps_its_pace_may_take_long_and_no_other():
    limits = replace(LIMITS, body_s=0.8)
    async with serving(limits) as port:

        async def send(size: int, parts: Iterable[bytes], pause_s: float) -> tuple[bytes, float]:
            wire = socket.create_connection(("127.0.0.1", port))
            head = POST % (b"/body", size, b"Connection: close\r\n")
            return await asyncio.to_thread(_send, wire, chain([head], parts), pause_s)

        (got, took_s), (late, late_s), (stopped, stopped_s) = await asyncio.gather(
            send(1_600_000, repeat(b"x" * 40_000, 40), 0.08),
            send(1000, repeat(b"x", 20), 0.1),
            send(1_600_000, [b"x" * 800_000], 0.0),
        )
    assert got.endswith(b"1600000")
    assert took_s > 3
    for answer, time_s in ((late, late_s), (stopped, stopped_s)):
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer
        assert time_s < 4


# If the connection were closed on what is still coming, the caller would get a reset, and never learn why.
async def test_an_early_answer_reaches_a_caller_that_is_still_sending():
    async with serving() as port:
        for _ in range(5):
            wire = socket.create_connection(("127.0.0.1", port))
            parts = [POST % (b"/a", 3_000_000, b"Connection: close\r\n"), *repeat(b"x" * 100_000, 30)]
            got, took_s = await asyncio.to_thread(_send, wire, parts, 0.001)
            assert got.endswith(b"\r\n\r\n/a")
            assert took_s < 2


# If it lingered without an end, whoever goes on sending would have a connection that nothing limits.
@pytest.mark.parametrize(
    ("limit", "most", "part", "pause_s"),
    [("LINGER_BYTES", 100_000, b"x" * 50_000, 0.01), ("LINGER_S", 0.2, b"x", 0.015)],
)
async def test_lingering_has_an_end(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: float, part: bytes, pause_s: float
):
    monkeypatch.setattr(f"seedgate.web.protocol.{limit}", most)
    async with serving() as port:
        wire = socket.create_connection(("127.0.0.1", port))
        parts = chain([POST % (b"/a", 10**9, b"Connection: close\r\n")], repeat(part, 250))
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            await asyncio.to_thread(_send_on, wire, parts, pause_s)


def _send_on(wire: socket.socket, parts: Iterable[bytes], pause_s: float) -> None:
    with wire:
        for part in parts:
            wire.sendall(part)
            time.sleep(pause_s)


# If the limit counted otherwise than it says, a limit of one would shut everybody out; and a machine that looks whether
# the gateway lives would end it when it is most wanted.
async def test_as_many_connections_as_there_may_be():
    async with serving(replace(LIMITS, connections=1)) as port:
        first = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            first[1].write(request("/a"))
            assert b" 200 OK" in await first[0].readuntil(b"\r\n\r\n/a")
        second = await asyncio.open_connection("127.0.0.1", port)
        second[1].write(request("/healthz"))
        assert b" 200 OK" in await second[0].readuntil(b"\r\n\r\n/healthz")
        second[1].write(request("/a"))
        got = await second[0].read()
        assert got.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in got
        assert json.loads(got.rpartition(b"\r\n\r\n")[2]) == {"error": "Too many connections"}
        first[1].write(request("/a"))
        assert b" 200 OK" in await first[0].readuntil(b"\r\n\r\n/a")
        for _, writer in (first, second):
            writer.close()


# If nobody ended silent connections, they would be there for ever, and count against the limit.
@pytest.mark.parametrize(
    ("state", "end"),
    [
        ({"_head_since": 0.0}, "abort"),
        ({"_body_until": 99.0}, "late body"),
        ({"_body_until": 101.0}, None),
        ({"_linger_until": 99.0, "_head_since": 0.0}, "close"),
        ({"_linger_until": 101.0, "_head_since": 0.0}, None),
        ({"_stalled_since": 0.0}, "abort"),
        ({"_idle_since": 0.0}, "close"),
        ({"_idle_since": 70.0}, None),
        ({}, None),
    ],
)
def test_late_callers_are_cut_off_and_silent_ones_let_go(state: dict[str, float], end: str | None):
    ended: list[str] = []
    names = ("_head_since", "_body_until", "_idle_since", "_stalled_since", "_linger_until")
    connection = SimpleNamespace(
        limits=replace(LIMITS, head_s=10.0),
        timeout_keep_alive=75,
        _close=lambda _: ended.append("close"),
        _reset=lambda: ended.append("abort"),
        _end_body=lambda: ended.append("late body"),
        **dict.fromkeys(names) | state,
    )
    GuardedProtocol.cut_off(connection, 100.0)
    assert ended == ([end] if end else [])


# If this failed, one address could take every connection there is, or a proxy would be taken for a single caller.
@pytest.mark.parametrize(
    ("peer", "most"), [("203.0.113.7", 2), ("::ffff:203.0.113.7", 2), ("2001:db8::7", 2), ("127.0.0.1", 3), ("::1", 3)]
)
def test_connections_are_limited_by_address(peer: str, most: int):
    kind = guard(replace(LIMITS, connections_per_address=2, connections_from_loopback=3))
    ended: list[str] = []

    def connect(address: str) -> GuardedProtocol:
        transport = SimpleNamespace(
            get_extra_info=lambda name: (address, 1) if name == "peername" else None,
            write=lambda data: ended.append(f"{address} {data.split()[1].decode()}"),
            close=lambda: ended.append(f"{address} closed"),
            is_closing=lambda: False,
        )
        protocol = kind(
            uvicorn.Config(app, lifespan="off", log_config=None), ServerState(), {}, SimpleNamespace(time=lambda: 0.0)
        )
        protocol.connection_made(transport)
        return protocol

    there = [connect(peer) for _ in range(most)]
    connect("198.51.100.1")
    assert ended == []
    refused = connect(peer)
    assert ended == [f"{peer} 503", f"{peer} closed"]
    for gone in (refused, there[0]):
        gone.connection_lost(OSError())
    connect(peer)
    assert len(ended) == 2
    last = connect("192.0.2.1")
    last.connection_lost(OSError())
    assert kind.peers == {peer_of(peer)[0]: most, "198.51.100.1": 1}


# If this failed, whoever has one IPv6 address would have as many connections as it wants.
def test_addresses_of_one_network_are_one():
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff:1") == ("2001:db8::/64", False)
    assert peer_of("2001:db8:0:1::1") != peer_of("2001:db8::1")
    assert peer_of("fe80::1%eth0") == ("fe80::/64", False)
    assert (peer_of("::ffff:127.0.0.1"), peer_of("::1")[1], peer_of("")) == (("127.0.0.1", True), True, ("", False))
