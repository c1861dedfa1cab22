"""What operators ask of a database besides its tasks and its money: the server itself, its schema, its accounts."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from seedgate.domain.errors import ServerBroken, Unavailable
from seedgate.store.database import CONNECTIONS, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A database server, as it describes itself."""

    version: int
    """Major times 10,000 plus minor."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A migration that the database has."""

    number: int
    name: str
    applied_at: datetime


async def read_server(database: Database) -> Server:
    """Raises ServerBroken, with what is wrong in the server's or the system's own words."""
    try:
        (row,) = await database.fetch(
            "SELECT current_setting('server_version_num')::int AS version, clock_timestamp() AS now"
        )
    except asyncpg.PostgresError as error:
        hint = "Check user, password and name in DATABASE_URL."
        raise ServerBroken(f"The database refuses the connection: {error}", hint=hint) from error
    except Unavailable as error:
        why = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) else ""
        hint = "Check host and port in DATABASE_URL, and that the server runs."
        raise ServerBroken(f"The database does not answer{why}", hint=hint) from error
    return Server(version=row["version"], now=row["now"])


async def require_connections(database: Database) -> None:
    """Raise ServerBroken where role, database or server let in fewer connections than a process needs."""
    (row,) = await database.fetch(
        "SELECT least(CASE WHEN NOT r.rolsuper THEN nullif(r.rolconnlimit, -1) END,"
        " CASE WHEN NOT r.rolsuper THEN nullif(d.datconnlimit, -1) END,"
        " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        "  - coalesce(current_setting('reserved_connections', true)::int, 0)) AS most"
        " FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()"
    )
    if row["most"] < CONNECTIONS:
        raise ServerBroken(
            f"The database lets in {row['most']} connections at most, and each process needs up to {CONNECTIONS}",
            hint="Raise CONNECTION LIMIT of the role or the database, or max_connections of the server.",
        )


async def read_applied(database: Database) -> list[Applied]:
    """The migrations that were applied, in order; none in an empty database."""
    try:
        rows = await database.fetch("SELECT number, name, applied_at FROM schema_version ORDER BY number")
    except asyncpg.UndefinedTableError:
        return []
    return [Applied(**row) for row in rows]


async def read_secret_check(database: Database) -> bytes | None:
    """The check value of the secret that the database belongs to; None before its first start."""
    try:
        rows = await database.fetch("SELECT secret_check FROM installation")
    except asyncpg.UndefinedTableError:
        return None
    return rows[0]["secret_check"] if rows else None


async def account_names(database: Database, account_ids: list[UUID]) -> dict[UUID, str]:
    """The names of these accounts."""
    rows = await database.fetch("SELECT id, name FROM account WHERE id = ANY ($1::uuid[])", account_ids)
    return {row["id"]: row["name"] for row in rows}
