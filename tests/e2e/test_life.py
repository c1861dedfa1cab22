"""A gateway's life: first start, restart, shutdown, a database that dies, several processes on one folder."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
from gateway import Caller, Gateway, urls


# If this failed, a restart would take longer than anybody notices, or lose what was there.
async def test_restarted_it_is_ready_soon_and_remembers(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "data")
    try:
        gateway.start()
        key = gateway.key
        async with aiohttp.ClientSession() as session:
            data = await Caller(gateway, session).draw()
        assert gateway.stop() == 0
        gateway.start()
        assert gateway.ready_s < 4  # 2 s on an idle machine; the tests share theirs
        assert gateway.key == key
        assert set(gateway.ready) == {"event", "url", "api_key", "data_dir", "login_url"}
        async with aiohttp.ClientSession() as session:
            caller = Caller(gateway, session)
            again = (await caller.status(data["taskId"]))["data"]
            assert again["state"] == "success"
            assert await caller.fetch(urls(again)[0])
    finally:
        gateway.close()


# If this failed, an outage of the database would be final, or be answered with 401.
async def test_a_database_that_dies_is_restarted_under_a_living_gateway(tmp_path: Path) -> None:
    with Gateway(tmp_path / "data") as gateway:
        async with aiohttp.ClientSession() as session:
            caller = Caller(gateway, session)
            await caller.draw()
            gateway.kill_database()
            statuses = set()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                status, answer = await caller.submit(
                    {"input": {"mode": "text-to-image", "prompt": "a", "max_images": 1}}
                )
                statuses.add(status)
                if status == 200:
                    break
                await asyncio.sleep(0.05)
            assert statuses <= {200, 503}
            assert (await caller.end(answer["data"]["taskId"]))["state"] == "success"


# If this failed, a deploy would cut off callers or lose the tasks in hand.
async def test_shutdown_hands_back_what_is_unfinished(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "data")
    try:
        gateway.start()
        async with aiohttp.ClientSession() as session:
            caller = Caller(gateway, session)
            body = {"input": {"mode": "text-to-image", "prompt": "[[slow:30]]", "max_images": 2}}
            slow = [(await caller.submit(body))[1]["data"]["taskId"] for _ in range(3)]
            started = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - started < 25
            gateway.start()
            states = [(await caller.status(task))["data"]["state"] for task in slow]
            assert set(states) <= {"pending", "processing"}
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGTERM)
            await _until_refused(session, gateway.url + "/readyz")
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(5) == 130
    finally:
        gateway.close()


async def _until_refused(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the gateway says, or shows, that it is leaving."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 503:
                        return
            except aiohttp.ClientError:
                return
            await asyncio.sleep(0.01)


# If this failed, serving and working could not be two processes, or a dead worker's tasks would stay.
async def test_serve_and_work_are_separate_and_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = Gateway(data)
    try:
        first.start()
        assert first.stop() == 0
        serving = Gateway(data, command=("serve", "--port", "0"))
        serving.start()
        workers = [_worker(data), _worker(data)]
        try:
            async with aiohttp.ClientSession() as session:
                caller = Caller(serving, session)
                body = {"input": {"mode": "text-to-image", "prompt": "[[slow:0.5]]", "max_images": 4}}
                tasks = [(await caller.submit(body))[1]["data"]["taskId"] for _ in range(4)]
                while (await caller.status(tasks[0]))["data"]["state"] == "pending":
                    await asyncio.sleep(0.02)
                workers[0].kill()
                for task in tasks:
                    assert (await caller.end(task))["state"] == "success"
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
                assert worker.stdout is not None
                worker.stdout.close()
        assert serving.stop() == 0
    finally:
        first.close()


def _worker(data: Path) -> "subprocess.Popen[bytes]":
    worker = subprocess.Popen(
        [sys.executable, "-m", "seedgate", "work", "--data", str(data)],
        env=os.environ | {"SEEDGATE_WORK__ENGINE": "blank", "SEEDGATE_LOG_LEVEL": "error"},
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert json.loads(worker.stdout.readline())["event"] == "ready"
    return worker


# If this failed, nobody could tell whether the gateway lives, serves, or falls behind.
async def test_health_and_metrics(tmp_path: Path) -> None:
    with Gateway(tmp_path / "data") as gateway:
        async with aiohttp.ClientSession() as session:
            await Caller(gateway, session).draw()
            for path in ("/healthz", "/readyz"):
                async with session.get(gateway.url + path) as response:
                    assert response.status == 200
            async with session.get(gateway.url + "/metrics") as response:
                text = await response.text()
            assert 'seedgate_requests_total{dialect="apixo",intent="submit",status="200"} 1.0' in text
            assert "seedgate_database_up 1.0" in text
            async with session.get(gateway.url + "/nothing") as response:
                assert (response.status, await response.json()) == (404, {"error": "not found"})
