"""Our own interface: who may see what, in pages, with one shape for every error."""

import math
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import msgspec
import pytest
from own import Api
from store.test_work import Bench
from world import PRICE, World

from seedgate.domain import errors
from seedgate.domain.errors import SeedgateError
from seedgate.domain.reason import Reason
from seedgate.domain.reference import ReferenceFault, ReferenceRefused
from seedgate.store import details
from seedgate.web.own import door, wire
from seedgate.web.own.door import Operation
from seedgate.web.own.errors import render, status
from seedgate.web.own.operations import OPERATIONS


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A body for `wishes`."""

    name: str
    parts: list[int] = []


async def wishes(house: door.House, asked: door.Asked) -> wire.Deleted:
    """What any endpoint with a JSON body does."""
    return wire.Deleted(id=(await asked.json(Wish, house.bodies)).name, deleted=False)


async def broken(house: door.House, asked: door.Asked) -> wire.Deleted:
    raise RuntimeError("postgres://user:password@10.0.0.1/")


EXTRA = (
    Operation(name="w", method="POST", path="/wishes", summary="", answer=wishes, gives=wire.Deleted, takes=Wish),
    Operation(name="b", method="GET", path="/broken", summary="", answer=broken, gives=wire.Deleted),
)


@pytest.fixture
async def api(world: World, tmp_path) -> AsyncIterator[Api]:
    made = Api(world, tmp_path, table=(*OPERATIONS, *EXTRA))
    yield made
    await made.close()


@pytest.fixture
async def acme(api: Api) -> tuple[str, UUID]:
    key, account = await api.key()
    await api.grant(account)
    return key, account


# If this failed, somebody could read or delete what belongs to somebody else, or learn that it is there.
async def test_only_the_owner_sees_anything(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    task = await api.task(account)
    added = await api("POST", "/files", key, headers=[("content-type", "image/png")], body=[picture()])
    stranger, _ = await api.key("stranger")
    revoked, _ = await api.key()
    own_key = (await api("GET", "/keys", key)).json["keys"][-1]["id"]
    async with api.world.database.write() as tx:
        await tx.execute(
            "UPDATE api_key SET revoked_at = seedgate_now() WHERE id ="
            " (SELECT key_id FROM key_secret WHERE prefix = $1)",
            revoked[:16],
        )
    nobody = [None, revoked, "", "x", "é"]
    for operation in OPERATIONS:
        ids = {"tasks": task.hex, "files": added.json["id"], "keys": own_key}
        path = operation.path.replace("{id}", ids.get(operation.path.split("/")[1], ""))
        unknown = operation.path.replace("{id}", api.world.ids.new().hex)
        for who in nobody:
            got = await api(operation.method, path, who)
            assert (got.status, got.error["code"]) == (401, "unauthenticated"), (operation.name, who)
            assert got.headers["www-authenticate"]
        if path != operation.path:
            foreign, missing = await api(operation.method, path, stranger), await api(operation.method, unknown, key)
            assert (foreign.status, missing.status) == (404, 404), operation.name
            assert {**foreign.error, "request_id": ""} == {**missing.error, "request_id": ""}
        elif operation.method == "GET" and operation.name != "list_models":
            mine, theirs = await api("GET", path, key), await api("GET", path, stranger)
            assert mine.status == theirs.status == 200
            assert mine.json != theirs.json
    assert (await api("GET", "/tasks", stranger)).json == {"tasks": [], "next_cursor": None}
    assert (await api("GET", "/files", stranger)).json["files"] == []
    assert (await api("GET", f"/files/{added.json['id']}", key)).status == 200
    assert (await api("GET", f"/tasks/{task.hex}", key)).json["state"] == "pending"
    assert [each["state"] for each in (await api("GET", "/keys", key)).json["keys"]] == ["revoked", "active", "active"]
    told = (await api("GET", "/keys", stranger)).json["keys"]
    assert [each["is_caller"] for each in told] == [True]
    assert (await api("GET", "/ledger", stranger)).json["entries"] == []


# If this failed, a key in an address would work, and so end in every log on its way.
async def test_a_key_comes_in_a_header_only(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme
    stranger, _ = await api.key("stranger")
    for query in (f"api_key={key}", f"key={key}", f"access_token={key}", f"x-api-key={key}"):
        got = await api("GET", f"/balance?{query}")
        assert (got.status, key in got.body.decode()) == (401, False)
    for headers in ([("x-api-key", key)], [("authorization", f"bEaReR  {key} ")], [("x-api-key", key), ("authorization", f"Bearer {key}")]):  # fmt: skip
        assert (await api("GET", "/balance", headers=headers)).status == 200
    for headers in (
        [("x-api-key", key), ("x-api-key", stranger)],
        [("x-api-key", key), ("authorization", f"Bearer {stranger}")],
        [("x-api-key", key), ("authorization", "Basic eDp5")],
        [("authorization", key)],
        [("cookie", f"api_key={key}")],
    ):
        assert (await api("GET", "/balance", headers=headers)).status == 401


# If this failed, an answer could be kept by a cache, or not be found again in the logs.
async def test_every_answer_has_an_id_and_is_not_kept(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme
    seen = set()
    for method, path, who in (
        ("GET", "/balance", key),
        ("GET", "/balance/", key),
        ("GET", "/nothing", key),
        ("PUT", "/files", key),
        ("GET", "/balance", None),
        ("GET", "/broken", key),
        ("GET", "", key),
        ("GET", "/", None),
    ):
        got = await api(method, path, who)
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["content-type"] == "application/json"
        assert int(got.headers["content-length"]) == len(got.body)
        if got.status != 200:
            assert set(got.json) == {"error"}
            assert set(got.error) == {"code", "message", "param", "request_id"}
            assert got.error["request_id"] == got.headers["x-request-id"]
        seen.add(got.headers["x-request-id"])
    assert len(seen) == 8


# If this failed, a caller would not learn what it may do instead.
async def test_wrong_methods_and_addresses(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme
    for path, method, allowed in (
        ("/balance", "POST", "GET, HEAD"),
        ("/files", "PUT", "GET, HEAD, POST"),
        ("/files/" + "a" * 32, "PATCH", "DELETE, GET, HEAD"),
        ("/tasks/" + "a" * 32, "PUT", "DELETE, GET, HEAD"),
        ("/tasks/" + "a" * 32 + "/cancel", "GET", "POST"),
        ("/tasks", "OPTIONS", "GET, HEAD"),
        ("/tasks/", "BREW", "GET, HEAD"),
    ):
        got = await api(method, path, key)
        assert (got.status, got.error["code"], got.headers["allow"]) == (405, "method_not_allowed", allowed)
    for path in ("", "/", "/task", "/tasks//", "/tasks/" + "a" * 32 + "/x", "/tasks/../balance", "x", "/%00"):
        assert (await api("GET", path, key)).status == 404, path
    for bad in ("x", "A" * 32, "{" + "a" * 32 + "}", "\x00", "a" * 31, "a" * 9000):
        for kind in ("tasks", "files"):
            assert (await api("GET", f"/{kind}/{bad}", key)).status == 404
    assert (await api("HEAD", "/balance", key)).status == 200


BAD_QUERIES = [
        ("limit=0", "limit"), ("limit=101", "limit"), ("limit=", "limit"), ("limit=-1", "limit"), ("limit=1e1", "limit"),
        ("limit=%D9%A1", "limit"), ("limit=" + "9" * 5000, "limit"), ("limit=1&limit=2", "limit"), ("cursor=", "cursor"),
        ("cursor=x", "cursor"), ("cursor=" + "A" * 21 + "B", "cursor"), ("cursor=" + "é" * 22, None),
        ("cursor=" + "A" * 5000, "cursor"), ("state=done", "state"), ("state=", "state"), ("state=success,", "state"),
        ("stat=success", "stat"), ("%00=1", "\x00"), ("limit=%FF", None), ("&".join(f"a{i}=1" for i in range(99)), None),
        ("api_key=secret", "api_key"),
]  # fmt: skip


# If this failed, a mistyped parameter would be taken for none, or bad input for our mistake.
async def test_bad_queries_are_named(api: Api, acme: tuple[str, UUID]) -> None:
    for query, param in BAD_QUERIES:
        got = await api("GET", f"/tasks?{query}", acme[0])
        assert (got.status, got.error["code"], got.error["param"]) == (400, "invalid_request", param), query
        assert "secret" not in got.body.decode()


BODIES = [
        (b'{"name":"a"}', 200, None),
        (b'{"name":"a","parts":[1]}', 200, None),
        (b'{"name":"a","nam":1}', 400, "nam"),
        (b'{"parts":[]}', 400, "name"),
        (b'{"name":"a","name":"b"}', 400, "name"),
        (b'{"name":1}', 400, "name"),
        (b'{"name":"a","parts":["x"]}', 400, "parts[0]"),
        (b"[]", 400, None), (b"", 400, None), (b"{", 400, None), (b"\xff", 400, None),
        (b'{"name":"' + b"a" * 2000 + b'"}', 413, None),
]  # fmt: skip


# If this failed, a mistyped member would be ignored, or a broken body be our mistake.
async def test_bodies_are_read_strictly(api: Api, acme: tuple[str, UUID]) -> None:
    sent = [("content-type", "application/json; charset=utf-8")]
    for body, answer, param in BODIES:
        got = await api("POST", "/wishes", acme[0], headers=sent, body=[body])
        assert got.status == answer, body
        if answer != 200:
            assert got.error["param"] == param
        assert (await api("POST", "/wishes", acme[0], body=[body])).status == 415


# If this failed, what nobody foresaw would be told to strangers, or end without an answer.
async def test_a_broken_endpoint_says_nothing(api: Api, acme: tuple[str, UUID], capsys) -> None:
    got = await api("GET", "/broken", acme[0])
    assert (got.status, got.error["code"], got.error["message"]) == (500, "internal_error", "Internal error")
    assert api.measured.answers["seedgate", "b", 500] == 1


def _tree(kind: type[SeedgateError] = SeedgateError) -> list[type[SeedgateError]]:
    return [
        kind,
        *(below for each in kind.__subclasses__() if each.__module__ == errors.__name__ for below in _tree(each)),
    ]


# If this failed, a new error would be answered with a stack trace, or a wait that no client keeps.
@pytest.mark.parametrize("kind", _tree(), ids=lambda kind: kind.__name__)
def test_every_error_is_rendered(kind: type[SeedgateError]) -> None:
    number, body, headers = render(kind("postgres://user:password@10.0.0.1/"), "r")
    assert 400 <= number <= 503
    assert issubclass(kind, errors.CallerError) <= (number < 500)
    assert ("password" in body.error.message) == issubclass(kind, errors.CallerError | errors.Refused)
    assert ("retry-after" in headers) == (number in {429, 503})
    assert headers["x-seedgate-charged"] == "0"
    for asked, told in ((None, "1"), (-5, "1"), (0.2, "1"), (1.01, "2"), (59, "59"), (1e9, "59"), (math.inf, "59"), (math.nan, "1")):  # fmt: skip
        if issubclass(kind, errors.Refused):
            assert render(kind(retry_after_s=asked), "r")[2].get("retry-after", told) == told
    assert status(ReferenceRefused(ReferenceFault.FORMAT)) == 400


# If this failed, a page would leave tasks out, repeat them, or show them in another order.
async def test_pages_are_complete_and_newest_first(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    made = [await api.task(account) for _ in range(5)]
    seen, path = [], "/tasks?limit=2"
    for _ in range(3):
        page = (await api("GET", path, key)).json
        seen += [task["id"] for task in page["tasks"]]
        path = f"/tasks?limit=2&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert seen == [task.hex for task in reversed(made)]
    assert (await api("GET", "/tasks?limit=5", key)).json["next_cursor"] is None
    line = page["tasks"][0]
    assert (line["dialect"], line["listing"], line["model"]) == ("apixo", "seedream-4-5", "seedream-4-5")
    assert line["held"] == {"amount": "0.035", "micros": 35000}


# If this failed, a state could be asked for and never be found, or a rare one cost a walk through everything.
async def test_pages_of_one_state(api: Api, acme: tuple[str, UUID], monkeypatch) -> None:
    key, account = acme
    bench = Bench(api.world)
    old = await api.task(account)
    for claim in await bench.claim():
        await bench.attempt(claim)
    open_ones = [await api.task(account) for _ in range(4)]
    found = (await api("GET", "/tasks?state=success", key)).json
    assert [task["id"] for task in found["tasks"]] == [old.hex]
    assert found["next_cursor"] is None
    found = (await api("GET", "/tasks?state=pending,processing&limit=4", key)).json
    assert [task["id"] for task in found["tasks"]] == [task.hex for task in reversed(open_ones)]
    monkeypatch.setattr("seedgate.store.tasks.WALKED", 2)
    pages, path = [], "/tasks?state=success&limit=1"
    while path:
        page = (await api("GET", path, key)).json
        pages.append([task["id"] for task in page["tasks"]])
        path = page["next_cursor"] and f"/tasks?state=success&limit=1&cursor={page['next_cursor']}"
    assert pages == [[], [], [old.hex]]


# If this failed, a receipt over HTTP would not be what the ledger says.
async def test_a_task_shows_its_receipt(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    bench = Bench(api.world)
    changes = '[{"kind":"clamped","field":"n","given":9,"used":2,"why":"at most 2"}]'
    task = await api.task(account, pictures=2, slots=2, changes=changes)
    first, second = await bench.claim()
    await bench.attempt(first)
    shown = (await api("GET", f"/tasks/{task.hex}", key)).json
    assert shown["receipt"]["charged"] is None
    assert [result["picture"] for result in shown["results"]] == [0]
    assert shown["results"][0]["expires_at"] is None
    await bench.finish(second, Reason.DEADLINE)
    shown = (await api("GET", f"/tasks/{task.hex}", key)).json
    rows = await api.world.database.fetch(
        "SELECT entry, amount_micros FROM posting WHERE subject_id = $1 AND side = 2", task
    )
    posted = {row["entry"]: row["amount_micros"] for row in rows}
    receipt = shown["receipt"]
    assert [receipt[name]["micros"] for name in ("held", "charged", "released")] == [posted[1], posted[2], posted[3]]
    assert [(p["charged"]["micros"], p["released"]["micros"]) for p in receipt["pictures"]] == [(PRICE, 0), (0, PRICE)]
    assert [p["delivered_by"] for p in receipt["pictures"]] == ["engine:blank", None]
    assert [p["attempt"] for p in receipt["pictures"]] == [1, None]
    assert receipt["pictures"][1]["reason"] == "deadline"
    assert shown["changes"] == [{"field": "n", "kind": "clamped", "given": 9, "used": 2, "why": "at most 2"}]
    assert [(a["slot"], a["state"], a["lane"]) for a in shown["attempts"]] == [(0, "done", "engine:blank")]
    ended, expires = shown["completed_at"], shown["results"][0]["expires_at"]
    assert (datetime.fromisoformat(expires) - datetime.fromisoformat(ended)).days == 15
    assert shown["results"][0]["url"].startswith("http://gateway.test/files/")
    assert (shown["state"], shown["waiting"]) == ("success", None)


# If this failed, wrong books would be shown as a receipt.
async def test_broken_books_are_no_receipt(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    task = await api.task(account)
    async with api.world.database.write() as tx:
        await tx.execute("DELETE FROM posting WHERE subject_id = $1", task)
    got = await api("GET", f"/tasks/{task.hex}", key)
    assert (got.status, got.error["code"]) == (500, "internal_error")


# If this failed, a caller would ask somebody why its task is not done.
async def test_an_open_task_tells_what_it_waits_for(api: Api, acme: tuple[str, UUID], monkeypatch) -> None:
    key, account = acme
    other, stranger = await api.key("other")
    await api.grant(stranger)
    tasks = [await api.task(account, pictures=2, slots=2), await api.task(stranger), await api.task(account)]
    await api.task(account, lane="engine:elsewhere")

    async def waiting(task: UUID, who: str = key) -> dict[str, object]:
        return (await api("GET", f"/tasks/{task.hex}", who)).json["waiting"]

    last = await waiting(tasks[2])
    assert (last["why"], last["lane"], last["slots"]) == ("queued", "engine:blank", {"waiting": 1})
    assert (last["waiting_in_lane"], last["tasks_ahead"], last["ahead_in_account"]) == (4, 2, 2)
    assert last["oldest_waiting_s"] >= 0
    assert (await waiting(tasks[1], other))["tasks_ahead"] == 1
    monkeypatch.setattr(details, "COUNTED", 1)
    assert (await waiting(tasks[2]))["waiting_in_lane"] == 1
    (claim,) = await Bench(api.world).claim(want=1)
    now = await waiting(claim.task_id, key if claim.account_id == account else other)
    assert now["why"] == "drawing"


# If this failed, an account would be told another balance than the one that submits are decided by.
async def test_the_balance_is_the_accounts(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    await api.task(account, pictures=3)
    got = (await api("GET", "/balance", key)).json
    assert got == {
        "currency": "USD",
        "mode": "test",
        "available": {"amount": "3.395", "micros": 97 * PRICE},
        "held": {"amount": "0.105", "micros": 3 * PRICE},
        "open_tasks": 1,
    }


# If this failed, a program could not find out what it may ask for, or at which price.
async def test_models_are_listed_per_dialect(api: Api, acme: tuple[str, UUID]) -> None:
    got = (await api("GET", "/models", acme[0])).json
    (apixo,) = [each for each in got["dialects"] if each["dialect"] == "apixo"]
    (listing,) = [each for each in apixo["listings"] if each["name"] == "seedream-4-5"]
    assert listing["price"] == {"amount": "0.035", "micros": 35000}
    assert listing["sizes"]["4K"]["16:9"] == "5504x3040"
    assert listing["limits"]["max_references"] == 14
    assert listing["typical_s"] == {"2K": [25, 35], "4K": [40, 55]}


# If this failed, a process that leaves would take uploads that it cannot finish.
async def test_a_leaving_process_refuses_writes_and_answers_questions(api: Api, acme: tuple[str, UUID]) -> None:
    api.measured.draining = True
    got = await api("POST", "/files", acme[0], headers=[("content-type", "image/png")], body=[picture()])
    assert (got.status, got.headers["retry-after"]) == (503, "5")
    assert (await api("GET", "/balance", acme[0])).status == 200


# If this failed, a description made of the table would miss an endpoint or name one twice.
def test_the_table_is_whole() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)
    for operation in OPERATIONS:
        assert operation.summary.endswith(".")
        assert msgspec.json.schema(operation.gives)
        assert operation.writes == (operation.method != "GET" and "cancel" not in operation.name)
        assert ("{id}" in operation.path) <= (errors.NotFound in operation.errors)


def picture() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (60, 40), "teal").save(out, "PNG")
    return out.getvalue()
