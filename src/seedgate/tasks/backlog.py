"""How much waits, looked at four times a second, so that a queue which is too long refuses before anything is held.

A bound on the queue and not on money: between two looks it may be passed by what is accepted in a quarter of a second.
"""

from collections.abc import Callable, Mapping
from uuid import UUID

from seedgate.domain.configuration import Configuration
from seedgate.domain.errors import QueueFull
from seedgate.store.database import Database
from seedgate.store.statistics import Waiting, read_waiting

LOOK_S = 0.25
RETRY_S = 10.0


class Backlog:
    """What this process knows of the queues."""

    def __init__(self, database: Database, configuration: Callable[[], Configuration]) -> None:
        self._database = database
        self._configuration = configuration
        self._lanes: Mapping[str, int] = {}
        self._full: frozenset[UUID] = frozenset()

    async def look(self) -> bool:
        """Read what waits. A turn of a loop; never asks for another one at once."""
        most = self._configuration().limits.max_waiting_per_account
        waiting: Waiting = await read_waiting(self._database.access_lane, most_per_account=most)
        self._lanes, self._full = waiting.lanes, waiting.full_accounts
        return False

    def check(self, lane: str, account_id: UUID) -> None:
        """Raise QueueFull when the lane or the account has too much waiting."""
        most = self._configuration().max_waiting(lane)
        if most and self._lanes.get(lane, 0) >= most:
            raise QueueFull(retry_after_s=RETRY_S)
        if account_id in self._full:
            raise QueueFull("Too many tasks of this account are waiting.", retry_after_s=RETRY_S)
