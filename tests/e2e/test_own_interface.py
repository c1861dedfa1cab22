"""Our own interface over a running gateway, and our own addresses as references."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from e2e.conftest import picture
from gateway import Caller, Gateway, urls

from seedgate.accounts import issue, secret
from seedgate.ids import Ids, KeyKind
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

OWN = "/seedgate/v1"
PUBLIC = "https://api.example.com/gateway"


async def get(caller: Caller, path: str, **options: Any) -> Any:
    async with caller.session.get(caller.gateway.url + OWN + path, headers=caller.headers, **options) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def upload(caller: Caller, content: bytes) -> dict[str, Any]:
    form = aiohttp.FormData()
    form.add_field("file", content, filename="a.png", content_type="image/png")
    url = f"{caller.gateway.url}{OWN}/files"
    async with caller.session.post(url, data=form, headers=caller.headers) as response:
        assert response.status == 201, await response.text()
        made: dict[str, Any] = await response.json()
        return made


# If this failed, the command in the README would not work.
async def test_curl_uploads_a_form(gateway: Gateway, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl here")
    (tmp_path / "a.png").write_bytes(picture(1500, 1000, "PNG"))
    command = [curl, "-s", "-H", f"X-API-Key: {gateway.key}", "-F", f"file=@{tmp_path / 'a.png'}"]
    done = await asyncio.to_thread(subprocess.run, [*command, f"{gateway.url}{OWN}/files"], capture_output=True)
    made = json.loads(done.stdout)
    assert (made["width"], made["height"], made["format"]) == (1500, 1000, "png")
    async with aiohttp.ClientSession() as session, session.head(made["url"]) as response:
        assert (response.status, int(response.headers["content-length"])) == (200, made["size_bytes"])


# If this failed, a caller would be shown another bill than it pays, or results that are not there.
async def test_a_task_is_told_over_http(caller: Caller) -> None:
    before = await get(caller, "/balance")
    data = await caller.draw(max_images=2, sequential_image_generation="disabled")
    shown = await get(caller, f"/tasks/{data['taskId']}")
    assert [result["url"] for result in shown["results"]] == urls(data)
    assert len(await caller.fetch(urls(data)[1])) == shown["results"][1]["size_bytes"]
    after = await get(caller, "/balance")
    spent = before["available"]["micros"] - after["available"]["micros"]
    assert (
        spent
        == shown["receipt"]["charged"]["micros"]
        == sum(p["charged"]["micros"] for p in shown["receipt"]["pictures"])
    )
    assert {p["delivered_by"] for p in shown["receipt"]["pictures"]} == {"engine:blank"}
    page = await get(caller, "/tasks", params={"limit": "1"})
    assert page["tasks"][0]["id"] == data["taskId"]
    url = f"{caller.gateway.url}{OWN}/balance"
    async with caller.session.head(url, headers=caller.headers) as response:
        assert (response.status, await response.read()) == (200, b"")
    async with caller.session.get(url, params={"api_key": caller.gateway.key}) as response:
        assert response.status == 401


# If this failed, a key that a key has made would not be one, or its budget would bind nobody.
async def test_a_key_of_a_key_draws_within_its_budget(caller: Caller) -> None:
    url = f"{caller.gateway.url}{OWN}/keys"
    wish = {"name": "e2e", "budget": "0.035", "models": ["seedream-4-5"]}
    async with caller.session.post(url, json=wish, headers=caller.headers) as response:
        assert response.status == 201
        made = await response.json()
    child = _Keyed(caller.gateway, caller.session, made["key"])
    drawn = await child.draw(max_images=1)
    body = {"input": {"mode": "text-to-image", "prompt": "one too many", "max_images": 1}}
    assert (await child.submit(body))[0] == 402
    assert (await child.submit(body, "seedream-5-0"))[0] != 200
    (line,) = [each for each in (await get(child, "/keys"))["keys"] if each["is_caller"]]
    assert (line["spent"], line["open_tasks"]) == (line["budget"], 0)
    ledger = await get(child, "/ledger")
    about = [entry["entry"] for entry in ledger["entries"] if entry.get("task_id") == drawn["taskId"]]
    assert about == ["hold", "charge"]
    log = caller.gateway.log_file.read_text()
    assert made["id"] in log
    assert made["key"][16:40] not in log


# If this failed, production could not draw from what it has drawn, or would call itself over HTTP.
async def test_our_own_addresses_are_references_in_production(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = Gateway(data, env={"SEEDGATE_MODE": "production", "SEEDGATE_PUBLIC_URL": PUBLIC})
    with made as running, EmbeddedServer.open(data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        keys = [await _key(database, data, name) for name in ("acme", "other")]
        await database.close()
        async with aiohttp.ClientSession() as session:
            acme, other = (_Keyed(running, session, key) for key in keys)
            uploaded = await upload(acme, picture(300, 200, "PNG"))
            assert uploaded["url"].startswith(f"{PUBLIC}/files/")
            first = await _drawn(acme, uploaded["url"])
            assert first["state"] == "success", first
            result = urls(first)[0]
            assert result.startswith(f"{PUBLIC}/files/")
            for who, address in ((acme, result), (other, result), (other, uploaded["url"])):
                assert (await _drawn(who, address))["state"] == "success"
            unknown = f"{PUBLIC}/files/{'A' * 22}.png"
            deleted = f"{running.url}{OWN}/files/{uploaded['id']}"
            async with session.delete(deleted, headers=acme.headers) as response:
                assert response.status == 200
            for address in (unknown, uploaded["url"]):
                failed = await _drawn(acme, address)
                shown = await get(acme, f"/tasks/{failed['taskId']}")
                assert (shown["state"], shown["reason"]) == ("failed", "reference_answer")
                assert shown["receipt"]["released"] == shown["receipt"]["held"]
            refused = await _drawn(acme, f"{PUBLIC}/healthz")
            assert (await get(acme, f"/tasks/{refused['taskId']}"))["reason"] == "reference_address"


class _Keyed(Caller):
    """A caller with a key of its own."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, key: str) -> None:
        super().__init__(gateway, session)
        self._key = key

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}


async def _key(database: Database, data: Path, account: str) -> str:
    from seedgate.accounts.credits import grant

    held = secret.load(data, given="", file="")
    issued = await issue.create_key(
        database, Ids(), held, account=account, name="first", kind=KeyKind.LIVE, limits=issue.UNLIMITED
    )
    await grant(database, Ids(), account=account, amount_micros=10**7, reason="test", actor="test")
    return issued.key


async def _drawn(caller: Caller, reference: str) -> dict[str, Any]:
    return await caller.draw(mode="image-to-image", image_urls=[reference])
