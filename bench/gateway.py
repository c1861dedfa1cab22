"""The gateway under test: a data folder with accounts that lack nothing, `serve`, `work`, and the books at the end."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench import machine
from seedgate.compose.ground import Ground, open_ground
from seedgate.ids import KeyKind, key_digest
from seedgate.settings import load
from seedgate.store import ledger
from seedgate.store.embedded import EmbeddedServer

ACCOUNTS = 200
MANY = 10_000
CREDIT_MICROS = 10**12
# Every limit is on, and none is ever reached: what they cost is in every figure.
RATE, TASKS, BUDGET_MICROS = 60_000_000, 1_000_000_000, 10**15
WORKERS = 2
LOOK_S = 0.25
ENVIRONMENT = {
    "SEEDGATE_WORK__ENGINE": "blank",
    "SEEDGATE_WORK__ENGINE_PROCESSES": "8",
    "SEEDGATE_WORK__DEADLINE_S": "86400",  # open tasks stay open while they are asked about
    "SEEDGATE_LOG_LEVEL": "warning",
    # Far more waits here than anybody would let wait.
    "SEEDGATE_LIMITS__MAX_WAITING": "1000000000",
    "SEEDGATE_LIMITS__MAX_WAITING_PER_ACCOUNT": "1000000000",
}
SEEDGATE = f"{Path(sys.executable).with_name('seedgate')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The folder and the database of a run."""

    ground: Ground
    folder: Path
    keys: dict[UUID, str]
    """By account."""
    many: list[str]
    """Keys of many more accounts; none where they are not measured."""

    @property
    def postgres(self) -> list[int]:
        """The processes of its PostgreSQL."""
        pid = int((self.ground.data / "postgres" / "server.pid").read_text().split()[0])
        return machine.family(pid)

    async def count(self) -> tuple[int, int]:
        """How many tasks there are, and how many of them are finished."""
        rows = await self.ground.database.fetch(
            "SELECT count(*) AS tasks, count(*) FILTER (WHERE state >= 10) AS finished FROM task"
        )
        return rows[0]["tasks"], rows[0]["finished"]

    async def failed(self) -> int:
        """How many tasks ended without a picture."""
        rows = await self.ground.database.fetch("SELECT count(*) AS n FROM task WHERE state > 10")
        failed: int = rows[0]["n"]
        return failed

    async def pick(self, most: int) -> list[str]:
        """Random tasks with their callers' keys, half of them open, as load.lua reads them."""
        lines = []
        for condition in ("state >= 10", "state < 10"):
            rows = await self.ground.database.fetch(
                f"SELECT id, account_id FROM task WHERE {condition} AND account_id = ANY ($2::uuid[])"
                " ORDER BY random() LIMIT $1",
                most // 2,
                list(self.keys),
            )
            lines += [f"{row['id'].hex} {self.keys[row['account_id']]}" for row in rows]
        return lines

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[tuple[int, int]]:
        """`seedgate serve` in one process; its pid and port."""
        log = self.folder / "serve.log"
        async with machine.child([SEEDGATE, "serve", "--port", "0", "--data", f"{self.ground.data}"], log=log) as one:
            address = json.loads(await machine.first_line(one, log))["url"]
            yield one.pid, int(address.rpartition(":")[2])

    async def drain(self, *, until: int, end: float) -> float:
        """Let workers finish tasks until so many are, or until `end`; returns how many they finished in a second."""
        log = self.folder / "work.log"
        async with AsyncExitStack() as stack:
            for _ in range(WORKERS):
                command = [SEEDGATE, "work", "--data", f"{self.ground.data}"]
                await machine.first_line(await stack.enter_async_context(machine.child(command, log=log)), log)
            started, (_, before) = time.monotonic(), await self.count()
            finished = before
            while finished < until and time.monotonic() < end:
                await asyncio.sleep(LOOK_S)
                _, finished = await self.count()
            return (finished - before) / max(LOOK_S, time.monotonic() - started)

    async def findings(self) -> list[str]:
        """What the proof of the books has found: nothing, if all is well."""
        _, found = await ledger.check(self.ground.database)
        return [f"{one.invariant}: {one.subject}: {one.detail}" for one in found]


@asynccontextmanager
async def open_gateway(folder: Path, *, many: bool = False) -> AsyncIterator[Gateway]:
    """A fresh installation in `folder`; nothing of it is left at the end, also where root's cluster lies elsewhere."""
    data = folder / "data"
    try:
        async with open_ground(load(None, data=data), migrating=True) as ground:
            keys = await _accounts(ground, "caller", ACCOUNTS)
            more = list((await _accounts(ground, "one of many", MANY)).values()) if many else []
            yield Gateway(ground=ground, folder=folder, keys=keys, many=more)
    finally:
        EmbeddedServer.discard(data)


async def _accounts(ground: Ground, name: str, count: int) -> dict[UUID, str]:
    """Accounts with a key and credit each, made in a few statements because there may be many."""
    ids, pepper = ground.ids, ground.secret.derive("key pepper")
    made = {ids.new(): ids.api_key(KeyKind.TEST) for _ in range(count)}
    accounts, keys = list(made), [ids.new() for _ in made]
    digests = [key_digest(pepper, key) for key in made.values()]
    async with ground.database.write() as tx:
        await tx.execute(
            "INSERT INTO account (id, name, mode, submits_per_minute, concurrent_tasks)"
            " SELECT u.id, $2 || ' ' || u.o, 'test', $3::int, $4::int"
            " FROM unnest($1::uuid[]) WITH ORDINALITY u (id, o)",
            accounts,
            name,
            RATE,
            TASKS,
        )
        await tx.execute(
            "INSERT INTO api_key (id, account_id, kind, name)"
            " SELECT *, 'test', 'bench' FROM unnest($1::uuid[], $2::uuid[])",
            keys,
            accounts,
        )
        await tx.execute(
            "INSERT INTO key_secret (digest, key_id, prefix) SELECT *, 'sg_test_' FROM unnest($1::bytea[], $2::uuid[])",
            digests,
            keys,
        )
        await tx.execute(
            "INSERT INTO key_state (key_id, account_id, submits_per_minute, concurrent_tasks, budget_micros)"
            " SELECT *, $3::int, $4::int, $5::bigint FROM unnest($1::uuid[], $2::uuid[])",
            keys,
            accounts,
            RATE,
            TASKS,
            BUDGET_MICROS,
        )
        await tx.execute(
            "WITH granted AS (UPDATE account SET avail_micros = $3 WHERE id = ANY ($1::uuid[]) RETURNING id),"
            " noted AS (INSERT INTO adjustment (id, account_id, entry, amount_micros, reason, actor)"
            "   SELECT u.a, u.id, 4, $3, 'bench', 'bench' FROM unnest($1::uuid[], $2::uuid[]) u (id, a))"
            " INSERT INTO posting (subject_id, entry, side, account_id, book, mode, amount_micros, at)"
            " SELECT u.a, 4, s.side, u.id, s.book, 'test', s.sign * $3, seedgate_now()"
            " FROM unnest($1::uuid[], $2::uuid[]) u (id, a), (VALUES (1, 4, -1), (2, 1, 1)) s (side, book, sign)",
            accounts,
            [ids.new() for _ in made],
            CREDIT_MICROS,
        )
    return made
