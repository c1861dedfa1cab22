"""One connection: whole answers in one write, in order, and an end for whoever is silent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.server import ServerState

from seedgate.web.protocol import RESPOND, ConnectionLimits, GuardedProtocol, _peer, guard
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
    """Answers with the path the short way, or the long way where the path says so; `/slow` takes its time."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    body = scope["path"].encode()
    length = b"content-length: %d\r\n" % len(body)
    if scope["path"] != "/long" and scope["extensions"][RESPOND](200, length, body):
        return
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Sends bytes on a connection of their own and gives what comes back until it is closed, or for half a second."""
    listener, stopping, ready = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve(app, listener, stopping=stopping, ready=ready, limits=LIMITS))
    await ready.wait()

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

    yield send
    stopping.set()
    await serving


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


# If nobody ended silent connections, they would be there for ever, and count against the limit.
@pytest.mark.parametrize(
    ("state", "end"),
    [
        ({"_head_since": 0.0}, "abort"),
        ({"_body_since": 0.0}, "abort"),
        ({"_stalled_since": 0.0}, "abort"),
        ({"_idle_since": 0.0}, "close"),
        ({"_idle_since": 70.0}, None),
        ({}, None),
    ],
)
def test_late_callers_are_cut_off_and_silent_ones_let_go(state: dict[str, float], end: str | None):
    ended: list[str] = []
    transport = SimpleNamespace(close=lambda: ended.append("close"))
    times = {"_head_since": None, "_body_since": None, "_idle_since": None, "_stalled_since": None} | state
    limits = replace(LIMITS, head_s=10.0, body_s=15.0)
    connection = SimpleNamespace(
        limits=limits, timeout_keep_alive=75, transport=transport, _reset=lambda: ended.append("abort"), **times
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
    assert kind.peers == {_peer(peer)[0]: most, "198.51.100.1": 1}


# If this failed, whoever has one IPv6 address would have as many connections as it wants.
def test_addresses_of_one_network_are_one():
    assert _peer("2001:db8::1") == _peer("2001:db8::ffff:1") == ("2001:db8::/64", False)
    assert _peer("2001:db8:0:1::1") != _peer("2001:db8::1")
    assert _peer("fe80::1%eth0") == ("fe80::/64", False)
    assert (_peer("::ffff:127.0.0.1"), _peer("::1")[1], _peer("")) == (("127.0.0.1", True), True, ("", False))
