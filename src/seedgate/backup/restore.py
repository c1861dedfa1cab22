"""Makes an installation from a backup: in a new data folder, or in that and an empty database.

The folder bears a mark from before the first byte to after the commit. Whatever is refused on the way is undone, mark
and all; a restore that was killed leaves the mark, and the next one with the same backup goes on: from the beginning,
or, where the database has everything already, at the end.
"""

import asyncio
import gzip
import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from seedgate.backup import archive
from seedgate.backup.archive import Source, damaged
from seedgate.backup.manifest import DATABASE, FILES, Kept, Manifest, Part
from seedgate.backup.take import Tell
from seedgate.blobs import Blobs, key
from seedgate.domain.errors import OperatorError, SeedgateError, ServerBroken
from seedgate.intake.shelf import Shelf
from seedgate.store import dump
from seedgate.store.database import Database, Tx

MARK = "restoring.json"
"""In a data folder that a restore has not finished."""
BATCH = 500
SECRET_LIMIT_BYTES = 1 << 20
PICTURE_LIMIT_BYTES = 1 << 28
SECRETS = ("secret.key", "development.key")
_FILES = (*SECRETS, "results", "references", "incoming")
_LINE = re.compile(rb"(?:(results) ([0-9A-Za-z]{22}\.(?:jpg|png|webp))|(references) ([0-9a-f]{64})) ([0-9a-f]{64})\n")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did."""

    epoch: int
    open_tasks: int
    requeued: int
    in_doubt: int
    missing: int
    """Results whose file was not in the backup; their addresses answer 410."""
    missing_uploads: int = 0
    """Uploads whose file was not in the backup; they are forgotten."""
    active_keys: int = 0
    """API keys that work now: those of the time of the backup, also where they were revoked since."""
    left_out: list[str]
    """Tables in the backup that are not Seedgate's."""


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the mark: which backup, and, right before the commit, what it will have done."""

    backup: str
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where an installation is to be."""

    data: Path
    open_database: Callable[[], AbstractAsyncContextManager[Database]]
    open_blobs: Callable[[], Blobs]
    discard: Callable[[], None]
    """Deletes the database that `open_database` made, if it made one."""
    check_secret: Callable[[bytes], None]
    """Raises OperatorError where the secret in `data`, or in the settings, has another check value."""


async def restore(source: Source, manifest: Manifest, site: Site, *, tell: Tell) -> Outcome:
    """Make the installation; what is refused leaves nothing that was not there before. Raises OperatorError."""
    with archive.mended(site.data), _marked(site, manifest.database.sha256) as mark:
        _verify(source, DATABASE, manifest.database)
        _verify(source, FILES, manifest.files)
        async with site.open_database() as database:
            outcome = mark.outcome
            if outcome is None or await dump.identity(database) != _identity(manifest):
                await dump.refuse_unless_empty(database)
                with tempfile.TemporaryFile(dir=site.data) as absent:
                    await _put_files(source, manifest, site, absent, tell)
                    outcome = await _load(source, manifest, site, database, absent, tell)
    tell("done", 0)
    return outcome


def refuse_unfinished(data: Path) -> None:
    """Raises OperatorError for a data folder in which a restore has not come to its end."""
    if (data / MARK).exists():
        raise OperatorError(
            f"A restore into {data} is under way, or was interrupted",
            hint="Run the same `seedgate db restore` again, and it goes on; or remove the folder.",
        )


@contextmanager
def _marked(site: Site, backup: str) -> Iterator[_Mark]:
    """The folder, ours alone and with the mark; the mark goes at the end, and whatever was made if there is none."""
    data, new = site.data, not site.data.exists()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with archive.locked(data):
        mark = _claim(data, backup)
        try:
            yield mark
        except BaseException:
            if _read(data, backup).outcome is None:
                _undo(site, new=new)
            raise
        (data / MARK).unlink()
        archive.sync_folder(data)


def _claim(data: Path, backup: str) -> _Mark:
    there = {path.name for path in data.iterdir()} - {"lost+found"}
    if MARK not in there:
        if there:
            what = "There is an installation in" if "postgres" in there or "secret.key" in there else "Not empty:"
            hint = "A restore makes a new installation: name a new folder with --data. Nothing was changed."
            raise OperatorError(f"{what} {data}", hint=hint)
        return _write(data, _Mark(backup=backup))
    mark = _read(data, backup)
    if mark.backup != backup:
        raise OperatorError(
            f"A restore of another backup into {data} was interrupted",
            hint="Run that one again, and it goes on; or remove the folder, or name another one.",
        )
    return mark


def _read(data: Path, backup: str) -> _Mark:
    try:
        return msgspec.json.decode((data / MARK).read_bytes(), type=_Mark)
    except msgspec.MsgspecError:
        return _Mark(backup=backup)  # it was killed before it had written a word


def _write(data: Path, mark: _Mark) -> _Mark:
    draft = data / f"{MARK}.new"
    with open(draft, "wb", opener=archive.private) as file:
        file.write(msgspec.json.encode(mark))
        archive.sync(file)
    draft.replace(data / MARK)
    archive.sync_folder(data)
    return mark


def _undo(site: Site, *, new: bool) -> None:
    site.discard()
    for name in (*_FILES, "postgres", f"{MARK}.new", MARK):
        archive.remove(site.data / name)
    if new:
        site.data.rmdir()


