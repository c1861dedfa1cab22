"""What commands stand on: the settings, and the database of a gateway that may be running beside them."""

import os
import pwd
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from seedgate.cli.output import Stop
from seedgate.domain.errors import NotFound

if TYPE_CHECKING:
    from seedgate.compose.ground import Ground
    from seedgate.settings import Settings

T = TypeVar("T")


def settings_for(config: Path | None, data: Path | None) -> "Settings":
    """The settings, with logs that leave the terminal to the answer: warnings and worse."""
    from seedgate import log
    from seedgate.settings import load, unknown_variables

    settings = load(config, data=data)
    log.configure(level="warning" if settings.log_level == "info" else settings.log_level)
    log.warn_unknown(unknown_variables())
    return settings


def has_database(settings: "Settings") -> bool:
    """Whether there is a database to open; false where the embedded one was never made."""
    return bool(settings.database_url.get_secret_value()) or (settings.data / "postgres").exists()


def operator() -> str:
    """The name of the account that runs the command, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def on_ground(config: Path | None, data: Path | None, use: Callable[["Ground"], Awaitable[T]]) -> T:
    """What `use` makes of the ground. A command that only looks does not make an installation by looking."""
    settings = settings_for(config, data)
    if not has_database(settings):
        raise Stop(
            f"There is no Seedgate data in {settings.data.absolute()}",
            hint="Start it with `seedgate up`, or name its folder with --data.",
            code="no_data",
        )

    import asyncio

    async def run() -> T:
        from seedgate.compose.ground import open_ground

        async with open_ground(settings, migrating=False) as ground:
            return await use(ground)

    return asyncio.run(run())


async def account_called(ground: "Ground", name: str) -> UUID:
    """The id of the account with that name. Raises NotFound."""
    from seedgate.store.access import find_account

    found = await find_account(ground.database, name)
    if found is None:
        raise NotFound(f"There is no account called {name!r}")
    return found[0]
