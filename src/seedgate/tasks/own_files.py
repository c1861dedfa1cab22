"""References that are our own: a result or an upload is read from where it lies, never fetched over HTTP.

In production the door outward refuses our own hosts, and a gateway that calls itself would wait for itself. Whose task
made a picture is not asked: its address is a capability, good for whoever has it, to look at as well as to draw from.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from seedgate.blobs import Blobs
from seedgate.domain.addresses import DEFAULT_PORTS
from seedgate.domain.errors import AnswerTooLarge, BadAnswer, NotFound
from seedgate.ids import FILE_NAME
from seedgate.intake.shelf import Shelf
from seedgate.store.database import Connection
from seedgate.store.files import find_files
from seedgate.store.tasks import find_image

Origin = tuple[str, int | None, str]
"""Host, port (None for the scheme's own) and path in front of `/files/`."""


class OwnFiles:
    """Reads what our own addresses lead to. `bases` are the addresses under which this gateway is reached."""

    def __init__(self, lane: Connection, *, blobs: Blobs, shelf: Shelf, bases: Sequence[str]) -> None:
        self._lane = lane
        self.blobs = blobs
        self.shelf = shelf
        self._origins = {origin for base in bases if (origin := _origin(base)) is not None}

    def name(self, address: str) -> str | None:
        """The file's name in an address of ours; None for any other address."""
        head, _, name = address.partition("?")[0].partition("#")[0].rpartition("/files/")
        return name if FILE_NAME.fullmatch(name) and _origin(head) in self._origins else None

    async def read(self, address: str, target: Path, most: int) -> bool:
        """Write the file that the address leads to; False where the address is none of ours.

        Raises BadAnswer where it is unknown, expired or deleted, as a host would be said to have answered, and
        AnswerTooLarge beyond `most` bytes. Unavailable passes.
        """
        name = self.name(address)
        if name is None:
            return False
        try:
            with target.open("wb") as file:
                async for chunk in await self._open(name, most):
                    await asyncio.to_thread(file.write, chunk)
        except NotFound:
            raise BadAnswer(status=404) from None
        return True

    async def _open(self, name: str, most: int) -> AsyncIterator[bytes]:
        (image,) = await find_image(self._lane, [name])
        if image is not None:
            _, deleted_at, size, _ = image
            if deleted_at is not None:
                raise NotFound
            _check(size, most)
            return self.blobs.read(name, start=0, end=size)
        (upload,) = await find_files(self._lane, [name])
        if upload is None:
            raise NotFound
        file, _ = upload
        _check(file.size_bytes, most)
        return self.shelf.read(file.sha256, start=0, end=file.size_bytes)


def _check(size: int, most: int) -> None:
    if size > most:
        raise AnswerTooLarge


def _origin(address: str) -> Origin | None:
    """Where an address leads, whichever of http and https it begins with: both are answered by this gateway."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        return None
    return parts.hostname.rstrip("."), None if port == DEFAULT_PORTS[scheme] else port, parts.path.rstrip("/")
