"""Request bodies: bounded, in memory while small, on disk while large."""

import asyncio
import mmap
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from seedgate.domain.errors import TooLarge, Unavailable

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_DATA_URL = b'"data:'
LARGE_AT_ONCE = 4
"""Large bodies that are decoded at the same time; each takes a few times its size in memory while that lasts."""


class Disconnected(Exception):
    """The caller went away before its request was whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """Reads bodies within the limits."""

    small_bytes: int
    large_bytes: int
    spool: Path
    """Folder for large bodies while they come in."""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_ONCE))

    async def small(self, receive: Receive, announced: bytes | None) -> bytes:
        """A whole small body. Raises TooLarge, or Disconnected."""
        if announced is not None and _number(announced) > self.small_bytes:
            raise _too_large(self.small_bytes)
        message = await receive()
        body: bytes = _part(message)
        while message.get("more_body", False):
            if len(body) > self.small_bytes:
                break
            message = await receive()
            body += _part(message)
        if len(body) > self.small_bytes:
            raise _too_large(self.small_bytes)
        return body

    def is_large(self, announced: bytes | None, chunked: bool) -> bool:  # noqa: FBT001
        """Whether a body is, or may turn out to be, larger than a small one."""
        return chunked or (announced is not None and _number(announced) > self.small_bytes)

    @asynccontextmanager
    async def large(self, receive: Receive, announced: bytes | None) -> AsyncIterator[memoryview]:
        """A body streamed to disk, as memory mapped from there. Raises TooLarge, Unavailable or Disconnected."""
        if announced is not None and _number(announced) > self.large_bytes:
            raise _too_large(self.large_bytes)
        try:
            with tempfile.TemporaryFile(dir=self.spool) as file:
                size = await self._spool(receive, file)
                async with self.turns:
                    if size == 0:
                        yield memoryview(b"")
                        return
                    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                        yield view
        except OSError as error:
            raise Unavailable("There is no room for the request's images now", retry_after_s=30) from error

    async def _spool(self, receive: Receive, file: IO[bytes]) -> int:
        size = 0
        async for part in parts(receive, limit=self.large_bytes):
            size += len(part)
            await asyncio.to_thread(file.write, part)
        await asyncio.to_thread(file.flush)
        return size


async def parts(receive: Receive, *, limit: int, announced: bytes | None = None) -> AsyncIterator[bytes]:
    """A body as it comes in, at most `limit` bytes of it. Raises TooLarge, or Disconnected."""
    if announced is not None and _number(announced) > limit:
        raise _too_large(limit)
    size, more = 0, True
    while more:
        message = await receive()
        part = _part(message)
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
        if part:
            yield part


def check_text_size(body: bytes | memoryview, limit: int) -> None:
    """Raise TooLarge when a body is larger than `limit` without its data URLs: only pictures may be large."""
    text = bytes(body)
    size = len(text)
    start = text.find(_DATA_URL)
    while start >= 0:
        end = text.find(b'"', start + 1)
        end = len(text) if end < 0 else end
        size -= end - start
        start = text.find(_DATA_URL, end)
    if size > limit:
        raise _too_large(limit)


def _part(message: MutableMapping[str, Any]) -> bytes:
    if message["type"] != "http.request":
        raise Disconnected
    part: bytes = message.get("body", b"")
    return part


def _number(announced: bytes) -> int:
    return int(announced) if announced.isdigit() else 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {limit} bytes")
