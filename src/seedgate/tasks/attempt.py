"""One claimed slot from references to its end.

Nothing is decided from memory: every step is a guarded write, and a step that does not win stops the attempt, since the
slot is in other hands by then.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import msgspec

from seedgate import log
from seedgate.domain.errors import EngineCrashed, EngineRefused, NoSpace, Overloaded, ProtocolBroken, ShuttingDown
from seedgate.domain.image import ImageRequest, Size
from seedgate.domain.listing import Model
from seedgate.domain.reason import Reason
from seedgate.domain.reference import ReferenceFault, ReferenceRefused
from seedgate.domain.sizes import fit_ratio
from seedgate.domain.slot import MAX_CRASHES
from seedgate.engine import Job
from seedgate.inference import EngineHost
from seedgate.store.database import Database
from seedgate.store.finish import SlotEnding
from seedgate.store.slots import (
    Claim,
    Handle,
    Intent,
    StoredReference,
    read_references,
    record_references,
    return_slot,
)
from seedgate.tasks.finish import Writes
from seedgate.tasks.outputs import Expected, Outputs

CRASH_DELAY_S = 1.0
WATERMARK = "AI-generated"

_REFERENCE_REASONS = {
    ReferenceFault.ADDRESS: Reason.REFERENCE_ADDRESS,
    ReferenceFault.UNREACHABLE: Reason.REFERENCE_ADDRESS,
    ReferenceFault.BAD_ANSWER: Reason.REFERENCE_ANSWER,
    ReferenceFault.TIMED_OUT: Reason.REFERENCE_ANSWER,
    ReferenceFault.TOO_LARGE: Reason.REFERENCE_BYTES,
    ReferenceFault.FORMAT: Reason.REFERENCE_FORMAT,
    ReferenceFault.DIMENSIONS: Reason.REFERENCE_DIMENSIONS,
}


class Stage(Enum):
    """Where an attempt is, for the worker that decides whether to claim more."""

    FETCHING = auto()
    """Waits for strangers' hosts, and for nothing of ours."""
    DRAWING = auto()
    """At the engine, or in the row before it."""
    SETTLING = auto()


FetchReferences = Callable[[Sequence[str]], Awaitable[Sequence[StoredReference]]]
"""Fetches, cleans and stores reference pictures. Raises ReferenceRefused."""


class _LostSlot(Exception):
    """The slot is in other hands."""


class _NotForUs(Exception):
    """A newer release wrote the task, and its workers will know what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """What an attempt works with."""

    database: Database
    writes: Writes
    outputs: Outputs
    engine: EngineHost
    places: asyncio.Semaphore
    """One per engine process."""
    models: Mapping[str, Model]
    fetch: FetchReferences
    reference_path: Callable[[str], Path]
    """Where the stored reference with a SHA-256 lies."""


class Limit:
    """What ends an attempt early, with its reason: the task's deadline, or the task's cancellation before it."""

    def __init__(self) -> None:
        self.reason = Reason.DEADLINE
        self._timeout: asyncio.Timeout | None = None

    def cancel(self) -> None:
        """End the attempt now, also one that has not begun. May be repeated."""
        self.reason = Reason.CANCELLED
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(0)

    @contextlib.asynccontextmanager
    async def within(self, left_s: float) -> AsyncIterator[None]:
        """Raises TimeoutError when the block is not left in time."""
        try:
            async with asyncio.timeout(0 if self.reason is Reason.CANCELLED else max(left_s, 0.0)) as self._timeout:
                yield
        finally:
            self._timeout = None


async def attempt(studio: Studio, claim: Claim, *, limit: Limit, moved: Callable[[Stage], None]) -> None:
    """Work on a claimed slot until it is settled, handed back, or in other hands. `moved` tells each stage it enters.

    `limit.cancel` settles the slot as cancelled, with the pictures that it has. Cancelling the asyncio task hands the
    slot back to the queue, as a worker does that leaves. Database outages pass as `Unavailable`: the lease runs out by
    itself.
    """
    logger = log.get("attempt").bind(task=claim.task_id.hex, slot=claim.ordinal, epoch=claim.epoch)
    try:
        ending = await _work(studio, claim, limit, moved)
    except _LostSlot:
        logger.info("slot_lost")
        return
    except asyncio.CancelledError:
        await asyncio.shield(return_slot(studio.database.work_lane, _handle(claim), crashed=False))
        raise
    except ShuttingDown:
        await return_slot(studio.database.work_lane, _handle(claim), crashed=False)
        return
    except EngineCrashed:
        logger.warning("engine_crashed", crashes=claim.crashes + 1)
        if claim.crashes + 1 < MAX_CRASHES:
            await return_slot(studio.database.work_lane, _handle(claim), crashed=True, delay_s=CRASH_DELAY_S)
            return
        ending = _ending(claim, Reason.INTERNAL)
    except (_NotForUs, Overloaded, NoSpace, OSError) as error:
        # Nothing is wrong with the task: it waits, until its deadline, for a place or for room on the disk.
        logger.warning("attempt_postponed", error=type(error).__name__)
        await return_slot(studio.database.work_lane, _handle(claim), crashed=False, delay_s=CRASH_DELAY_S)
        return
    won = await studio.writes.finish(ending)
    logger.info("slot_settled" if won else "slot_lost", reason=ending.reason)


def _read(studio: Studio, claim: Claim) -> ImageRequest:
    try:
        request = msgspec.json.decode(claim.request, type=ImageRequest)
    except msgspec.ValidationError as error:
        raise _NotForUs from error
    if request.model not in studio.models:
        raise _NotForUs
    return request


async def _work(studio: Studio, claim: Claim, limit: Limit, moved: Callable[[Stage], None]) -> SlotEnding:
    request = _read(studio, claim)
    try:
        async with limit.within(claim.left_s):
            if request.references:
                moved(Stage.FETCHING)
            references = await _prepare(studio, claim, request)
            moved(Stage.DRAWING)
            return await _draw(studio, claim, request, references, moved)
    except TimeoutError:
        return _ending(claim, limit.reason)
    except ReferenceRefused as error:
        return _ending(claim, _REFERENCE_REASONS[error.reason], error.message)
    except ProtocolBroken as error:
        return _ending(claim, Reason.FINALIZE, error.message)
    except EngineRefused as error:
        return _ending(claim, Reason.PARAMETERS_REFUSED, error.message)


async def _prepare(studio: Studio, claim: Claim, request: ImageRequest) -> Sequence[StoredReference]:
    """The task's references; the first slot fetches them and unblocks the others."""
    if not request.references:
        return ()
    lane = studio.database.work_lane
    if claim.prepared:
        return await read_references(lane, claim.task_id)
    references = await studio.fetch(request.references)
    if not await record_references(lane, claim.task_id, claim.epoch, references):
        raise _LostSlot
    return references


