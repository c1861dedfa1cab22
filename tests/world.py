"""What tests of the store stand on: a server, and accounts, keys and tasks made the way the product makes them."""

import os
import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from seedgate.clock import Clock
from seedgate.domain.ledger import Entry
from seedgate.domain.limits import Defaults
from seedgate.ids import Ids
from seedgate.store import access, ledger
from seedgate.store.accept import NewTask, Offer, Terms, Verdict, accept
from seedgate.store.database import Database, Dsn

TEMPLATE = "seedgate_template"
PRICE = 35_000
SLOW_S = 4.0
"""How long the slow host of the end-to-end tests takes."""


@dataclass(frozen=True)
class Server:
    """The run's database server."""

    arguments: dict[str, Any]

    def dsn(self, name: str) -> Dsn:
        return Dsn(self.arguments | {"database": name})


@dataclass
class World:
    """Accounts, keys and tasks for a test, made the way the product makes them."""

    database: Database
    ids: Ids = field(default_factory=Ids)
    clock: Clock = field(default_factory=Clock)

    async def account(
        self, *, credit: int = 10**9, concurrent: int | None = None, per_minute: int | None = None
    ) -> UUID:
        account_id = self.ids.new()
        async with self.database.write() as tx:
            await access.ensure_account(tx, account_id=account_id, name=account_id.hex, mode="test")
            await tx.execute(
                "UPDATE account SET concurrent_tasks = $2, submits_per_minute = $3 WHERE id = $1",
                account_id,
                concurrent,
                per_minute,
            )
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
        budget: int | None = None,
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
                budget_micros=budget,
            )
            await access.add_key(tx, key)
        return key_id

    def task(self, account_id: UUID, key_id: UUID, **changes: Any) -> NewTask:
        values: dict[str, Any] = {
            "id": self.ids.new(),
            "account_id": account_id,
            "key_id": key_id,
            "pictures": 1,
            "slots": 1,
            "has_references": False,
            "request": "{}",
            "changes": "[]",
            "callback_url": None,
            "answer": b"answer",
        }
        offer: dict[str, Any] = {
            "listing_id": "apixo/seedream-4-5",
            "listing_version": 1,
            "lane": "engine:blank",
            "unit_price_micros": PRICE,
        }
        offer |= {name: changes.pop(name) for name in [*offer, "price_version"] if name in changes}
        return NewTask(**(values | changes), offer=Offer(**offer))

    async def accept(self, *tasks: NewTask, deadline_s: int = 180, defaults: Defaults | None = None) -> list[Verdict]:
        terms = Terms(deadline_s=deadline_s, defaults=defaults or Defaults())
        return await accept(self.database.write_lane, tasks, terms)

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


def url(dsn: Dsn, **changes: Any) -> str:
    """A server of a test as the setting `database_url` names it."""
    arguments = dsn.arguments | changes
    return "postgresql:///{database}?host={host}&port={port}&user={user}".format(**arguments)


async def tables(database: Database) -> dict[str, list[str]]:
    """Every row of every table."""
    names = await database.fetch(
        "SELECT relname::text AS n FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    found = {}
    for row in names:
        rows = await database.fetch(f'SELECT to_jsonb(t)::text AS row FROM "{row["n"]}" t ORDER BY 1')
        found[row["n"]] = [each["row"] for each in rows]
    return found


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
