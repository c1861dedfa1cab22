"""Write `src/seedgate/store/schema.sql`: what the migrations build, for reading; a test proves that it is so.

Needs nothing but this checkout: a server of its own in a temporary folder.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from seedgate.store import migrate
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer, binary

SCHEMA = Path(__file__).parents[1] / "src" / "seedgate" / "store" / "schema.sql"
HEAD = "-- Generated from the migrations by tools/dump_schema.py; read it, change a migration.\n\n"


def dump(arguments: dict[str, Any]) -> str:
    """The schema of a migrated database, without what changes from dump to dump."""
    command = [
        str(binary("pg_dump")),
        "--schema-only",
        "--no-owner",
        "--no-privileges",
        "--exclude-table=schema_version",
    ]
    address = ["-h", arguments["host"], "-p", str(arguments["port"]), "-U", arguments["user"], arguments["database"]]
    text = subprocess.run([*command, *address], check=True, capture_output=True, text=True).stdout
    lines = [line for line in text.splitlines() if not line.startswith(("--", "SET ", "\\", "SELECT pg_catalog."))]
    return HEAD + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


async def _migrated(arguments: dict[str, Any]) -> None:
    database = Database(Dsn(arguments))
    await migrate.migrate(database)
    await database.close()


def main() -> None:
    """Make a database, dump it, throw it away."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        with EmbeddedServer.open(data) as server:
            asyncio.run(_migrated(server.dsn_kwargs))
            SCHEMA.write_text(dump(server.dsn_kwargs), encoding="utf-8")
        EmbeddedServer.discard(data)
    sys.stdout.write(f"{os.path.relpath(SCHEMA)}\n")


if __name__ == "__main__":
    main()
