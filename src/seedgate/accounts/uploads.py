"""Reference pictures that a caller keeps here: through the gate, onto the shelf, within the account's quota."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from seedgate.domain.errors import InvalidRequest, NoSpace, NotFound, RateLimited, TooLarge, Unavailable
from seedgate.domain.image import OutputFormat
from seedgate.domain.quota import Quota, Usage
from seedgate.domain.reference import ReferenceFault, ReferenceRefused
from seedgate.ids import Ids
from seedgate.intake.gate import Gate
from seedgate.intake.shelf import Shelf
from seedgate.store.database import Database
from seedgate.store.files import NewFile, StoredFile, add_file, delete_file, page_files, read_file, read_usage

AT_ONCE = 4
"""Uploads of one account that this process takes at the same time: each holds up to 10 MB of disk, then a decoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """The uploads of all accounts. One per process."""

    database: Database
    ids: Ids
    gate: Gate
    shelf: Shelf
    quota: Quota
    keep: timedelta
    under_way: Counter[UUID] = field(default_factory=Counter)

    @contextmanager
    def turn(self, account_id: UUID) -> Iterator[Path]:
        """A place for an upload on its way in. Raises RateLimited when the account has too many, or Unavailable.

        The quota is not asked here, since only `add` decides: `refuse_full` spares a full account the transfer.
        """
        if self.under_way[account_id] >= AT_ONCE:
            raise RateLimited(f"At most {AT_ONCE} uploads of an account are taken at the same time", retry_after_s=1)
        self.under_way[account_id] += 1
        try:
            with self.shelf.desk() as desk:
                yield desk / "original"
        except NoSpace as error:
            raise Unavailable("There is no room for the upload now", retry_after_s=30) from error
        finally:
            self.under_way[account_id] -= 1
            if not self.under_way[account_id]:
                del self.under_way[account_id]

    async def refuse_full(self, account_id: UUID) -> None:
        """Raise QuotaExceeded when not even the smallest file would fit."""
        self.quota.check(await self.usage(account_id), more_bytes=1)

    async def add(self, account_id: UUID, original: Path) -> StoredFile:
        """Clean and keep the picture in `original`.

        Raises InvalidRequest where it is none, TooLarge, QuotaExceeded, or Unavailable. What is on the shelf by then
        and has no row goes with the upkeep.
        """
        clean = original.with_name("clean")
        try:
            passed = await self.gate.normalise(original, clean)
        except ReferenceRefused as error:
            if error.reason is ReferenceFault.TOO_LARGE:
                raise TooLarge(f"The upload is refused: {error.reason.sentence}", param="file") from None
            raise InvalidRequest(f"The upload is refused: {error.reason.sentence}", param="file") from None
        size_bytes = clean.stat().st_size
        file = NewFile(
            id=self.ids.new(),
            account_id=account_id,
            name=f"{self.ids.token()}.{OutputFormat(passed.format).extension}",
            sha256=await asyncio.to_thread(self.shelf.put, clean),
            format=passed.format,
            width=passed.width,
            height=passed.height,
            size_bytes=size_bytes,
        )
        async with self.database.write() as tx:
            return await add_file(tx, file, quota=self.quota, keep=self.keep)

    async def page(self, account_id: UUID, *, before: UUID | None, most: int) -> list[StoredFile]:
        """Newest first."""
        return await page_files(self.database, account_id=account_id, before=before, most=most)

    async def usage(self, account_id: UUID) -> Usage:
        """What the account keeps."""
        return await read_usage(self.database, account_id)

    async def find(self, account_id: UUID, file_id: UUID) -> StoredFile:
        """Raises NotFound alike for an unknown file, another account's, and one whose time is over."""
        found = await read_file(self.database, file_id, account_id=account_id)
        if found is None:
            raise NotFound
        return found

    async def delete(self, account_id: UUID, file_id: UUID) -> None:
        """Its address leads nowhere from now on. Raises NotFound like `find`."""
        async with self.database.write() as tx:
            if not await delete_file(tx, file_id, account_id=account_id):
                raise NotFound
