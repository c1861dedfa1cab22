"""Whatever an engine does, a task ends with its documented words, refunded, and the gateway stays up."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from gateway import Caller, Gateway, urls

from seedgate.store import ledger
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    env = {"SEEDGATE_WORK__ENGINE_JOB_S": "2", "SEEDGATE_WORK__DEADLINE_S": "12"}
    with Gateway(tmp_path_factory.mktemp("faults") / "data", env=env) as running:
        yield running


@pytest.fixture
async def caller(strict: Gateway) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(strict, session)


async def _findings(data: Path) -> list[ledger.Finding]:
    with EmbeddedServer.open(data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        _, findings = await ledger.check(database)
        await database.close()
    return findings


# If this failed, a broken engine would charge for nothing, keep a task open for ever, or end the gateway.
@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("[[crash]]", "UpstreamError"),
        ("[[fail]]", "UpstreamError"),
        ("[[torn]]", "FinalizeError"),
        ("[[wrong-size]]", "FinalizeError"),
        ("[[refuse]]", "Validation error"),
        ("[[hang]]", "UpstreamError"),
    ],
)
async def test_engine_faults_are_refunded(prompt: str, code: str, caller: Caller, strict: Gateway) -> None:
    data = await caller.draw(prompt=prompt)
    assert (data["state"], data["failCode"]) == ("failed", code)
    assert data["failMsg"]
    good = await caller.draw()
    assert good["state"] == "success"
    assert await _findings(strict.data) == []


# If this failed, a task would hold its money for as long as its engine likes.
async def test_a_deadline_ends_a_task(tmp_path: Path) -> None:
    env = {"SEEDGATE_WORK__DEADLINE_S": "2"}
    with Gateway(tmp_path / "data", env=env) as gateway:
        async with aiohttp.ClientSession() as session:
            caller = Caller(gateway, session)
            data = await caller.draw(prompt="[[slow:60]]", max_images=3)
            assert (data["state"], data["failCode"]) == ("failed", "Timeout")
            assert data["completeTime"] - data["createTime"] < 8000
            assert (await caller.draw())["state"] == "success"
        assert await _findings(gateway.data) == []


# If this failed, a worker that hangs would keep its tasks, or come back and overwrite what another one has done.
@pytest.mark.timeout(120)
async def test_a_stalled_worker_is_replaced_within_ten_seconds(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = Gateway(data)
    serving = Gateway(data, command=("serve", "--port", "0"))
    workers: list[subprocess.Popen[bytes]] = []
    try:
        first.start()
        assert first.stop() == 0
        serving.start()
        stalled = _worker(data)
        workers.append(stalled)
        async with aiohttp.ClientSession() as session:
            caller = Caller(serving, session)
            body = {"input": {"mode": "text-to-image", "prompt": "[[slow:1]]", "max_images": 1}}
            task = (await caller.submit(body))[1]["data"]["taskId"]
            while (await caller.status(task))["data"]["state"] == "pending":
                await asyncio.sleep(0.02)
            os.kill(stalled.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            other = _worker(data)
            workers.append(other)
            ended = await caller.end(task, within_s=40)
            # 10 s to move on, and a busy machine's time for starting a worker and drawing for a second.
            assert time.monotonic() - stopped < 16
            assert ended["state"] == "success"
            os.kill(stalled.pid, signal.SIGCONT)
            for worker in workers:
                worker.terminate()
                assert worker.wait(30) == 0
            assert (await caller.end(task))["resultJson"] == ended["resultJson"]
            assert await caller.fetch(urls(ended)[0])
        assert serving.stop() == 0
        assert await _findings(data) == []
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()
        if serving.process is not None:
            serving.kill()
        first.close()


def _worker(data: Path) -> "subprocess.Popen[bytes]":
    worker = subprocess.Popen(
        [sys.executable, "-m", "seedgate", "work", "--data", str(data)],
        env=os.environ | {"SEEDGATE_WORK__ENGINE": "blank", "SEEDGATE_LOG_LEVEL": "error"},
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert b"ready" in worker.stdout.readline()
    return worker
