"""One engine, one account with a long queue, and another one that wants a picture now."""

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest
from gateway import Caller, Gateway
from shell import Shell

QUEUE = 40
TASK_S = 0.2


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    env = {"SEEDGATE_WORK__ENGINE_PROCESSES": "1", "SEEDGATE_LIMITS__CONCURRENT_TASKS": "0"}
    with Gateway(tmp_path_factory.mktemp("fairness") / "data", env=env) as running:
        yield running


# If this failed, whoever fills the queue first would be served alone until it is empty.
async def test_a_new_caller_waits_for_two_tasks_at_most(gateway: Gateway) -> None:
    created = await asyncio.to_thread(Shell(gateway=gateway).run, "keys", "create", "--account", "calm", "--json")
    granted = await asyncio.to_thread(
        Shell(gateway=gateway).run, "credits", "grant", "calm", "1", "--reason", "test", "--json"
    )
    assert (created.code, granted.code) == (0, 0), granted.err
    headers = {"Authorization": f"Bearer {created.document['key']}"}
    body = {"input": {"mode": "text-to-image", "prompt": f"[[slow:{TASK_S}]]", "max_images": 1}}
    async with aiohttp.ClientSession() as session:
        caller = Caller(gateway, session)
        busy = await asyncio.gather(*(caller.submit(body) for _ in range(QUEUE)))
        assert {status for status, _ in busy} == {200}
        await caller.end(busy[0][1]["data"]["taskId"])
        status, answer = await caller.submit(body, **headers)
        assert status == 200, answer
        calm = answer["data"]["taskId"]
        async with asyncio.timeout(QUEUE * TASK_S):
            while not (rows := await gateway.fetch("SELECT 1 FROM task WHERE id = $1::uuid AND state = 10", calm)):
                await asyncio.sleep(TASK_S / 4)
        assert rows
        # Two before it begins; one more may end beside it, since a picture is settled while the next one is drawn.
        (row,) = await gateway.fetch(
            "SELECT count(*) AS n FROM task t, task c WHERE c.id = $1::uuid AND t.id <> c.id"
            " AND t.completed_at BETWEEN c.created_at AND c.completed_at",
            calm,
        )
        assert row["n"] <= 3
        assert await gateway.fetch("SELECT 1 FROM task WHERE state < 10")
