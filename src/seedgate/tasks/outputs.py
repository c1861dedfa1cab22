"""A finished picture on its way to its caller: checked, stored, and counted by its row."""

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from seedgate.blobs import Blobs
from seedgate.domain.errors import ProtocolBroken
from seedgate.domain.image import OutputFormat, Size
from seedgate.ids import Ids
from seedgate.store.slots import Claim, Picture
from seedgate.tasks.finish import Writes

_END = {OutputFormat.JPEG: b"\xff\xd9", OutputFormat.PNG: b"IEND\xaeB`\x82", OutputFormat.WEBP: b""}
"""How a complete file of the format ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the picture must be, or it does not count."""

    size: Size
    format: OutputFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The way of pictures into the store of results."""

    blobs: Blobs
    writes: Writes
    ids: Ids
    incoming: Path
    """Folder of pictures on their way, on the same disk as the engine's."""

    def adopt(self, path: Path) -> Path:
        """Take a finished picture out of its engine's hands, so that the engine can go on while it is stored."""
        mine = self.incoming / self.ids.token()
        path.rename(mine)
        return mine

    async def keep(self, claim: Claim, index: int, path: Path, expected: Expected) -> bool:
        """Store an adopted picture as number `index` of the task. False when its place was taken or the task had ended.

        Raises ProtocolBroken for a file that is not what was asked for. A file whose row is not written is removed.
        """
        name = f"{self.ids.token()}.{expected.format.extension}"
        try:
            size_bytes, sha256 = await asyncio.to_thread(_check, path, expected)
            await self.blobs.put(name, path)
        finally:
            path.unlink(missing_ok=True)
        # When this raises, the row may exist or not: the file stays, and the upkeep decides by the row.
        kept = await self.writes.keep(
            Picture(
                task_id=claim.task_id,
                ordinal=index,
                slot=claim.ordinal,
                epoch=claim.epoch,
                name=name,
                format=expected.format,
                width=expected.size.width,
                height=expected.size.height,
                size_bytes=size_bytes,
                sha256=sha256,
            )
        )
        if not kept:
            await self.blobs.delete([name])
        return kept


def _check(path: Path, expected: Expected) -> tuple[int, bytes]:
    """Size in bytes and SHA-256 of a complete picture of the expected format and size."""
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            with Image.open(file, formats=[expected.format.name]) as image:
                found = Size(width=image.width, height=image.height)
            end = _END[expected.format]
            file.seek(max(0, size_bytes - len(end)))
            whole = file.read() == end
            if expected.format is OutputFormat.WEBP:
                file.seek(4)
                whole = int.from_bytes(file.read(4), "little") + 8 == size_bytes
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise ProtocolBroken(f"The picture cannot be read: {type(error).__name__}") from None
    if not whole:
        raise ProtocolBroken("The picture is incomplete")
    if found != expected.size:
        raise ProtocolBroken(f"The picture is {found} instead of {expected.size}")
    return size_bytes, digest
