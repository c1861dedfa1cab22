"""Every row goes out of one snapshot and into an empty database, where a new epoch begins."""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from test_work import Bench
from world import PRICE, World, tables

from seedgate.domain.errors import NewerSchema, OperatorError, ServerBroken
from seedgate.domain.reason import Reason
from seedgate.store import finish, migrate
from seedgate.store.database import Database, Dsn
from seedgate.store.dump import Dumped, Reconciled, dump, forget_images, load, reconcile
from seedgate.store.finish import SlotEnding
from tools.dump_schema import SCHEMA
from tools.dump_schema import dump as dump_schema

AGE = timedelta(days=15)
HARD_TEXT = 'tab\t, line\n, \\., \\N, "quotes", Ж, 🦊'


@pytest.fixture
async def other(empty: Dsn) -> AsyncIterator[World]:
    """What is restored into."""
    database = Database(empty)
    yield World(database)
    await database.close()


async def _dump(database: Database) -> tuple[Dumped, bytes, list[str]]:
    rows, files = io.BytesIO(), io.BytesIO()
    dumped = await dump(database, rows=rows.write, files=files.write, results=True, references_age=AGE)
    return dumped, rows.getvalue(), files.getvalue().decode().splitlines()


async def _load(database: Database, rows: bytes, *, missing: tuple[str, ...] = ()) -> tuple[list[str], Reconciled]:
    async with database.write() as tx:
        strangers = await load(tx, io.BytesIO(rows))
        await forget_images(tx, missing)
        return strangers, await reconcile(tx)


async def _history(world: World) -> None:
    account = await world.account(credit=100 * PRICE)
    key = await world.key(account)
    bench = Bench(world)
    await world.accept(
        world.task(account, key, pictures=2, slots=2, request=f'{{"p": "{HARD_TEXT}"}}', answer=b"\x00\xff\\."),
        world.task(account, key, callback_url="https://a.example/x", idempotency_key="k", fingerprint=b"f"),
    )
    claims = await bench.claim()
    await bench.attempt(claims[0])
    await bench.finish(claims[1], Reason.INTERNAL)
    await bench.finish(claims[2], Reason.INTERNAL)


# If this failed, a backup would lose or change what somebody trusted it with.
async def test_a_load_gives_back_every_row(world: World, other: World, empty: Dsn) -> None:
    await _history(world)
    dumped, rows, _ = await _dump(world.database)
    before = await tables(world.database)
    assert {name: len(found) for name, found in before.items()} == dumped.rows
    async with other.database.write() as tx:
        assert await load(tx, io.BytesIO(rows)) == []
    assert await tables(other.database) == before
    assert dump_schema(dict(empty.arguments)) == SCHEMA.read_text(encoding="utf-8")
    assert await other.findings() == []


# If this failed, a migration would have brought what a backup leaves out, or what a load would set off.
async def test_the_schema_has_nothing_but_rows_to_carry(world: World) -> None:
    found = await world.database.fetch(
        "SELECT relname::text AS n FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('r', 'i', 'c', 'p', 'I', 'v')"
        " UNION ALL SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal AND tgtype & 4 <> 0"  # on inserts
    )
    assert [row["n"] for row in found] == []


# If this failed, work that a vanished worker held would stay with it for ever, or be paid for twice.
async def test_workers_of_the_old_installation_are_gone(world: World, other: World) -> None:
    account = await world.account(credit=100 * PRICE)
    key = await world.key(account)
    await world.accept(*(world.task(account, key) for _ in range(4)))
    async with world.database.write() as tx:
        await tx.execute("INSERT INTO installation (id, secret_check) VALUES ($1, 'x')", UUID(int=5))
    bench = Bench(world)
    free, paid, handled, untouched = await bench.claim()
    await bench.intend(free)
    await bench.intend(paid, free=False)
    await bench.intend(handled, free=False)
    await bench.handle(handled, "h7")
    _, rows, _ = await _dump(world.database)
    _, settled = await _load(other.database, rows)
    assert settled == Reconciled(epoch=1, open_tasks=4, requeued=4, in_doubt=1)
    slots = await other.database.fetch("SELECT task_id, state, handle, worker_id FROM slot")
    assert {row["task_id"]: (row["state"], row["handle"]) for row in slots} == {
        free.task_id: (1, None),
        paid.task_id: (4, None),
        handled.task_id: (1, "h7"),
        untouched.task_id: (1, None),
    }
    assert await other.count("worker") == 0
    assert await other.findings() == []
    again = await Bench(other).claim()
    assert {claim.task_id for claim in again} == {free.task_id, handled.task_id, untouched.task_id}
    async with other.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = interval '1 hour'")
    late = await finish.overdue(other.database.work_lane, most=10)
    endings = [SlotEnding(task_id=task, ordinal=slot, epoch=None, reason=Reason.DEADLINE) for task, slot in late]
    assert all(await finish.finish_slots(other.database.work_lane, endings))
    assert await other.balance(account) == (100 * PRICE, 0, 0)
    assert await other.findings() == []


