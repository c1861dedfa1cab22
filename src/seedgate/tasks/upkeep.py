"""Expiry and tidiness: results and uploads after their days, files that a crash left without a row, idempotency after
a week.

Rows first, files second: a result is marked as gone before its file is removed, and a file is removed only when no row
knows it and it is older than any write in progress can be. Any number of processes may do this at the same time.
"""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

from seedgate import log
from seedgate.blobs import Blobs
from seedgate.intake.shelf import Shelf
from seedgate.store import upkeep
from seedgate.store.database import Database
from seedgate.store.files import expire_files

UPKEEP_S = 300.0
BATCH = 500
ORPHAN_AGE = timedelta(hours=1)
IDEMPOTENCY_AGE = timedelta(days=7)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The upkeep of one process. `incoming` is where pictures wait on their way from an engine to the store."""

    database: Database
    blobs: Blobs
    references: Shelf
    incoming: Path
    results_age: timedelta
    deadline: timedelta
    """Until then a task may still ask for references that came inside its request and that no row names yet."""

    async def turn(self) -> bool:
        """One round; True when there is more to expire."""
        expired = await upkeep.expire_images(self.database, age=self.results_age, most=BATCH)
        await self.blobs.delete(expired)
        files = await expire_files(self.database, most=BATCH)
        forgotten = await upkeep.forget_idempotency(self.database, age=IDEMPOTENCY_AGE, most=BATCH)
        orphans = await self._orphans() if len(expired) < BATCH else 0
        references = await self._references() if len(expired) < BATCH else 0
        await asyncio.to_thread(self._tidy)
        if expired or files or orphans or references:
            log.get("upkeep").info("kept_up", expired=len(expired), files=files, orphans=orphans, references=references)
        return max(len(expired), files, forgotten) >= BATCH

    async def _orphans(self) -> int:
        removed = 0
        async for names in self.blobs.older_than(ORPHAN_AGE):
            orphans = await upkeep.unknown_images(self.database, names)
            await self.blobs.delete(orphans)
            removed += len(orphans)
        return removed

    async def _references(self) -> int:
        removed = 0
        found = _digests(self.references.root, ORPHAN_AGE + self.deadline)
        while files := await asyncio.to_thread(lambda: list(islice(found, BATCH))):
            names = [file.name for file in files]
            unneeded = set(await upkeep.unneeded_references(self.database, names, age=self.results_age))
            for file in files:
                if file.name in unneeded:
                    removed += await asyncio.to_thread(_remove_old, file, ORPHAN_AGE)
        return removed

    def _tidy(self) -> None:
        """Remove what killed processes left half-way."""
        self.references.clear_desk(older_than_s=ORPHAN_AGE.total_seconds())
        for path in self.incoming.glob("*"):
            _remove_old(path, ORPHAN_AGE)


def _remove_old(path: Path, age: timedelta) -> bool:
    """Looked at once more right before: the same content may have been stored anew since it was listed."""
    try:
        if path.stat().st_mtime >= time.time() - age.total_seconds():
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _digests(folder: Path, age: timedelta) -> Iterator[Path]:
    limit = time.time() - age.total_seconds()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            with suppress(FileNotFoundError):
                if _DIGEST.fullmatch(name) and path.stat().st_mtime < limit:
                    yield path
