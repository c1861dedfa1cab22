"""Breaking the store on purpose: failing inside a database function, and losing answers on the way back."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from world import World

from seedgate.store.database import Database, Dsn

# Statements of a function's body; control words such as IF and FOR are covered by what they lead to.
_STATEMENT = re.compile(r"^ {4,}(?=(SELECT|INSERT|UPDATE|DELETE|PERFORM|WITH|RETURN QUERY)\b)", re.MULTILINE)
_TABLES = (
    "account",
    "key_state",
    "posting",
    "task",
    "slot",
    "attempt",
    "image",
    "reference",
    "event",
    "delivery",
    "idempotency",
    "worker",
    "retirement",
)


def mutants(definition: str) -> list[str]:
    """The function once per statement, failing right before it, and once failing at its very end."""
    definition = re.sub(r"^ *--[^\n]*\n", "", definition, flags=re.MULTILINE)
    start = definition.index("\nBEGIN\n")
    body, end = definition[start:], "RAISE EXCEPTION 'injected' USING ERRCODE = 'internal_error'; "
    # Statements nested in another one start deeper and after no semicolon: only those after `;`, BEGIN, THEN or LOOP.
    places = [
        match.end()
        for match in _STATEMENT.finditer(body)
        if re.search(r"(;|BEGIN|THEN|LOOP)\s*$", body[: match.start()])
    ]
    # And at the end, where everything is written: before the last RETURN, if there is one.
    last = re.search(r"(    RETURN [^;]*;\s*)?END \$function\$", body).start()
    found = [*places, last]
    return [definition[:start] + body[:place] + end + body[place:] for place in found]


async def definition(database: Database, name: str) -> str:
    rows = await database.fetch("SELECT pg_get_functiondef(oid) AS text FROM pg_proc WHERE proname = $1", name)
    return rows[0]["text"]


async def everything(world: World) -> dict[str, list[str]]:
    """Every row of every table, to see that nothing has changed."""
    found = {}
    for table in _TABLES:
        rows = await world.database.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY 1")
        found[table] = [row["row"] for row in rows]
    return found


class Proxy:
    """A socket in front of the server's that can lose a question or an answer, and the connection with it."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.lose: str | None = None
        """`question`: the next one never reaches the server. `answer`: it does, and its answer is lost."""
        self.about = b""
        """What must stand in the question."""
        self.lost = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.close()
            return
        cut = asyncio.Event()
        asked = False

        async def questions() -> None:
            nonlocal asked
            while data := await reader.read(65_536):
                asked = asked or (self.lose is not None and self.about in data)
                if asked and self.lose == "question":
                    self._cut(cut)
                    return
                upstream_writer.write(data)
                await upstream_writer.drain()

        async def answers() -> None:
            while data := await upstream_reader.read(65_536):
                if asked and self.lose == "answer":
                    self._cut(cut)
                    return
                writer.write(data)
                await writer.drain()

        pumps = [asyncio.create_task(questions()), asyncio.create_task(answers())]
        await asyncio.wait([*pumps, asyncio.create_task(cut.wait())], return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for end in (writer, upstream_writer):
            with contextlib.suppress(OSError):
                end.close()
        await asyncio.gather(*pumps, return_exceptions=True)

    def _cut(self, cut: asyncio.Event) -> None:
        self.lose = None
        self.lost.set()
        cut.set()


@asynccontextmanager
async def proxied(dsn: Dsn, folder: Path) -> AsyncIterator[tuple[Proxy, Database]]:
    """A database reached through a proxy."""
    port = dsn.arguments["port"]
    proxy = Proxy(f"{dsn.arguments['host']}/.s.PGSQL.{port}")
    server = await asyncio.start_unix_server(proxy.serve, folder / f".s.PGSQL.{port}")
    database = Database(Dsn({**dsn.arguments, "host": str(folder)}))
    try:
        yield proxy, database
    finally:
        await database.close()
        server.close()
        await server.wait_closed()
