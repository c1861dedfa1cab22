"""Grants: once under a key, and never silently nothing."""

import pytest
from world import World

from seedgate.accounts.credits import grant
from seedgate.domain.errors import InvalidRequest, KeyReused
from seedgate.store.access import read_balances


async def _grant(world: World, account: str, key: str | None, amount: int = 70_000, reason: str = "present") -> bool:
    return await grant(
        world.database,
        world.ids,
        account=account,
        amount_micros=amount,
        reason=reason,
        actor="test",
        idempotency_key=key,
    )


# If this failed, an unset variable as a key would stop every later grant, and nobody would hear of it.
@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_idempotency_key_is_a_text_of_some_length(world: World, key: str) -> None:
    account_id = await world.account(credit=0)
    with pytest.raises(InvalidRequest) as refused:
        await _grant(world, account_id.hex, key)
    assert refused.value.param == "idempotency_key"
    assert await _grant(world, account_id.hex, "k" * 255)
    assert await read_balances(world.database.access_lane, [account_id]) == [70_000]


# If this failed, a second grant under an old key would look given, and the account would wait for its money.
async def test_a_key_stands_for_one_grant(world: World) -> None:
    first, second = [await world.account(credit=0) for _ in range(2)]
    assert await _grant(world, first.hex, "once")
    assert not await _grant(world, first.hex, "once")
    for account, other in ((first, {"amount": 1}), (first, {"reason": "other"}), (second, {})):
        with pytest.raises(KeyReused):
            await _grant(world, account.hex, "once", **other)
    assert await _grant(world, first.hex, None)
    assert await read_balances(world.database.access_lane, [first, second]) == [140_000, 0]
    assert await world.findings() == []
