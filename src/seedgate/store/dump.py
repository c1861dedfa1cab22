"""All rows of a database as text, from one snapshot; back into an empty database, and what must be settled then.

    COPY "account" ("id", "name", …) FROM stdin;
    …rows, as COPY writes them…
    \\.

It is the form that psql reads, table after table, in the order that foreign keys ask for. The schema is not in it: the
rows of `schema_version`, which come first, say which migrations make it. So it goes from any server to any other,
over whatever connection the gateway itself uses, and a restore runs no statement that stands in a backup.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from typing import BinaryIO, NoReturn
from uuid import UUID

import asyncpg

from seedgate.domain.errors import OperatorError, ServerBroken
from seedgate.store import migrate
from seedgate.store.database import Database, Row, Tx, translate

Write = Callable[[bytes], object]
"""Takes the next bytes of a stream."""

CHUNK_BYTES = 1 << 20
SWEEP_BATCH = 500
_FIRST = "schema_version"
_HEAD = re.compile(rb'COPY "(\w{1,63})" \(("\w{1,63}"(?:, "\w{1,63}")*)\) FROM stdin;\n')
_END = b"\\.\n"
_HEAD_LIMIT_BYTES = 1 << 17

# A dump and a load take as long as they take, and what they write must not depend on anybody's defaults.
_PATIENT = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
    " SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'"
)
_OURS = (
    "c.relnamespace = current_schema()::regnamespace"
    " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
)
_TABLES = (
    "SELECT c.relname::text AS name,"
    " (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid"
    "   AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,"
    " ARRAY(SELECT k.confrelid::regclass::text FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'"
    "   AND k.confrelid <> c.oid ORDER BY 1) AS needs"
    f" FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {_OURS} ORDER BY 1"
)
_REFERENCES = (
    "SELECT 'references', r.sha256, r.sha256 FROM reference r JOIN task t ON t.id = r.task_id"
    " WHERE t.state < 10 OR t.completed_at > (SELECT seedgate_now()) - $1::interval"
    # What came inside a request has no row before it is looked at.
    " UNION SELECT 'references', m[1], m[1] FROM task t,"
    " LATERAL regexp_matches(t.request, '\"sha256:([0-9a-f]{64})\"', 'g') m WHERE t.state < 10"
)
_UPLOADS = " UNION SELECT 'references', f.sha256, f.sha256 FROM file f WHERE f.expires_at > (SELECT seedgate_now())"
_RESULTS = " UNION ALL SELECT 'results', i.name, encode(i.sha256, 'hex') FROM image i WHERE i.deleted_at IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dumped:
    """What a dump holds."""

    schema: int
    """Number of the last migration."""
    at: datetime
    installation: UUID | None
    """None where no gateway ever started on the database."""
    epoch: int
    secret_check: bytes | None
    rows: dict[str, int]
    """Per table."""
    open_tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What became of the work that was under way when the backup was taken."""

    epoch: int
    open_tasks: int
    requeued: int
    """Slots that workers of the old installation held."""
    in_doubt: int
    """Slots whose submission may have gone out, and would be paid for."""


async def dump(database: Database, *, rows: Write, files: Write, results: bool, references_age: timedelta) -> Dumped:
    """Write all rows to `rows`, and to `files` a line `folder name sha256` per file that they name, of one snapshot.

    Files of references are those that open tasks need, or tasks that ended within `references_age`, and uploads; those
    of results are listed where `results` is true. Raises NewerSchema, or OperatorError where there is no schema.
    """
    tables = await database.fetch(_TABLES)
    known = {table["name"] for table in tables}
    if _FIRST not in known:
        raise OperatorError("The database is empty: there is nothing to back up", hint="Start `seedgate up` first.")
    async with database.write() as tx:
        with _explained("The database cannot be read"):
            # The table `file` came after the first release.
            names = _REFERENCES + (_UPLOADS if "file" in known else "") + (_RESULTS if results else "")
            return await _dump(tx, tables, rows, files, names, references_age)


