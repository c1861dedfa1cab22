"""The two forms of a backup, a folder and a tar file, behind one way to write and one to read.

A backup is written under another name, synced, and renamed. Nothing here is as long as the list of its files: the tar
is read in the order in which it was written.
"""

import errno
import fcntl
import io
import os
import re
import shutil
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from seedgate.backup.manifest import DAMAGED, MANIFEST
from seedgate.domain.errors import BadSettings, NoPermission, NoSpace, OperatorError

TAR = ".tar"
MANIFEST_BYTES = 1 << 16
"""Kept free for it at the beginning of a tar, since it is known at the end."""
BLOCK = tarfile.BLOCKSIZE
_OURS = re.compile(
    r"manifest\.json|database\.sql\.gz|files\.txt|secret\.key|development\.key"
    r"|results(/[0-9A-Za-z]{2}(/[0-9A-Za-z]{22}\.(jpg|png|webp))?)?|references(/[0-9a-f]{2}(/[0-9a-f]{64})?)?"
)
"""Files and folders of a backup."""
_OTHERS = (".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z")


class Writer(ABC):
    """A backup in the making."""

    @abstractmethod
    @contextmanager
    def member(self, name: str) -> Iterator[BinaryIO]:
        """A file to write into; complete at the end of the block."""

    @abstractmethod
    def finish(self, manifest: bytes) -> None:
        """The last word."""


class _FolderWriter(Writer):
    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def member(self, name: str) -> Iterator[BinaryIO]:
        path = self._path / name
        for folder in (path.parent.parent, path.parent):
            if folder.is_relative_to(self._path):
                folder.mkdir(mode=0o700, exist_ok=True)
        with open(path, "xb", opener=private) as file:
            yield file
            sync(file)

    def finish(self, manifest: bytes) -> None:
        with self.member(MANIFEST) as file:
            file.write(manifest)
        for folder, _, _ in os.walk(self._path):
            sync_folder(Path(folder))


class _TarWriter(Writer):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.write(_header(MANIFEST, MANIFEST_BYTES))
        file.seek(MANIFEST_BYTES, os.SEEK_CUR)

    @contextmanager
    def member(self, name: str) -> Iterator[BinaryIO]:
        start = self._file.tell()
        self._file.write(_header(name, 0))
        yield self._file
        size = self._file.tell() - start - BLOCK
        self._file.write(bytes(-size % BLOCK))
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(_header(name, size))
        self._file.seek(end)

    def finish(self, manifest: bytes) -> None:
        assert len(manifest) <= MANIFEST_BYTES
        self._file.write(bytes(2 * BLOCK))
        self._file.seek(BLOCK)
        self._file.write(manifest.ljust(MANIFEST_BYTES))
        sync(self._file)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    # GNU's form has room for any size in the one block that is written anew.
    return info.tobuf(tarfile.GNU_FORMAT)


@contextmanager
def create(path: Path) -> Iterator[Writer]:
    """A new backup, there under its name when the block ends, and not at all when it fails. Raises OperatorError."""
    if path.name.endswith(_OTHERS):
        raise BadSettings(f"A backup is a folder or a {TAR} file, not {path.name}", hint="Pictures do not get smaller.")
    if path.exists():
        free = path / f"backup{TAR}" if path.is_dir() else path.with_stem(f"{path.stem}-2")
        hint = f"Name a new one, such as {free}."
        raise BadSettings(f"{path} exists already, and a backup replaces nothing", hint=hint)
    draft = path.with_name(f"{path.name}.partial")
    with mended(path), _draft(draft, folder=path.suffix != TAR) as writer:
        yield writer
        draft.rename(path)
        sync_folder(path.parent)


@contextmanager
def _draft(draft: Path, *, folder: bool) -> Iterator[Writer]:
    """Locked, so that what a killed backup left is told from what another one is writing."""
    if os.path.lexists(draft):
        if not (_is_draft_folder(draft) if folder else _is_draft_tar(draft)):
            hint = f"Move {draft.name} away, or name another place. Nothing was removed."
            raise BadSettings(f"{draft} is in the way, and no backup that was broken off", hint=hint)
        with locked(draft):
            remove(draft)
    if folder:
        draft.mkdir(mode=0o700)
        with _undone(draft), locked(draft):
            yield _FolderWriter(draft)
    else:
        with open(draft, "xb", opener=private) as file, _undone(draft), locked(draft):
            yield _TarWriter(file)


