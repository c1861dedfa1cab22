"""Grants and debits: once under a key, never silently nothing, and never what is not there."""

import asyncio
from typing import Any

import pytest
from world import PRICE, World

from seedgate.accounts.credits import Adjusted, debit, grant
from seedgate.domain.admission import Code
from seedgate.domain.errors import InsufficientBalance, InvalidRequest, KeyReused, NotFound
from seedgate.domain.ledger import Entry
from seedgate.store.access import read_balances
from seedgate.store.database import Database
from seedgate.store.ledger import Adjustment, adjust


async def _move(move: Any, world: World, account: str, key: str | None = None, **changes: Any) -> Adjusted:
    order = {"amount_micros": 70_000, "reason": "present", "actor": "test"} | changes
    return await move(world.database, world.ids, account=account, idempotency_key=key, **order)


# If this failed, an unset variable as a key would stop every later grant, and nobody would hear of it.
@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_idempotency_key_is_a_text_of_some_length(world: World, key: str) -> None:
    account_id = await world.account(credit=0)
    with pytest.raises(InvalidRequest) as refused:
        await _move(grant, world, account_id.hex, key)
    assert refused.value.param == "idempotency_key"
    assert (await _move(grant, world, account_id.hex, "k" * 255)).written
    assert await read_balances(world.database.access_lane, [account_id]) == [70_000]


# If this failed, a second order under an old key would look done, and the account would wait for its money.
@pytest.mark.parametrize(("move", "left"), [(grant, 270_000), (debit, 130_000)])
async def test_a_key_stands_for_one_adjustment(world: World, move: Any, left: int) -> None:
    first, second = [await world.account(credit=200_000) for _ in range(2)]
    done = await _move(move, world, first.hex, "once")
    assert (done.written, done.available_micros) == (True, left)
    again = await _move(move, world, first.hex, "once", actor="somebody else")
    assert (again.written, again.id, again.available_micros) == (False, done.id, left)
    other = debit if move is grant else grant
    for moved, account, changes in (
        (move, first, {"amount_micros": 1}),
        (move, first, {"amount_micros": 10**12}),
        (move, first, {"reason": "other"}),
        (move, second, {}),
        (other, first, {}),
    ):
        with pytest.raises(KeyReused):
            await _move(moved, world, account.hex, "once", **changes)
    assert await read_balances(world.database.access_lane, [first, second]) == [left, 200_000]
    assert await world.findings() == []


# If this failed, a repeated order would be an error once the money is spent, and be repeated for ever.
async def test_a_debit_is_repeated_after_all_is_gone(world: World) -> None:
    account = await world.account(credit=70_000)
    assert (await _move(debit, world, account.hex, "once")).written
    again = await _move(debit, world, account.hex, "once")
    assert (again.written, again.available_micros) == (False, 0)


# If this failed, an adjustment would be without a reason, an actor or a sense; money would turn its sign.
async def test_an_order_is_whole(world: World) -> None:
    account = await world.account()
    wrong: dict[str, list[Any]] = {
        "amount_micros": [0, -1, 10**15 + 1, 2**63],
        "reason": ["", " \n", "r" * 1001],
        "actor": ["", "a" * 201],
    }
    for move in (grant, debit):
        for name, value in ((name, value) for name, values in wrong.items() for value in values):
            with pytest.raises(InvalidRequest) as refused:
                await _move(move, world, account.hex, **{name: value})
            assert refused.value.param == name.removesuffix("_micros")
    assert await world.balance(account) == (10**9, 0, 0)
    assert await world.count("adjustment") == 1


# If this failed, money that open tasks hold could be taken from under them.
async def test_what_is_held_cannot_be_debited(world: World) -> None:
    account = await world.account(credit=10 * PRICE)
    await world.accept(world.task(account, await world.key(account), pictures=6))
    with pytest.raises(InsufficientBalance) as refused:
        await _move(debit, world, account.hex, amount_micros=4 * PRICE + 1)
    assert "$0.14" in refused.value.message
    assert "$0.140001" in refused.value.message
    taken = await _move(debit, world, account.hex, amount_micros=4 * PRICE)
    assert taken.available_micros == 0
    assert await world.balance(account) == (0, 6 * PRICE, 1)
    assert await world.findings() == []


# If this failed, the last guard would be gone where a program decides wrongly.
async def test_the_schema_refuses_a_debit_of_more_than_there_is(world: World) -> None:
    account = await world.account(credit=PRICE)
    with pytest.raises(InvalidRequest):
        async with world.database.write() as tx:
            await adjust(
                tx,
                Adjustment(
                    id=world.ids.new(),
                    account_id=account,
                    entry=Entry.DEBIT,
                    amount_micros=PRICE + 1,
                    reason="test",
                    actor="test",
                ),
            )
    assert await world.balance(account) == (PRICE, 0, 0)
    assert await world.count("adjustment") == 1


# If this failed, an account that was given more than a number holds would be a traceback.
async def test_there_is_a_most_that_an_account_can_have(world: World) -> None:
    account = await world.account()
    async with world.database.write() as tx:
        await tx.execute("UPDATE account SET avail_micros = 9223372036854775807")
    with pytest.raises(InvalidRequest):
        await _move(grant, world, account.hex)
    assert await world.count("adjustment") == 1


# If this failed, operators at the same moment could take what is not there, or find the books wrong afterwards.
async def test_racing_debits_take_what_there_is(world: World) -> None:
    others = [Database(world.database._dsn) for _ in range(4)]

    async def take(database: Database, account: str, amount: int) -> bool:
        try:
            return (await _move(debit, World(database), account, amount_micros=amount)).written
        except InsufficientBalance:
            return False

    for amount, won in ((1_000_000, 1), (100_000, 10), (300_000, 3)):
        account = await world.account(credit=1_000_000)
        assert sum(await asyncio.gather(*(take(others[n % 4], account.hex, amount) for n in range(32)))) == won
        assert await world.balance(account) == (1_000_000 - won * amount, 0, 0)
    for database in others:
        await database.close()
    assert await world.findings() == []


# If this failed, a debit could come between a submit's decision and its hold.
async def test_debits_and_submits_share_what_there_is(world: World) -> None:
    account = await world.account(credit=20 * PRICE)
    key = await world.key(account)
    other = Database(world.database._dsn)

    async def take() -> bool:
        try:
            return (await _move(debit, World(other), account.hex, amount_micros=PRICE)).written
        except InsufficientBalance:
            return False

    async def submit() -> bool:
        (verdict,) = await world.accept(world.task(account, key))
        return verdict.code is Code.ACCEPTED

    won = await asyncio.gather(*(step() for _ in range(20) for step in (take, submit)))
    await other.close()
    assert sum(won) == 20
    assert await world.balance(account) == (0, sum(won[1::2]) * PRICE, sum(won[1::2]))
    assert await world.findings() == []


# If this failed, a misspelt account would be an account.
async def test_an_unknown_account_is_told(world: World) -> None:
    with pytest.raises(NotFound):
        await _move(grant, world, "nobody")
