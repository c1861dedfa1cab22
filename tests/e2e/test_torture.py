"""Five hundred callers who take their time, while others do not notice."""

import asyncio
import os
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from gateway import Caller, Gateway, urls

OF_EACH_KIND, NON_READERS = 110, 60
HEAD_S, BODY_S, STALL_S = 3, 4, 4
SWEEP_S = 1
MOST = 600
"""Connections from this machine."""
FILL_S = 6.0
"""How long it takes until all buffers of those who do not read are full; from then on they are on the clock."""
LATE_S = 3.0
"""How much later than its limit a connection may end on a machine that does other things."""
PROBE_P99_S = 0.25
MAX_GROWTH_BYTES = 192 << 20
ESTABLISHED = 1
"""The first byte of Linux's TCP_INFO."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    limits = {"HEAD_S": HEAD_S, "BODY_S": BODY_S, "STALL_S": STALL_S, "CONNECTIONS_FROM_LOOPBACK": MOST}
    env = {f"SEEDGATE_LIMITS__{name}": str(value) for name, value in limits.items()}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with Gateway(tmp_path_factory.mktemp("torture") / "data", env=env) as running:
        yield running
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class Slow:
    """A caller on a socket of its own."""

    kind: str
    limit_s: float
    first: bytes
    drip: bytes = b""
    """What it sends of every second, if anything."""
    wire: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    started_at: float = 0.0
    ended_at: float | None = None

    async def begin(self, address: tuple[str, int]) -> None:
        self.wire.setblocking(False)
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.wire, address)
        self.started_at = time.monotonic()
        await loop.sock_sendall(self.wire, self.first)

    def look(self) -> None:
        """Notice the end, without reading what came."""
        if self.ended_at is not None:
            return
        if self.wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
            self.ended_at = time.monotonic()
            self.wire.close()

    def send(self) -> None:
        if self.ended_at is None and self.drip:
            try:
                self.wire.send(self.drip)
            except OSError:
                self.look()


def _callers(key: str, result: str) -> list[Slow]:
    credential = f"Host: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n".encode()
    post = b"POST /api/v1/generateTask/seedream-4-5 HTTP/1.1\r\n" + credential
    fetch = f"GET {result} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    senders = [
        lambda: Slow("head by bytes", HEAD_S, b"GET /", b"a"),
        lambda: Slow("body by bytes", BODY_S, post + b"Content-Length: 1000\r\n\r\n", b" "),
        lambda: Slow("half-open", HEAD_S, b"GET /healthz HTTP/1.1\r\nHost"),
        lambda: Slow("chunks by bytes", BODY_S, post + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ]
    readers = [Slow("never reads", FILL_S + STALL_S, fetch * 200) for _ in range(NON_READERS)]
    return [make() for make in senders for _ in range(OF_EACH_KIND)] + readers


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def _probe(gateway: Gateway, task_id: str, over: asyncio.Event) -> list[float]:
    """Seconds that two kinds of question took, asked one after the other on a connection of their own."""
    took = []
    headers = {"Authorization": f"Bearer {gateway.key}"}
    paths = ("/healthz", f"/api/v1/statusTask/seedream-4-5?taskId={task_id}")
    async with aiohttp.ClientSession(gateway.url) as session:
        while not over.is_set():
            for path in paths:
                asked_at = time.monotonic()
                async with session.get(path, headers=headers) as response:
                    assert response.status == 200
                    await response.read()
                took.append(time.monotonic() - asked_at)
            await asyncio.sleep(0.02)
    return sorted(took)


# If this failed, a few hundred idle laptops could keep everybody out, or fill the memory.
async def test_slow_callers_are_cut_off_and_nobody_notices(gateway: Gateway, caller: Caller) -> None:
    data = await caller.draw(prompt="torture", max_images=1)
    result = urls(data)[0].removeprefix(gateway.url)
    assert gateway.process is not None
    pid = gateway.process.pid
    memory, files = _memory(pid), _files(pid)
    slow = _callers(gateway.key, result)
    over = asyncio.Event()
    probing = asyncio.create_task(_probe(gateway, data["taskId"], over))
    try:
        peak, connected = await _endure(gateway, slow)
    finally:
        over.set()
        took = await probing
        for each in slow:
            each.wire.close()
    assert connected >= files + len(slow) - 50  # beside those who are gone already
    for each in slow:
        assert each.ended_at is not None, each.kind
        assert each.ended_at - each.started_at - each.limit_s < SWEEP_S + LATE_S, each.kind
    assert len(took) > 100
    assert took[int(len(took) * 0.99)] < PROBE_P99_S
    assert peak - memory < MAX_GROWTH_BYTES
    async with asyncio.timeout(5):
        while _files(pid) > files + 2:
            await asyncio.sleep(0.05)
    await caller.draw(prompt="afterwards", max_images=1)
    assert "request_failed" not in gateway.log()


async def _endure(gateway: Gateway, slow: list[Slow]) -> tuple[int, int]:
    """Let them come, and wait for their ends: the most memory that the gateway had, and the most open files."""
    assert gateway.process is not None
    host, port = gateway.url.removeprefix("http://").split(":")
    for group in range(0, len(slow), 50):
        await asyncio.gather(*(each.begin((host, int(port))) for each in slow[group : group + 50]))
    peak, connected, turn = 0, 0, 0
    ending = time.monotonic() + max(each.limit_s for each in slow) + SWEEP_S + LATE_S
    while any(each.ended_at is None for each in slow) and time.monotonic() < ending:
        turn += 1
        for each in slow:
            each.look()
            if turn % 10 == 0:
                each.send()
        peak = max(peak, _memory(gateway.process.pid))
        connected = max(connected, _files(gateway.process.pid))
        await asyncio.sleep(0.1)
    return peak, connected


# If this failed, a single address could take every connection.
async def test_one_address_has_a_limit(gateway: Gateway) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    there = [await asyncio.open_connection(host, int(port)) for _ in range(MOST)]
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b"Too many connections" in answer
    for _, each in (*there[1:], (reader, writer)):
        each.close()
    there[0][1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await there[0][0].read()
    there[0][1].close()
