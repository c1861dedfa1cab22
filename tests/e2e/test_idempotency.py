"""A submit that is sent again is not paid again."""

import asyncio
from typing import Any

import pytest
from gateway import Caller, Gateway

from seedgate.accounts import issue, secret
from seedgate.accounts.credits import grant
from seedgate.domain.errors import NotFound
from seedgate.domain.key import KeyLimits
from seedgate.ids import Ids, KeyKind
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

BODY: dict[str, Any] = {"input": {"mode": "text-to-image", "prompt": "a fox", "max_images": 1}}


# If this failed, a client that retries after a lost answer would pay twice.
async def test_a_repeated_submit_gets_the_first_answer(caller: Caller) -> None:
    first = await _submit(caller, BODY, "once")
    # Another order of members, other white space and the other base address are the same request.
    turned = {"input": dict(reversed(BODY["input"].items())), "request_type": "async"}
    again = await _submit(caller, turned, "once", base="/api/v1")
    assert (first[0], first[2]) == (200, None)
    assert (again[0], again[2]) == (200, "true")
    assert again[1] == first[1]


# If this failed, racing retries would make several tasks, or one of them an error.
async def test_racing_submits_with_one_key_make_one_task(caller: Caller) -> None:
    answers = await asyncio.gather(*(_submit(caller, BODY, "race") for _ in range(32)))
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, body, _ in answers}) == 1
    assert sorted(replayed or "" for _, _, replayed in answers) == [""] + ["true"] * 31


# If this failed, a key that is used twice by mistake would silently return another request's pictures.
async def test_another_body_is_refused(caller: Caller) -> None:
    assert (await _submit(caller, BODY, "other"))[0] == 200
    changed = {"input": BODY["input"] | {"prompt": "a dog"}}
    assert (await _submit(caller, changed, "other"))[0] == 422


# If this failed, a key would be lost for ever because it was tried without an account's credit.
async def test_a_refusal_is_not_remembered(gateway: Gateway, caller: Caller) -> None:
    with EmbeddedServer.open(gateway.data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        issued = await issue.create_key(
            database,
            Ids(),
            secret.load(gateway.data, given="", file=""),
            account="poor",
            name="first",
            kind=KeyKind.TEST,
            limits=KeyLimits(submits_per_minute=60, concurrent_tasks=10),
        )
        headers = {"Authorization": f"Bearer {issued.key}", "Idempotency-Key": "broke"}
        status, answer = await caller.submit(BODY, **headers)
        assert (status, answer) == (402, {"code": 402, "message": "Insufficient credits", "data": None})
        status, answer = await caller.submit(BODY, "seedream-5-0", **headers)
        assert (status, answer) == (400, {"code": 400, "message": "Insufficient credits", "data": None})
        assert await grant(database, Ids(), account="poor", amount_micros=35_000, reason="test", actor="test")
        assert (await caller.submit(BODY, **headers))[0] == 200
        with pytest.raises(NotFound, match="nobody"):
            await grant(database, Ids(), account="nobody", amount_micros=1, reason="test", actor="test")
        await database.close()


# If this failed, a header of any size or kind would reach the database.
async def test_keys_are_bounded(caller: Caller) -> None:
    assert (await _submit(caller, BODY, "k" * 255))[0] == 200
    assert (await _submit(caller, BODY, "k" * 256))[0] == 400


async def _submit(caller: Caller, body: dict[str, Any], key: str, base: str = "") -> tuple[int, bytes, str | None]:
    url = f"{caller.gateway.url}{base}/generateTask/seedream-4-5"
    async with caller.session.post(url, json=body, headers=caller.headers | {"Idempotency-Key": key}) as response:
        return response.status, await response.read(), response.headers.get("Idempotency-Replayed")
