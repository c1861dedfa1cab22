"""Schema changes: numbered, forward only, under an advisory lock; expand now, contract a release later.

`schema_version` says what the database holds and `min_reader` which programs may still read it: a program older than
`min_reader` refuses to start, with its data untouched.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import NoReturn

import asyncpg

from seedgate.domain.errors import NewerSchema, OperatorError
from seedgate.store.database import Database, Tx

MIN_READER = 1
"""Oldest program, by the number of its last migration, that reads what these migrations make."""
_LOCK = 0x5EED6A7E
_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """What a file that was applied must still be."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> list[Migration]:
    """The migrations of this program, in order."""
    found = []
    for file in resources.files("seedgate.store").joinpath("migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(number=int(match[1]), name=match[2], sql=file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is missing, each in the one transaction of this call; returns what was applied.

    Raises NewerSchema, with nothing changed, when the database was written by a newer program.
    """
    async with database.write() as tx:
        await begin(tx)
        return await apply(tx, migrations or shipped())


async def lock(tx: Tx) -> None:
    """Be the only one who changes the schema, until the transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def begin(tx: Tx) -> None:
    """Be that one, with a table that says what was applied."""
    await lock(tx)
    await tx.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (number integer PRIMARY KEY, name text NOT NULL,"
        " digest text NOT NULL, min_reader integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )


async def apply(tx: Tx, migrations: Sequence[Migration]) -> list[Migration]:
    """Apply what is missing, after `begin`; returns what was applied. Raises NewerSchema or OperatorError."""
    applied = await _applied(tx)
    _refuse_newer(applied, migrations)
    missing = [migration for migration in migrations if migration.number not in applied]
    for migration in missing:
        await tx.execute(migration.sql)
        await tx.execute(
            "INSERT INTO schema_version (number, name, digest, min_reader) VALUES ($1, $2, $3, $4)",
            migration.number,
            migration.name,
            migration.digest,
            MIN_READER,
        )
    return missing


async def refuse_newer(tx: Tx) -> None:
    """Raise NewerSchema where this program may not read what is there."""
    _refuse_newer(await _applied(tx), shipped())


async def rebuild(tx: Tx, migrations: Sequence[Migration]) -> None:
    """Make the schema that the rows of `schema_version` speak of, in a database that holds nothing else.

    Raises NewerSchema where this program does not know all of it: reading may be possible then, making is not.
    """
    applied = await _applied(tx)
    _refuse_newer(applied, migrations)
    known = {migration.number for migration in migrations}
    if not known.issuperset(applied):
        refuse_unknown(max(applied), migrations)
    for migration in migrations:
        if migration.number in applied:
            await tx.execute(migration.sql)


def refuse_unknown(schema: int, migrations: Sequence[Migration]) -> NoReturn:
    """Raise NewerSchema for data of a schema that these migrations do not make."""
    raise NewerSchema(
        f"The data was written by a newer Seedgate (schema {schema}, this program knows {migrations[-1].number})",
        hint="Use the program that wrote it, or a newer one. Nothing was changed.",
    )


async def check(database: Database) -> None:
    """Make sure that this program may use the database as it is. Raises NewerSchema or OperatorError, with a hint."""
    migrations = shipped()
    try:
        rows = await database.fetch("SELECT number, digest, min_reader FROM schema_version")
    except asyncpg.UndefinedTableError:
        rows = []
    applied = {row["number"]: (row["digest"], row["min_reader"]) for row in rows}
    _refuse_newer(applied, migrations)
    if any(migration.number not in applied for migration in migrations):
        raise OperatorError("The database's schema is older than this program", hint="Run `seedgate db migrate` first.")


async def _applied(tx: Tx) -> dict[int, tuple[str, int]]:
    rows = await tx.fetch("SELECT number, digest, min_reader FROM schema_version")
    return {row["number"]: (row["digest"], row["min_reader"]) for row in rows}


def _refuse_newer(applied: dict[int, tuple[str, int]], migrations: Sequence[Migration]) -> None:
    newest = migrations[-1].number
    if any(min_reader > newest for _, min_reader in applied.values()):
        raise NewerSchema(
            f"The data was written by a newer Seedgate (schema {max(applied)}, this program knows {newest})",
            hint="Start the newer program, or restore a backup that this one made. Nothing was changed.",
        )
    for migration in migrations:
        digest, _ = applied.get(migration.number, (migration.digest, 0))
        if digest != migration.digest:
            raise OperatorError(
                f"Migration {migration.number:04d} differs from the one that made this database",
                hint="Use the program that made it; a migration never changes once it is released.",
            )
