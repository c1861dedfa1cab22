"""Uploads: what comes in is a picture, within the quota, for its days, under an address that only its owner was told."""

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from own import BASE, Api, Got
from PIL import Image
from store.test_work import Bench
from world import World

from seedgate.domain.addresses import MAX_URL_BYTES
from seedgate.domain.errors import AnswerTooLarge, BadAnswer
from seedgate.domain.quota import Quota
from seedgate.domain.reference import MAX_IMAGE_BYTES
from seedgate.store.slots import Picture, StoredReference, keep_images, record_references
from seedgate.tasks.own_files import OwnFiles
from seedgate.tasks.upkeep import ORPHAN_AGE, Ages, Upkeep


def picture(colour: str = "teal", kind: str = "PNG", size: tuple[int, int] = (60, 40)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


PNG = [("content-type", "image/png")]
FORM = [("content-type", "multipart/form-data; boundary=b0")]


def form(*contents: bytes) -> bytes:
    head = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n'
    return b"".join(head + b"Content-Type: image/png\r\n\r\n%b\r\n" % c for c in contents) + b"--b0--\r\n"


@pytest.fixture
async def api(world: World, tmp_path: Path) -> AsyncIterator[Api]:
    made = Api(world, tmp_path)
    yield made
    await made.close()


async def upload(api: Api, key: str, content: bytes) -> Got:
    return await api("POST", "/files", key, headers=PNG, body=[content])


async def fetch(api: Api, url: str) -> Got:
    return await api("GET", url.removeprefix(BASE), prefix="")


# If this failed, an upload would not be there, not be what it is said to be, or not be clean.
async def test_an_upload_is_cleaned_kept_and_served(api: Api) -> None:
    key, _ = await api.key()
    raw = picture(kind="JPEG")
    exif = raw[:2] + b"\xff\xe1\x00\x10Exif\x00\x00secret!!" + raw[2:]
    made = []
    for headers, body in (
        (PNG, [exif]),
        ([("content-type", "IMAGE/Jpeg; q=1")], [exif[:5], b"", exif[5:]]),
        (FORM, [form(exif)]),
        (FORM, [form(exif)[at : at + 7] for at in range(0, len(form(exif)), 7)]),
    ):
        got = await api("POST", "/files", key, headers=headers, body=body)
        assert got.status == 201, got.body
        made.append(got.json)
        shown = await fetch(api, got.json["url"])
        assert (shown.status, shown.headers["content-type"]) == (200, "image/jpeg")
        assert len(shown.body) == got.json["size_bytes"]
        kept_s = int(shown.headers["cache-control"].partition("private, max-age=")[2].partition(", immutable")[0])
        assert 15 * 86_400 - 60 < kept_s <= 15 * 86_400
        assert b"secret" not in shown.body
        assert (got.json["format"], got.json["width"], got.json["height"]) == ("jpeg", 60, 40)
        assert (await api("GET", f"/files/{got.json['id']}", key)).json == got.json
    assert len({file["url"] for file in made}) == 4
    assert all(len(file["url"].rpartition("/")[2]) == 22 + len(".jpg") for file in made)
    page = (await api("GET", "/files?limit=3", key)).json
    assert page["files"] == made[:0:-1]
    rest = (await api("GET", f"/files?limit=3&cursor={page['next_cursor']}", key)).json
    assert (rest["files"], rest["next_cursor"]) == (made[:1], None)
    assert page["usage"]["files"] == 4
    assert page["usage"]["size_bytes"] == sum(file["size_bytes"] for file in made)
    part = await api("GET", made[0]["url"].removeprefix(BASE), prefix="", headers=[("range", "bytes=2-4")])
    assert (part.status, part.body) == (206, shown.body[2:5])
    assert not list(api.data.glob("references/desk/*"))


# If this failed, what is no picture would be kept, or a stranger's mistake be ours.
async def test_bad_uploads_are_told_apart_and_leave_nothing(api: Api) -> None:
    key, _ = await api.key()
    bomb = picture(size=(7000, 7000), kind="PNG")
    whole, large = picture(), b"\x89PNG\r\n\x1a\n" + b"x" * MAX_IMAGE_BYTES
    announced = ("content-length", str(MAX_IMAGE_BYTES + 1))
    for name, headers, body, status, param in (
        ("empty", PNG, b"", 400, "file"),
        ("text that says png", PNG, b"hello", 400, "file"),
        ("svg", [("content-type", "image/svg+xml")], b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "file"),
        ("cut off", PNG, whole[:60], 400, "file"),
        ("bomb", PNG, bomb, 400, "file"),
        ("tiny", PNG, picture(size=(3, 3)), 400, "file"),
        ("too large", PNG, large, 413, None),
        ("announced too large", [*PNG, announced], b"x", 413, None),
        ("too large in a form", FORM, form(large), 413, "file"),
        ("much too large a form", FORM, b"x" * (MAX_IMAGE_BYTES + 20_000), 413, None),
        ("two parts", FORM, form(whole, whole), 400, "file"),
        ("empty part", FORM, form(b""), 400, "file"),
        ("no end", FORM, form(whole)[:-8], 400, "file"),
        ("no form at all", FORM, whole, 400, "file"),
        ("no boundary", [("content-type", "multipart/form-data")], form(whole), 400, "Content-Type"),
        ("json", [("content-type", "application/json")], b"{}", 415, "Content-Type"),
        ("no type", [], whole, 415, "Content-Type"),
    ):
        got = await api("POST", "/files", key, headers=headers, body=[body])
        assert (got.status, got.error["param"]) == (status, param), (name, got.body)
    gone = await api("POST", "/files", key, headers=PNG, body=iter(()))
    assert gone.status == 400
    assert await api.world.count("file") == 0
    assert [path for path in api.data.rglob("*") if path.is_file()] == []
    assert not api.uploads.under_way


# If this failed, a caller that goes away would leave half an upload, or hold its place for ever.
async def test_a_caller_that_goes_away_leaves_nothing(api: Api) -> None:
    key, _ = await api.key()

    sent = [{"type": "http.request", "body": picture()[:50], "more_body": True}, {"type": "http.disconnect"}]
    told: list[object] = []

    async def receive() -> dict[str, object]:
        return sent.pop(0)

    async def send(message: object) -> None:
        told.append(message)

    headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"image/png")]
    scope = {"type": "http", "method": "POST", "path": "/seedgate/v1/files", "query_string": b"", "headers": headers}
    await api.app(scope, receive, send)  # type: ignore[arg-type]
    assert told == []
    assert [path for path in api.data.rglob("*") if path.is_file()] == []
    assert not api.uploads.under_way


