"""A gateway in a process of its own, started the way its users start it."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from seedgate.domain.errors import ServerBroken
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

READY_S = 60.0
STOP_S = 30.0
TERMINAL = {"success", "failed"}


@dataclass
class Gateway:
    """One data folder, and the process that serves it, when it runs."""

    data: Path
    env: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ("up", "--port", "0")
    process: subprocess.Popen[bytes] | None = None
    ready: dict[str, Any] = field(default_factory=dict)
    ready_s: float = 0.0

    def start(self) -> None:
        started = time.monotonic()
        env = {name: value for name, value in os.environ.items() if not name.startswith(("SEEDGATE_", "DATABASE_URL"))}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "seedgate", *self.command, "--data", str(self.data)],
                env=env | {"SEEDGATE_WORK__ENGINE": "blank"} | self.env,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log()
        self.ready = json.loads(line)
        self.ready_s = time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would."""
        assert self.process is not None
        self.process.kill()
        self._forget()

    def kill_database(self) -> None:
        """SIGKILL for the database server's first process."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int((self.data / "postgres" / "server.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, as a supervisor would; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._forget()
        return code

    def _forget(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.wait(STOP_S)
        self.process.stdout.close()
        self.process = None

    def close(self) -> None:
        """Stop what runs and remove the database, which for root is not in the data folder."""
        if self.process is not None:
            self.kill()
        deadline = time.monotonic() + 5
        while True:
            try:
                EmbeddedServer.discard(self.data)
                return
            except ServerBroken:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def log(self) -> str:
        return self.log_file.read_text()[-4000:]

    @property
    def log_file(self) -> Path:
        return self.data.parent / f"{self.data.name}.log"

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """Rows of its own database, past everything that serves them."""
        with EmbeddedServer.open(self.data) as server:
            database = Database(Dsn(server.dsn_kwargs))
            try:
                return list(await database.fetch(statement, *arguments))
            finally:
                await database.close()

    @property
    def url(self) -> str:
        return self.ready["url"]

    @property
    def key(self) -> str:
        return self.ready["api_key"]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Caller:
    """Speaks APIXO's format to a gateway."""

    gateway: Gateway
    session: aiohttp.ClientSession

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.gateway.key}"}

    async def submit(self, body: Any, model: str = "seedream-4-5", **headers: str) -> tuple[int, dict[str, Any]]:
        url = f"{self.gateway.url}/api/v1/generateTask/{model}"
        sent = self.headers | {"Content-Type": "application/json"} | headers
        async with self.session.post(url, data=io.BytesIO(json.dumps(body).encode()), headers=sent) as response:
            return response.status, await response.json()

    async def status(self, task_id: str, model: str = "seedream-4-5") -> dict[str, Any]:
        url = f"{self.gateway.url}/api/v1/statusTask/{model}?taskId={task_id}"
        async with self.session.get(url, headers=self.headers) as response:
            return await response.json()

    async def end(self, task_id: str, model: str = "seedream-4-5", *, within_s: float = 60.0) -> dict[str, Any]:
        """The task once it has ended."""
        async with asyncio.timeout(within_s):
            while True:
                answer = await self.status(task_id, model)
                # While the database is away the answer is 503, never "not found" or "not authenticated".
                assert answer["code"] in {200, 503}, answer
                if answer["code"] == 200 and answer["data"]["state"] in TERMINAL:
                    data: dict[str, Any] = answer["data"]
                    return data
                await asyncio.sleep(0.05)

    async def draw(self, model: str = "seedream-4-5", **parameters: Any) -> dict[str, Any]:
        """Submit and wait for the end."""
        body = {"input": {"mode": "text-to-image", "prompt": "a fox", "max_images": 1} | parameters}
        status, answer = await self.submit(body, model)
        assert status == 200, answer
        return await self.end(answer["data"]["taskId"], model)

    async def fetch(self, url: str) -> bytes:
        async with self.session.get(url) as response:
            assert response.status == 200
            return await response.read()


def urls(data: dict[str, Any]) -> list[str]:
    return json.loads(data["resultJson"])["resultUrls"]
