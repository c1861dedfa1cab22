"""The ledger over our own interface: whole, one's own, and one at a time."""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from own import Api
from store.test_work import Bench
from world import PRICE, World

from seedgate.accounts.credits import grant
from seedgate.web.own import door, wire


@pytest.fixture
async def api(world: World, tmp_path) -> AsyncIterator[Api]:
    made = Api(world, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(api: Api) -> tuple[str, UUID]:
    """A key whose account has a grant, two holds and a charge."""
    key, account = await api.key()
    await grant(
        api.world.database, api.world.ids, account="acme", amount_micros=100 * PRICE, reason="=1+1", actor="operator"
    )
    world_key = await api.world.key(account)
    for _ in range(2):
        await api.world.accept(api.world.task(account, world_key))
    (claim,) = await Bench(api.world).claim(want=1)
    await Bench(api.world).attempt(claim)
    return key, account


# If this failed, a caller's books would not be those that it is billed by.
async def test_json_is_the_accounts_statement(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    got = await api("GET", "/ledger", key)
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert int(got.headers["content-length"]) == len(got.body)
    told = msgspec.json.decode(got.body, type=wire.Statement)
    assert sorted(entry.entry for entry in told.entries) == ["charge", "grant", "hold", "hold"]
    assert told.opening.balance_micros == 0
    assert (told.closing.available_micros, told.closing.held_micros) == (await api.world.balance(account))[:2]
    assert told.next_cursor is None
    first = got.json["entries"][0]
    assert (first["entry"], first["reason"], first["actor"]) == ("grant", "=1+1", None)
    assert b"operator" not in got.body


# If this failed, an accountant's spreadsheet would miss rows, execute one, or be told who works for the operator.
async def test_csv_says_the_same(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme
    got = await api("GET", "/ledger?format=csv", key)
    assert got.headers["content-type"].startswith("text/csv")
    assert "attachment" in got.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(got.body.decode())))
    assert [row["entry"] for row in rows][:2] == ["opening", "grant"]
    assert (rows[1]["reason"], rows[1]["actor"]) == ("'=1+1", "")
    assert len(rows) == 6
    for accept, kind in (
        ("text/csv", "text/csv"),
        ("text/html, TEXT/CSV;q=0.9, application/json", "text/csv"),
        ("application/json, text/csv", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ):
        got = await api("GET", "/ledger", key, headers=[("accept", accept)])
        assert got.headers["content-type"].partition(";")[0] == kind, accept
    got = await api("GET", "/ledger?format=json", key, headers=[("accept", "text/csv")])
    assert got.headers["content-type"] == "application/json"


# If this failed, parts of a ledger would not be its whole.
@pytest.mark.parametrize("form", ["json", "csv"])
async def test_parts_are_the_whole(api: Api, acme: tuple[str, UUID], form: str) -> None:
    key, _ = acme

    def entries(body: bytes) -> list[str]:
        if form == "json":
            return [json.dumps(entry) for entry in json.loads(body)["entries"]]
        return body.decode().splitlines()[2:-1]

    whole = entries((await api("GET", f"/ledger?format={form}", key)).body)
    parts, path = list[str](), f"/ledger?format={form}&limit=2"
    for _ in range(2):
        got = await api("GET", path, key)
        parts += entries(got.body)
        following = got.headers.get("x-next-cursor")
        if form == "json":
            assert got.json["next_cursor"] == following
        path = f"/ledger?format={form}&limit=2&cursor={following}"
    assert following is None
    assert parts == whole
    assert len(whole) == 4


# If this failed, a month would have another month's entries.
async def test_a_period_is_cut_exactly(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme
    whole = msgspec.json.decode((await api("GET", "/ledger", key)).body, type=wire.Statement)
    cut = whole.entries[2].at
    early, late = [
        msgspec.json.decode(
            (await api("GET", f"/ledger?{name}={cut:%Y-%m-%dT%H:%M:%S.%fZ}", key)).body, type=wire.Statement
        )
        for name in ("until", "since")
    ]
    assert early.entries + late.entries == whole.entries
    assert early.closing.balance_micros == late.opening.balance_micros
    future = cut + timedelta(days=1)
    assert (await api("GET", f"/ledger?since={future:%Y-%m-%d}", key)).json["entries"] == []


BAD = [
    ("since=", "since"), ("since=yesterday", "since"), ("until=2026-13-01", "until"), ("since=0000-01-01", "since"),
    ("since=2026-01-02&until=2026-01-01", "until"), ("limit=0", "limit"), ("limit=100001", "limit"), ("limit=x", "limit"),
    ("cursor=x", "cursor"), ("cursor=", "cursor"), ("cursor=2026-01-01_x_hold", "cursor"), ("format=xml", "format"),
    ("format=", "format"), ("account=other", "account"), ("since=9999-12-31T23:59:59-23:59", "since"),
]  # fmt: skip


# If this failed, a mistyped period would be another one.
async def test_bad_questions_are_named(api: Api, acme: tuple[str, UUID]) -> None:
    for query, param in BAD:
        got = await api("GET", f"/ledger?{query}", acme[0])
        assert (got.status, got.error["param"]) == (400, param), query


# If this failed, statements would take every connection of the pool, or one account everybody's place.
async def test_statements_come_one_at_a_time(api: Api, acme: tuple[str, UUID]) -> None:
    key, account = acme
    other, _ = await api.key("other")
    with api.turns.account(account):
        got = await api("GET", "/ledger", key)
        assert (got.status, got.error["code"], got.headers["retry-after"]) == (429, "rate_limited", "1")
        assert (await api("GET", "/ledger", other)).status == 200
    with api.turns.read(), api.turns.read():
        got = await api("GET", "/ledger", key)
        assert (got.status, got.error["code"], got.headers["retry-after"]) == (503, "unavailable", "1")
    assert (await api("GET", "/ledger", key)).status == 200


# If this failed, a caller that goes away would keep its account's place for ever.
async def test_a_broken_transfer_gives_its_place_back(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme

    async def broken(_: object) -> None:
        raise ConnectionError

    scope = {
        "type": "http", "method": "GET", "path": "/seedgate/v1/ledger", "query_string": b"",
        "headers": [(b"x-api-key", key.encode())],
    }  # fmt: skip
    with pytest.raises(ConnectionError):
        await api.app(scope, None, broken)  # type: ignore[arg-type]
    assert (await api("GET", "/ledger", key)).status == 200


# If this failed, wrong books would be sent out as a statement.
async def test_books_that_do_not_add_up_are_no_statement(api: Api, acme: tuple[str, UUID], monkeypatch) -> None:
    key, account = acme
    monkeypatch.setattr(door, "PIECE_BYTES", 100)
    assert len((await api("GET", "/ledger", key)).body) > 100
    async with api.world.database.write() as tx:
        await tx.execute(
            "DELETE FROM posting WHERE subject_id IN (SELECT id FROM adjustment WHERE account_id = $1)", account
        )
    got = await api("GET", "/ledger", key)
    assert (got.status, got.error["code"]) == (500, "internal_error")
    assert (await api("GET", "/ledger", key)).status == 500  # and not 429
