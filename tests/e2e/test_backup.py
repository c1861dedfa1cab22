"""A backup beside a gateway under load, by the commands that an operator types, and what is made of it elsewhere."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from e2e.conftest import picture
from e2e.test_own_interface import upload
from gateway import Caller, Gateway, urls

CALLERS = 2
PICTURES = 4
SUBMITS = 200
DONE_BEFORE = 3
SLOTS_MODES = ("auto", "disabled")


async def seedgate(*arguments: str | Path, **env: str) -> tuple[int, Any, str]:
    """A command with `--json`: exit code, document, and what it said beside it."""
    ours = ("SEEDGATE_", "DATABASE_URL", "BLOBS_URL")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "seedgate", *map(str, arguments), "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith(ours)} | env,
    )
    out, said = await process.communicate()
    assert b"Traceback" not in said, said
    assert process.returncode is not None
    return process.returncode, json.loads(out), said.decode()


# If this failed, a backup would stop a gateway, lose an accepted task, pay for a picture twice, or spoil one.
@pytest.mark.timeout(180)
async def test_a_backup_taken_under_load_goes_on_elsewhere(tmp_path: Path) -> None:
    old, new = Gateway(tmp_path / "old"), Gateway(tmp_path / "new")
    backup = tmp_path / "monday.tar"
    accepted: list[str] = []
    try:
        old.start()
        stopping = asyncio.Event()
        async with aiohttp.ClientSession() as session:
            load = asyncio.gather(*(_submit(Caller(old, session), name, accepted, stopping) for name in range(CALLERS)))
            finished = await _finished(Caller(old, session), accepted)
            before = list(accepted)
            uploaded = await upload(Caller(old, session), picture(300, 200, "PNG"))
            content = await Caller(old, session).fetch(uploaded["url"])
            code, taken, said = await seedgate("db", "backup", backup, "--data", old.data)
            assert (code, said) == (0, ""), said
            during = len(accepted) - len(before)
            stopping.set()
            await load
            assert (await Caller(old, session).status(before[0]))["code"] == 200
        assert during > 0, "the gateway took no task while it was backed up"
        assert taken["open_tasks"] > 0, "nothing was under way"
        assert taken["results"]["missing"] == 0
        key, old_url = old.key, old.url
        old.kill()

        code, restored, said = await seedgate("db", "restore", backup, "--data", new.data)
        assert (code, said) == (0, ""), said
        assert (restored["epoch"], restored["missing"], restored["open_tasks"]) == (1, 0, taken["open_tasks"])
        assert restored["requeued"] > 0
        assert (restored["missing_uploads"], restored["active_keys"]) == (0, 1)
        assert "also where they were revoked or rotated since" in restored["remarks"][0]
        assert (await seedgate("ledger", "check", "--data", new.data))[0] == 0
        new.start()
        assert new.key == key
        async with aiohttp.ClientSession() as session:
            caller = Caller(new, session)
            for task_id in before:
                data = await caller.end(task_id)
                assert data["state"] == "success", data
                assert len(urls(data)) == PICTURES
            for task_id, pictures in finished.items():
                names = urls(await caller.end(task_id))
                assert [await caller.fetch(url) for url in names] == pictures
            address = uploaded["url"].replace(old_url, new.url)
            assert await caller.fetch(address) == content
            drawn = await caller.draw(mode="image-to-image", image_urls=[address])
            assert drawn["state"] == "success", drawn
        assert (await seedgate("ledger", "check", "--data", new.data))[0] == 0
        assert new.stop() == 0
    finally:
        old.close()
        new.close()


async def _submit(caller: Caller, name: int, accepted: list[str], stopping: asyncio.Event) -> None:
    for number in range(SUBMITS):
        if stopping.is_set():
            return
        body = {
            "input": {
                "mode": "text-to-image",
                "prompt": f"fox {name} {number} [[slow:0.05]]",
                "max_images": PICTURES,
                "sequential_image_generation": SLOTS_MODES[number % 2],
            }
        }
        status, answer = await caller.submit(body)
        assert status == 200, answer
        accepted.append(answer["data"]["taskId"])
        await asyncio.sleep(0.25)


async def _finished(caller: Caller, accepted: list[str]) -> dict[str, list[bytes]]:
    """The first tasks that ended, and their pictures."""
    while len(accepted) < DONE_BEFORE:
        await asyncio.sleep(0.05)
    ended = {}
    for task_id in accepted[:DONE_BEFORE]:
        ended[task_id] = [await caller.fetch(url) for url in urls(await caller.end(task_id))]
    return ended
