"""Files kept by the SHA-256 of their content: `<root>/ab/<sha256>`."""

import asyncio
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seedgate.domain.errors import NoSpace, NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")
CHUNK_BYTES = 1 << 20
_DESK = "desk"
"""Folder of files that are still being made."""
# For our own user only, wherever the root stands: these are strangers' pictures.
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A folder of such files. All methods but `read` block: call them in a thread."""

    root: Path

    def path(self, sha256: str) -> Path:
        """Where the file with that digest stands, if it is there. Raises `ValueError` for anything but a digest."""
        if not _DIGEST.fullmatch(sha256):
            raise ValueError("not a SHA-256 in lower-case hexadecimal")
        return self.root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether such a file stands there; False, too, for what is no digest."""
        return _DIGEST.fullmatch(sha256) is not None and self.path(sha256).is_file()

    def put(self, made: Path) -> str:
        """Move a finished file from the desk to its place and give its SHA-256; on the disk when this returns."""
        with made.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fchmod(file.fileno(), _FILE_MODE)
            os.fsync(file.fileno())
        place = self.path(sha256)
        if not place.parent.is_dir():
            self._make(place.parent)
            _sync(self.root)
        made.replace(place)
        _sync(place.parent)
        return sha256

    async def read(self, sha256: str, *, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in chunks; this one does not block. Raises NotFound when it is gone."""
        path = self.path(sha256)
        while start < end:
            chunk = await asyncio.to_thread(_chunk, path, start, min(CHUNK_BYTES, end - start))
            start += len(chunk)
            yield chunk

    def remove(self, sha256: str, *, older_than_s: float) -> bool:
        """Forget a file, unless the same content was put there within that time; False where nothing was removed."""
        if not self.has(sha256):
            return False
        place = self.path(sha256)
        try:
            if place.stat().st_mtime >= time.time() - older_than_s:
                return False
            place.unlink()
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def desk(self) -> Iterator[Path]:
        """A folder for files being made, on the same disk; gone with all that is left in it. `NoSpace` when full."""
        desks = self.root / _DESK
        self._make(desks)
        folder = Path(tempfile.mkdtemp(dir=desks))
        try:
            yield folder
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpace(hint=f"Free some space where {self.root} is.") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _make(self, folder: Path) -> None:
        """Make a folder right below the root. `parents` would give the root the mode of any other folder."""
        self.root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)

    def clear_desk(self, *, older_than_s: float) -> None:
        """Remove what killed processes left behind. Younger folders may be in use, here or in another process."""
        limit = time.time() - older_than_s
        for folder in (self.root / _DESK).glob("*"):
            if folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)


def _chunk(path: Path, start: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            chunk = file.read(size)
    except FileNotFoundError:
        raise NotFound from None
    if not chunk:
        raise NotFound
    return chunk


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
