"""Hostile texts in every place that takes text: kept as they are or refused, and never more than text."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from documents import Operation, operations, with_literal, written
from gateway import Caller, Gateway
from hostile import TEXTS

REFUSED = {"retry-after", "retry-after-ms", "x-should-retry", "x-seedgate-charged"}
HEADERS = {"date", "content-type", "content-length", "connection", "cache-control", "x-content-type-options"}
"""What every answer may have beside what its document lists."""
SENT_HEADERS = ("Idempotency-Key", "X-Request-Id", "Authorization", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "Cookie", "Accept", "Accept-Language", "Content-Type", "Origin", "Referer", "Traceparent", "Range", "Host")  # fmt: skip
TAKEN = {409}
"""A name that an earlier text has taken: that is what our own interface says to it."""
CANARY = "canary-of-a-stranger"
# What a mass assignment would aim at, beside the columns of the table itself.
AIMS = ("price", "cost", "is_admin", "admin", "role", "credits", "balance", "free", "test", "__proto__", "constructor")


@pytest.fixture
async def described(gateway: Gateway, caller: Caller) -> AsyncIterator[list[Operation]]:
    """Every operation; after the test the log must be whole, and tell of no bug."""
    yield await operations(gateway, caller.session)
    whole = gateway.log_file.read_bytes()
    for line in whole.splitlines():
        assert "event" in json.loads(line), line
        assert all(32 <= byte < 127 for byte in line), line
    assert b"request_failed" not in whole
    assert b"forged" not in whole


async def _raw(gateway: Gateway, head: bytes, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request, byte by byte as it is given."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    names = [line.partition(":")[0].lower() for line in lines[1:]]
    assert len(names) == len(set(names)), answer
    return int(lines[0].split()[1]), dict(zip(names, lines[1:], strict=True)), content


def _check(operation: Operation, status: int, headers: Any, what: object) -> None:
    assert status < 500, what
    assert str(status) in operation.described["responses"], (status, what)
    names = {name.lower() for name in headers}
    assert names <= HEADERS | operation.headers(status), what


# If this failed, a text would be read as SQL, a template or a header, be changed on its way, or bring the gateway down.
async def test_texts_in_bodies_are_kept_or_refused(
    gateway: Gateway, caller: Caller, described: list[Operation]
) -> None:
    sent: list[str] = []
    for operation in described:
        for path in sorted(operation.fields("string"), key=str):
            for text in TEXTS:
                for body in operation.bodies()[-1:]:
                    content = with_literal(body, path, json.dumps(text))
                    kind = {"Content-Type": "application/json"}
                    url = operation.urls()[-1]
                    async with caller.session.post(
                        url, data=io.BytesIO(content), headers=caller.headers | kind
                    ) as response:
                        _check(operation, response.status, response.headers, (path, text))
                        answer = await response.json()
                    if response.status == 200 and written(path) == "input.prompt":
                        sent.append(text)
                    assert response.status in {200, 201, 400, *TAKEN}, (path, text, answer)
    kept = {row["prompt"] for row in await gateway.fetch("SELECT request::json->>'prompt' AS prompt FROM task")}
    assert set(sent) <= kept
    assert len(sent) > 0.9 * len(TEXTS)


# If this failed, an address or a header would be taken for more than a value, or come back as a header.
async def test_texts_in_addresses_are_refused(gateway: Gateway, caller: Caller, described: list[Operation]) -> None:
    for operation in described:
        examples = {name: each["example"] for name, each in operation.parameters("path").items()}
        query = {name: each["example"] for name, each in operation.parameters("query").items()}
        base = operation.base.removeprefix(gateway.url)
        for name in (*examples, *query):
            for text in TEXTS:
                filled = {each: quote(str(value), safe="") for each, value in (examples | query | {name: text}).items()}
                target = base + operation.path.format(**filled)
                target += "?" + "&".join(f"{each}={filled[each]}" for each in query)
                head = f"{operation.method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
                body = json.dumps(operation.bodies()[0]).encode() if operation.request else b""
                status, headers, content = await _raw(gateway, head.encode(), body)
                slashed = name in examples and ("/" in text or text in {".", ".."})
                if not slashed:
                    _check(operation, status, headers, (name, text))
                    assert content.startswith(b"{"), (name, text)
                assert 400 <= status < 500, (name, text)


# If this failed, a header's value would come back as a header of ours, or end up in the log as a line of its own.
async def test_texts_in_headers_do_no_harm(gateway: Gateway, caller: Caller, described: list[Operation]) -> None:
    for turn, operation in enumerate(described):
        target = operation.urls()[0].removeprefix(gateway.url)
        queries = {name: quote(str(each["example"])) for name, each in operation.parameters("query").items()}
        target += "?" + "&".join(f"{name}={value}" for name, value in queries.items())
        body = json.dumps(operation.bodies()[0]).encode() if operation.request else b""
        for first, name in enumerate(SENT_HEADERS):
            for text in TEXTS[(turn + first) % len(described) :: len(described)]:  # the operations share them
                usual = {"Host": "x", "Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
                lines = "".join(f"{each}: {value}\r\n" for each, value in (usual | {name: text}).items())
                head = f"{operation.method} {target} HTTP/1.1\r\n{lines}"
                status, headers, _ = await _raw(gateway, head.encode(), body)
                if "\n" not in text and "\r" not in text and status != 400:
                    _check(operation, status, headers, (name, text))
                assert status < 500, (name, text)
                assert headers.keys() <= HEADERS | operation.headers() | REFUSED, (name, text, headers)


# If this failed, a caller could set its own price, account or state.
async def test_unknown_fields_reach_no_row(gateway: Gateway, caller: Caller) -> None:
    columns = await gateway.fetch(
        "SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'task'"
    )
    aims = {row["name"] for row in columns} - {"callback_url"} | set(AIMS)
    honest, answer = await caller.submit({"input": {"mode": "text-to-image", "prompt": "honest", "max_images": 2}})
    assert honest == 200
    for value in (CANARY, 0, -1, True, None, [CANARY], {"a": CANARY}):
        strange = dict.fromkeys(sorted(aims), value)
        given = strange | {"input": strange | {"mode": "text-to-image", "prompt": "strange", "max_images": 2}}
        status, told = await caller.submit(given)
        assert status == 200, told
        rows = await gateway.fetch(
            "SELECT to_jsonb(task) - 'changes' AS row FROM task WHERE id = ANY($1::uuid[])",
            [answer["data"]["taskId"], told["data"]["taskId"]],
        )
        assert all(CANARY not in row["row"] for row in rows)
        own = [json.loads(row["row"]) for row in rows]
        for name in ("account_id", "key_id", "unit_price_micros", "pictures", "listing_id", "listing_version"):
            assert own[0][name] == own[1][name], name