def _identity(manifest: Manifest) -> tuple[object, int]:
    """Of a database that has this backup."""
    return (manifest.installation, manifest.epoch + 1) if manifest.installation else (None, 0)


def _verify(source: Source, name: str, part: Part) -> None:
    file = source.open(name)
    if file is None:
        raise damaged(f"{name} is missing")
    with file:
        if hashlib.file_digest(cast("io.BufferedReader", file), "sha256").hexdigest() != part.sha256:
            raise damaged(f"{name} is not what the manifest says")


def _open(source: Source, name: str) -> BinaryIO:
    file = source.open(name)
    if file is None:
        raise damaged(f"{name} is missing")
    return file


async def _put_files(source: Source, manifest: Manifest, site: Site, absent: BinaryIO, tell: Tell) -> None:
    """Secrets and pictures, from the beginning; names of results that the backup lists and has not, to `absent`."""
    _write(site.data, _Mark(backup=manifest.database.sha256))
    for name in _FILES:
        archive.remove(site.data / name)
    for name in manifest.secrets:
        _put_secret(source, site.data, name)
    incoming = site.data / "incoming"
    incoming.mkdir(mode=0o700)
    blobs, shelf = site.open_blobs(), Shelf(root=site.data / "references")
    found = {"results": Kept(), "references": Kept()}
    with _open(source, FILES) as lines:
        for number, line in enumerate(lines):
            tell("files", number)
            folder, name, sha256 = _parse(line)
            data = _picture(source, folder, name, sha256)
            found[folder] = found[folder].and_also(data)
            if data is not None:
                await _put_picture(data, name, incoming / "restored", blobs if folder == "results" else shelf)
            elif folder == "results":
                absent.write(f"{name}\n".encode())
    for folder, listed in (("results", manifest.results), ("references", manifest.references)):
        if found[folder] != listed:
            raise damaged(f"of {listed.count} {folder}, {found[folder].count} are there")


async def _put_picture(data: bytes, name: str, staged: Path, where: Blobs | Shelf) -> None:
    staged.write_bytes(data)
    if isinstance(where, Blobs):
        await where.put(name, staged)
    else:
        await asyncio.to_thread(where.put, staged)


def _put_secret(source: Source, data: Path, name: str) -> None:
    if name not in SECRETS:
        raise damaged("it names a file that is no secret of ours")
    with open(data / name, "xb", opener=archive.private) as kept, _open(source, name) as secret:
        kept.write(secret.read(SECRET_LIMIT_BYTES))
        archive.sync(kept)


def _parse(line: bytes) -> tuple[str, str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise damaged(f"{FILES} cannot be read")
    folder, name, sha256 = (part.decode() for part in match.groups() if part is not None)
    return folder, name, sha256


def _picture(source: Source, folder: str, name: str, sha256: str) -> bytes | None:
    file = source.open(f"{folder}/{key(name)}")
    if file is None:
        return None
    with file:
        data = file.read(PICTURE_LIMIT_BYTES)
    if hashlib.sha256(data).hexdigest() != sha256:
        # Its whole name would be its address.
        raise damaged(f"a picture in {folder}/{name[:2]} is not what it was")
    return data


async def _load(
    source: Source, manifest: Manifest, site: Site, database: Database, absent: BinaryIO, tell: Tell
) -> Outcome:
    """Everything that is in the database, in one transaction."""
    tell("database", 0)
    outcome = None
    try:
        async with database.write() as tx:
            with _open(source, DATABASE) as file, gzip.GzipFile(fileobj=file) as rows:
                left_out = await dump.load(tx, cast("BinaryIO", rows))
            check = await dump.secret_check(tx)
            if check is not None:
                site.check_secret(check)
            missing = await _forget(tx, absent)
            missing_uploads = await _forget_uploads(tx, Shelf(root=site.data / "references"))
            settled = await dump.reconcile(tx)
            outcome = Outcome(
                epoch=settled.epoch,
                open_tasks=settled.open_tasks,
                requeued=settled.requeued,
                in_doubt=settled.in_doubt,
                missing=missing,
                missing_uploads=missing_uploads,
                active_keys=await dump.count_keys(tx),
                left_out=left_out,
            )
            _write(site.data, _Mark(backup=manifest.database.sha256, outcome=outcome))
            tell("commit", 0)
    except SeedgateError as error:
        if outcome is None:
            raise
        raise ServerBroken(
            "The database was lost while it committed the restore",
            hint="Run the same command again: it finds out, and goes on.",
        ) from error
    tell("committed", 0)
    return outcome


async def _forget(tx: Tx, absent: BinaryIO) -> int:
    absent.seek(0)
    missing = 0
    while names := [line.decode().strip() for line in islice(absent, BATCH)]:
        await dump.forget_images(tx, names)
        missing += len(names)
    return missing


async def _forget_uploads(tx: Tx, shelf: Shelf) -> int:
    """By what is on the shelf, not by the backup's list: the first backups did not list uploads."""
    missing, last = 0, ""
    while digests := await dump.upload_digests(tx, after=last, most=BATCH):
        missing += await dump.forget_uploads(tx, [digest for digest in digests if not shelf.has(digest)])
        last = digests[-1]
    return missing
