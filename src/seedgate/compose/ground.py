"""What every role and most commands stand on: the data folder, the secret, and the database with its schema."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from seedgate.accounts import secret
from seedgate.backup.restore import refuse_unfinished
from seedgate.clock import Clock
from seedgate.domain.errors import BadSettings, NoPermission, NoSpace, OperatorError
from seedgate.ids import Ids
from seedgate.settings import Settings
from seedgate.store import migrate
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer
from seedgate.store.operations import read_secret_check, read_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A database that answers, whatever its schema."""

    dsn: Dsn
    database: Database
    embedded: EmbeddedServer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every role and most commands stand on."""

    settings: Settings
    data: Path
    dsn: Dsn
    database: Database
    secret: secret.Secret
    ids: Ids
    clock: Clock
    embedded: EmbeddedServer | None


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Reached]:
    """The database that the settings name, or the embedded one of the data folder, started if nobody did.

    Raises OperatorError, with a hint and nothing damaged, when it cannot be started or reached, or when a restore into
    the data folder has not come to its end.
    """
    refuse_unfinished(settings.data.absolute())
    async with reach_database(settings) as reached:
        yield reached


@asynccontextmanager
async def reach_database(settings: Settings) -> AsyncIterator[Reached]:
    """The same for the restore itself."""
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        embedded = None
        if url:
            dsn = Dsn.from_url(url)
        else:
            embedded = await asyncio.to_thread(EmbeddedServer.open, settings.data.absolute())
            stack.push_async_callback(asyncio.to_thread, embedded.close)
            dsn = Dsn(embedded.dsn_kwargs)
        database = Database(dsn)
        stack.push_async_callback(database.close)
        await read_server(database)
        yield Reached(dsn=dsn, database=database, embedded=embedded)


@asynccontextmanager
async def open_ground(settings: Settings, *, migrating: bool) -> AsyncIterator[Ground]:
    """Everything checked, so that whoever stands on it may trust it.

    Raises OperatorError, with a hint and nothing damaged, for whatever a person has to mend.
    """
    data = settings.data.absolute()
    make_folder(data)
    async with open_database(settings) as reached:
        database = reached.database
        if migrating:
            await migrate.migrate(database)
        else:
            await migrate.check(database)
        await _refuse_lost_secret(settings, data, database)
        installed = secret.load(data, given=settings.secret_key.get_secret_value(), file=settings.secret_key_file)
        ids = Ids()
        await secret.check(database, ids, installed)
        yield Ground(
            settings=settings,
            data=data,
            dsn=reached.dsn,
            database=database,
            secret=installed,
            ids=ids,
            clock=Clock(),
            embedded=reached.embedded,
        )


async def _refuse_lost_secret(settings: Settings, data: Path, database: Database) -> None:
    """A secret is made for a new database only: beside an old one it would be another's, and hide that one is lost."""
    given = settings.secret_key.get_secret_value() or settings.secret_key_file
    if given or (data / secret.FILE_NAME).exists() or await read_secret_check(database) is None:
        return
    raise OperatorError(
        f"The secret of this installation is lost: there is no {data / secret.FILE_NAME}",
        hint="Put it back from a backup, or name it with SEEDGATE_SECRET_KEY; without it no key is recognised.",
    )


def make_folder(path: Path) -> None:
    """Make a folder that only this user may enter. Raises OperatorError, with a hint."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except PermissionError:
        raise NoPermission(f"The folder {path} cannot be made", hint="Choose another with --data.") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpace(f"There is no space left for {path}", hint="Free some, or choose another --data.") from None
        raise BadSettings(f"The folder {path} cannot be made: {error.strerror}", hint="Check --data.") from None
