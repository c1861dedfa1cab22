"""Migrations build the schema that is written down, once, and a newer one is left alone."""

import asyncio

import pytest

from seedgate.domain.errors import NewerSchema, OperatorError
from seedgate.store import migrate
from seedgate.store.database import Database, Dsn
from tools.dump_schema import SCHEMA, dump


# If this failed, the schema that people read would not be the one that runs.
def test_the_written_schema_is_the_built_one(dsn: Dsn) -> None:
    assert dump(dict(dsn.arguments)) == SCHEMA.read_text(encoding="utf-8"), "run tools/dump_schema.py"


# If this failed, every start would try to build everything again.
async def test_migrations_are_applied_once_also_by_racing_processes(database: Database) -> None:
    assert await migrate.migrate(database) == []
    async with database.write() as tx:
        await tx.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    databases = [Database(database._dsn) for _ in range(3)]
    applied = await asyncio.gather(*(migrate.migrate(each) for each in databases))
    for each in databases:
        await each.close()
    assert sorted(len(each) for each in applied) == [0, 0, len(migrate.shipped())]
    await migrate.check(database)


# If this failed, an older program would damage what a newer one has written.
async def test_a_newer_schema_is_refused_and_untouched(database: Database) -> None:
    newest = migrate.shipped()[-1].number
    insert = "INSERT INTO schema_version (number, name, digest, min_reader) VALUES ($1, 'new', 'x', $2)"
    async with database.write() as tx:
        await tx.execute(insert, newest + 1, newest)
    await migrate.migrate(database)
    await migrate.check(database)
    async with database.write() as tx:
        await tx.execute(insert, newest + 2, newest + 2)
    for attempt in (migrate.migrate, migrate.check):
        with pytest.raises(NewerSchema) as caught:
            await attempt(database)
        assert "Nothing was changed" in caught.value.hint


# If this failed, a changed file would go unnoticed and two installations would differ.
async def test_a_changed_migration_is_refused(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute("UPDATE schema_version SET digest = 'other' WHERE number = 1")
    with pytest.raises(OperatorError, match="differs"):
        await migrate.check(database)


# If this failed, `serve` would run on a schema that lacks what it needs.
async def test_an_older_schema_is_told(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute("DELETE FROM schema_version WHERE number = (SELECT max(number) FROM schema_version)")
    with pytest.raises(OperatorError) as caught:
        await migrate.check(database)
    assert "seedgate db migrate" in caught.value.hint
    async with database.write() as tx:
        await tx.execute("DROP TABLE schema_version")
    with pytest.raises(OperatorError):
        await migrate.check(database)
