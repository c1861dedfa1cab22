"""The database is stopped, killed, restarted and cut off under a gateway that serves: nobody is told a lie."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from faults import Proxy, proxied
from gateway import Caller, Gateway
from world import PRICE, World, url

from seedgate.accounts import secret
from seedgate.ids import Ids, KeyKind, key_digest
from seedgate.store import migrate
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

OUTAGE_S = 2.5
STOPPED_S = 3.5
RECOVERY_S = 8.0
HEALTH_S = 0.5
UP, SPLIT = "up", "serve and work"
BOTH = pytest.mark.parametrize("installation", [UP, SPLIT], indirect=True)
ALONE = pytest.mark.parametrize("installation", [SPLIT], indirect=True)
PATHS = (
    "/api/v1/apikeys/current-balance",
    "/api/v1/statusTask/seedream-4-5?taskId=" + "0" * 32,
    "/seedgate/v1/balance",
    "/seedgate/v1/tasks",
    "/seedgate/v1/files",
)


@dataclass
class Installation:
    """A gateway, and a hand on its database's server."""

    gateway: Gateway
    server: EmbeddedServer
    revives: bool
    """Whether the gateway restarts the server itself."""

    @property
    def pids(self) -> list[int]:
        """The server's first process and those that it made."""
        first = self.server._process[0]
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def signal(self, number: int) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def dsn(self) -> Dsn:
        return Dsn(self.server.dsn_kwargs)


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("faults")
    with ExitStack() as stack:
        if request.param == UP:
            gateway = stack.enter_context(Gateway(folder / "data"))
            server = stack.enter_context(EmbeddedServer.open(folder / "data"))
            yield Installation(gateway, server, revives=True)
            return
        stack.callback(EmbeddedServer.discard, folder / "server")
        server = stack.enter_context(EmbeddedServer.open(folder / "server"))
        asyncio.run(_migrate(Dsn(server.dsn_kwargs)))
        env = {"SEEDGATE_DATABASE_URL": url(Dsn(server.dsn_kwargs))}
        gateway = stack.enter_context(Gateway(folder / "data", env=env, command=("serve", "--port", "0")))
        worker = Gateway(folder / "data", env=env, command=("work",))
        worker.start()
        stack.callback(worker.kill)
        yield Installation(gateway, server, revives=False)


async def _migrate(dsn: Dsn) -> None:
    database = Database(dsn)
    await migrate.migrate(database)
    await database.close()


