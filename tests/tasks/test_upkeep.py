"""What is kept, goes after its days, and no earlier; in batches, beside others, whatever breaks."""

import asyncio
import os
from datetime import timedelta

import msgspec
import pytest
from kept import AGES, SECRET, House, digest
from structlog.testing import capture_logs
from world import PRICE

from seedgate.accounts.statement import Scope, open_statement
from seedgate.blobs import Blobs
from seedgate.domain.change import Change
from seedgate.domain.image import ImageRequest, Size
from seedgate.store import upkeep
from seedgate.store.database import Database
from seedgate.store.tasks import read_tasks
from seedgate.tasks.upkeep import Ages, Upkeep

MANY = 250


# If this failed, prompts and addresses would be kept for ever, or lost while they are needed.
async def test_what_is_personal_goes_with_the_results(house: House) -> None:
    owner = await house.owner()
    (task_id,) = await house.ended(owner, reference="face")
    still_open = house.world.task(*owner, request='{"prompt": "open"}', callback_url="https://example.com/open")
    await house.world.accept(still_open)
    await house.pass_days(14.9)
    assert not await house.upkeep().turn()
    (before,) = await read_tasks(house.world.database.read_lane, [task_id])
    assert len(house.files()) == 1
    assert SECRET in await _everything(house)
    await house.pass_days(15.1)
    await house.upkeep().turn()
    assert SECRET not in await _everything(house)
    assert digest("face") not in await _everything(house)
    assert not house.shelf.has(digest("face"))
    assert house.files() == set()
    # What a status is rendered from is as before.
    assert await read_tasks(house.world.database.read_lane, [task_id]) == [before]
    rows = await house.world.database.fetch("SELECT * FROM task ORDER BY id")
    wiped, other = rows
    request = msgspec.json.decode(wiped["request"], type=ImageRequest)
    assert (request.prompt, request.references, request.size, request.seed) == (
        "",
        (),
        Size(width=2048, height=1024),
        7,
    )
    assert msgspec.json.decode(wiped["changes"], type=list[Change]) == []
    assert (other["request"], other["callback_url"], other["wiped_at"]) == (
        still_open.request,
        still_open.callback_url,
        None,
    )
    assert await house.world.findings() == []


# If this failed, an operator who must forget sooner, or may remember longer, could not.
@pytest.mark.parametrize(("prompts", "day", "wiped"), [(1, 2, True), (30, 16, False), (30, 31, True)])
async def test_prompts_have_days_of_their_own(prompts: int, day: int, wiped: bool, house: House) -> None:
    await house.ended(await house.owner(), reference="face")
    await house.pass_days(day)
    ages = Ages(results=AGES.results, prompts=timedelta(days=prompts), tasks=AGES.tasks)
    await house.upkeep(ages=ages).turn()
    assert (SECRET in await _everything(house)) is not wiped
    assert house.shelf.has(digest("face")) is not wiped
    assert (len(house.files()) == 1) is (day < 15)


