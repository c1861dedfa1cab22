"""Accept a submit: one call in, one answer out, many calls in one transaction."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from seedgate.combine import Combiner
from seedgate.dialect import Submission
from seedgate.domain.admission import Code
from seedgate.domain.caller import Caller
from seedgate.domain.errors import (
    ConcurrencyExceeded,
    Forbidden,
    InsufficientBalance,
    KeyReused,
    RateLimited,
    SeedgateError,
)
from seedgate.ids import Ids
from seedgate.store.accept import NewTask, Verdict, accept
from seedgate.store.database import Database

CONCURRENCY_RETRY_S = 5.0
"""What a caller whose tasks all run is told to wait; nobody knows when the first one ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer's bytes; `replayed` when they are an earlier task's."""

    answer: bytes
    replayed: bool


class Submits:
    """The way in. One per process."""

    def __init__(self, database: Database, ids: Ids, *, lane: str, deadline_s: int) -> None:
        async def run(batch: Sequence[NewTask]) -> Sequence[Verdict | SeedgateError]:
            return await accept(database.write_lane, batch)

        self._combine: Combiner[NewTask, Verdict] = Combiner(run, size_bytes=lambda task: task.size_bytes)
        self._ids = ids
        self._lane = lane
        self._deadline_s = deadline_s

    async def submit(
        self,
        submission: Submission,
        *,
        caller: Caller,
        render: Callable[[UUID], bytes],
        idempotency: tuple[str, str] | None = None,
    ) -> Accepted:
        """Hold the money, write the task and its slots, and give the answer that `render` makes of its id.

        `idempotency` is the id of the listing, whichever address led to it, and the caller's key: an earlier submit
        with the same pair and the same content is answered with its own bytes.

        Raises KeyReused, Forbidden, RateLimited, ConcurrencyExceeded, InsufficientBalance (nothing was written, nothing
        spent), or Unavailable.
        """
        task = self._task(submission, caller, render, idempotency)
        verdict = await self._combine(task)
        if verdict.answer is None:
            raise _refusal(verdict)
        return Accepted(answer=verdict.answer, replayed=verdict.code is Code.REPLAY)

    async def close(self) -> None:
        """Refuse new submits and finish those under way."""
        await self._combine.close()

    def _task(
        self,
        submission: Submission,
        caller: Caller,
        render: Callable[[UUID], bytes],
        idempotency: tuple[str, str] | None,
    ) -> NewTask:
        image, listing = submission.image, submission.listing
        task_id = self._ids.new()
        request = msgspec.json.encode(image)
        changes = msgspec.json.encode(submission.changes)
        return NewTask(
            id=task_id,
            account_id=caller.account_id,
            key_id=caller.key_id,
            listing_id=listing.id,
            listing_version=listing.version,
            lane=self._lane,
            pictures=image.pictures,
            slots=image.slots,
            has_references=bool(image.references),
            unit_price_micros=listing.unit_price_micros,
            request=request.decode(),
            changes=changes.decode(),
            callback_url=submission.callback_url,
            answer=render(task_id),
            deadline_s=self._deadline_s,
            idempotency_key="\n".join(idempotency) if idempotency else None,
            fingerprint=_fingerprint(submission, request, changes) if idempotency else None,
        )


def _fingerprint(submission: Submission, request: bytes, changes: bytes) -> bytes:
    """Of what was understood and what was changed, so that the order of members and white space do not count."""
    parts = (submission.listing.id.encode(), request, changes, (submission.callback_url or "").encode())
    return hashlib.sha256(b"\n".join(parts)).digest()


def _refusal(verdict: Verdict) -> SeedgateError:
    match verdict.code:
        case Code.KEY_REUSED:
            return KeyReused()
        case Code.BLOCKED:
            return Forbidden()
        case Code.RATE:
            return RateLimited(retry_after_s=verdict.wait_us / 1e6)
        case Code.CONCURRENCY:
            return ConcurrencyExceeded(retry_after_s=CONCURRENCY_RETRY_S)
        case Code.BALANCE:
            return InsufficientBalance()
        case Code.ACCEPTED | Code.REPLAY:
            raise AssertionError(verdict)
