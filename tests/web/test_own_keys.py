"""Keys over our own interface: made, rotated and revoked by keys, and never more than these may do themselves."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from own import SECRET, Api, Got
from world import PRICE, World

from seedgate import log
from seedgate.accounts import keyring
from seedgate.accounts.issue import UNLIMITED, KeyLimits, create_key
from seedgate.domain.configuration import Limits
from seedgate.domain.image import Route
from seedgate.ids import KeyKind, well_formed_key
from seedgate.store import keyring as stored

JSON = [("content-type", "application/json")]
MASTER = KeyLimits(submits_per_minute=0, concurrent_tasks=0, polls_per_minute=0, manages_keys=True)


@pytest.fixture
async def api(world: World, tmp_path) -> AsyncIterator[Api]:
    made = Api(world, tmp_path)
    yield made
    await made.close()


async def new(api: Api, limits: KeyLimits = MASTER, account: str = "acme") -> tuple[str, str]:
    """A key as an operator makes it, and its id."""
    issued = await create_key(
        api.world.database,
        api.world.ids,
        SECRET,
        account=account,
        name=api.world.ids.new().hex,
        kind=KeyKind.TEST,
        limits=limits,
    )
    return issued.key, issued.key_id.hex


async def post(api: Api, path: str, key: str, **body: Any) -> Got:
    return await api("POST", path, key, headers=JSON, body=[json.dumps(body).encode()])


async def rows(api: Api, name: str) -> Any:
    (row,) = await api.world.database.fetch(
        "SELECT k.*, t.submits_per_minute, t.concurrent_tasks, t.budget_micros FROM api_key k"
        " JOIN key_state t ON t.key_id = k.id WHERE k.name = $1",
        name,
    )
    return row


# If this failed, a team could not be given keys, or they would not be what was asked for.
async def test_a_key_makes_a_key(api: Api) -> None:
    master, _ = await new(api)
    ends = (datetime.now(UTC) + timedelta(days=9)).replace(microsecond=0)
    got = await post(
        api,
        "/keys",
        master,
        name="team",
        submits_per_minute=7,
        budget="2.50",
        models=["seedream-4-5", "apixo/seedream-5-0"],
        route="value",
        expires_at=ends.isoformat(),
    )
    assert (got.status, got.headers["cache-control"]) == (201, "no-store")
    made = got.json
    assert well_formed_key(made["key"])
    assert made["key"].startswith(made["prefix"])
    assert {**made, "key": "", "prefix": "", "id": "", "created_at": ""} == {
        "id": "", "name": "team", "kind": "test", "prefix": "", "state": "active", "is_caller": False, "key": "",
        "submits_per_minute": 7, "concurrent_tasks": None, "polls_per_minute": None,
        "budget": {"amount": "2.50", "micros": 2_500_000}, "spent": {"amount": "0.00", "micros": 0}, "open_tasks": 0,
        "models": ["seedream-4-5", "apixo/seedream-5-0"], "route": "value", "manages_keys": False, "older_secrets": 0,
        "created_at": "", "expires_at": ends.isoformat().replace("+00:00", "Z"), "revoked_at": None,
    }  # fmt: skip
    page = (await api("GET", "/keys", made["key"])).json
    assert [(each["name"] == "team", each["is_caller"]) for each in page["keys"]] == [(True, True), (False, False)]
    assert page["usage"] == {"active": 2, "max_active": 100}
    row = await rows(api, "team")
    assert (row["kind"], row["submits_per_minute"], row["concurrent_tasks"], row["budget_micros"]) == (
        "test", 7, 0, 2_500_000,
    )  # fmt: skip
    page = (await api("GET", "/keys?limit=1", master)).json
    rest = (await api("GET", f"/keys?limit=1&cursor={page['next_cursor']}", master)).json
    assert [each["name"] == "team" for each in (*page["keys"], *rest["keys"])] == [True, False]
    assert rest["next_cursor"] is None


# If this failed, limits that nobody set would be told as none, while submits are refused by the default.
async def test_limits_are_told_as_they_hold(api: Api) -> None:
    api.limits = Limits(submits_per_minute=60, concurrent_tasks=10, polls_per_minute=0)
    key, _ = await new(api, KeyLimits(concurrent_tasks=3))
    (line,) = (await api("GET", "/keys", key)).json["keys"]
    assert (line["submits_per_minute"], line["concurrent_tasks"], line["polls_per_minute"]) == (60, 3, None)


SMALL = KeyLimits(
    submits_per_minute=5,
    concurrent_tasks=2,
    polls_per_minute=100,
    models=("seedream-4-5",),
    route=Route.VALUE,
    manages_keys=True,
    expires_at=datetime.now(UTC) + timedelta(days=1),
)
LARGER = [
    {"submits_per_minute": 6}, {"submits_per_minute": 0}, {"concurrent_tasks": 3}, {"concurrent_tasks": 0},
    {"polls_per_minute": 0}, {"models": ["seedream-5-0"]}, {"models": ["seedream-4-5", "seedream-5-0"]},
    {"expires_at": "2999-01-01T00:00:00Z"},
]  # fmt: skip


# If this failed, a key could make itself a larger one.
@pytest.mark.parametrize("wish", LARGER, ids=str)
async def test_a_key_gives_no_more_than_it_has(api: Api, wish: dict[str, Any]) -> None:
    small, _ = await new(api, SMALL)
    (name,) = wish
    got = await post(api, "/keys", small, name="larger", **wish)
    assert (got.status, got.error["code"], got.error["param"]) == (403, "forbidden", name)
    made = await post(api, "/keys", small, name="same")
    assert made.status == 201
    row = await rows(api, "same")
    assert (row["submits_per_minute"], row["models"], row["route"]) == (5, ["seedream-4-5"], "value")
    assert (row["expires_at"], row["manages_keys"]) == (SMALL.expires_at, False)
    assert (await post(api, "/keys", made.json["key"], name="grandchild")).status == 403


BAD = [
    ({}, "name"), ({"name": ""}, "name"), ({"name": "x" * 201}, "name"), ({"name": "a\nb"}, "name"),
    ({"name": " a"}, "name"), ({"name": "a", "submits_per_minute": -1}, "submits_per_minute"),
    ({"name": "a", "concurrent_tasks": 10**10}, "concurrent_tasks"), ({"name": "a", "budget": "x"}, "budget"),
    ({"name": "a", "budget": "-1"}, "budget"), ({"name": "a", "budget": 1}, "budget"),
    ({"name": "a", "models": []}, "models"), ({"name": "a", "models": ["flux"]}, "models"),
    ({"name": "a", "route": "cheap"}, "route"), ({"name": "a", "expires_at": "2999-01-01"}, "expires_at"),
    ({"name": "a", "expires_at": "2999-01-01T00:00:00"}, "expires_at"),
    ({"name": "a", "expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
    ({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ({"name": "a", "account": "other"}, "account"), ({"name": "a", "kind": "live"}, "kind"),
]  # fmt: skip


# If this failed, a mistake would make a key that nobody can use, or one of another account.
async def test_bad_wishes_are_named(api: Api) -> None:
    master, key_id = await new(api)
    for body, param in BAD:
        got = await post(api, "/keys", master, **body)
        assert (got.status, got.error["param"]) == (400, param), body
    assert (await api("POST", "/keys", master, body=[b"{}"])).status == 415
    for overlap in (-1, 30 * 86_400 + 1, "1", 0.5):
        got = await post(api, f"/keys/{key_id}/rotate", master, overlap_s=overlap)
        assert (got.status, got.error["param"]) == (400, "overlap_s")
    assert await api.world.count("api_key") == 1


# If this failed, two keys of a budget would spend it twice.
async def test_a_budget_is_given_away_from_the_makers_own(api: Api) -> None:
    maker, maker_id = await new(api, KeyLimits(budget_micros=10 * PRICE, manages_keys=True))
    for budget in (None, "0.385", "1000000000"):
        got = await post(api, "/keys", maker, name="a", **({"budget": budget} if budget else {}))
        assert (got.status, got.error["param"]) == (403, "budget")
    made = (await post(api, "/keys", maker, name="a", budget="0.28")).json
    lines = {each["id"]: each for each in (await api("GET", "/keys", maker)).json["keys"]}
    assert lines[maker_id]["budget"]["micros"] + lines[made["id"]]["budget"]["micros"] == 10 * PRICE
    assert (await post(api, "/keys", maker, name="b", budget="0.105")).status == 403
    # What the maker has spent is not there to give.
    async with api.world.database.write() as tx:
        await tx.execute("UPDATE key_state SET spent_micros = $1 WHERE budget_micros = $2", PRICE, 2 * PRICE)
    assert (await post(api, "/keys", maker, name="b", budget="0.036")).status == 403
    assert (await post(api, "/keys", maker, name="b", budget="0.035")).status == 201
    got = await post(api, f"/keys/{made['id']}/rotate", maker)
    assert (got.status, got.error["param"]) == (403, "budget")
    assert (await post(api, f"/keys/{maker_id}/rotate", maker)).status == 200


# If this failed, racing requests would give the same money to several keys.
async def test_racing_makers_share_one_budget(api: Api) -> None:
    maker, _ = await new(api, KeyLimits(budget_micros=3 * PRICE, manages_keys=True))
    told = await asyncio.gather(*(post(api, "/keys", maker, name=f"k{n}", budget="0.035") for n in range(8)))
    assert sorted(got.status for got in told) == [201] * 3 + [403] * 5
    (row,) = await api.world.database.fetch("SELECT sum(budget_micros)::bigint AS n FROM key_state")
    assert row["n"] == 3 * PRICE


# If this failed, money could be given away in the moment in which it is spent.
async def test_a_budget_is_spent_or_given_never_both(api: Api) -> None:
    maker, maker_id = await new(api, KeyLimits(budget_micros=8 * PRICE, manages_keys=True))
    (row,) = await api.world.database.fetch("SELECT account_id FROM api_key")
    await api.grant(row["account_id"])
    told = await asyncio.gather(
        *(post(api, "/keys", maker, name=f"k{n}", budget="0.035") for n in range(8)),
        *(api.world.accept(api.world.task(row["account_id"], UUID(maker_id))) for _ in range(8)),
    )
    given = sum(got.status == 201 for got in told if isinstance(got, Got))
    (state,) = await api.world.database.fetch(
        "SELECT budget_micros, spent_micros FROM key_state WHERE replace(key_id::text, '-', '') = $1", maker_id
    )
    assert state["budget_micros"] == state["spent_micros"]
    assert given * PRICE + state["spent_micros"] == 8 * PRICE
    assert await api.world.findings() == []


# If this failed, an account would have more keys than it may.
async def test_racing_requests_stay_within_the_bound(api: Api) -> None:
    master, _ = await new(api)
    second, _ = await new(api)
    bounded = Api(api.world, api.data, most_keys=4)
    makers = (master, second) * 4
    told = await asyncio.gather(*(post(bounded, "/keys", maker, name=f"k{n}") for n, maker in enumerate(makers)))
    assert sorted(got.status for got in told) == [201] * 2 + [413] * 6
    refused = next(got for got in told if got.status == 413)
    assert (refused.error["code"], refused.error["param"]) == ("quota_exceeded", "keys_per_account")
    assert refused.headers["x-should-retry"] == "false"
    made = next(got.json for got in told if got.status == 201)
    assert (await bounded("DELETE", f"/keys/{made['id']}", master)).status == 200
    assert (await post(bounded, "/keys", master, name="another")).status == 201
    await bounded.close()


# If this failed, a lost answer would leave a key that nobody knows, or a repeated request show its secret again.
async def test_a_name_is_taken_once(api: Api) -> None:
    master, _ = await new(api)
    told = await asyncio.gather(*(post(api, "/keys", master, name="ci") for _ in range(5)))
    assert sorted(got.status for got in told) == [201] + [409] * 4
    made = next(got.json for got in told if got.status == 201)
    for got in told:
        if got.status == 409:
            assert (got.error["code"], got.error["param"]) == ("already_exists", "name")
            assert made["id"] in got.error["message"]
            assert made["key"] not in got.body.decode()
    assert (await api("DELETE", f"/keys/{made['id']}", master)).json["state"] == "revoked"
    assert (await post(api, "/keys", master, name="ci")).status == 201


# If this failed, a secret could not be replaced without an outage, or an old one would work for ever.
async def test_a_key_rotates_itself(api: Api) -> None:
    old, key_id = await new(api, UNLIMITED)
    got = await api("POST", f"/keys/{key_id}/rotate", old)
    assert (got.status, got.json["id"], got.json["older_secrets"]) == (200, key_id, 1)
    new_one = got.json["key"]
    for key in (old, new_one):
        assert (await api("GET", "/keys", key)).status == 200
    # Who has found the old one must not make it a new one.
    for path in (f"/keys/{key_id}/rotate", "/keys"):
        got = await post(api, path, old, **({"name": "thief"} if path == "/keys" else {}))
        assert (got.status, got.error["code"]) == (403, "forbidden")
    assert (await api("DELETE", f"/keys/{key_id}", old)).status == 403
    last = (await post(api, f"/keys/{key_id}/rotate", new_one, overlap_s=0)).json
    assert last["older_secrets"] == 0
    fresh = Api(api.world, api.data)
    assert [(await fresh("GET", "/keys", key)).status for key in (old, new_one, last["key"])] == [401, 401, 200]
    await fresh.close()


# If this failed, a key could be rotated into as many working secrets as anybody likes.
async def test_older_secrets_are_few(api: Api, monkeypatch) -> None:
    monkeypatch.setattr(keyring, "MAX_OLDER_SECRETS", 2)
    key, key_id = await new(api, UNLIMITED)
    for _ in range(2):
        key = (await post(api, f"/keys/{key_id}/rotate", key)).json["key"]
    got = await post(api, f"/keys/{key_id}/rotate", key)
    assert (got.status, got.error["param"]) == (400, "overlap_s")
    assert (await post(api, f"/keys/{key_id}/rotate", key, overlap_s=0)).status == 200


# If this failed, any key could take the others over, or end them.
async def test_only_a_key_that_manages_keys_touches_others(api: Api) -> None:
    plain, plain_id = await new(api, UNLIMITED)
    _, other_id = await new(api, UNLIMITED)
    small, _ = await new(api, SMALL)
    for got in (
        await post(api, "/keys", plain, name="a"),
        await post(api, f"/keys/{other_id}/rotate", plain),
        await api("DELETE", f"/keys/{other_id}", plain),
        await post(api, f"/keys/{other_id}/rotate", small),  # its secret may do more than `small` may
    ):
        assert (got.status, got.error["code"]) == (403, "forbidden")
    assert (await api("DELETE", f"/keys/{other_id}", small)).status == 200
    assert (await api("DELETE", f"/keys/{plain_id}", plain)).json["state"] == "revoked"
    master, _ = await new(api)
    got = await post(api, f"/keys/{plain_id}/rotate", master)
    assert (got.status, got.error["param"]) == (400, "id")
    again = await api("DELETE", f"/keys/{plain_id}", master)
    assert (again.status, again.json["state"]) == (200, "revoked")


# If this failed, a key would make others for as long as a cache trusts it after its end.
async def test_a_key_that_has_ended_makes_none(api: Api) -> None:
    for ending in ("revoked_at = seedgate_now()", "expires_at = seedgate_now()", "manages_keys = false"):
        master, key_id = await new(api)
        assert (await api("GET", "/keys", master)).status == 200  # now it is trusted for seconds
        async with api.world.database.write() as tx:
            await tx.execute(f"UPDATE api_key SET {ending} WHERE replace(id::text, '-', '') = $1", key_id)
        wanted = 403 if ending.startswith("manages") else 401
        assert (await post(api, "/keys", master, name="late")).status == wanted
        if wanted == 401:
            assert (await post(api, f"/keys/{key_id}/rotate", master)).status == 401
    assert await api.world.count("api_key") == 3


# If this failed, a revocation that comes at the same time would be overtaken by a key that outlives it.
async def test_a_revocation_waits_for_nobody_and_wins(api: Api, monkeypatch) -> None:
    master, key_id = await new(api)
    locked, go_on = asyncio.Event(), asyncio.Event()
    lock = stored.lock_account

    async def slow(tx: Any, account_id: Any) -> None:
        locked.set()
        await go_on.wait()
        await lock(tx, account_id)

    monkeypatch.setattr("seedgate.store.keyring.lock_account", slow)
    making = asyncio.create_task(post(api, "/keys", master, name="late"))
    await locked.wait()
    async with api.world.database.write() as tx:
        await tx.execute("UPDATE api_key SET revoked_at = seedgate_now() WHERE replace(id::text, '-', '') = $1", key_id)
    go_on.set()
    assert (await making).status == 401


# If this failed, a secret would lie in a log, a list, an error or the database.
async def test_no_secret_is_told_twice(api: Api, monkeypatch) -> None:
    stream = io.StringIO()
    log.configure(level="debug", json_lines=True, stream=stream)
    master, master_id = await new(api)
    made = (await post(api, "/keys", master, name="canary")).json
    rotated = (await post(api, f"/keys/{made['id']}/rotate", master)).json
    answers = [
        await api("GET", "/keys", master),
        await post(api, "/keys", master, name="canary"),
        await post(api, "/keys", master, name=made["key"]),
        await post(api, "/keys", master, **{made["key"]: 1}),
        await api("GET", f"/keys/{made['key']}", master),
        await api("DELETE", f"/keys/{made['id']}", master),
    ]
    told = "".join(got.body.decode() for got in (answers[0], answers[1], answers[5]))
    for key in (master, made["key"], rotated["key"]):
        assert key not in told
        assert key[20:] not in stream.getvalue()
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in said][:3] == ["key_made", "key_rotated", "key_revoked"]
    assert {line["by"] for line in said} == {master_id}