async def _draw(
    studio: Studio,
    claim: Claim,
    request: ImageRequest,
    references: Sequence[StoredReference],
    moved: Callable[[Stage], None],
) -> SlotEnding:
    model = studio.models[request.model]
    size = request.size or _own_size(model, request, references)
    job = _job(studio, claim, request, references, size)
    await _announce(studio, claim, job)
    expected = Expected(size=size, format=request.output_format)
    keeping: list[asyncio.Task[bool]] = []
    try:
        async with studio.places, contextlib.aclosing(studio.engine.run(job)) as pictures:
            async for picture in pictures:
                path = studio.outputs.adopt(picture.path)
                keeping.append(asyncio.create_task(studio.outputs.keep(claim, picture.index, path, expected)))
    finally:
        # Whatever became of the engine, the pictures that it finished are stored before the slot is settled.
        moved(Stage.SETTLING)
        kept = await asyncio.gather(*keeping, return_exceptions=True)
    for outcome in kept:
        if isinstance(outcome, BaseException):
            raise outcome
    # A place that was taken already was filled by an earlier attempt, whose picture counts.
    return _ending(claim, None if kept else Reason.INTERNAL)


async def _announce(studio: Studio, claim: Claim, job: Job) -> None:
    """The intent before the side effect, the handle as soon as it is known: an engine's job has one from the start."""
    intent = Intent(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, lane=claim.lane, free=True)
    if not await studio.writes.intend(intent):
        raise _LostSlot
    if not await studio.writes.handle(_handle(claim, job.id)):
        raise _LostSlot


def _job(studio: Studio, claim: Claim, request: ImageRequest, references: Sequence[StoredReference], size: Size) -> Job:
    model = studio.models[request.model]
    count = claim.pictures
    if request.sequential:
        count = max(1, min(count, model.max_pictures_and_references - len(references)))
    # Without a seed of its own a task draws from its id, so that a rerun draws the same picture again.
    seed = request.seed if request.seed is not None else claim.task_id.int & 0x7FFF_FFFF
    return Job(
        id=f"{claim.task_id.hex}-{claim.ordinal}-{claim.epoch}",
        prompt=request.prompt,
        width=size.width,
        height=size.height,
        count=count,
        first_index=claim.first_picture,
        seed=seed,
        output_format=request.output_format,
        references=tuple(str(studio.reference_path(reference.sha256)) for reference in references),
        sequential=request.sequential,
        watermark=WATERMARK if request.watermark else None,
    )


def _own_size(model: Model, request: ImageRequest, references: Sequence[StoredReference]) -> Size:
    """Without an aspect ratio: the first reference's on the tier's square, else the square itself."""
    square = model.sizes.size(request.tier, "1:1")
    if not references:
        return square
    return fit_ratio(like=square, width=references[0].width, height=references[0].height, bounds=model.bounds)


def _handle(claim: Claim, handle: str = "") -> Handle:
    return Handle(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, handle=handle)


def _ending(claim: Claim, reason: Reason | None, message: str | None = None) -> SlotEnding:
    return SlotEnding(task_id=claim.task_id, ordinal=claim.ordinal, epoch=claim.epoch, reason=reason, message=message)


def broken(claim: Claim) -> SlotEnding:
    """The ending of a slot whose attempt broke in a way that nobody foresaw."""
    return _ending(claim, Reason.INTERNAL)
