"""Results and uploads: an address is a capability of 131 random bits, good for GET, HEAD and a Range until it expires.

What else a request carries does not matter: some clients send their API key to every address they are given.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from seedgate.blobs import Blobs
from seedgate.combine import Combiner
from seedgate.domain.errors import NotFound, SeedgateError
from seedgate.domain.image import OutputFormat
from seedgate.ids import FILE_NAME
from seedgate.intake.shelf import Shelf
from seedgate.store.database import Connection, Database
from seedgate.store.files import find_files
from seedgate.store.tasks import find_image

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_HEADERS = {
    "accept-ranges": "bytes",
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}

Found = tuple[str, datetime | None, int, timedelta, str | None]
"""Format, time of deletion, size in bytes, how long it is still kept, and for an upload the SHA-256 under which it is
on the shelf."""


class Files:
    """Serves results, and what was uploaded. One per process."""

    def __init__(self, database: Database, blobs: Blobs, shelf: Shelf, *, keep: timedelta) -> None:
        """`keep` is how long results are kept."""

        async def run(names: Sequence[str]) -> Sequence[Found | SeedgateError]:
            return [found or NotFound() for found in await _find(database.access_lane, names, keep)]

        self._combine: Combiner[str, Found] = Combiner(run)
        self._blobs = blobs
        self._shelf = shelf

    async def serve(self, request: Request) -> Response:
        """GET or HEAD of one file. Raises NotFound, or Unavailable while the database is away."""
        name: str = request.path_params["name"]
        if not FILE_NAME.fullmatch(name):
            raise NotFound
        kind, deleted_at, size, left, sha256 = await self._combine(name)
        if deleted_at is not None:
            return JSONResponse({"error": "gone", "reason": "This result has expired or was erased."}, 410)
        span = _span(request.headers.get("range"), size)
        if span is None:
            return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
        start, end = span
        headers = _HEADERS | {"content-length": str(end - start), "etag": f'"{name}"'}
        headers["cache-control"] = f"private, max-age={max(0, int(left.total_seconds()))}, immutable"
        status = 200
        if (start, end) != (0, size):
            status, headers["content-range"] = 206, f"bytes {start}-{end - 1}/{size}"
        media_type = OutputFormat(kind).media_type
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=media_type)
        if sha256 is None:
            chunks = self._blobs.read(name, start=start, end=end)
        else:
            chunks = self._shelf.read(sha256, start=start, end=end)
        return StreamingResponse(await _begun(chunks), status, headers, media_type)

    async def close(self) -> None:
        """Answer what was asked."""
        await self._combine.close()


async def _find(lane: Connection, names: Sequence[str], keep: timedelta) -> list[Found | None]:
    """Results first, since nearly all are; what is none of them may be an upload."""
    found: dict[str, Found] = {}
    for name, image in zip(names, await find_image(lane, names), strict=True):
        if image is not None:
            kind, deleted_at, size, age = image
            found[name] = (kind, deleted_at, size, keep - age, None)
    if others := [name for name in names if name not in found]:
        for name, upload in zip(others, await find_files(lane, others), strict=True):
            if upload is not None:
                file, left = upload
                found[name] = (file.format, None, file.size_bytes, left, file.sha256)
    return [found.get(name) for name in names]


async def _begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes, the first of them read already: a file that is gone is found missing before the head is sent."""
    first = await anext(chunks)

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return body()


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
