"""Bad input over the wire: a clear answer in the vendor's envelope, no charge, no row, never a 500."""

import asyncio
import contextlib
import io
import json
from typing import Any

from gateway import Caller, Gateway

from seedgate.ids import Ids, KeyKind
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

GOOD = {"mode": "text-to-image", "prompt": "a fox", "max_images": 1}


async def _rows(gateway: Gateway) -> tuple[int, int]:
    """How many tasks and postings there are."""
    with EmbeddedServer.open(gateway.data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        (row,) = await database.fetch("SELECT (SELECT count(*) FROM task) AS t, (SELECT count(*) FROM posting) AS p")
        await database.close()
    return row["t"], row["p"]


async def _post(caller: Caller, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    url = f"{caller.gateway.url}/api/v1/generateTask/seedream-4-5"
    sent = caller.headers | {"Content-Type": "application/json"} | headers
    async with caller.session.post(url, data=io.BytesIO(body), headers=sent) as response:
        assert response.headers["x-request-id"]
        return response.status, await response.json()


BROKEN = {
    "malformed": b'{"input": {',
    "duplicate": b'{"input":{"mode":"text-to-image","prompt":"a","prompt":"b","max_images":1}}',
    "nan": b'{"input":{"mode":"text-to-image","prompt":"a","max_images":NaN}}',
    "deep": b'{"input":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "long number": b'{"input":{"mode":"text-to-image","prompt":"a","max_images":' + b"9" * 5000 + b"}}",
    "nul": b'{"input":{"mode":"text-to-image","prompt":"a\\u0000b","max_images":1}}',
    "surrogate": b'{"input":{"mode":"text-to-image","prompt":"a\\ud800b","max_images":1}}',
    "not utf-8": b'{"input":{"mode":"text-to-image","prompt":"\xff","max_images":1}}',
    "empty": b"",
    "array": b"[]",
    "trailing": b'{"input":{"mode":"text-to-image","prompt":"a","max_images":1}} x',
}
FIELDS = {
    "input.prompt": ["", "x" * 5001, 7, ["a"], None],
    "input.max_images": [0, -1, 11, True, "1", 1.5, 10**12, None],
    "input.mode": ["text", 1, None],
    "input.resolution": ["8K", 2],
    "input.aspect_ratio": ["5:4", 1],
    "input.size": ["10x10", "99999x99999", "x"],
    "input.sequential_image_generation": ["yes", True],
}


# If this failed, somebody's broken client would be charged, crash a worker, or get no idea of what is wrong.
async def test_bad_bodies_are_told_apart_and_cost_nothing(gateway: Gateway, caller: Caller) -> None:
    before = await _rows(gateway)
    for name, body in BROKEN.items():
        status, answer = await _post(caller, body)
        assert (status, answer["code"], answer["data"]) == (400, 400, None), name
    for field, values in FIELDS.items():
        for value in values:
            body = {"input": GOOD | {field.removeprefix("input."): value}}
            status, answer = await _post(caller, json.dumps(body).encode())
            assert (status, answer["code"], answer["data"]) == (400, 400, None), (field, value)
            assert field.removeprefix("input.") in answer["message"], (field, value, answer)
    assert await _rows(gateway) == before


# If this failed, a form or a text would be guessed to be JSON.
async def test_content_types_are_checked(caller: Caller) -> None:
    body = json.dumps({"input": GOOD}).encode()
    for wrong in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        status, _ = await _post(caller, body, **{"Content-Type": wrong})
        assert status == 400
    for right in ("application/json", "application/json; charset=utf-8"):
        status, _ = await _post(caller, body, **{"Content-Type": right})
        assert status == 200


# If this failed, one caller could fill memory or disk with a single request.
async def test_large_bodies_are_refused(caller: Caller) -> None:
    for large in (
        b'{"input":' + b" " * 21_000_000 + b"}",
        json.dumps({"input": GOOD | {"prompt": "x" * 140_000}}).encode(),
        json.dumps({"input": GOOD, "padding": "x" * 140_000}).encode(),
        json.dumps({"input": GOOD | {"image_urls": ["data:image/png;base64,AAAA", "y" * 140_000]}}).encode(),
    ):
        status, answer = await _post(caller, large)
        assert (status, answer["code"], answer["data"]) == (413, 413, None)
    url = f"{caller.gateway.url}/api/v1/generateTask/seedream-4-5"

    async def endless():  # type: ignore[no-untyped-def]
        for _ in range(25):
            yield b" " * (1 << 20)

    sent = caller.headers | {"Content-Type": "application/json"}
    async with caller.session.post(url, data=endless(), headers=sent) as response:
        assert response.status == 413


# If this failed, a caller could name files that other tasks were made with.
async def test_our_own_names_of_references_are_no_addresses(caller: Caller) -> None:
    body = {"input": GOOD | {"mode": "image-to-image", "image_urls": ["sha256:" + "a" * 64]}}
    status, answer = await caller.submit(body)
    assert status == 400
    assert "image_urls" in answer["message"]


# If this failed, a foreign task would be told apart from one that does not exist.
async def test_foreign_tasks_are_like_unknown_ones(gateway: Gateway, caller: Caller) -> None:
    data = await caller.draw()
    from seedgate.accounts import issue, secret

    with EmbeddedServer.open(gateway.data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        issued = await issue.create_key(
            database,
            Ids(),
            secret.load(gateway.data, given="", file=""),
            account="stranger",
            name="first",
            kind=KeyKind.TEST,
            limits=issue.UNLIMITED,
        )
        await database.close()
    answers = []
    for task_id in (data["taskId"], Ids().new().hex, "task_12345678"):
        for model in ("seedream-4-5", "seedream-5-0"):
            url = f"{gateway.url}/statusTask/{model}?taskId={task_id}"
            async with caller.session.get(url, headers={"Authorization": f"Bearer {issued.key}"}) as response:
                answers.append((response.status, await response.read()))
    assert len(set(answers)) == 1
    assert answers[0][0] == 404


# If this failed, garbage keys would cost a question to the database, or be told apart from revoked ones.
async def test_garbage_keys_never_reach_the_database(caller: Caller) -> None:
    well_formed = Ids().api_key(KeyKind.LIVE)
    garbage = [
        "",
        "x",
        well_formed[:-1] + ("0" if well_formed[-1] != "0" else "1"),
        "sg_live_" + "0" * 39,
        "é" * 47,
        "x" * 9000,
    ]
    texts = set()
    for key in [*garbage, well_formed]:
        async with caller.session.get(
            f"{caller.gateway.url}/apikeys/current-balance", headers={"Authorization": f"Bearer {key}"}
        ) as response:
            assert response.status == 401
            texts.add(await response.text())
    async with caller.session.get(f"{caller.gateway.url}/apikeys/current-balance") as response:
        assert response.status == 401
        texts.add(await response.text())
    assert len(texts) == 1


async def _raw(gateway: Gateway, *parts: bytes, pause_s: float = 0.0) -> tuple[bytes, float]:
    """Send bytes over a socket of our own; what came back, and how long the other side stayed."""
    host, port = gateway.url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    started = loop.time()
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        answer = await asyncio.wait_for(reader.read(), 20)
    except (ConnectionError, BrokenPipeError):
        answer = b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return answer, loop.time() - started


# If this failed, a few slow callers could hold all connections.
async def test_slow_and_endless_requests_are_cut_off(tmp_path, gateway: Gateway) -> None:
    env = {"SEEDGATE_LIMITS__HEAD_S": "1", "SEEDGATE_LIMITS__BODY_S": "1"}
    with Gateway(tmp_path / "strict", env=env) as strict:
        head = b"POST /api/v1/generateTask/seedream-4-5 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        key = f"Authorization: Bearer {strict.key}\r\n".encode()
        _, silent_s = await _raw(strict)
        _, head_s = await _raw(strict, head)
        _, body_s = await _raw(strict, head + key + b"Content-Length: 100\r\n\r\n{")
        assert max(silent_s, head_s, body_s) < 6
        drip = [b"X-Drip: y\r\n"] * 200
        _, drip_s = await _raw(strict, head, *drip, pause_s=0.05)
        assert drip_s < 13
        answer, _ = await _raw(strict, head + b"X-Long: " + b"y" * 70_000 + b"\r\n\r\n")
        assert b" 200 " not in answer
        answer, _ = await _raw(strict, head, *[b"X-Many: " + b"y" * 1000 + b"\r\n"] * 40)
        assert b" 200 " not in answer


# If this failed, the edge would answer a broken request with a trace, or not at all.
async def test_broken_http_is_answered(gateway: Gateway) -> None:
    for broken in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        answer, _ = await _raw(gateway, broken)
        assert b"Traceback" not in answer
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


# If this failed, a caller without a key could fill the memory, or slip a key past a proxy that checked the head.
async def test_trailers_are_bounded_and_never_merged(gateway: Gateway) -> None:
    path = b"/api/v1/apikeys/current-balance"
    head = b"POST /api/v1/generateTask/seedream-4-5 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    body = json.dumps({"input": GOOD}).encode()
    whole = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    key = b"Authorization: Bearer %b\r\n" % gateway.key.encode()
    answer, _ = await _raw(gateway, head + b"Connection: close\r\n" + chunked + whole + key + b"\r\n")
    assert b" 401 " in answer
    answer, _ = await _raw(
        gateway, head + b"Connection: close\r\n" + key + chunked + whole + b"Authorization: Bearer bad\r\n\r\n"
    )
    assert b" 200 " in answer
    flood = [b"a:b\r\n" * 5000] * 40
    started = asyncio.get_running_loop().time()
    await _raw(gateway, b"GET %b HTTP/1.1\r\nHost: x\r\n" % path + chunked + b"0\r\n", *flood)
    assert asyncio.get_running_loop().time() - started < 5


# If this failed, clients that offer a newer protocol would lose their bodies, or have them read as requests.
async def test_a_wish_for_another_protocol_is_declined(gateway: Gateway) -> None:
    body = json.dumps({"input": GOOD}).encode()
    head = (
        b"POST /api/v1/generateTask/seedream-4-5 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n" % (gateway.key.encode(), len(body))
    )
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    after = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for parts in ((head + wish + body + after,), (head + wish, body, after)):
        answer, _ = await _raw(gateway, *parts, pause_s=0.1)
        assert answer.count(b"HTTP/1.1 200 OK") == 2, answer
        assert b'"taskId"' in answer
    answer, _ = await _raw(gateway, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 400 " in answer


# If this failed, requests that nobody waits for would pile up in memory.
async def test_pipelined_requests_are_bounded(gateway: Gateway) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer, _ = await _raw(gateway, one * 100 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 101
    answer, _ = await _raw(gateway, one * 5000)
    assert answer.count(b"HTTP/1.1 200 OK") < 5000


# If this failed, an address of ours would be built from a header that anybody can write.
async def test_nothing_is_redirected(caller: Caller) -> None:
    for path in ("/healthz/", "/files/" + "A" * 22 + ".jpg/"):
        url = caller.gateway.url + path
        async with caller.session.get(url, allow_redirects=False, headers={"Host": "evil.example"}) as response:
            assert response.status == 404