# If this failed, the table of tasks would grow for ever, a batch would be the whole table, or the books not add up.
async def test_tasks_retire_and_the_books_still_prove(house: House) -> None:
    first, second = await house.owner(), await house.owner()
    another_key = await house.world.key(first[0])
    ids = await house.ended(first, MANY - 70)
    await house.ended((first[0], another_key), 40)
    await house.ended(second, 30)
    still_open = house.world.task(*first)
    await house.world.accept(still_open)
    balances = [await house.world.balance(account) for account, _ in (first, second)]
    await house.pass_days(89.9)
    keeper = house.upkeep(batch=100)
    turns = await _keep(keeper)
    assert turns <= 2 + MANY // 100
    assert await house.world.count("task") == MANY + 1
    await house.pass_days(90.1)
    assert await _keep(keeper) == 1 + MANY // 100
    (row,) = await house.world.database.fetch(
        "SELECT array_agg(n ORDER BY n) AS sizes FROM (SELECT sum(tasks)::int AS n FROM retirement GROUP BY batch) b"
    )
    assert row["sizes"] == [50, 100, 100]
    assert await house.world.findings() == []
    assert await read_tasks(house.world.database.read_lane, [ids[0], still_open.id]) != [None, None]
    assert (await read_tasks(house.world.database.read_lane, ids[:1])) == [None]
    left = {
        table: await house.world.count(table) for table in ("task", "slot", "attempt", "image", "event", "delivery")
    }
    assert left == {"task": 1, "slot": 1, "attempt": 0, "image": 0, "event": 0, "delivery": 0}
    assert [await house.world.balance(account) for account, _ in (first, second)] == balances
    # And the account's statement still has every one of them.
    async with open_statement(house.world.database, first[0], Scope(newest_first=False, limit=10_000)) as statement:
        lines = [line async for line in statement.lines()]
    assert len({line.movement.subject_id for line in lines} & set(ids)) == len(ids)
    assert lines[-1].after.available_micros == balances[0][0]
    sums = await house.world.database.fetch(
        "SELECT key_id, sum(tasks)::int, sum(held_micros)::int, sum(charged_micros)::int FROM retirement GROUP BY key_id"
    )
    failed = {first[1]: (MANY - 70) // 3, another_key: 13, second[1]: 10}
    made = {first[1]: MANY - 70, another_key: 40, second[1]: 30}
    assert {tuple(each.values()) for each in sums} == {
        (key, made[key], made[key] * PRICE, (made[key] - failed[key]) * PRICE) for key in made
    }


# If this failed, a task would vanish while its prompt or a picture of it is still to be removed.
async def test_a_task_retires_last(house: House) -> None:
    await house.ended(await house.owner())
    await house.pass_days(100)
    database = house.world.database
    assert await upkeep.retire_tasks(database, age=AGES.tasks, most=10) == 0
    assert await upkeep.wipe_requests(database, age=AGES.prompts, most=10) == 1
    assert await upkeep.retire_tasks(database, age=AGES.tasks, most=10) == 0
    assert len(await upkeep.expire_images(database, age=AGES.results, most=10)) == 1
    assert await upkeep.retire_tasks(database, age=AGES.tasks, most=10) == 1


# If this failed, two processes would stumble over each other, or note the same task twice.
async def test_three_upkeeps_at_once_do_everything_once(house: House) -> None:
    owners = [await house.owner() for _ in range(3)]
    for owner in owners:
        await house.ended(owner, MANY // 3)
    await house.pass_days(91)
    databases = [Database(house.world.database._dsn) for _ in range(3)]
    with capture_logs() as logs:
        await asyncio.gather(*(_keep(house.upkeep(database=database, batch=10)) for database in databases))
    assert [line for line in logs if line["event"] != "kept_up"] == []
    for database in databases:
        await database.close()
    # Each may have left rows to another that was at them; nobody needs more than another turn.
    await _keep(house.upkeep())
    assert await house.world.count("task") == 0
    assert house.files() == set()
    (row,) = await house.world.database.fetch(
        "SELECT sum(tasks)::int AS n, count(DISTINCT batch)::int AS batches FROM retirement"
    )
    assert row["n"] == 3 * (MANY // 3)
    assert row["batches"] >= MANY // 10
    assert await house.world.findings() == []


# If this failed, one broken step would keep everything else from being tidied, for ever.
@pytest.mark.parametrize("broken", ["wipe_tasks", "retire_tasks"])
async def test_a_step_that_fails_keeps_no_other(broken: str, house: House) -> None:
    await house.ended(await house.owner(), 4)
    await house.pass_days(91)
    async with house.world.database.write() as tx:
        await tx.execute(f"ALTER FUNCTION {broken} RENAME TO away")
    half = house.data / "incoming" / "half"
    half.parent.mkdir()
    half.touch()
    os.utime(half, (0, 0))
    assert not await house.upkeep().turn()
    assert house.files() == set()
    assert not half.exists()
    async with house.world.database.write() as tx:
        await tx.execute(f"ALTER FUNCTION away RENAME TO {broken}")
    await house.upkeep().turn()
    assert await house.world.count("task") == 0
    assert await house.world.findings() == []


# If this failed, a crash between rows and files would leave strangers' pictures on the disk.
async def test_files_that_a_crash_left_are_collected(house: House) -> None:
    await house.ended(await house.owner(), 2, reference="face")
    await house.pass_days(16)
    database = house.world.database
    names = await upkeep.expire_images(database, age=AGES.results, most=10)
    await upkeep.wipe_requests(database, age=AGES.prompts, most=10)
    assert house.files() == set(names)
    assert house.shelf.has(digest("face"))
    house.age_results()
    await house.upkeep().turn()
    assert house.files() == set()
    assert not house.shelf.has(digest("face"))


class _Broken(Blobs):
    async def delete(self, names: object) -> None:
        raise PermissionError


# If this failed, a store that refuses would keep prompts from being removed.
async def test_a_store_that_refuses_keeps_no_prompt(house: House) -> None:
    await house.ended(await house.owner())
    await house.pass_days(16)
    broken = _Broken(store=house.blobs.store, folder=house.blobs.folder)
    await house.upkeep(blobs=broken).turn()
    assert SECRET not in await _everything(house)


async def _keep(keeper: Upkeep) -> int:
    """Turns until there is nothing more, the last one included."""
    turns = 1
    while await keeper.turn():
        turns += 1
    return turns


async def _everything(house: House) -> str:
    """Every row of every table, as text."""
    tables = await house.world.database.fetch(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    rows = [
        await house.world.database.fetch(f"SELECT string_agg(t::text, ' ') AS rows FROM {table['name']} t")
        for table in tables
    ]
    return " ".join(row["rows"] or "" for (row,) in rows)
