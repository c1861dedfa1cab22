"""Erasure at an operator's word: what ended tasks hold of somebody goes at once; what they were, and cost, stays.

Rows first, files second. Where the command breaks off between the two, its repetition removes the pictures' files, and
the upkeep removes whatever no row knows.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from seedgate.blobs import Blobs
from seedgate.intake.shelf import Shelf
from seedgate.store import erasure
from seedgate.store.database import Database
from seedgate.store.files import erase_files
from seedgate.store.upkeep import unneeded_references

BATCH = 500
FRESH = timedelta(minutes=1)
"""Beyond a task's deadline: a file on the shelf that is younger may be another task's that has no row yet."""
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much was removed: tasks that had anything left, their pictures, uploads, and files of references."""

    tasks: int = 0
    pictures: int = 0
    uploads: int = 0
    references: int = 0
    references_later: int = 0
    """Files that the upkeep removes, unless another task names them by then."""

    def __add__(self, other: "Erased") -> "Erased":
        return Erased(
            tasks=self.tasks + other.tasks,
            pictures=self.pictures + other.pictures,
            uploads=self.uploads + other.uploads,
            references=self.references + other.references,
            references_later=self.references_later + other.references_later,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Eraser:
    """What an erasure needs. Everything may be repeated; open tasks are passed over."""

    database: Database
    blobs: Blobs
    references: Shelf
    deadline: timedelta
    """Of tasks. References put on the shelf within it are left to the upkeep, which comes to them within two hours."""
    note: str
    """Who erases, and why; it remains with each task."""
    batch: int = BATCH

    async def erase(self, task_ids: Sequence[UUID]) -> Erased:
        """Erase these tasks."""
        total = Erased()
        for start in range(0, len(task_ids), self.batch):
            total += await self._erase(task_ids[start : start + self.batch])
        return total

    async def erase_before(self, account_id: UUID, before: datetime) -> Erased:
        """Erase every task and every upload of the account that was made before then."""
        total, last = await self._erase_uploads(account_id, before), _FIRST
        while ids := await erasure.ended_before(self.database, account_id, before=before, after=last, most=self.batch):
            total, last = total + await self._erase(ids), ids[-1]
        return total

    async def _erase(self, task_ids: Sequence[UUID]) -> Erased:
        rows = await erasure.erase(self.database, task_ids, note=self.note)
        await self.blobs.delete(rows.names)
        return Erased(tasks=rows.tasks, pictures=rows.pictures) + await self._remove_references(rows.digests)

    async def _erase_uploads(self, account_id: UUID, before: datetime) -> Erased:
        total = Erased()
        while digests := await erase_files(self.database, account_id, before=before, most=self.batch):
            total += Erased(uploads=len(digests)) + await self._remove_references(list(set(digests)))
        return total

    async def _remove_references(self, digests: Sequence[str]) -> Erased:
        unneeded = await unneeded_references(self.database, digests)
        removed, fresh = await asyncio.to_thread(self._remove, unneeded)
        return Erased(references=removed, references_later=fresh)

    def _remove(self, digests: Sequence[str]) -> tuple[int, int]:
        age_s = (self.deadline + FRESH).total_seconds()
        removed = sum(self.references.remove(digest, older_than_s=age_s) for digest in digests)
        return removed, sum(self.references.has(digest) for digest in digests)
