"""Cancelling over HTTP: a task ends early, its caller pays for what came, and its engine is free for the next one."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from gateway import Caller, Gateway, urls
from world import PRICE, SLOW_S

from seedgate.store import ledger
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

SOON_S = 5.0
"""A cancellation is heard within a second, also where its notification is lost; the tests share their machine."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    env = {"SEEDGATE_WORK__ENGINE_PROCESSES": "1"}
    with Gateway(tmp_path_factory.mktemp("cancel") / "data", env=env) as running:
        yield running


@pytest.fixture
async def caller(gateway: Gateway) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(gateway, session)
        # Whatever was cancelled, the one engine is free for the next task.
        assert (await Caller(gateway, session).draw())["state"] == "success"
    await _books_are_right(gateway)


async def _balance(caller: Caller) -> int:
    """What can be spent, in micro-dollars."""
    url = f"{caller.gateway.url}/api/v1/apikeys/current-balance"
    async with caller.session.get(url, headers=caller.headers) as answer:
        return round((await answer.json())["data"] * 1_000_000)


async def _submit(caller: Caller, prompt: str, **more: Any) -> str:
    body = {"input": {"mode": "text-to-image", "prompt": prompt, "max_images": 1} | more}
    status, answer = await caller.submit(body)
    assert status == 200, answer
    return str(answer["data"]["taskId"])


