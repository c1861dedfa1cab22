"""Results over HTTP: a capability, not an account's page."""

import hashlib
import re
from datetime import timedelta

import aiohttp
import pytest
from gateway import Caller, Gateway, urls

from seedgate.blobs import Blobs
from seedgate.intake.shelf import Shelf
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer
from seedgate.tasks.upkeep import Ages, Upkeep

AGES = Ages(results=timedelta(days=15), prompts=timedelta(days=15), tasks=timedelta(days=90))


@pytest.fixture
async def url(caller: Caller) -> str:
    return urls(await caller.draw())[0]


# If this failed, a result could be guessed, run as a page, or not be shown by a browser elsewhere.
async def test_a_result_is_served_safely(caller: Caller, url: str) -> None:
    async with caller.session.get(url, headers={"Authorization": "Bearer someone-else"}) as response:
        body = await response.read()
    assert response.status == 200
    assert response.headers["content-type"] == "image/jpeg"
    assert int(response.headers["content-length"]) == len(body)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    said = re.fullmatch(r"private, max-age=([0-9]+), immutable", response.headers["cache-control"])
    assert said is not None
    assert 15 * 86_400 - 60 < int(said[1]) <= 15 * 86_400
    token = url.rsplit("/", 1)[1].split(".", maxsplit=1)[0]
    assert len(token) == 22
    assert url.endswith(".jpg")


# If this failed, players and download managers that ask for parts would get wrong bytes.
async def test_head_and_one_range(caller: Caller, url: str) -> None:
    whole = await caller.fetch(url)
    async with caller.session.head(url) as response:
        assert (response.status, int(response.headers["content-length"])) == (200, len(whole))
    for asked, part in {
        "bytes=0-9": whole[:10],
        "bytes=10-": whole[10:],
        "bytes=-7": whole[-7:],
        "bytes=5-5": whole[5:6],
        f"bytes=3-{len(whole) * 9}": whole[3:],
    }.items():
        async with caller.session.get(url, headers={"Range": asked}) as response:
            assert (response.status, await response.read()) == (206, part)
            assert response.headers["content-range"].endswith(f"/{len(whole)}")
    async with caller.session.get(url, headers={"Range": f"bytes={len(whole)}-"}) as response:
        assert (response.status, response.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    for several in ("bytes=0-1,3-4", "bytes=9-3", "lines=1-2", "bytes=" + "0-1," * 5000, "bytes=0-" + "9" * 5000):
        headers = {"Range": several}
        if len(several) < 8000:
            async with caller.session.get(url, headers=headers) as response:
                assert (response.status, await response.read()) == (200, whole)


# If this failed, unknown names would tell something, or a path could lead out of the folder.
@pytest.mark.parametrize("name", ["A" * 22 + ".jpg", "..%2f..%2fsecret.key", "x", "A" * 22 + ".svg", "%00"])
async def test_unknown_names_are_not_found(caller: Caller, name: str) -> None:
    async with caller.session.get(aiohttp.client.URL(f"{caller.gateway.url}/files/{name}", encoded=True)) as response:
        assert (response.status, await response.json()) == (404, {"error": "not found"})


# If this failed, results would be kept for ever, lost too early, or vanish without a word.
async def test_results_expire_after_their_days(gateway: Gateway, caller: Caller) -> None:
    data = await caller.draw()
    url = urls(data)[0]
    with EmbeddedServer.open(gateway.data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        upkeep = Upkeep(
            database=database,
            blobs=Blobs.open(folder=gateway.data / "results"),
            references=Shelf(root=gateway.data / "references"),
            incoming=gateway.data / "incoming",
            ages=AGES,
            deadline=timedelta(minutes=3),
        )
        await _shift(database, "14 days 23 hours")
        await upkeep.turn()
        async with caller.session.get(url) as response:
            assert response.status == 200
            kept_s = int(response.headers["cache-control"].partition("max-age=")[2].partition(",")[0])
        assert kept_s <= 3600  # or a browser would show what is gone here
        await _shift(database, "15 days 1 hour")
        await upkeep.turn()
        async with caller.session.get(url) as response:
            assert response.status == 410
            assert (await response.json())["error"] == "gone"
        name = url.rsplit("/", 1)[1]
        assert not (gateway.data / "results" / name[:2] / name).exists()
        assert (await caller.status(data["taskId"]))["data"] == data
        await _shift(database, "91 days")
        await upkeep.turn()
        assert (await caller.status(data["taskId"]))["code"] == 404
        await _shift(database, "0")
        await database.close()


# If this failed, files of crashed writes would fill the disk, or results that count be removed.
async def test_files_without_a_row_are_collected(gateway: Gateway, caller: Caller) -> None:
    import os
    import time

    url = urls(await caller.draw())[0]
    name = url.rsplit("/", 1)[1]
    results = gateway.data / "results"
    kept, young, old = (
        results / name[:2] / name,
        results / "zz" / ("z" * 22 + ".jpg"),
        results / "yy" / ("y" * 22 + ".png"),
    )
    for path in (young, old):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left behind")
    past = time.time() - 7200
    for path in (kept, old):
        os.utime(path, (past, past))
    digest = hashlib.sha256(b"x").hexdigest()
    reference = gateway.data / "references" / digest[:2] / digest
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_bytes(b"x")
    half = gateway.data / "incoming" / "half"
    half.write_bytes(b"half a picture")
    for path in (reference, half):
        os.utime(path, (past, past))
    with EmbeddedServer.open(gateway.data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        upkeep = Upkeep(
            database=database,
            blobs=Blobs.open(folder=results),
            references=Shelf(root=gateway.data / "references"),
            incoming=gateway.data / "incoming",
            ages=AGES,
            deadline=timedelta(minutes=3),
        )
        await upkeep.turn()
        await database.close()
    assert kept.exists()
    assert young.exists()
    assert not old.exists()
    assert not reference.exists()
    assert not half.exists()


async def _shift(database: Database, interval: str) -> None:
    async with database.write() as tx:
        await tx.execute("UPDATE clock SET shift = $1::text::interval", interval)


def test_names_have_enough_randomness() -> None:
    assert 62**22 > 2**128
