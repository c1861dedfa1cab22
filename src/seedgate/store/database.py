"""Connections: a few that each carry one kind of batch, and a small pool for everything that is not hot.

    write   accept                  pinned planner
    read    status                  pinned planner
    access  keys                    pinned planner; its own, so that a busy reader cannot make callers look unknown
    work    claim … finish          pinned planner
    pool    lists, command line, checks              ordinary planner

A statement planned while the tables were empty keeps a plan for one row and is ten times slower ever after; the pinned
settings leave the planner nothing to choose but the indexes.
"""

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from asyncpg.connect_utils import _parse_connect_dsn_and_args as read_address

from seedgate import log
from seedgate.domain.errors import AlreadyExists, BadSettings, InvalidRequest, SeedgateError, Unavailable

Row = Mapping[str, Any]

CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 5.0
"""Of a hot statement, which takes milliseconds: a server that hangs must not keep callers waiting for an answer."""
RECONNECT_FIRST_S = 0.05
RECONNECT_MAX_S = 1.0
POOL_CONNECTIONS = 4
CONNECTIONS = 6 + POOL_CONNECTIONS
"""What one process may have open: four lanes, a heartbeat's, one that listens, and the pool."""
STREAM_ROWS = 1000

_PINNED = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
}
_COMMON = {
    "application_name": "seedgate",
    "jit": "off",
    "lock_timeout": "4s",
    "statement_timeout": f"{int(STATEMENT_TIMEOUT_S)}s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
}
_ELSEWHERE = {"25", "53", "57", "58"}
"""Classes of errors that are the server's state and nobody's mistake: read-only after a failover, no memory, an
operator, the system. The connection is dropped with them, since it may lead to the wrong server by now."""
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class OutcomeUnknown(Unavailable):
    """The database connection was lost; whether the statement was committed is unknown."""

    code = "outcome_unknown"


@contextmanager
def _translating() -> Iterator[None]:
    """Turn the driver's errors into ours: about connections and disks, and what the schema says to a value that
    somebody typed. Others pass, since they are bugs."""
    try:
        yield
    except SeedgateError:
        raise
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExists from error
    except (asyncpg.CheckViolationError, asyncpg.NumericValueOutOfRangeError) as error:
        raise InvalidRequest("A value is outside its limits") from error
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        raise known from error


def translate(error: Exception) -> SeedgateError | None:
    """What a driver's error means in our own words; None when it is not about the connection or the disk."""
    if isinstance(error, asyncpg.exceptions.DiskFullError):
        return Unavailable("There is no space left for the database", retry_after_s=30)
    if isinstance(error, asyncpg.exceptions.QueryCanceledError | asyncpg.exceptions.LockNotAvailableError):
        return Unavailable("The database took too long", retry_after_s=1)
    if isinstance(error, asyncpg.exceptions.DeadlockDetectedError | asyncpg.exceptions.SerializationError):
        return Unavailable("The database asks to try again", retry_after_s=1)
    if isinstance(error, _BROKEN) or (getattr(error, "sqlstate", None) or "")[:2] in _ELSEWHERE:
        return OutcomeUnknown(retry_after_s=1)
    return None


@dataclass(frozen=True, slots=True)
class Tx:
    """A connection with a transaction open; only `Database` makes one."""

    connection: asyncpg.Connection

    async def execute(self, sql: str, *arguments: object) -> None:
        """One statement whose rows do not matter; without arguments, a whole script."""
        await self.connection.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        """All rows of one statement."""
        rows: list[Row] = await self.connection.fetch(sql, *arguments)
        return rows

    async def stream(self, sql: str, *arguments: object) -> AsyncIterator[Row]:
        """The rows of one statement, however many; some of them at a time are in memory."""
        async for row in self.connection.cursor(sql, *arguments, prefetch=STREAM_ROWS):
            yield row


