"""Authentication: a key's checksum first, then a small cache, then the database, never anything slower.

An entry is trusted for two seconds, served while it is refreshed for three more, and after that refreshed before it is
served: a revoked key stops working everywhere within five seconds. While the database is away nobody is called unknown.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from seedgate.clock import Clock
from seedgate.combine import Combiner
from seedgate.domain.caller import Caller
from seedgate.domain.errors import SeedgateError, Unauthenticated
from seedgate.domain.image import Route
from seedgate.ids import KeyKind, key_digest, well_formed_key
from seedgate.store.access import KeyRecord, find_keys
from seedgate.store.database import Database

FRESH_S = 2.0
STALE_S = 5.0
MAX_CACHED = 20_000


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: Caller | None
    """None: no such key, or one that may not be used."""
    read_at: float


class Keys:
    """The authenticator of one process."""

    def __init__(self, database: Database, *, pepper: bytes, clock: Clock, allow_development: bool) -> None:
        async def run(digests: Sequence[bytes]) -> Sequence[KeyRecord | SeedgateError | None]:
            return await find_keys(database.access_lane, digests)

        self._combine: Combiner[bytes, KeyRecord | None] = Combiner(run)
        self._pepper = pepper
        self._clock = clock
        self._allow_development = allow_development
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._refreshing: dict[str, asyncio.Task[_Entry]] = {}

    def knows(self, key: str | None) -> bool:
        """Whether this key was let in lately, so that looking at it again costs nothing."""
        entry = self._entries.get(key) if key is not None else None
        return entry is not None and entry.caller is not None

    async def authenticate(self, key: str | None) -> Caller:
        """The caller with this key. Raises Unauthenticated, or Unavailable when the database cannot be asked."""
        if key is None:
            raise Unauthenticated
        entry = self._entries.get(key)
        age_s = self._clock.monotonic() - entry.read_at if entry else STALE_S
        if entry is None or age_s >= STALE_S:
            if not well_formed_key(key):
                raise Unauthenticated
            entry = await asyncio.shield(self._refresh(key))
        elif age_s >= FRESH_S:
            self._refresh(key)
        if entry.caller is None:
            raise Unauthenticated
        return entry.caller

    async def close(self) -> None:
        """Finish what is being asked."""
        await self._combine.close()

    def _refresh(self, key: str) -> asyncio.Task[_Entry]:
        task = self._refreshing.get(key)
        if task is None:
            task = self._refreshing[key] = asyncio.create_task(self._read(key))
            task.add_done_callback(lambda done: self._refreshed(key, done))
        return task

    def _refreshed(self, key: str, task: asyncio.Task[_Entry]) -> None:
        del self._refreshing[key]
        if not task.cancelled():
            task.exception()  # seen here, so that a refresh in the background may fail; who waits gets it as well

    async def _read(self, key: str) -> _Entry:
        read_at = self._clock.monotonic()
        digest = key_digest(self._pepper, key)
        record = await self._combine(digest)
        entry = self._entries[key] = _Entry(self._caller(record, digest), read_at)
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_CACHED:
            self._entries.popitem(last=False)
        return entry

    def _caller(self, record: KeyRecord | None, digest: bytes) -> Caller | None:
        if record is None or not record.usable:
            return None
        if record.kind == KeyKind.DEV and not self._allow_development:
            return None
        return Caller(
            key_id=record.key_id,
            account_id=record.account_id,
            models=None if record.models is None else frozenset(record.models),
            route=Route(record.route),
            manages_keys=record.manages_keys,
            polls_per_minute=record.polls_per_minute,
            account_polls_per_minute=record.account_polls_per_minute,
            digest=digest,
        )