async def _cancel(
    caller: Caller, task_id: str, *, base: str = "/api/v1", model: str = "seedream-4-5", key: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else caller.headers
    url = f"{caller.gateway.url}{base}/statusTask/{model}?taskId={task_id}"
    async with caller.session.delete(url, headers=headers) as response:
        return response.status, await response.json()


async def _running(caller: Caller, task_id: str) -> None:
    async with asyncio.timeout(10):
        while (await caller.status(task_id))["data"]["state"] == "pending":
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _database(gateway: Gateway) -> AsyncIterator[Database]:
    with EmbeddedServer.open(gateway.data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        yield database
        await database.close()


async def _books_are_right(gateway: Gateway) -> None:
    async with _database(gateway) as database:
        _, findings = await ledger.check(database)
    assert findings == []


async def _delivered(gateway: Gateway, task_id: str) -> None:
    """Wait until a picture of the task counts."""
    async with _database(gateway) as database, asyncio.timeout(10):
        while not await database.fetch("SELECT 1 FROM image WHERE task_id = $1", UUID(task_id)):
            await asyncio.sleep(0.02)


# If this failed, a task that has not begun could not be called off, or its money stayed away.
@pytest.mark.parametrize("base", ["/api/v1", ""])
async def test_a_waiting_task_ends_at_once(base: str, caller: Caller) -> None:
    busy = [await _submit(caller, "[[slow:60]]") for _ in range(2)]
    for task_id in busy:
        await _running(caller, task_id)
    before = await _balance(caller)
    waiting = await _submit(caller, "a fox", max_images=4)
    status, answer = await _cancel(caller, waiting, base=base)
    assert (status, answer["code"], answer["message"]) == (200, 200, "success")
    assert (answer["data"]["state"], answer["data"]["failCode"]) == ("failed", "Cancelled")
    assert answer == await caller.status(waiting)
    assert await _balance(caller) == before
    for task_id in busy:
        await _cancel(caller, task_id)
        assert (await caller.end(task_id, within_s=SOON_S))["failCode"] == "Cancelled"


# If this failed, pictures that came would be thrown away, or pictures that did not would be paid.
async def test_a_series_keeps_what_was_delivered(caller: Caller, gateway: Gateway) -> None:
    before = await _balance(caller)
    task_id = await _submit(caller, "[[slow:1]]", max_images=4, sequential_image_generation="auto")
    await _delivered(gateway, task_id)
    status, answer = await _cancel(caller, task_id)
    assert (status, answer["data"]["state"]) == (200, "processing")
    data = await caller.end(task_id, within_s=SOON_S)
    assert data["state"] == "success"
    (url,) = urls(data)
    assert await caller.fetch(url)
    assert await _balance(caller) == before - PRICE
    assert await _cancel(caller, task_id) == (200, await caller.status(task_id))


# If this failed, independent pictures that nobody has begun would be drawn after all.
async def test_what_runs_is_stopped_and_what_waits_is_released(caller: Caller) -> None:
    before = await _balance(caller)
    task_id = await _submit(caller, "[[slow:60]]", max_images=4)
    await _running(caller, task_id)
    first = await _cancel(caller, task_id)
    second = await _cancel(caller, task_id)
    assert (first[0], first[1]["data"]["state"]) == (200, "processing")
    assert second[0] == 200
    assert (await caller.end(task_id, within_s=SOON_S))["failCode"] == "Cancelled"
    assert await _balance(caller) == before
    last = await _cancel(caller, task_id)
    assert last == (200, await caller.status(task_id)) == await _cancel(caller, task_id)


# If this failed, a cancellation would go unheard where notifications do not come through, as behind a pooler.
async def test_a_lost_notification_delays_it_by_a_second(caller: Caller, gateway: Gateway) -> None:
    task_id = await _submit(caller, "[[slow:60]]")
    await _running(caller, task_id)
    async with _database(gateway) as database, database.write() as tx:
        await tx.execute("UPDATE task SET cancel_requested_at = seedgate_now() WHERE id = $1", UUID(task_id))
    assert (await caller.end(task_id, within_s=SOON_S))["failCode"] == "Cancelled"


# If this failed, a finished task could be taken back, and its pictures with it.
async def test_a_finished_task_answers_its_status(caller: Caller) -> None:
    data = await caller.draw()
    for _ in range(2):
        assert await _cancel(caller, data["taskId"]) == (200, await caller.status(data["taskId"]))
    assert (await caller.status(data["taskId"]))["data"] == data


# If this failed, anybody could end anybody's tasks, or find out which there are.
async def test_strangers_get_the_status_route_s_answers(caller: Caller, gateway: Gateway) -> None:
    task_id = await _submit(caller, "[[slow:60]]")
    key = json.loads(_command(gateway, "keys", "create", "--account", "other").stdout)["key"]
    url = f"{gateway.url}/api/v1/statusTask"
    headers = {"Authorization": f"Bearer {key}"}
    for path, who in (
        (f"seedream-4-5?taskId={task_id}", headers),
        (f"seedream-5-0?taskId={task_id}", caller.headers),
        (f"seedream-4-5?taskId={'0' * 32}", caller.headers),
        ("seedream-4-5?taskId=7", caller.headers),
        ("seedream-4-5", caller.headers),
        (f"seedream-9?taskId={task_id}", caller.headers),
        (f"seedream-4-5?taskId={task_id}", {}),
    ):
        async with caller.session.get(f"{url}/{path}", headers=who) as asked:
            expected = asked.status, await asked.json()
        async with caller.session.delete(f"{url}/{path}", headers=who) as cancelled:
            assert (cancelled.status, await cancelled.json()) == expected
        assert expected[0] >= 400
    assert (await caller.status(task_id))["data"]["state"] in {"pending", "processing"}
    await _cancel(caller, task_id)


# If this failed, a slow host would hold a task, and its money, that nobody wants any more.
async def test_references_are_not_waited_for(caller: Caller, references: str) -> None:
    addresses = [f"{references}/slow/ref.jpg"]
    task_id = await _submit(caller, "a fox", mode="image-to-image", image_urls=addresses, max_images=3)
    await _running(caller, task_id)
    await _cancel(caller, task_id)
    data = await caller.end(task_id, within_s=SLOW_S)
    assert data["failCode"] == "Cancelled"
    assert data["completeTime"] - data["createTime"] < SLOW_S * 1000


# If this failed, an operator could call nothing off while nothing runs, or a task would be drawn after it was called off,
# because its worker died at the wrong moment.
async def test_a_worker_dies_between_the_request_and_the_stop(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "data", env={"SEEDGATE_WORK__ENGINE_PROCESSES": "1"})
    try:
        gateway.start()
        assert gateway.process is not None
        async with aiohttp.ClientSession() as session:
            caller = Caller(gateway, session)
            running = await _submit(caller, "[[slow:60]]")
            await _running(caller, running)
            await _submit(caller, "[[slow:60]]")  # fills the worker's hands
            waiting = await _submit(caller, "[[slow:60]]", max_images=2)
            nobody = "0" * 32
            gateway.process.send_signal(signal.SIGSTOP)
            beside = _command(gateway, "tasks", "cancel", running, nobody, fails=True)
            gateway.kill()
        (left,) = json.loads(beside.stdout)["tasks"]
        assert (left["id"], left["state"], left["ended"], left["running"]) == (running, "processing", False, 1)
        assert json.loads(beside.stdout)["unknown"] == [nobody]
        assert f"no task {nobody}" in beside.stderr.decode()
        alone = json.loads(_command(gateway, "tasks", "cancel", waiting, running, waiting).stdout)
        assert [task["id"] for task in alone["tasks"]] == [waiting, running]
        assert alone["tasks"][1] == left
        assert (alone["tasks"][0]["state"], alone["tasks"][0]["released_micros"]) == ("cancelled", 2 * PRICE)
        gateway.start()
        async with aiohttp.ClientSession() as session:
            assert (await Caller(gateway, session).end(running, within_s=15))["failCode"] == "Cancelled"
        story = json.loads(_command(gateway, "tasks", "show", running).stdout)
        assert [attempt["epoch"] for attempt in story["attempts"]] == [1]
        assert story["cancel_requested_at"]
        assert sum(event["what"].startswith("cancellation asked for: operator ") for event in story["timeline"]) == 1
        await _books_are_right(gateway)
    finally:
        gateway.close()


def _command(gateway: Gateway, *words: str, fails: bool = False) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(
        [sys.executable, "-m", "seedgate", *words, "--data", str(gateway.data), "--json"],
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done