@dataclass
class Watch:
    """Callers who submit, ask and retry while something happens to the database, and what they were told."""

    installation: Installation
    session: aiohttp.ClientSession
    unused: list[str]
    """Keys that no process has seen yet."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: dict[str, set[str]] = field(default_factory=dict)
    """What each idempotency key was answered with."""
    refused: int = 0
    ready: set[int] = field(default_factory=set)

    async def submits(self, name: str) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            key = f"{name} {number} {time.monotonic_ns()}"
            while (task_id := await self._submit(key, self.installation.gateway.key)) is None:
                await asyncio.sleep(0.1)
            # Whoever repeats a submit gets its task, whatever happened to the first answer.
            again = await self._submit(key, self.installation.gateway.key)
            self.tasks[key] = {task_id} | ({again} if again else set())
            await asyncio.sleep(0.03)

    async def asks(self) -> None:
        while not self.over.is_set():
            for path in PATHS:
                status, _ = await self._told("GET", path, self.installation.gateway.key)
                assert status in {200, 404, 503}, (path, status)
            await asyncio.sleep(0.03)

    async def comes_new(self) -> None:
        """A key that is not cached is known, or nobody can say; it is never unknown."""
        while not self.over.is_set() and self.unused:
            key = self.unused.pop()
            status, _ = await self._told("GET", PATHS[len(self.unused) % len(PATHS)], key)
            assert status in {200, 404, 503}, status
            await asyncio.sleep(0.1)

    async def looks(self) -> None:
        base = self.installation.gateway.url
        while not self.over.is_set():
            asked_at = time.monotonic()
            async with self.session.get(f"{base}/healthz") as response:
                assert response.status == 200
            assert time.monotonic() - asked_at < HEALTH_S
            async with self.session.get(f"{base}/readyz") as response:
                assert response.status in {200, 503}
                self.ready.add(response.status)
            async with self.session.get(f"{base}/metrics") as response:
                assert response.status == 200
            await asyncio.sleep(0.05)

    async def _submit(self, name: str, key: str) -> str | None:
        body = {"input": {"mode": "text-to-image", "prompt": "a fox [[slow:0.05]]", "max_images": 1}}
        path = "/api/v1/generateTask/seedream-4-5"
        status, answer = await self._told("POST", path, key, json=body, name=name)
        assert status in {200, 503}, answer
        return answer["data"]["taskId"] if status == 200 else None

    async def _told(self, method: str, path: str, key: str, *, json: Any = None, name: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"} | ({"Idempotency-Key": name} if name else {})
        async with self.session.request(
            method, self.installation.gateway.url + path, json=json, headers=headers
        ) as response:
            answer = await response.json()
        if response.status == 503:
            self.refused += 1
            assert 1 <= int(response.headers["Retry-After"]) <= 59
            # Only where nobody knows whether the task was written is nothing said of its price.
            assert response.headers.get("X-Seedgate-Charged", "0" if json else "") == "0"
        return response.status, answer

    async def recover(self) -> None:
        """Wait until everything answers again, which must be soon."""
        started = time.monotonic()
        base = self.installation.gateway.url
        while True:
            async with self.session.get(f"{base}/readyz") as response:
                ready = response.status == 200
            if ready and await self._submit(f"recovered {time.monotonic_ns()}", self.installation.gateway.key):
                return
            assert time.monotonic() - started < RECOVERY_S
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def watched(installation: Installation) -> AsyncIterator[Watch]:
    """Load on a gateway; afterwards it must be whole again, and every submit one task."""
    database = Database(installation.dsn)
    world = World(database)
    pepper = secret.load(installation.gateway.data, given="", file="").derive("key pepper")
    account = await world.account()
    unused = [Ids().api_key(KeyKind.TEST) for _ in range(40)]
    for key in unused:
        await world.key(account, digest=key_digest(pepper, key))
    async with aiohttp.ClientSession() as session:
        watch = Watch(installation, session, unused)
        load = [asyncio.create_task(watch.submits(f"caller {n}")) for n in range(3)]
        load += [asyncio.create_task(each()) for each in (watch.asks, watch.comes_new, watch.looks)]
        try:
            await asyncio.sleep(0.3)
            yield watch
            await watch.recover()
        finally:
            watch.over.set()
            await asyncio.gather(*load)
    assert watch.tasks
    assert all(len(ids) == 1 for ids in watch.tasks.values())
    assert await world.findings() == []
    await database.close()
    assert "request_failed" not in installation.gateway.log()


async def _cut_off(installation: Installation) -> None:
    connection = await asyncpg.connect(**installation.dsn.arguments)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'seedgate'"
    )
    await connection.close()


# If this failed, an administrator's or a failover's cut connections would be errors, or a restart would be needed.
@BOTH
async def test_all_connections_are_terminated(installation: Installation) -> None:
    async with watched(installation):
        for _ in range(4):
            await _cut_off(installation)
            await asyncio.sleep(0.2)


# If this failed, a database that hangs would take the gateway along, or make it say what it does not know.
@ALONE
async def test_a_stopped_server_is_waited_for(installation: Installation) -> None:
    async with watched(installation) as watch:
        installation.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(STOPPED_S)
        finally:
            installation.signal(signal.SIGCONT)
    assert watch.ready == {200, 503}


# If this failed, an outage would look like a wrong key, lose tasks, or outlive its cause.
@BOTH
async def test_a_killed_server_comes_back(installation: Installation) -> None:
    async with watched(installation) as watch:
        installation.signal(signal.SIGKILL)
        if not installation.revives:
            await asyncio.sleep(OUTAGE_S)
            await asyncio.to_thread(installation.server.ensure_running)
    if not installation.revives:
        assert watch.ready == {200, 503}
        assert watch.refused > 10


# If this failed, a caller whose answer was lost inside would pay for a task that it never hears of, or for two.
async def test_a_lost_commit_is_found_again(lasting: Dsn, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="sg") as folder:
        async with proxied(lasting, Path(folder)) as (proxy, _):
            env = {"SEEDGATE_DATABASE_URL": url(lasting, host=folder)}
            gateway = Gateway(tmp_path / "data", env=env, command=("serve", "--port", "0"))
            await asyncio.to_thread(gateway.start)
            try:
                async with aiohttp.ClientSession() as session:
                    for lose in ("question", "answer"):
                        await _lose(gateway, session, proxy, lose, World(Database(lasting)))
            finally:
                await asyncio.to_thread(gateway.kill)


async def _lose(gateway: Gateway, session: aiohttp.ClientSession, proxy: Proxy, lose: str, world: World) -> None:
    async def submit(prompt: str) -> str:
        body = {"input": {"mode": "text-to-image", "prompt": prompt, "max_images": 1}}
        status, answer = await Caller(gateway, session).submit(body)
        assert status == 200, answer
        return answer["data"]["taskId"]

    async def held() -> int:
        rows = await world.database.fetch("SELECT sum(held_micros)::bigint AS n FROM account")
        return rows[0]["n"]

    await submit("to connect")
    before = await held()
    proxy.about, proxy.lose = f"lost {lose}".encode(), lose
    task_id = await submit(f"lost {lose}")
    assert proxy.lost.is_set()
    rows = await world.database.fetch("SELECT id FROM task WHERE request LIKE $1", f"%lost {lose}%")
    assert [row["id"].hex for row in rows] == [task_id]
    assert await held() == before + PRICE
    assert await world.findings() == []
    await world.database.close()


# If this failed, a gateway with too few connections would start, and refuse its callers without a word to its operator.
@ALONE
async def test_too_few_connections_are_told_at_the_start(installation: Installation, tmp_path: Path) -> None:
    connection = await asyncpg.connect(**installation.dsn.arguments)
    rules = installation.server._cluster.base / "pg_hba.conf"
    usual = rules.read_text()
    try:
        rules.write_text(f"local all limited trust\n{usual}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute(
            "CREATE ROLE limited LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data, pg_write_all_data"
        )
        env = os.environ | {"SEEDGATE_DATABASE_URL": url(installation.dsn, user="limited")}
        env |= {"SEEDGATE_SECRET_KEY_FILE": str(installation.gateway.data / "secret.key")}
        for command in (("serve", "--port", "0"), ("work",)):
            ended = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "seedgate", *command, "--data", tmp_path],
                env=env,
                capture_output=True,
                timeout=20,
            )
            said = ended.stderr.decode()
            assert ended.returncode != 0
            assert "lets in 1 connections at most" in " ".join(said.split()), said
            assert "CONNECTION LIMIT" in said
    finally:
        await connection.execute("DROP ROLE IF EXISTS limited")
        await connection.close()
        rules.write_text(usual)


# If this failed, a server whose connections others have taken would look like a wrong key or a mistake of ours.
@ALONE
async def test_connections_that_others_have_are_waited_for(installation: Installation) -> None:
    taken = []
    async with watched(installation):
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while len(taken) < 500:
                taken.append(await asyncpg.connect(**installation.dsn.arguments))
        with contextlib.suppress(asyncpg.PostgresError):
            await taken[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'seedgate'"
            )
        for _ in range(20):
            with contextlib.suppress(asyncpg.TooManyConnectionsError):
                taken.append(await asyncpg.connect(**installation.dsn.arguments))
        await asyncio.sleep(1)
        for each in taken:
            each.terminate()


# If this failed, a task would be lost, drawn for nothing, or left open by whatever happened to the database before.
@BOTH
async def test_and_every_accepted_task_has_ended_once(installation: Installation) -> None:
    database = Database(installation.dsn)
    async with asyncio.timeout(30):
        while await database.fetch("SELECT 1 FROM task WHERE state < 10 LIMIT 1"):
            await asyncio.sleep(0.05)
    rows = await database.fetch("SELECT DISTINCT state, delivered FROM task")
    assert {tuple(row) for row in rows} <= {(10, 1)}
    assert await World(database).findings() == []
    await database.close()
