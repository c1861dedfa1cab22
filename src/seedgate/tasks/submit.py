"""Accept a submit: one call in, one answer out, many calls in one transaction."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import msgspec

from seedgate.combine import Combiner
from seedgate.dialect import Submission
from seedgate.domain.admission import Code, Memory
from seedgate.domain.caller import Caller
from seedgate.domain.configuration import Configuration, Price
from seedgate.domain.errors import (
    BudgetExceeded,
    ConcurrencyExceeded,
    Forbidden,
    InsufficientBalance,
    KeyReused,
    ListingOff,
    Maintenance,
    RateLimited,
    SeedgateError,
)
from seedgate.domain.image import ImageRequest, Route
from seedgate.domain.listing import Listing
from seedgate.ids import Ids
from seedgate.store.accept import NewTask, Offer, Terms, Verdict, accept, recall
from seedgate.store.database import Database
from seedgate.tasks.backlog import Backlog

MAINTENANCE_RETRY_S = 30.0
CONCURRENCY_RETRY_S = 5.0
"""What a caller whose tasks all run is told to wait; nobody knows when the first one ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer's bytes; `replayed` when they are an earlier task's."""

    answer: bytes
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How the caller names its submit, so that sending it twice makes one task.

    `key` is its Idempotency-Key. Without one, `retry` says that the caller calls this a retry.
    """

    key: str | None = None
    retry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a submit would be."""

    submission: Submission
    price: Price
    lane: str


class Submits:
    """The way in. One per process."""

    def __init__(
        self,
        database: Database,
        ids: Ids,
        *,
        lane: str,
        deadline_s: int,
        configuration: Callable[[], Configuration],
        backlog: Backlog,
    ) -> None:
        async def run(batch: Sequence[NewTask]) -> Sequence[Verdict | SeedgateError]:
            terms = Terms(deadline_s=deadline_s, defaults=configuration().limits.defaults)
            return await accept(database.write_lane, batch, terms)

        self._combine: Combiner[NewTask, Verdict] = Combiner(run, size_bytes=lambda task: task.size_bytes)
        self._lookups = database.access_lane
        self._ids = ids
        self._lane = lane
        self._configuration = configuration
        self._backlog = backlog
        self._offers: dict[tuple[str, int], Offer] = {}
        self._offers_version = -1

    async def submit(
        self, submission: Submission, *, caller: Caller, render: Callable[[UUID], bytes], asked: Asked
    ) -> Accepted:
        """Hold the money, write the task and its slots, and give the answer that `render` makes of its id.

        An earlier submit of the same key for the same listing, whichever address led to it, that was asked in the same
        way with the same content is answered with its own bytes.

        Raises Maintenance, ListingOff, QueueFull, KeyReused, Forbidden, RateLimited, ConcurrencyExceeded,
        InsufficientBalance (nothing was written, nothing spent), or Unavailable.
        """
        task = self._task(submission, caller, render, asked)
        try:
            self.permit(submission, caller)
            self._backlog.check(self._lane, caller.account_id)
        except SeedgateError:
            # Whoever lost the answer gets it, also when nobody would get a new one.
            answer = await recall(self._lookups, task) if asked.key is not None else None
            if answer is None:
                raise
            return Accepted(answer=answer, replayed=True)
        verdict = await self._combine(task)
        if verdict.answer is None:
            raise _refusal(verdict)
        return Accepted(answer=verdict.answer, replayed=verdict.code is Code.REPLAY)

    def permit(self, submission: Submission, caller: Caller) -> None:
        """Raise where this may not be asked now, or not by this caller."""
        configuration, listing = self._configuration(), submission.listing
        if configuration.maintenance is not None:
            raise Maintenance(configuration.maintenance, retry_after_s=MAINTENANCE_RETRY_S)
        if not configuration.offers(listing):
            raise ListingOff(f"Model {listing.name!r} was not found", param="model")
        if caller.models is not None and not caller.may_use(listing):
            raise Forbidden(f"This API key may not use the model {listing.name!r}", param="model")

    def quote(self, submission: Submission, caller: Caller) -> Quote:
        """What the submit would cost and become. Raises as `submit` does before it asks the database."""
        self.permit(submission, caller)
        submission = replace(submission, image=_routed(submission.image, caller))
        return Quote(submission=submission, price=self._configuration().price(submission.listing), lane=self._lane)

    async def close(self) -> None:
        """Refuse new submits and finish those under way."""
        await self._combine.close()

    def _task(self, submission: Submission, caller: Caller, render: Callable[[UUID], bytes], asked: Asked) -> NewTask:
        image, listing = _routed(submission.image, caller), submission.listing
        task_id = self._ids.new()
        request = msgspec.json.encode(image)
        changes = msgspec.json.encode(submission.changes)
        # Of what the caller said: a key whose route is changed meanwhile must not make its repetition another request.
        said = request if image is submission.image else msgspec.json.encode(submission.image)
        fingerprint = _fingerprint(submission, said, changes)
        named = asked.key is not None
        return NewTask(
            id=task_id,
            account_id=caller.account_id,
            key_id=caller.key_id,
            offer=self._offer(listing),
            pictures=image.pictures,
            slots=image.slots,
            has_references=bool(image.references),
            request=request.decode(),
            changes=changes.decode(),
            callback_url=submission.callback_url,
            answer=render(task_id),
            idempotency_key=f"{listing.id}\n{asked.key}" if named else f"{listing.id}\t{fingerprint.hex()}",
            memory=Memory.NAMED if named else Memory.RETRY if asked.retry else Memory.FRESH,
            fingerprint=fingerprint,
        )

    def _offer(self, listing: Listing) -> Offer:
        """Kept while nothing is changed, so that equal ones are one object and compared at once."""
        configuration = self._configuration()
        if configuration.version != self._offers_version:
            self._offers, self._offers_version = {}, configuration.version
        offer = self._offers.get((listing.id, listing.version))
        if offer is None:
            price = configuration.price(listing)
            offer = self._offers[listing.id, listing.version] = Offer(
                listing_id=listing.id,
                listing_version=listing.version,
                unit_price_micros=price.micros,
                price_version=price.version,
                lane=self._lane,
            )
        return offer


def _routed(image: ImageRequest, caller: Caller) -> ImageRequest:
    """The key's class of upstream where the request names none."""
    if image.route is not Route.AUTO or caller.route is Route.AUTO:
        return image
    return replace(image, route=caller.route)


def _fingerprint(submission: Submission, request: bytes, changes: bytes) -> bytes:
    """Of what was understood and what was changed, so that the order of members and white space do not count."""
    parts = (submission.listing.id.encode(), request, changes, (submission.callback_url or "").encode())
    return hashlib.sha256(b"\n".join(parts)).digest()


def _refusal(verdict: Verdict) -> SeedgateError:
    match verdict.code:
        case Code.KEY_REUSED:
            return KeyReused()
        case Code.FROZEN:
            return Forbidden("This account is frozen")
        case Code.RATE:
            return RateLimited(retry_after_s=verdict.wait_us / 1e6, room=verdict.room)
        case Code.CONCURRENCY:
            return ConcurrencyExceeded(retry_after_s=CONCURRENCY_RETRY_S, room=verdict.room)
        case Code.BALANCE:
            return InsufficientBalance()
        case Code.BUDGET:
            return BudgetExceeded()
        case Code.ACCEPTED | Code.REPLAY:
            raise AssertionError(verdict)