# If this failed, a lost picture would be a broken address, or be charged to somebody who never had it.
async def test_a_picture_without_its_file_is_gone_or_was_never_there(world: World, other: World) -> None:
    await _history(world)
    account = await world.account(credit=100 * PRICE)
    await world.accept(world.task(account, await world.key(account), pictures=2, slots=2))
    bench = Bench(world)
    first, second = await bench.claim()
    await bench.attempt(first)
    _, rows, files = await _dump(world.database)
    names = tuple(line.split()[1] for line in files if line.startswith("results "))
    assert len(names) == 2
    await _load(other.database, rows, missing=names)
    images = await other.database.fetch("SELECT t.state, i.deleted_at FROM image i JOIN task t ON t.id = i.task_id")
    assert [(row["state"], row["deleted_at"] is not None) for row in images] == [(10, True)]
    assert await other.findings() == []
    (again,) = await Bench(other).claim()
    assert again.task_id == second.task_id
    assert await Bench(other).finish(again, Reason.INTERNAL, force=True)
    assert await other.balance(account) == (100 * PRICE, 0, 0)
    assert await other.findings() == []


# If this failed, references of open tasks, or of data URLs that no row names yet, would be lost on the way.
async def test_files_that_may_still_be_asked_for_are_named(world: World) -> None:
    account = await world.account()
    inside, old, fresh = "a" * 64, "b" * 64, "c" * 64
    key = await world.key(account)
    waiting = world.task(account, key, request=f'{{"references":["sha256:{inside}"]}}')
    done = [world.task(account, key) for _ in range(2)]
    await world.accept(waiting, *done)
    async with world.database.write() as tx:
        for task, sha256 in zip(done, (old, fresh), strict=True):
            await tx.execute(
                "INSERT INTO reference VALUES ($1, 0, 'o', $2, 'png', 1, 1, 1, seedgate_now())", task.id, sha256
            )
    for claim in await Bench(world).claim():
        if claim.task_id != waiting.id:
            await Bench(world).finish(claim, Reason.INTERNAL, force=True)
    async with world.database.write() as tx:
        move = "UPDATE task SET completed_at = completed_at + interval '1 day' WHERE id = $1"
        await tx.execute(move, done[1].id)
        await tx.execute("UPDATE clock SET shift = interval '15 days 1 hour'")
    _, _, files = await _dump(world.database)
    assert sorted(files) == [f"references {digest} {digest}" for digest in (inside, fresh)]


# If this failed, a backup from before an upgrade could not be used after it.
async def test_an_older_schema_is_migrated(world: World, other: World) -> None:
    migrations = migrate.shipped()
    async with world.database.write() as tx:
        await tx.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await migrate.migrate(world.database, migrations[:4])
    await _history(world)
    async with world.database.write() as tx:
        await tx.execute("INSERT INTO installation (id, secret_check) VALUES ($1, 'x')", UUID(int=5))
    dumped, rows, _ = await _dump(world.database)
    assert (dumped.schema, dumped.epoch) == (4, 0)
    _, settled = await _load(other.database, rows)
    assert settled.epoch == 1
    await migrate.check(other.database)
    assert await other.findings() == []


# If this failed, a database with somebody's data would be mixed with a backup's, or a wrong one half loaded.
async def test_what_cannot_be_loaded_changes_nothing(world: World, other: World) -> None:
    await _history(world)
    _, rows, _ = await _dump(world.database)
    newest = migrate.shipped()[-1].number
    newer = rows.replace(f"\n{newest}\t".encode(), f"\n{newest + 1}\t".encode(), 1)
    spoilt = rows.replace(b"\tapixo/seedream-4-5\t1\t", b"\tapixo/seedream-4-5\tx\t", 1)
    assert rows not in {newer, spoilt}
    for bad, error in (
        (newer, NewerSchema),
        (spoilt, ServerBroken),
        (rows[:-5], OperatorError),
        (b"DROP;", OperatorError),
    ):
        with pytest.raises(error) as caught:
            await _load(other.database, bad)
        assert HARD_TEXT not in caught.value.message
        assert await tables(other.database) == {}
    async with other.database.write() as tx:
        await tx.execute("CREATE TABLE mine (a int)")
    with pytest.raises(OperatorError, match="not empty"):
        await _load(other.database, rows)


# If this failed, a table that somebody else keeps in the database would make every backup of it worthless.
async def test_a_strangers_table_is_told_and_left_out(world: World, other: World) -> None:
    async with world.database.write() as tx:
        await tx.execute("CREATE TABLE \"mine\" (a text); INSERT INTO mine VALUES ('1')")
    _, rows, _ = await _dump(world.database)
    assert (await _load(other.database, rows))[0] == ["mine"]
    assert "mine" not in await tables(other.database)
