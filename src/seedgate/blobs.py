"""Results and references in object storage: a local folder by default, S3, GCS or Azure by address.

A file is written under a temporary name, checked, synced, and only then given its final name; it counts from its row
on. What a crash leaves without a row is removed by the upkeep after an hour of grace.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from seedgate import log
from seedgate.domain.errors import BadSettings, NotFound, Unavailable

CHUNK_BYTES = 1 << 20
LIST_CHUNK = 500
_SECRETS = re.compile(r"(?<=://)[^/@\s]*(?=@)|(?<=\?)\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blobs:
    """One store of results. `folder` is set where it is a local folder, whose files are synced before they count."""

    store: ObjectStore
    folder: Path | None = None

    @classmethod
    def open(cls, *, folder: Path, url: str = "") -> "Blobs":
        """The store at `url`, or in `folder` when there is none. Credentials come from the usual environment.

        Raises BadSettings, with a hint, when there can be none; whether it answers is seen when it is used.
        """
        try:
            if url:
                return cls(store=from_url(url))
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(store=LocalStore(folder), folder=folder)
        except (BaseError, OSError, ValueError) as error:
            what = "The setting blobs_url cannot be used" if url else f"Results cannot be kept in {folder}"
            hint = 'It looks like "s3://bucket/prefix".' if url else "Check who owns it, and who runs Seedgate."
            raise BadSettings(f"{what}: {explain(error)}", hint=hint) from error

    async def put(self, name: str, source: Path) -> None:
        """Move the file `source` into the store as `name`; complete and durable when this returns, or not there at all.

        Raises Unavailable when the store does not take it: it is full or away, and may take it later.
        """
        try:
            if self.folder is not None:
                await asyncio.to_thread(_move, source, self.folder / key(name))
            else:
                await obstore.put_async(self.store, key(name), source)
                await asyncio.to_thread(source.unlink)
        except (BaseError, OSError) as error:
            raise Unavailable("The store of results does not take the picture") from error

    async def read(self, name: str, *, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in chunks. Raises Unavailable, or NotFound when the file is gone; in a
        folder that is before the first one, elsewhere it may be before any."""
        if self.folder is not None:
            async for part in _read(self.folder / key(name), start, end):
                yield part
            return
        position = start
        while position < end:
            stop = min(position + CHUNK_BYTES, end)
            try:
                chunk = await obstore.get_range_async(self.store, key(name), start=position, end=stop)
            except (NotFoundError, FileNotFoundError):
                raise NotFound from None
            except BaseError as error:
                raise Unavailable("The store of results does not give the picture") from error
            yield bytes(chunk)
            position = stop

    async def delete(self, names: Sequence[str]) -> None:
        """Remove files; those that are gone already do not matter."""
        for name in names:
            try:
                await obstore.delete_async(self.store, key(name))
            except (NotFoundError, FileNotFoundError):
                continue
            except BaseError as error:
                # The upkeep comes back to it; one file that cannot be removed must not keep the others.
                log.get("blobs").warning("not_removed", error=type(error).__name__)

    async def older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Names of the files last written before `age`, a few hundred at a time."""
        limit = datetime.now(UTC) - age
        async for chunk in obstore.list(self.store, chunk_size=LIST_CHUNK):
            yield [Path(entry["path"]).name for entry in chunk if entry["last_modified"] < limit]


def explain(error: BaseException) -> str:
    """Why a store does not do what it should, in a line without queries and credentials, which may be secret."""
    said = (isinstance(error, OSError) and error.strerror) or str(error).strip().partition("\n")[0]
    return _SECRETS.sub("…", said) or type(error).__name__


def key(name: str) -> str:
    """Where a named file lies: in one of 3,844 folders, by the first two characters of its random name."""
    return f"{name[:2]}/{name}"


async def _read(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    """Open from the first byte to the last, so that a file that is removed meanwhile is read to its end."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise NotFound from None
    try:
        while start < end:
            chunk = await asyncio.to_thread(os.pread, descriptor, min(CHUNK_BYTES, end - start), start)
            if not chunk:
                raise Unavailable("The file is shorter than it was")
            yield chunk
            start += len(chunk)
    finally:
        os.close(descriptor)


def _move(source: Path, target: Path) -> None:
    """Synced before it has its name, and the name synced before anybody is told; never there in part."""
    _sync(source)
    try:
        source.replace(target)
    except FileNotFoundError:
        target.parent.mkdir(mode=0o700, exist_ok=True)
        source.replace(target)
        _sync(target.parent.parent)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
