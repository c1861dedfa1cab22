"""A real PostgreSQL for every test that asks for one: one server per run, one database per test, from a template."""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from seedgate.clock import Clock
from seedgate.domain.errors import ServerBroken
from seedgate.domain.ledger import Entry
from seedgate.ids import Ids
from seedgate.store import access, ledger, migrate
from seedgate.store.accept import NewTask, Verdict, accept
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer

TEMPLATE = "seedgate_template"
PRICE = 35_000


@dataclass(frozen=True)
class Server:
    """The run's database server."""

    arguments: dict[str, Any]

    def dsn(self, name: str) -> Dsn:
        return Dsn(self.arguments | {"database": name})


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


@pytest.fixture
async def dsn(server: Server) -> AsyncIterator[Dsn]:
    """A fresh database with the schema in place."""
    name = f"test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(**server.arguments)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        yield server.dsn(name)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


@pytest.fixture
async def database(dsn: Dsn) -> AsyncIterator[Database]:
    opened = Database(dsn)
    yield opened
    await opened.close()


@dataclass
class World:
    """Accounts, keys and tasks for a test, made the way the product makes them."""

    database: Database
    ids: Ids = field(default_factory=Ids)
    clock: Clock = field(default_factory=Clock)

    async def account(self, *, credit: int = 10**9, concurrent: int | None = None) -> UUID:
        account_id = self.ids.new()
        async with self.database.write() as tx:
            await access.ensure_account(tx, account_id=account_id, name=account_id.hex, mode="test")
            await tx.execute("UPDATE account SET concurrent_tasks = $2 WHERE id = $1", account_id, concurrent)
            if credit:
                grant = ledger.Adjustment(
                    id=self.ids.new(),
                    account_id=account_id,
                    entry=Entry.GRANT,
                    amount_micros=credit,
                    reason="test",
                    actor="test",
                )
                await ledger.adjust(tx, grant)
        return account_id

    async def key(
        self,
        account_id: UUID,
        *,
        per_minute: int | None = None,
        concurrent: int | None = None,
        digest: bytes | None = None,
    ) -> UUID:
        key_id = self.ids.new()
        async with self.database.write() as tx:
            key = access.NewKey(
                key_id=key_id,
                account_id=account_id,
                kind="test",
                name=key_id.hex,
                prefix="sg_test_x",
                digest=digest or secrets.token_bytes(32),
                submits_per_minute=per_minute,
                concurrent_tasks=concurrent,
            )
            await access.add_key(tx, key)
        return key_id

    def task(self, account_id: UUID, key_id: UUID, **changes: Any) -> NewTask:
        values: dict[str, Any] = {
            "id": self.ids.new(),
            "account_id": account_id,
            "key_id": key_id,
            "listing_id": "apixo/seedream-4-5",
            "listing_version": 1,
            "lane": "engine:blank",
            "pictures": 1,
            "slots": 1,
            "has_references": False,
            "unit_price_micros": PRICE,
            "request": "{}",
            "changes": "[]",
            "callback_url": None,
            "answer": b"answer",
            "deadline_s": 180,
        }
        return NewTask(**(values | changes))

    async def accept(self, *tasks: NewTask) -> list[Verdict]:
        return await accept(self.database.write_lane, tasks)

    async def balance(self, account_id: UUID) -> tuple[int, int, int]:
        """Available, held, open holds."""
        (row,) = await self.database.fetch(
            "SELECT avail_micros, held_micros, open_holds FROM account WHERE id = $1", account_id
        )
        return row["avail_micros"], row["held_micros"], row["open_holds"]

    async def findings(self) -> list[str]:
        """What `ledger check` finds; empty when the books are right."""
        _, findings = await ledger.check(self.database)
        return [f"{finding.invariant} {finding.subject} {finding.detail}" for finding in findings]

    async def count(self, table: str) -> int:
        (row,) = await self.database.fetch(f"SELECT count(*) AS n FROM {table}")
        return row["n"]


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


_MODEL_DATABASES: dict[int, str] = {}


async def model_database(server: Server) -> str:
    """One database for all examples of this process: a new one for each would take longer than they do."""
    if os.getpid() not in _MODEL_DATABASES:
        name = f"test_model_{secrets.token_hex(4)}"
        connection = await asyncpg.connect(**server.arguments)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        await connection.close()
        _MODEL_DATABASES[os.getpid()] = name
    return _MODEL_DATABASES[os.getpid()]