async def _dump(
    tx: Tx, tables: Sequence[Row], rows: Write, files: Write, names: str, references_age: timedelta
) -> Dumped:
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    await tx.execute(_PATIENT)
    # Before the snapshot, which the first SELECT takes: no migration may come between the two.
    locked = ", ".join(f'"{table["name"]}"' for table in tables)
    await tx.execute(f"LOCK TABLE {locked} IN ACCESS SHARE MODE")
    await migrate.refuse_newer(tx)
    counted = {}
    for name, columns in _in_order(await tx.fetch(_TABLES)):
        rows(f'COPY "{name}" ({columns}) FROM stdin;\n'.encode())
        counted[name] = await _copy_out(tx, f'SELECT {columns} FROM "{name}"', rows)
        rows(_END)
    await _copy_out(tx, names, files, references_age, delimiter=" ")
    return await _describe(tx, counted)


async def _copy_out(tx: Tx, query: str, write: Write, *arguments: object, delimiter: str = "\t") -> int:
    async def sink(data: bytes) -> None:
        write(data)

    status: str = await tx.connection.copy_from_query(query, *arguments, output=sink, delimiter=delimiter)
    return int(status.removeprefix("COPY "))


def _in_order(tables: Sequence[Row]) -> list[tuple[str, str]]:
    """Name and columns of each table, behind those that it refers to."""
    columns = {table["name"]: ", ".join(f'"{column}"' for column in table["columns"]) for table in tables}
    order = TopologicalSorter({table["name"]: table["needs"] for table in tables}).static_order()
    return [(name, columns[name]) for name in sorted(order, key=lambda name: name != _FIRST)]


async def _describe(tx: Tx, rows: dict[str, int]) -> Dumped:
    (facts,) = await tx.fetch(
        "SELECT now() AS at, (SELECT max(number) FROM schema_version) AS schema,"
        " (SELECT count(*) FROM task WHERE state < 10) AS open_tasks"
    )
    # The column `epoch` came after the first release.
    found = await tx.fetch(
        "SELECT id, secret_check, coalesce((to_jsonb(i) ->> 'epoch')::integer, 0) AS epoch FROM installation i"
    )
    return Dumped(
        **facts,
        installation=found[0]["id"] if found else None,
        epoch=found[0]["epoch"] if found else 0,
        secret_check=found[0]["secret_check"] if found else None,
        rows=rows,
    )


async def identity(database: Database) -> tuple[UUID | None, int] | None:
    """Installation and epoch of a database; None where it is empty."""
    if await _is_empty(database):
        return None
    try:
        rows = await database.fetch("SELECT id, epoch FROM installation")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        rows = []
    return (rows[0]["id"], rows[0]["epoch"]) if rows else (None, 0)


async def refuse_unless_empty(database: Database | Tx) -> None:
    """Raises OperatorError for a database that has tables or functions."""
    if not await _is_empty(database):
        raise OperatorError(
            "The database is not empty, and a restore replaces nothing",
            hint="Make a new database for it, and name that one in DATABASE_URL.",
        )


async def _is_empty(database: Database | Tx) -> bool:
    (row,) = await database.fetch(
        f"SELECT EXISTS (SELECT 1 FROM pg_class c WHERE {_OURS}) OR EXISTS (SELECT 1 FROM pg_proc c"
        f" WHERE {_OURS.replace('relnamespace', 'pronamespace')}) AS occupied"
    )
    return not row["occupied"]


async def load(tx: Tx, rows: BinaryIO) -> list[str]:
    """Make the dump's schema in an empty database, fill it, and bring it up to date; returns what had no place.

    Raises OperatorError for a database that is not empty, NewerSchema, or ServerBroken.
    """
    await tx.execute(_PATIENT)
    await migrate.lock(tx)
    await refuse_unless_empty(tx)
    shipped = migrate.shipped()
    with _explained("The database does not take the backup"):
        await migrate.begin(tx)
        await _copy_in(tx, rows, _head(rows) or _damaged())
        await migrate.rebuild(tx, shipped)
        known = {table["name"] for table in await tx.fetch(_TABLES)}
        others = ", ".join(f'"{name}"' for name in sorted(known - {_FIRST}))
        await tx.execute(f"TRUNCATE {others}")  # migrations write rows too
        strangers = []
        while head := _head(rows):
            if head[0] in known:
                await _copy_in(tx, rows, head)
            else:
                strangers.append(head[0])
                async for _ in _data(rows):
                    pass
        await migrate.apply(tx, shipped)
    return strangers


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Tell what the server says of the statement itself; what it says of the connection is translated elsewhere."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if translate(error) is not None:
            raise
        # Only the first line: the others may hold what stands in a row.
        hint = "Nothing was changed. Check that the user in DATABASE_URL owns the database."
        raise ServerBroken(f"{what}: {error.args[0]}", hint=hint) from error


