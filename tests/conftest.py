"""A real PostgreSQL for every test that asks for one: one server per run, one database per test, from a template."""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from world import TEMPLATE, Server, World

from seedgate.domain.errors import ServerBroken
from seedgate.store import migrate
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared = _shared(tmp_path_factory)
    with EmbeddedServer.open(shared / "server") as embedded:
        made = Server(dict(embedded.dsn_kwargs))
        with (shared / "template.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            asyncio.run(_make_template(made))
        yield made
    with contextlib.suppress(ServerBroken):
        EmbeddedServer.discard(shared / "server")


async def _make_template(server: Server) -> None:
    connection = await asyncpg.connect(**server.arguments)
    try:
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", TEMPLATE):
            return
        await connection.execute(f"CREATE DATABASE {TEMPLATE}_draft")
        database = Database(server.dsn(f"{TEMPLATE}_draft"))
        await migrate.migrate(database)
        await database.close()
        await connection.execute(f"ALTER DATABASE {TEMPLATE}_draft RENAME TO {TEMPLATE}")
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _made(server: Server, template: str) -> AsyncIterator[Dsn]:
    name = f"test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(**server.arguments)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.dsn(name)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


@pytest.fixture(scope="module")
def lasting(server: Server) -> Dsn:
    """A database with the schema in place, for all tests of a module; dropped with the server."""
    name = f"test_{secrets.token_hex(6)}"

    async def make() -> None:
        connection = await asyncpg.connect(**server.arguments)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        await connection.close()

    asyncio.run(make())
    return server.dsn(name)


@pytest.fixture
async def dsn(server: Server) -> AsyncIterator[Dsn]:
    """A fresh database with the schema in place."""
    async with _made(server, TEMPLATE) as made:
        yield made


@pytest.fixture
async def empty(server: Server) -> AsyncIterator[Dsn]:
    """A fresh database with nothing in it."""
    async with _made(server, "template0") as made:
        yield made


@pytest.fixture
async def database(dsn: Dsn) -> AsyncIterator[Database]:
    opened = Database(dsn)
    yield opened
    await opened.close()


@pytest.fixture
def world(database: Database) -> World:
    return World(database)
