"""Our own interface: who asks, or is refused, too often."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from own import Api
from world import World

from seedgate.domain.configuration import Limits
from seedgate.domain.key import KeyLimits


@pytest.fixture
async def api(world: World, tmp_path) -> AsyncIterator[Api]:
    made = Api(world, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(api: Api) -> tuple[str, UUID]:
    key, account = await api.key()
    await api.grant(account)
    return key, account


# If this failed, our own interface would be a way around the limits of the others, or its refusals say less.
async def test_questions_are_bounded_like_everywhere(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme
    api.limits = Limits(polls_per_minute=3)
    bounded, _ = await api.key(limits=KeyLimits())
    told = [await api("GET", path, bounded) for path in ("/balance", "/keys", "/ledger", "/tasks")]
    assert [got.status for got in told] == [200, 200, 200, 429]
    assert told[3].error["code"] == "rate_limited"
    wanted = {
        "retry-after": "20", "x-should-retry": "true", "x-seedgate-charged": "0", "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
    }  # fmt: skip
    assert told[3].headers.items() >= wanted.items()
    assert 19_000 < int(told[3].headers["retry-after-ms"]) <= 20_000
    assert (await api("GET", "/balance", key)).status == 200  # it has a limit of its own: none


# If this failed, keys could be guessed as fast as the network goes, or whoever has one suffer for a neighbour.
async def test_an_address_with_many_refusals_waits(api: Api, acme: tuple[str, UUID]) -> None:
    key, _ = acme
    api.limits = Limits(refusals_per_second=3)
    stranger = "203.0.113.9"
    told = [(await api("GET", "/balance", "x", client=stranger)).status for _ in range(5)]
    assert told == [401, 401, 401, 429, 429]
    assert (await api("GET", "/balance", "x", client="203.0.113.10")).status == 401
    assert (await api("GET", "/balance", key, client=stranger)).status == 429  # it was never seen
    assert (await api("GET", "/balance", key)).status == 200
    assert (await api("GET", "/balance", key, client=stranger)).status == 200