# If this failed, two uploads at once could pass a quota that has room for one.
@pytest.mark.parametrize("limit", ["files", "bytes"])
async def test_racing_uploads_stay_within_the_quota(world: World, tmp_path: Path, limit: str) -> None:
    api = Api(world, tmp_path)
    key, _ = await api.key()
    one = (await upload(api, (await api.key("measure"))[0], picture())).json["size_bytes"]
    await api.close()
    size = 3 * one + one // 2 if limit == "bytes" else 10**9
    api = Api(world, tmp_path, quota=Quota(files=3 if limit == "files" else 99, size_bytes=size))
    contents = [picture(f"#0000{n:02x}") for n in range(8)]
    got: list[Got] = []
    for at in (0, 4):
        got += await asyncio.gather(*(upload(api, key, content) for content in contents[at : at + 4]))
    assert sorted(each.status for each in got) == [201] * 3 + [413] * 5
    refused = [each.error for each in got if each.status == 413]
    name = "files_per_account" if limit == "files" else "file_bytes_per_account"
    assert {(error["code"], error["param"]) for error in refused} == {("quota_exceeded", name)}
    first = next(each.json for each in got if each.status == 201)
    assert (await api("DELETE", f"/files/{first['id']}", key)).json == {"id": first["id"], "deleted": True}
    assert (await upload(api, key, contents[0])).status == 201
    other, _ = await api.key("other")
    assert (await upload(api, other, contents[0])).status == 201
    await api.close()


