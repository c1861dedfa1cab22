"""Killed at random moments, with and without its database: no accepted task is lost, none is paid twice."""

import asyncio
import os
import random
from pathlib import Path

import aiohttp
import pytest
from gateway import Caller, Gateway, urls

from seedgate.store import ledger
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

ROUNDS = int(os.environ.get("SEEDGATE_TEST_KILL_ROUNDS", "5"))
CALLERS = 6
PICTURES = 4


# If this failed, a task that was answered with 200 would be lost, end twice, or fail because somebody pulled a plug.
@pytest.mark.timeout(60 + 40 * ROUNDS)
async def test_killed_under_load_every_accepted_task_succeeds_once(tmp_path: Path) -> None:
    rng = random.Random(20261120)
    gateway = Gateway(tmp_path / "data")
    acknowledged: list[str] = []
    seen: dict[str, dict[str, object]] = {}
    try:
        for number in range(ROUNDS):
            gateway.start()
            await _all_succeed(gateway, acknowledged, seen)
            await _books_are_right(gateway)
            load = asyncio.create_task(_load(gateway, acknowledged))
            await asyncio.sleep(rng.uniform(0.05, 1.2))
            if number % 2:
                gateway.kill_database()
            gateway.kill()
            await load
        assert acknowledged
        gateway.start()
        await _all_succeed(gateway, acknowledged, seen)
        await _books_are_right(gateway)
        await _pictures_are_there(gateway, acknowledged, seen)
        assert gateway.stop() == 0
    finally:
        gateway.close()


async def _load(gateway: Gateway, acknowledged: list[str]) -> None:
    """Submit until the gateway is gone; only what was answered with 200 counts."""

    async def caller(session: aiohttp.ClientSession, name: int) -> None:
        me = Caller(gateway, session)
        for number in range(1000):
            pace = "[[slow:0.02]]" if number % 3 else ""
            body = {
                "input": {
                    "mode": "text-to-image",
                    "prompt": f"fox {name} {number} {pace}",
                    "max_images": PICTURES,
                    "sequential_image_generation": "auto" if number % 2 else "disabled",
                }
            }
            try:
                status, answer = await me.submit(body)
            except (aiohttp.ClientError, OSError):
                return
            if status == 200:
                acknowledged.append(answer["data"]["taskId"])
            await asyncio.sleep(0.05)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        await asyncio.gather(*(caller(session, name) for name in range(CALLERS)))


async def _all_succeed(gateway: Gateway, acknowledged: list[str], seen: dict[str, dict[str, object]]) -> None:
    async with aiohttp.ClientSession() as session:
        caller = Caller(gateway, session)
        for task_id in acknowledged:
            data = await caller.end(task_id, within_s=40)
            assert data["state"] == "success", data
            assert len(urls(data)) == PICTURES
            # Who saw success never sees anything else.
            assert _same(seen.setdefault(task_id, data), data)


def _same(first: dict[str, object], second: dict[str, object]) -> bool:
    """The same end; a gateway on another port gives its own addresses."""
    keys = ("state", "createTime", "completeTime")
    return all(first[key] == second[key] for key in keys)


async def _books_are_right(gateway: Gateway) -> None:
    with EmbeddedServer.open(gateway.data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        _, findings = await ledger.check(database)
        await database.close()
    assert findings == []


async def _pictures_are_there(gateway: Gateway, acknowledged: list[str], seen: dict[str, dict[str, object]]) -> None:
    """Every result can be fetched, and no file is there without a row but those of the last kills."""
    async with aiohttp.ClientSession() as session:
        caller = Caller(gateway, session)
        names = set()
        for task_id in acknowledged:
            for url in urls(await caller.end(task_id)):
                names.add(url.rsplit("/", 1)[1])
                assert await caller.fetch(url)
    stored = {path.name for path in (gateway.data / "results").rglob("*.jpg")}
    assert names <= stored