async def _copy_in(tx: Tx, rows: BinaryIO, head: tuple[str, list[str]]) -> None:
    await tx.connection.copy_to_table(head[0], columns=head[1], source=_data(rows))


def _head(rows: BinaryIO) -> tuple[str, list[str]] | None:
    """Table and columns of what comes next; None at the end."""
    line = rows.readline(_HEAD_LIMIT_BYTES)
    if not line:
        return None
    match = _HEAD.fullmatch(line) or _damaged()
    return match[1].decode(), [column.strip(' "') for column in match[2].decode().split(",")]


async def _data(rows: BinaryIO) -> AsyncIterator[bytes]:
    """The lines up to the one that ends the table, about a megabyte at a time."""
    chunk: list[bytes] = []
    size = 0
    while (line := rows.readline()) != _END:
        if not line:
            _damaged()
        chunk.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield b"".join(chunk)
            chunk, size = [], 0
    yield b"".join(chunk)


def _damaged() -> NoReturn:
    raise OperatorError("The dump in the backup cannot be read", hint="Use another backup. Nothing was changed.")


async def reconcile(tx: Tx) -> Reconciled:
    """Begin a new epoch: the workers of the old installation are gone, and what they held is swept as usual."""
    workers = [row["id"] for row in await tx.fetch("SELECT id FROM worker")]
    requeued = 0
    while moved := (await tx.fetch("SELECT sweep_workers($1::uuid[], $2) AS n", workers, SWEEP_BATCH))[0]["n"]:
        requeued += moved
    await tx.execute("UPDATE installation SET epoch = epoch + 1")
    (row,) = await tx.fetch(
        "SELECT coalesce((SELECT epoch FROM installation), 0) AS epoch,"
        " (SELECT count(*) FROM task WHERE state < 10) AS open_tasks,"
        " (SELECT count(*) FROM slot WHERE state = 4) AS in_doubt"
    )
    return Reconciled(requeued=requeued, **row)


async def secret_check(tx: Tx) -> bytes | None:
    """The check value of the secret that the installation's keys were made with; None before its first start."""
    rows = await tx.fetch("SELECT secret_check FROM installation")
    return rows[0]["secret_check"] if rows else None


async def forget_images(tx: Tx, names: Sequence[str]) -> None:
    """Pictures without a file: gone where their task has ended, and never there, so never charged, where it has not."""
    await tx.execute(
        "DELETE FROM image i USING task t WHERE t.id = i.task_id AND t.state < 10 AND i.name = ANY ($1::text[])", names
    )
    await tx.execute(
        "UPDATE image SET deleted_at = seedgate_now() WHERE name = ANY ($1::text[]) AND deleted_at IS NULL", names
    )


async def upload_digests(tx: Tx, *, after: str, most: int) -> list[str]:
    """The next digests of what callers uploaded, behind `after`."""
    rows = await tx.fetch("SELECT DISTINCT sha256 FROM file WHERE sha256 > $1 ORDER BY 1 LIMIT $2", after, most)
    return [row["sha256"] for row in rows]


async def forget_uploads(tx: Tx, digests: Sequence[str]) -> int:
    """Uploads without a file: their rows go, so that lists and quotas are right. Returns how many had not expired."""
    rows = await tx.fetch(
        "DELETE FROM file WHERE sha256 = ANY ($1::text[]) RETURNING expires_at > (SELECT seedgate_now()) AS living",
        digests,
    )
    return sum(row["living"] for row in rows)


async def count_keys(tx: Tx) -> int:
    """How many keys let somebody in."""
    (row,) = await tx.fetch(
        "SELECT count(*) AS n FROM api_key WHERE revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > seedgate_now())"
    )
    return int(row["n"])