# If this failed, one account could occupy every decoder and the disk with what is still on its way.
async def test_an_account_uploads_a_few_at_a_time(api: Api) -> None:
    key, account = await api.key()
    with api.uploads.turn(account), api.uploads.turn(account), api.uploads.turn(account), api.uploads.turn(account):
        got = await upload(api, key, picture())
        assert (got.status, got.error["code"], got.headers["retry-after"]) == (429, "rate_limited", "1")
    assert (await upload(api, key, picture())).status == 201


async def _shift(world: World, shift: str) -> None:
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = $1::text::interval", shift)


def _upkeep(api: Api) -> Upkeep:
    return Upkeep(
        database=api.world.database,
        blobs=api.blobs,
        references=api.shelf,
        incoming=api.data / "incoming",
        ages=Ages(results=timedelta(days=15), prompts=timedelta(days=15), tasks=timedelta(days=90)),
        deadline=timedelta(minutes=3),
    )


def _age(api: Api) -> list[Path]:
    """The contents on the shelf, made older than any write in progress."""
    files = [path for path in api.data.glob("references/??/*") if path.is_file()]
    old = time.time() - ORPHAN_AGE.total_seconds() - 3600
    for path in files:
        os.utime(path, (old, old))
    return files


# If this failed, uploads would stay for ever, go too early, or take what another one needs with them.
async def test_uploads_expire_and_their_content_goes_with_the_last(api: Api) -> None:
    key, _ = await api.key()
    other, _ = await api.key("other")
    first, shared = (await upload(api, key, picture())).json, (await upload(api, other, picture())).json
    assert first["url"] != shared["url"]
    assert len(_age(api)) == 1
    await _shift(api.world, "14 days 23 hours")
    late = (await upload(api, key, picture("red"))).json
    await _upkeep(api).turn()
    assert (await fetch(api, first["url"])).status == 200
    assert (await api("DELETE", f"/files/{first['id']}", key)).status == 200
    assert (await api("DELETE", f"/files/{first['id']}", key)).status == 404
    assert (await fetch(api, first["url"])).status == 404
    _age(api)
    await _upkeep(api).turn()
    assert (await fetch(api, shared["url"])).status == 200
    await _shift(api.world, "15 days 1 hour")
    assert (await fetch(api, shared["url"])).status == 404
    assert (await api("GET", f"/files/{shared['id']}", other)).status == 404
    assert (await api("GET", "/files", other)).json["usage"]["files"] == 0
    assert await api.world.count("file") == 2
    _age(api)
    await _upkeep(api).turn()
    assert await api.world.count("file") == 1
    assert len(_age(api)) == 1
    assert (await fetch(api, late["url"])).status == 200


# If this failed, a task could no longer be drawn again with the reference that it was begun with.
async def test_content_that_a_task_needs_outlives_its_upload(api: Api) -> None:
    key, account = await api.key()
    made = (await upload(api, key, picture())).json
    (path,) = _age(api)
    async with api.world.database.write() as tx:
        await tx.execute("UPDATE account SET avail_micros = 100000")
    task = api.world.task(account, await api.world.key(account), has_references=True)
    await api.world.accept(task)
    (claim,) = await Bench(api.world).claim()
    reference = StoredReference(
        original_sha256="x", sha256=path.name, format="png", width=60, height=40, size_bytes=made["size_bytes"]
    )
    assert await record_references(api.world.database.work_lane, task.id, claim.epoch, [reference])
    await api("DELETE", f"/files/{made['id']}", key)
    await _upkeep(api).turn()
    assert path.exists()


