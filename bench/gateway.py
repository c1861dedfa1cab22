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
from seedgate.accounts.credits import grant
from seedgate.accounts.issue import UNLIMITED, create_key
from seedgate.compose.ground import Ground, open_ground
from seedgate.ids import KeyKind
from seedgate.settings import load
from seedgate.store import ledger
from seedgate.store.embedded import EmbeddedServer

ACCOUNTS = 200
CREDIT_MICROS = 10**12
WORKERS = 2
LOOK_S = 0.25
ENVIRONMENT = {
    "SEEDGATE_WORK__ENGINE": "blank",
    "SEEDGATE_WORK__ENGINE_PROCESSES": "8",
    "SEEDGATE_WORK__DEADLINE_S": "86400",  # open tasks stay open while they are asked about
    "SEEDGATE_LOG_LEVEL": "warning",
}
SEEDGATE = f"{Path(sys.executable).with_name('seedgate')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The folder and the database of a run."""

    ground: Ground
    folder: Path
    keys: dict[UUID, str]
    """By account."""

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
                f"SELECT id, account_id FROM task WHERE {condition} ORDER BY random() LIMIT $1", most // 2
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
async def open_gateway(folder: Path) -> AsyncIterator[Gateway]:
    """A fresh installation in `folder`; nothing of it is left at the end, also where root's cluster lies elsewhere."""
    data = folder / "data"
    try:
        async with open_ground(load(None, data=data), migrating=True) as ground:
            yield Gateway(ground=ground, folder=folder, keys=await _accounts(ground))
    finally:
        EmbeddedServer.discard(data)


async def _accounts(ground: Ground) -> dict[UUID, str]:
    keys = {}
    database, ids = ground.database, ground.ids
    for number in range(ACCOUNTS):
        account = f"caller {number}"
        issued = await create_key(
            database, ids, ground.secret, account=account, name="bench", kind=KeyKind.TEST, limits=UNLIMITED
        )
        keys[account] = issued.key
        await grant(database, ids, account=account, amount_micros=CREDIT_MICROS, reason="bench", actor="bench")
    rows = await database.fetch("SELECT id, name FROM account")
    return {row["id"]: keys[row["name"]] for row in rows if row["name"] in keys}
