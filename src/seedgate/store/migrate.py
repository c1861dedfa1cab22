"""Schema changes: numbered, forward only, under an advisory lock; expand now, contract a release later.

`schema_version` says what the database holds and `min_reader` which programs may still read it: a program older than
`min_reader` refuses to start, with its data untouched.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

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
    migrations = migrations or shipped()
    async with database.write() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await tx.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (number integer PRIMARY KEY, name text NOT NULL,"
            " digest text NOT NULL, min_reader integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
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