@pytest.fixture
def own(api: Api) -> OwnFiles:
    return OwnFiles(
        api.world.database.access_lane,
        blobs=api.blobs,
        shelf=api.shelf,
        bases=("", "https://api.example.com/base/", "http://127.0.0.1:8787"),
    )


NAME = "A" * 22 + ".png"


# If this failed, our own address would be fetched from ourselves, or a stranger's be read from our disk.
@pytest.mark.parametrize(
    ("address", "ours"),
    [
        (f"https://api.example.com/base/files/{NAME}", True),
        (f"http://api.example.com/base/files/{NAME}", True),
        (f"HTTPS://API.Example.com:443/base/files/{NAME}?x=/files/#y", True),
        (f"https://api.example.com./base/files/{NAME}", True),
        (f"http://127.0.0.1:8787/files/{NAME}", True),
        (f"https://api.example.com/files/{NAME}", False),
        (f"https://api.example.com:8443/base/files/{NAME}", False),
        (f"http://127.0.0.1/files/{NAME}", False),
        (f"https://evil.example/base/files/{NAME}", False),
        (f"https://api.example.com@evil.example/base/files/{NAME}", False),
        (f"https://user@api.example.com/base/files/{NAME}", False),
        (f"https://evil.example/?https://api.example.com/base/files/{NAME}", False),
        (f"https://evil.example/#https://api.example.com/base/files/{NAME}", False),
        ("https://api.example.com/base/files/../secret.key", False),
        (f"https://api.example.com/base/files/{NAME}/", False),
        (f"/base/files/{NAME}", False),
        (f"ftp://api.example.com/base/files/{NAME}", False),
        (f"https://[::1/base/files/{NAME}", False),
        (f"https://api.example.com:x/base/files/{NAME}", False),
        ("x" * MAX_URL_BYTES, False),
        ("", False),
    ],
)
async def test_which_addresses_are_ours(own: OwnFiles, address: str, ours: bool) -> None:
    assert own.name(address) == (NAME if ours else None)


# If this failed, a chain of pictures would break, or go on with one that is gone.
async def test_our_own_files_are_read_where_they_lie(api: Api, own: OwnFiles, tmp_path: Path) -> None:
    key, account = await api.key()
    made = (await upload(api, key, picture())).json
    name, target = made["url"].rpartition("/")[2], tmp_path / "copy"
    base = "https://api.example.com/base/files/"
    assert await own.read(base + name, target, 10**6)
    assert target.read_bytes() == (await fetch(api, made["url"])).body
    assert not await own.read("https://elsewhere.example/x.png", target, 10**6)
    with pytest.raises(AnswerTooLarge):
        await own.read(base + name, target, made["size_bytes"] - 1)
    with pytest.raises(BadAnswer):
        await own.read(base + NAME, target, 10**6)
    async with api.world.database.write() as tx:
        await tx.execute("UPDATE account SET avail_micros = 100000")
    task = api.world.task(account, await api.world.key(account))
    await api.world.accept(task)
    bench = Bench(api.world)
    (claim,) = await bench.claim()
    assert await bench.intend(claim)
    source = tmp_path / "result"
    source.write_bytes(picture("red"))
    result = f"{api.world.ids.token()}.png"
    row = Picture(
        task_id=task.id, ordinal=0, slot=0, epoch=claim.epoch, name=result, format="png", width=60, height=40,
        size_bytes=source.stat().st_size, sha256=b"s" * 32,
    )  # fmt: skip
    await api.blobs.put(result, source)
    assert await keep_images(api.world.database.work_lane, [row]) == [True]
    assert await own.read(base + result, target, 10**6)
    assert target.read_bytes() == picture("red")
    async with api.world.database.write() as tx:
        await tx.execute("UPDATE image SET deleted_at = seedgate_now()")
    await api("DELETE", f"/files/{made['id']}", key)
    for gone in (result, name):
        with pytest.raises(BadAnswer):
            await own.read(base + gone, target, 10**6)
