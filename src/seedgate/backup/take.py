"""Takes a backup of an installation, beside the gateways that run on it."""

import gzip
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

from seedgate.backup import archive
from seedgate.backup.manifest import DATABASE, FILES, FORMAT, Kept, Manifest, Part
from seedgate.blobs import Blobs, key
from seedgate.intake.shelf import Shelf
from seedgate.store.database import Database
from seedgate.store.dump import Dumped, dump

COMPRESSION = 3
"""Of the rows: half the time of the usual level, and little larger."""

Tell = Callable[[str, int], None]
"""Hears which step goes on (`database`, `files`, `settle`, `done`), and how many rows or files it has behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is backed up."""

    database: Database
    blobs: Blobs
    results_url: str
    """Where `blobs` is, without credentials; empty for a folder."""
    references: Shelf
    references_age: timedelta
    """How long after its task's end a reference may still be asked for."""
    secrets: Sequence[Path]
    check_secret: Callable[[bytes], None]
    """Raises OperatorError where the installation's secret has another check value than this one."""
    version: str


async def take(installation: Installation, target: Path, *, tell: Tell) -> Manifest:
    """Write a backup to `target`, a folder or a tar file that is not there yet.

    Raises OperatorError, with a hint; then nothing is left at `target` or beside it.
    """
    folder = installation.blobs.folder
    with archive.create(target) as writer, tempfile.TemporaryFile(dir=target.parent) as names:
        tell("database", 0)
        with writer.member(DATABASE) as file:
            hashed = _Hashed(file)
            with gzip.GzipFile("", "wb", COMPRESSION, cast("BinaryIO", hashed), mtime=0) as rows:
                dumped = await dump(
                    installation.database,
                    rows=rows.write,
                    files=names.write,
                    results=folder is not None,
                    references_age=installation.references_age,
                )
        if dumped.secret_check is not None:
            installation.check_secret(dumped.secret_check)
        names.seek(0)
        with writer.member(FILES) as file:
            listed = _Hashed(file)
            shutil.copyfileobj(names, cast("BinaryIO", listed))
        for secret in installation.secrets:
            with writer.member(secret.name) as file:
                file.write(secret.read_bytes())
        names.seek(0)
        kept = _keep_files(names, writer, installation, tell)
        manifest = _manifest(installation, dumped, hashed.part, listed.part, kept)
        writer.finish(manifest.encode())
    tell("done", 0)
    return manifest


def _manifest(
    installation: Installation, dumped: Dumped, database: Part, files: Part, kept: dict[str, Kept]
) -> Manifest:
    return Manifest(
        format=FORMAT,
        seedgate=installation.version,
        schema=dumped.schema,
        taken_at=dumped.at,
        installation=dumped.installation,
        epoch=dumped.epoch,
        rows=dumped.rows,
        open_tasks=dumped.open_tasks,
        database=database,
        files=files,
        results=kept["results"],
        results_url=installation.results_url,
        references=kept["references"],
        secrets=[secret.name for secret in installation.secrets],
    )


def _keep_files(names: BinaryIO, writer: archive.Writer, installation: Installation, tell: Tell) -> dict[str, Kept]:
    kept = {"results": Kept(), "references": Kept()}
    for number, line in enumerate(names):
        tell("files", number)
        folder, name, sha256 = line.decode().split()
        root = installation.blobs.folder if folder == "results" else installation.references.root
        assert root is not None
        data = _read(root / key(name), sha256)
        kept[folder] = kept[folder].and_also(data)
        if data is not None:
            with writer.member(f"{folder}/{key(name)}") as file:
                file.write(data)
    return kept


def _read(path: Path, sha256: str) -> bytes | None:
    """A picture, which is some megabytes; None where it is not there, or not what its row says."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


class _Hashed:
    """Writes through to a file, and knows what it wrote."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size_bytes = 0
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._size_bytes += len(data)
        self._digest.update(data)
        return self._file.write(data)

    @property
    def part(self) -> Part:
        return Part(size_bytes=self._size_bytes, sha256=self._digest.hexdigest())
