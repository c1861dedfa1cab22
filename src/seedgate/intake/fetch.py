"""Fetch a task's reference images: each once, a few at a time, all within one limit of time."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from seedgate.domain.errors import (
    AddressRefused,
    AnswerTooLarge,
    BadAnswer,
    ProtocolBroken,
    SeedgateError,
    TimedOut,
    Unreachable,
)
from seedgate.domain.reference import LOCAL_PREFIX, MAX_IMAGE_BYTES, Reference, ReferenceFault, ReferenceRefused
from seedgate.intake.gate import Gate
from seedgate.intake.shelf import Shelf
from seedgate.net import Net

T = TypeVar("T")

ReadOwn = Callable[[str, Path, int], Awaitable[bool]]
"""Writes what an address of ours leads to into the file, at most so many bytes; False for any other address. Raises
BadAnswer where it leads nowhere, and AnswerTooLarge."""

_FAULTS: dict[type[SeedgateError], ReferenceFault] = {
    AddressRefused: ReferenceFault.ADDRESS,
    Unreachable: ReferenceFault.UNREACHABLE,
    BadAnswer: ReferenceFault.BAD_ANSWER,
    ProtocolBroken: ReferenceFault.BAD_ANSWER,
    AnswerTooLarge: ReferenceFault.TOO_LARGE,
    TimedOut: ReferenceFault.TIMED_OUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What one task may ask for. The time of one download is the `Net`'s own limit."""

    at_once: int = 4
    total_s: float = 60.0
    """For all downloads together. The gate's queue is our own affair and does not count."""
    image_bytes: int = MAX_IMAGE_BYTES


async def fetch_references(
    references: Sequence[str],
    *,
    net: Net,
    gate: Gate,
    shelf: Shelf,
    read_own: ReadOwn | None = None,
    limits: FetchLimits | None = None,
) -> tuple[Reference, ...]:
    """Put the clean form of every reference on the shelf, in order; a URL that occurs twice is fetched once.

    A reference is a URL or the name that `store_data_url` gave; only that function may have made the latter, never a
    caller. A URL of our own is not fetched but read, by `read_own`. Raises `ReferenceRefused` for the first one that
    fails, and gives up the others. What was already shelved stays there: the same bytes may serve another task.
    """
    limits = limits or FetchLimits()
    places = {reference: references.index(reference) for reference in references}
    with shelf.desk() as desk:
        intake = _Intake(
            net=net,
            gate=gate,
            shelf=shelf,
            read_own=read_own,
            limits=limits,
            desk=desk,
            turn=asyncio.Semaphore(limits.at_once),
        )
        originals = await _together(
            {index: intake.fetch(reference, index) for reference, index in places.items()}, limit_s=limits.total_s
        )
        clean = await _together({index: intake.clean(original, index) for index, original in originals.items()})
    return tuple(clean[places[reference]] for reference in references)


async def _together(jobs: Mapping[int, Coroutine[Any, Any, T]], *, limit_s: float | None = None) -> dict[int, T]:
    """The jobs' results under the jobs' own indexes; the first failure ends them all."""
    tasks: dict[int, asyncio.Task[T]] = {}
    try:
        async with asyncio.timeout(limit_s), asyncio.TaskGroup() as group:
            tasks = {index: group.create_task(job) for index, job in jobs.items()}
    except TimeoutError:
        late = next((index for index, task in tasks.items() if task.cancelled()), 0)
        raise ReferenceRefused(ReferenceFault.TIMED_OUT, index=late) from None
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {index: task.result() for index, task in tasks.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Original:
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intake:
    net: Net
    gate: Gate
    shelf: Shelf
    read_own: ReadOwn | None
    limits: FetchLimits
    desk: Path
    turn: asyncio.Semaphore

    async def fetch(self, reference: str, index: int) -> _Original:
        try:
            if reference.startswith(LOCAL_PREFIX):
                return self._local(reference.removeprefix(LOCAL_PREFIX))
            path = self.desk / f"{index}.original"
            async with self.turn:
                if self.read_own is not None and await self.read_own(reference, path, self.limits.image_bytes):
                    return _Original(path=path, sha256=await asyncio.to_thread(_digest, path))
                downloaded = await self.net.download(reference, path, max_bytes=self.limits.image_bytes)
            return _Original(path=path, sha256=downloaded.sha256)
        except tuple(_FAULTS) as error:
            raise ReferenceRefused(_FAULTS[type(error)], index=index) from error

    def _local(self, sha256: str) -> _Original:
        if not self.shelf.has(sha256):
            raise AddressRefused
        return _Original(path=self.shelf.path(sha256), sha256=sha256)

    async def clean(self, original: _Original, index: int) -> Reference:
        made = self.desk / f"{index}.clean"
        try:
            passed = await self.gate.normalise(original.path, made)
        except ReferenceRefused as error:
            raise ReferenceRefused(error.reason, index=index) from None
        size_bytes = made.stat().st_size
        return Reference(
            sha256=await asyncio.to_thread(self.shelf.put, made),
            format=passed.format,
            width=passed.width,
            height=passed.height,
            size_bytes=size_bytes,
            original_sha256=original.sha256,
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