class Connection:
    """One connection that heals itself: connected when first used, and again after it broke.

    `fetch` runs one statement, which is one transaction. Raises `Unavailable` when no server answers and
    `OutcomeUnknown` when the connection broke while the statement was out.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self.statements = 0
        """How many statements were sent; tests count them."""

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        """All rows of one statement."""
        async with self._turn:
            connection = await self._ready()
            self.statements += 1
            try:
                rows: list[Row] = await connection.fetch(sql, *arguments)
            except Exception as error:
                known = translate(error)
                if known is None:
                    raise
                if isinstance(known, OutcomeUnknown):
                    self._drop()
                raise known from error
            return rows

    async def fetch_repeatable(self, sql: str, *arguments: object) -> list[Row]:
        """Like `fetch` for a statement that may run twice: a lost answer is asked for again, until `Unavailable`."""
        for attempt in range(3):
            try:
                return await self.fetch(sql, *arguments)
            except OutcomeUnknown:
                if attempt == 2:
                    raise
        raise AssertionError

    async def close(self) -> None:
        """Close; a later statement would connect again."""
        async with self._turn:
            if self._connection is not None:
                await _close(self._connection)
                self._connection = None

    async def _ready(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await self._connect()
            except Exception as error:
                # Whatever a server says to somebody who only wants to connect, it is not about the statement.
                if translate(error) is None and not isinstance(error, asyncpg.PostgresError):
                    raise
                raise Unavailable(retry_after_s=1) from error
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


@dataclass(frozen=True, slots=True)
class Dsn:
    """How to reach a server: keyword arguments of `asyncpg.connect`, from an address or an embedded server."""

    arguments: Mapping[str, Any]

    @classmethod
    def from_url(cls, url: str) -> "Dsn":
        """From a `postgresql://` address. Raises BadSettings that repeats nothing of it."""
        names = set(inspect.signature(read_address).parameters) - {"dsn"}
        try:
            servers, _ = read_address(dsn=url, **dict.fromkeys(names))
            readable = all(isinstance(server, str) or _reachable(*server) for server in servers)
        except Exception:  # noqa: BLE001 - whatever the driver raises about an address, it quotes the address
            readable = False
        if not readable:
            raise BadSettings(
                "The setting 'database_url' (DATABASE_URL) is no address of a database",
                hint="It looks like postgresql://user:password@host:5432/name; / and @ in a password are %2F and %40,"
                " and files that it names must be there.",
            )
        return cls({"dsn": url})


class Database:
    """The connections of one process. Nothing connects before it is used."""

    def __init__(self, dsn: Dsn) -> None:
        self._dsn = dsn
        self.write_lane = Connection(lambda: self._open(pinned=True))
        self.read_lane = Connection(lambda: self._open(pinned=True))
        self.access_lane = Connection(lambda: self._open(pinned=True))
        self.work_lane = Connection(lambda: self._open(pinned=True))
        self._pool: asyncpg.Pool | None = None
        self._pool_turn = asyncio.Lock()

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        """Rows of one read-only statement that is not hot."""
        pool = await self._ready_pool()
        with _translating():
            async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                rows: list[Row] = await connection.fetch(sql, *arguments)
                return rows

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """A transaction for writes that come one at a time; committed at the end of the block."""
        pool = await self._ready_pool()
        with _translating():
            async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection, connection.transaction():
                yield Tx(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Tx]:
        """A transaction whose statements all see one moment, and that writes nothing."""
        async with self.write() as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield tx

    async def listen(self, channels: Mapping[str, Callable[[], None]], stopping: asyncio.Event) -> None:
        """Call back on notifications until `stopping`; reconnects for ever. Behind a pooler it just never hears any."""
        pause_s = RECONNECT_FIRST_S
        while not stopping.is_set():
            try:
                connection = await self._open(pinned=False)
                try:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _connection, lost=lost: lost.set())
                    for channel, callback in channels.items():
                        await connection.add_listener(channel, lambda *_, callback=callback: callback())
                    pause_s = RECONNECT_FIRST_S
                    await _either(stopping, lost.wait())
                finally:
                    await _close(connection)
            except Exception as error:  # noqa: BLE001 - whatever ended it, it listens again
                log.get("database").warning("listener_lost", error=type(error).__name__)
                await _either(stopping, asyncio.sleep(pause_s * random.uniform(0.5, 1)))
                pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    async def close(self) -> None:
        """Close every connection."""
        for lane in (self.write_lane, self.read_lane, self.access_lane, self.work_lane):
            await lane.close()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), CONNECT_TIMEOUT_S)
            except (TimeoutError, *_BROKEN):
                pool.terminate()

    async def _ready_pool(self) -> asyncpg.Pool:
        async with self._pool_turn:
            if self._pool is None:
                settings = _COMMON | {"statement_timeout": "120s"}
                with _translating():
                    self._pool = await asyncpg.create_pool(
                        **self._dsn.arguments,
                        min_size=0,
                        max_size=POOL_CONNECTIONS,
                        timeout=CONNECT_TIMEOUT_S,
                        server_settings=settings,
                    )
            return self._pool

    async def _open(self, *, pinned: bool) -> asyncpg.Connection:
        settings = _COMMON | _PINNED if pinned else _COMMON
        return await asyncpg.connect(
            **self._dsn.arguments,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S + 2,
            server_settings=settings,
        )


def _reachable(host: str, port: int) -> bool:
    """Whether it can be looked up; raises UnicodeError for a label that is too long."""
    return bool(host.encode("idna")) and 0 < port < 1 << 16


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    except _BROKEN:
        connection.terminate()


async def _either(stopping: asyncio.Event, other: Awaitable[object]) -> None:
    waits = [asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