@contextmanager
def _undone(draft: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        remove(draft)
        raise


def _is_draft_folder(path: Path) -> bool:
    """Whether it is a folder in which nothing lies that is not ours."""
    if path.is_symlink() or not path.is_dir():
        return False
    found = (Path(parent, name) for parent, folders, files in os.walk(path) for name in (*folders, *files))
    return all(_OURS.fullmatch(inner.relative_to(path).as_posix()) for inner in found)


def _is_draft_tar(path: Path) -> bool:
    """Whether it is a file that begins as ours do, or was broken off before."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        begins = file.read(BLOCK)
    return begins == _header(MANIFEST, MANIFEST_BYTES)[: len(begins)]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one who makes this file or folder. Raises OperatorError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "Wait until it has ended, or name another place."
            raise OperatorError(f"Another backup or restore is under way in {path}", hint=hint) from None
        yield
    finally:
        os.close(descriptor)


class Source(ABC):
    """A backup that is read. `close` it."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO | None:
        """A file of the backup; None where it has none of that name. Pictures are asked for in their order."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""

    def manifest(self) -> bytes:
        """Raises OperatorError where there is none."""
        file = self.open(MANIFEST)
        if file is None:
            raise OperatorError(
                "This is no complete backup: it has no manifest",
                hint="A tar that something else packed has to be unpacked first; then name the folder.",
            )
        with file:
            return file.read(MANIFEST_BYTES)


class _FolderSource(Source):
    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> BinaryIO | None:
        try:
            return (self._path / name).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def close(self) -> None:
        pass


class _TarSource(Source):
    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._passed: dict[str, tuple[int, int]] = {}
        self._next = 0

    def open(self, name: str) -> BinaryIO | None:
        """Of pictures only the next one is found; the few files before them may be asked for in any order."""
        while name not in self._passed:
            member = self._member()
            if member is None or ("/" in member.name and member.name != name):
                return None
            span = self._next + BLOCK, member.size
            self._next += BLOCK + member.size + -member.size % BLOCK
            if "/" in name:
                return io.BufferedReader(_Span(self._file, *span))
            self._passed[member.name] = span
        return io.BufferedReader(_Span(self._file, *self._passed[name]))

    def close(self) -> None:
        self._file.close()

    def _member(self) -> tarfile.TarInfo | None:
        try:
            member = tarfile.TarInfo.frombuf(os.pread(self._file.fileno(), BLOCK, self._next), "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            return None
        return member if member.isreg() and member.size >= 0 else None


class _Span(io.RawIOBase):
    """A part of a file, to read."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._at, self._end = file, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._file.fileno(), min(len(buffer), self._end - self._at), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def read(path: Path) -> Iterator[Source]:
    """A backup that is there. Raises OperatorError."""
    if not path.exists():
        raise BadSettings(f"There is no backup {path}", hint="Name the folder or the file that `db backup` made.")
    with mended(path):
        source = _FolderSource(path) if path.is_dir() else _TarSource(path)
        try:
            yield source
        finally:
            source.close()


@contextmanager
def mended(path: Path) -> Iterator[None]:
    """What the system says about files, as an OperatorError about `path` where it names none."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                hint = "Free some, or choose another place."
                raise NoSpace(f"There is no space left for {where}", hint=hint) from error
            case errno.EACCES | errno.EPERM | errno.EROFS:
                raise NoPermission(f"{where} may not be used", hint="Check who owns it, and who runs this.") from error
            case _:
                raise BadSettings(f"{where} cannot be used: {error.strerror}", hint="Check the path.") from error


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(file: BinaryIO) -> None:
    """Make what was written survive a loss of power."""
    file.flush()
    os.fsync(file.fileno())


def private(path: str, flags: int) -> int:
    """An opener for `open`: for our own user only."""
    return os.open(path, flags, 0o600)


def damaged(what: str) -> OperatorError:
    """The error of a backup that is not what its manifest says."""
    return OperatorError(f"The backup is damaged: {what}", hint=DAMAGED)
