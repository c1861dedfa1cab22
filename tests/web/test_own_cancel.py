"""Our own interface: cancelling."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from own import Api
from store.test_work import Bench
from world import PRICE, World


@pytest.fixture
async def api(world: World, tmp_path) -> AsyncIterator[Api]:
    made = Api(world, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(api: Api) -> tuple[str, UUID]:
    key, account = await api.key()
    await api.grant(account)
    return key, account


# If this failed, a caller could not stop what it pays for, or would be told another end than the one there is.
@pytest.mark.parametrize(("method", "end"), [("DELETE", ""), ("POST", "/cancel")])
async def test_a_task_is_cancelled(api: Api, acme: tuple[str, UUID], method: str, end: str) -> None:
    key, account = acme
    task = await api.task(account)
    for _ in range(2):
        got = await api(method, f"/tasks/{task.hex}{end}", key)
        assert (got.status, got.json["state"], got.json["id"]) == (200, "cancelled", task.hex)
        assert got.headers["x-seedgate-charged"] == "0"
        assert got.json["receipt"]["released"]["micros"] == PRICE
    (row,) = await api.world.database.fetch("SELECT detail FROM event WHERE task_id = $1 AND kind = 5", task)
    assert row["detail"].startswith("key ")


# If this failed, a cancellation would take back what was delivered, or a process that leaves would refuse to stop.
async def test_what_was_delivered_stays(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    task = await api.task(account)
    running = await api.task(account)
    (first, second) = await Bench(api.world).claim()
    await Bench(api.world).attempt(first if first.task_id == task else second)
    api.measured.draining = True
    ended = await api("DELETE", f"/tasks/{task.hex}", key)
    assert (ended.json["state"], ended.headers["x-seedgate-charged"]) == ("success", str(PRICE))
    asked = await api("DELETE", f"/tasks/{running.hex}", key)
    assert (asked.status, asked.json["state"]) == (200, "processing")
    assert "x-seedgate-charged" not in asked.headers
