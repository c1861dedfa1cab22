"""Sixty-four callers over four processes, who race for what there is only so much of."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from adapters import Way, ways
from gateway import Gateway
from races import CALLERS, RACES, Ask, Told, Who, last_credits
from world import World, url

from seedgate.accounts import secret
from seedgate.ids import Ids, KeyKind, key_digest
from seedgate.store.database import Database, Dsn

PROCESSES = 4
WAYS = ways()


@dataclass(frozen=True)
class Hall:
    """The processes on one data folder."""

    data: Path
    env: dict[str, str]
    urls: Sequence[str]
    pepper: bytes


@pytest.fixture(scope="module")
def hall(lasting: Dsn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    data = tmp_path_factory.mktemp("races") / "data"
    # The rates are raced for on a clock that is moved: with a day's deadline no task is over when the worker comes.
    env = {"SEEDGATE_WORK__DEADLINE_S": "86400", "SEEDGATE_LIMITS__CONCURRENT_TASKS": "0"}
    env |= {"SEEDGATE_LIMITS__SUBMITS_PER_MINUTE": "0", "SEEDGATE_LIMITS__REFUSALS_PER_SECOND": "0"}
    env["SEEDGATE_DATABASE_URL"] = url(lasting)
    serving = [Gateway(data, env=env, command=("serve", "--port", "0")) for _ in range(PROCESSES)]
    with ExitStack() as stack:
        for each in serving:
            stack.callback(lambda each=each: each.process and each.kill())
        with ThreadPoolExecutor() as starting:
            list(starting.map(Gateway.start, serving))
        pepper = secret.load(data, given="", file="").derive("key pepper")
        yield Hall(data, env, [each.url for each in serving], pepper)


@dataclass
class Http:
    """See `races.Arena`: one listing, over every address and every process in turn."""

    hall: Hall
    way: Way
    world: World
    session: aiohttp.ClientSession

    @property
    def price(self) -> int:
        return self.way.listing.unit_price_micros

    async def key(self, account_id: UUID, **limits: int) -> Who:
        key = Ids().api_key(KeyKind.TEST)
        key_id = await self.world.key(account_id, digest=key_digest(self.hall.pepper, key), **limits)
        return Who(account_id=account_id, key_id=key_id, key=key)

    async def rush(self, asks: Sequence[Ask]) -> list[Told]:
        return await asyncio.gather(*(self._submit(number, ask) for number, ask in enumerate(asks)))

    async def _submit(self, number: int, ask: Ask) -> Told:
        adapter, paths = self.way.adapter, self.way.paths
        headers = dict(adapter.headers(ask.who.key))
        if ask.name is not None:
            headers["Idempotency-Key"] = ask.name
        if ask.retry:
            headers["x-stainless-retry-count"] = str(1 + number % 3)
        url = self.hall.urls[number % PROCESSES] + paths[number // PROCESSES % len(paths)]
        body = adapter.body(self.way.listing, f"a fox {ask.content}")
        async with self.session.post(url, json=body, headers=headers) as response:
            answer = await response.read()
            if response.ok:
                assert adapter.task_id(json.loads(answer))
                return Told(answer=answer, replayed=response.headers.get("Idempotency-Replayed") == "true")
            assert response.headers["X-Seedgate-Charged"] == "0"
            codes = [code for code, status in adapter.statuses(self.way.listing).items() if status == response.status]
            assert codes, (response.status, answer)
            return Told(refusal=codes)


@pytest.fixture
async def world(lasting: Dsn) -> AsyncIterator[World]:
    database = Database(lasting)
    yield World(database)
    await database.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLERS)) as session:
        yield session


# If this failed, several processes together would give away what one would have refused, or charge a retry twice.
@pytest.mark.parametrize("name", RACES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.listing.id)
async def test_races_over_http(way: Way, name: str, hall: Hall, world: World, session: aiohttp.ClientSession) -> None:
    await RACES[name](Http(hall, way, world, session))


# If this failed, what was accepted in a race would be lost, drawn twice or not paid; or settling would race with submits.
@pytest.mark.timeout(120)
async def test_what_was_accepted_is_drawn_and_paid_once(
    hall: Hall, world: World, session: aiohttp.ClientSession
) -> None:
    worker = Gateway(hall.data, env=hall.env, command=("work",))
    worker.start()
    try:
        for way in WAYS:
            await last_credits(Http(hall, way, world, session))
        async with asyncio.timeout(30):
            while await world.database.fetch("SELECT 1 FROM task WHERE state < 10 LIMIT 1"):
                await asyncio.sleep(0.05)
        rows = await world.database.fetch("SELECT DISTINCT state, delivered FROM task")
        assert [tuple(row) for row in rows] == [(10, 1)]
        rows = await world.database.fetch("SELECT id FROM account WHERE held_micros <> 0 OR open_holds <> 0")
        assert rows == []
        command = [sys.executable, "-m", "seedgate", "ledger", "check", "--json", "--data", hall.data]
        checked = await asyncio.to_thread(subprocess.run, command, capture_output=True, env=os.environ | hall.env)
        assert json.loads(checked.stdout)["ok"]
    finally:
        worker.kill()
