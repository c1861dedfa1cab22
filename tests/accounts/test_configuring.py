"""Changing the configuration: applied in one transaction, told to every process, never forgotten."""

import asyncio

import asyncpg
import pytest
from world import World

from seedgate.accounts.configuration import Live, change
from seedgate.domain.admission import Code
from seedgate.domain.configuration import Limits
from seedgate.domain.errors import InvalidRequest, NotFound, SeedgateError
from seedgate.store.configuration import read_history, read_set
from seedgate.store.database import Database

LISTINGS = ("apixo/seedream-4-5",)


async def _set(world: World, name: str, value: str | None, reason: str = "test") -> int:
    changed = await change(world.database, name=name, value=value, actor="tester", reason=reason, listings=LISTINGS)
    return changed.version


# If this failed, a limit that an operator sets would hold nowhere.
async def test_limits_of_accounts_keys_and_lanes_reach_their_rows(world: World) -> None:
    account = await world.account()
    key = await world.key(account, concurrent=0)
    await _set(world, f"account.{account.hex}.concurrent_tasks", "2")
    tasks = [world.task(account, key) for _ in range(3)]
    assert [v.code for v in await world.accept(*tasks)] == [Code.ACCEPTED, Code.ACCEPTED, Code.CONCURRENCY]
    await _set(world, f"account.{account.hex}.concurrent_tasks", None)
    await _set(world, f"key.{key.hex}.budget", "0.12")
    (verdict,) = await world.accept(world.task(account, key, pictures=2, slots=2))
    assert verdict.code is Code.BUDGET
    await _set(world, f"account.{account.hex}.frozen", "on")
    (verdict,) = await world.accept(world.task(account, key))
    assert verdict.code is Code.FROZEN
    await _set(world, "lane.engine:blank.capacity", "0")
    (row,) = await world.database.fetch("SELECT capacity, max_waiting FROM lane WHERE name = 'engine:blank'")
    assert (row["capacity"], row["max_waiting"]) == (0, None)
    assert await world.findings() == []


# If this failed, nobody could say who changed a price, or the record could be polished.
async def test_the_history_names_everybody_and_cannot_be_changed(world: World) -> None:
    first = await _set(world, "listing.apixo/seedream-4-5.price", "0.05", "spring")
    second = await _set(world, "listing.apixo/seedream-4-5.price", None, "back")
    assert second > first
    history = await read_history(world.database, name="listing.apixo/seedream-4-5.price", most=10)
    assert [(c.version, c.value, c.actor, c.reason) for c in history] == [
        (second, None, "tester", "back"),
        (first, "0.05", "tester", "spring"),
    ]
    assert await read_set(world.database) == []
    for sql in ("UPDATE configuration SET value = '0.01'", "DELETE FROM configuration"):
        with pytest.raises((asyncpg.PostgresError, SeedgateError)):
            async with world.database.write() as tx:
                await tx.execute(sql)


@pytest.mark.parametrize(
    ("name", "value", "reason", "kind"),
    [
        ("listing.apixo/nothing.price", "1", "r", NotFound),
        ("account.nobody.frozen", "on", "r", NotFound),
        ("key.nokey.budget", "1", "r", NotFound),
        ("maintenance", "on", "", InvalidRequest),
        ("maintenance", "on", "r" * 1001, InvalidRequest),
        ("limits.max_waiting", "many", "r", InvalidRequest),
    ],
)
async def test_what_cannot_be_is_refused_and_leaves_nothing(name, value, reason, kind, world: World) -> None:
    with pytest.raises(kind):
        await _set(world, name, value, reason)
    assert await world.count("configuration") == 0


# If this failed, one process would go on with what another was told to stop.
async def test_every_process_follows(world: World) -> None:
    other = Database(world.database._dsn)
    live, changed, stopping = Live(other, Limits(concurrent_tasks=10)), asyncio.Event(), asyncio.Event()
    await live.refresh()
    listening = asyncio.create_task(other.listen({"seedgate_configuration": changed.set}, stopping))
    async with asyncio.timeout(5):
        while not changed.is_set():
            # Whether it listens already cannot be seen from here; the change is repeated until it is heard.
            await _set(world, "maintenance", "Back at noon.")
            await asyncio.sleep(0.05)
    await live.refresh()
    assert live().maintenance == "Back at noon."
    stopping.set()
    await listening
    await other.close()


# If this failed, two operators at once could leave a version that says one thing and a row that says another.
async def test_racing_changes_end_in_the_newest(world: World) -> None:
    account = await world.account()
    name = f"account.{account.hex}.concurrent_tasks"
    await asyncio.gather(*(_set(world, name, str(n)) for n in range(1, 9)))
    newest = (await read_history(world.database, name=name, most=1))[0]
    (row,) = await world.database.fetch("SELECT concurrent_tasks FROM account WHERE id = $1", account)
    assert str(row["concurrent_tasks"]) == newest.value
