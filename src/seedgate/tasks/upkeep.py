"""Expiry and tidiness: results, requests and uploads after their days, whole tasks after theirs, files without a row.

Rows first, files second: a result is marked as gone before its file is removed, and a file is removed only when no row
knows it and it is older than any write in progress can be. Any number of processes may do this at the same time, in
batches, so that memory does not grow with what is kept.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

from seedgate import log
from seedgate.blobs import Blobs
from seedgate.domain.errors import SeedgateError
from seedgate.intake.shelf import Shelf
from seedgate.store import upkeep
from seedgate.store.database import Database
from seedgate.store.files import expire_files

UPKEEP_S = 300.0
BATCH = 500
ORPHAN_AGE = timedelta(hours=1)
IDEMPOTENCY_AGE = timedelta(days=7)
"""Tasks are kept longer, so that no repeated submit is answered with a task that is gone."""
_DIGEST = re.compile(r"[0-9a-f]{64}")

Step = Callable[[], Awaitable[int]]
"""One batch, or one walk over files; how much it removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How long after a task's end what is kept of it."""

    results: timedelta
    prompts: timedelta
    """Prompts, references and addresses."""
    tasks: timedelta
    """At least as long as the two others: a task retires when nothing else is left of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The upkeep of one process. `incoming` is where pictures wait on their way from an engine to the store."""

    database: Database
    blobs: Blobs
    references: Shelf
    incoming: Path
    ages: Ages
    deadline: timedelta
    """Until then a task may still ask for references that came inside its request and that no row names yet."""
    batch: int = BATCH

    async def turn(self) -> bool:
        """One round; True when there is more to remove. A step that fails keeps no other from being done."""
        batches = {
            "results": self._expire,
            "requests": self._wipe,
            "uploads": self._expire_files,
            "idempotency": self._forget,
            "tasks": self._retire,
        }
        removed = {name: await _attempt(name, step) for name, step in batches.items()}
        more = max(removed.values()) >= self.batch
        if not more:
            # Walks over all files; they wait until the rows have been caught up with.
            walks = {"orphans": self._orphans, "references": self._references, "drafts": self._drafts}
            removed |= {name: await _attempt(name, step) for name, step in walks.items()}
        if any(removed.values()):
            log.get("upkeep").info("kept_up", **removed)
        return more

    async def _expire(self) -> int:
        expired = await upkeep.expire_images(self.database, age=self.ages.results, most=self.batch)
        await self.blobs.delete(expired)
        return len(expired)

    async def _expire_files(self) -> int:
        return await expire_files(self.database, most=self.batch)

    async def _wipe(self) -> int:
        return await upkeep.wipe_requests(self.database, age=self.ages.prompts, most=self.batch)

    async def _forget(self) -> int:
        return await upkeep.forget_idempotency(self.database, age=IDEMPOTENCY_AGE, most=self.batch)

    async def _retire(self) -> int:
        return await upkeep.retire_tasks(self.database, age=self.ages.tasks, most=self.batch)

    async def _orphans(self) -> int:
        removed = 0
        async for names in self.blobs.older_than(ORPHAN_AGE):
            orphans = await upkeep.unknown_images(self.database, names)
            await self.blobs.delete(orphans)
            removed += len(orphans)
        return removed

    async def _references(self) -> int:
        removed, grace_s = 0, ORPHAN_AGE.total_seconds()
        found = _digests(self.references.root, ORPHAN_AGE + self.deadline)
        while digests := await asyncio.to_thread(lambda: list(islice(found, self.batch))):
            for digest in await upkeep.unneeded_references(self.database, digests):
                removed += await asyncio.to_thread(self.references.remove, digest, older_than_s=grace_s)
        return removed

    async def _drafts(self) -> int:
        """Remove what killed processes left half-way."""
        return await asyncio.to_thread(self._clear)

    def _clear(self) -> int:
        self.references.clear_desk(older_than_s=ORPHAN_AGE.total_seconds())
        return sum(_remove_old(path, ORPHAN_AGE) for path in self.incoming.glob("*"))


async def _attempt(name: str, step: Step) -> int:
    try:
        return await step()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other steps are done
        unforeseen = not isinstance(error, SeedgateError)
        log.get("upkeep").warning("step_failed", step=name, error=type(error).__name__, exc_info=unforeseen)
        return 0


def _remove_old(path: Path, age: timedelta) -> bool:
    try:
        if path.stat().st_mtime >= time.time() - age.total_seconds():
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _digests(folder: Path, age: timedelta) -> Iterator[str]:
    limit = time.time() - age.total_seconds()
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                if _DIGEST.fullmatch(name) and Path(parent, name).stat().st_mtime < limit:
                    yield name
