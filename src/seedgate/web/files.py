"""Result files: an address is a capability of 131 random bits, good for GET, HEAD and one Range until it expires.

What else a request carries does not matter: some clients send their API key to every address they are given.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from seedgate.blobs import Blobs
from seedgate.combine import Combiner
from seedgate.domain.errors import NotFound, SeedgateError
from seedgate.domain.image import OutputFormat
from seedgate.store.database import Database
from seedgate.store.tasks import find_image

_NAME = re.compile(r"[0-9A-Za-z]{22}\.(jpg|png|webp)")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_HEADERS = {
    "accept-ranges": "bytes",
    "cache-control": "private, max-age=31536000, immutable",
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}

Found = tuple[str, datetime | None, int]
"""Format, time of deletion, size in bytes."""


class Files:
    """Serves results. One per process."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        async def run(names: Sequence[str]) -> Sequence[Found | SeedgateError]:
            return [found or NotFound() for found in await find_image(database.access_lane, names)]

        self._combine: Combiner[str, Found] = Combiner(run)
        self._blobs = blobs

    async def serve(self, request: Request) -> Response:
        """GET or HEAD of one file. Raises NotFound, or Unavailable while the database is away."""
        name: str = request.path_params["name"]
        if not _NAME.fullmatch(name):
            raise NotFound
        kind, deleted_at, size = await self._combine(name)
        if deleted_at is not None:
            return JSONResponse({"error": "gone", "reason": "This result has expired or was erased."}, 410)
        span = _span(request.headers.get("range"), size)
        if span is None:
            return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
        start, end = span
        headers = _HEADERS | {"content-length": str(end - start), "etag": f'"{name}"'}
        status = 200
        if (start, end) != (0, size):
            status, headers["content-range"] = 206, f"bytes {start}-{end - 1}/{size}"
        media_type = OutputFormat(kind).media_type
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=media_type)
        return StreamingResponse(await self._body(name, start, end), status, headers, media_type)

    async def _body(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes, the first of them read already: a file that is gone is found missing before the head is sent."""
        chunks = self._blobs.read(name, start=start, end=end)
        first = await anext(chunks)

        async def body() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        return body()

    async def close(self) -> None:
        """Answer what was asked."""
        await self._combine.close()


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of what is to be sent; None for a range outside the file. Anything but one range is the whole."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return 0, size
    if not match[1]:
        length = int(match[2])
        return (max(0, size - length), size) if length else None
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    if match[2] and int(match[2]) < start:
        return 0, size
    return (start, end) if start < size else None
