"""Fetch a task's reference images: each once, a few at a time, all within one limit of time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    image_bytes: int = MAX_IMAGE_BYTES


async def fetch_references(
    references: Sequence[str], *, net: Net, gate: Gate, shelf: Shelf, limits: FetchLimits | None = None
) -> tuple[Reference, ...]:
    """Put the clean form of every reference on the shelf, in order; a URL that occurs twice is fetched once.

    A reference is a URL or the name that `store_data_url` gave; only that function may have made the latter, never a
    caller. Raises `ReferenceRefused` for the first one that fails, and gives up the others. What was already shelved
    stays there: the same bytes may serve another task.
    """
    limits = limits or FetchLimits()
    turn = asyncio.Semaphore(limits.at_once)
    with shelf.desk() as desk:
        intake = _Intake(net=net, gate=gate, shelf=shelf, limits=limits, desk=desk, turn=turn)
        tasks: dict[str, asyncio.Task[Reference]] = {}
        try:
            async with asyncio.timeout(limits.total_s), asyncio.TaskGroup() as group:
                for reference in dict.fromkeys(references):
                    index = references.index(reference)
                    tasks[reference] = group.create_task(intake.take(reference, index))
        except TimeoutError:
            late = next((index for index, reference in enumerate(references) if not _done(tasks[reference])), 0)
            raise ReferenceRefused(ReferenceFault.TIMED_OUT, index=late) from None
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        return tuple(tasks[reference].result() for reference in references)


def _done(task: asyncio.Task[Reference]) -> bool:
    return task.done() and not task.cancelled()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intake:
    net: Net
    gate: Gate
    shelf: Shelf
    limits: FetchLimits
    desk: Path
    turn: asyncio.Semaphore

    async def take(self, reference: str, index: int) -> Reference:
        try:
            async with self.turn:
                return await self._take(reference, str(index))
        except ReferenceRefused as error:
            raise ReferenceRefused(error.reason, index=index) from None
        except tuple(_FAULTS) as error:
            raise ReferenceRefused(_FAULTS[type(error)], index=index) from error

    async def _take(self, reference: str, name: str) -> Reference:
        original, sha256 = await self._original(reference, self.desk / f"{name}.original")
        clean = self.desk / f"{name}.clean"
        passed = await self.gate.normalise(original, clean)
        size_bytes = clean.stat().st_size
        return Reference(
            sha256=await asyncio.to_thread(self.shelf.put, clean),
            format=passed.format,
            width=passed.width,
            height=passed.height,
            size_bytes=size_bytes,
            original_sha256=sha256,
        )

    async def _original(self, reference: str, path: Path) -> tuple[Path, str]:
        if reference.startswith(LOCAL_PREFIX):
            sha256 = reference.removeprefix(LOCAL_PREFIX)
            if not self.shelf.has(sha256):
                raise AddressRefused
            return self.shelf.path(sha256), sha256
        downloaded = await self.net.download(reference, path, max_bytes=self.limits.image_bytes)
        return path, downloaded.sha256
