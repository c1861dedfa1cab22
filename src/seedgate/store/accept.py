"""T1: accept a batch of submits in one transaction."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from seedgate.domain.admission import Code, Memory
from seedgate.domain.errors import Unavailable
from seedgate.domain.limits import Defaults, Room
from seedgate.store.database import Connection, OutcomeUnknown

_ACCEPT = """
SELECT codes, owners, waits_us, hit_at, hit_answers, rooms FROM accept_tasks(
    $1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::text[], $8, $9, $10,
    $11::int[], $12::int[], $13::int[], $14::text[], $15::smallint[], $16::bytea[], $17::int[], $18::uuid[],
    $19::smallint[], $20::smallint[], $21::bool[], $22::text[], $23::text[], $24::text[], $25::bytea[], true)
"""
TRIES = 3
LOOK_UP_S = 8.0
"""How long a server may take to come back before a caller is told that nobody knows."""
LOOK_UP_PAUSE_S = 0.2
_EXISTING = "SELECT id FROM task WHERE id = ANY ($1::uuid[])"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What many submits have in common: what is bought, at which price, and where it waits."""

    listing_id: str
    listing_version: int
    unit_price_micros: int
    price_version: int = 0
    """The configuration row that the price comes from; 0 is the listing's own price."""
    lane: str


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A submit on its way into the database. `request` and `changes` are JSON; `answer` is what a replay gets.

    A struct, because making a frozen dataclass of so many fields takes longer than everything else that is done to it.
    """

    id: UUID
    account_id: UUID
    key_id: UUID
    offer: Offer
    pictures: int
    slots: int
    has_references: bool
    request: str
    changes: str
    callback_url: str | None
    answer: bytes
    idempotency_key: str | None = None
    """What is asked for (dialect and listing), a line feed, and the caller's key; or a tab and the fingerprint."""
    memory: Memory = Memory.NAMED
    fingerprint: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """About what it takes on the way."""
        return len(self.request) + len(self.changes) + len(self.answer) + 512


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a whole batch."""

    deadline_s: int
    defaults: Defaults = Defaults()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a submit. `answer` is set for ACCEPTED and REPLAY, `room` for RATE and CONCURRENCY."""

    code: Code
    answer: bytes | None = None
    wait_us: int = 0
    room: Room | None = None


async def accept(lane: Connection, batch: Sequence[NewTask], terms: Terms) -> list[Verdict]:
    """Decide and write a batch, in arrival order.

    When the connection breaks during the commit, the batch is looked up before anything is decided again: it is one
    transaction, so its tasks exist or not. It may also have been still at work at that moment, waiting for a lock that
    the second decision then waits for too: so those that are refused the second time are looked up once more.
    """
    accepted: set[UUID] = set()
    undecided = list(batch)
    unknown: Exception | None = None
    for _ in range(TRIES):
        try:
            decided = await _accept(lane, undecided, terms) if undecided else []
        except (OutcomeUnknown, asyncpg.UniqueViolationError) as error:
            unknown = error
            accepted |= await _written(lane, [task.id for task in undecided])
            undecided = [task for task in undecided if task.id not in accepted]
            continue
        fresh = {task.id: verdict for task, verdict in zip(undecided, decided, strict=True)}
        if unknown is not None:
            refused = [task_id for task_id, verdict in fresh.items() if verdict.answer is None]
            accepted |= await _written(lane, refused) if refused else set()
        return [Verdict(code=Code.ACCEPTED, answer=t.answer) if t.id in accepted else fresh[t.id] for t in batch]
    assert unknown is not None
    raise unknown


async def recall(lane: Connection, task: NewTask) -> bytes | None:
    """What an earlier submit with the same idempotency key and content was answered; None where there was none."""
    rows = await lane.fetch_repeatable(
        "SELECT answer FROM idempotency WHERE key_id = $1 AND key = $2 AND fingerprint = $3",
        task.key_id,
        task.idempotency_key,
        task.fingerprint,
    )
    return rows[0]["answer"] if rows else None


async def _written(lane: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these tasks exist. Waits for a server that is just coming back: its answer decides about money."""
    end = time.monotonic() + LOOK_UP_S
    while True:
        try:
            return {row["id"] for row in await lane.fetch_repeatable(_EXISTING, ids)}
        except Unavailable as error:
            if time.monotonic() > end:
                raise OutcomeUnknown from error
            await asyncio.sleep(LOOK_UP_PAUSE_S)


async def _accept(lane: Connection, batch: Sequence[NewTask], terms: Terms) -> list[Verdict]:
    accounts = sorted({task.account_id for task in batch})
    keys = sorted({task.key_id for task in batch})
    account_at = {account: position for position, account in enumerate(accounts, 1)}
    key_at = {key: position for position, key in enumerate(keys, 1)}
    offers = list({task.offer: None for task in batch})
    offer_at = {offer: position for position, offer in enumerate(offers, 1)}
    rows = [
        (
            account_at[task.account_id],
            key_at[task.key_id],
            offer_at[task.offer],
            task.idempotency_key,
            task.memory,
            task.fingerprint,
            duplicate,
            task.id,
            task.pictures,
            task.slots,
            task.has_references,
            task.request,
            task.changes,
            task.callback_url,
            task.answer,
        )
        for task, duplicate in zip(batch, _duplicates(batch), strict=True)
    ]
    (row,) = await lane.fetch(
        _ACCEPT,
        accounts,
        keys,
        [offer.listing_id for offer in offers],
        [offer.listing_version for offer in offers],
        [offer.unit_price_micros for offer in offers],
        [offer.price_version for offer in offers],
        [offer.lane for offer in offers],
        terms.deadline_s,
        terms.defaults.submits_per_minute,
        terms.defaults.concurrent_tasks,
        *zip(*rows, strict=True),
    )
    hits = dict(zip(row["hit_at"] or (), row["hit_answers"] or (), strict=True))
    rooms = _rooms(row["rooms"] or ())
    verdicts = []
    for position, (code, owner, wait_us) in enumerate(
        zip(row["codes"], row["owners"], row["waits_us"], strict=True), 1
    ):
        answer = None
        if code <= Code.REPLAY:
            answer = batch[owner - 1].answer if owner else hits[position]
        verdicts.append(Verdict(code=Code(code), answer=answer, wait_us=wait_us, room=rooms.get(position)))
    return verdicts


def _rooms(numbers: Sequence[int | None]) -> dict[int | None, Room]:
    """By position: what the refused ones have left."""
    return {
        numbers[at]: Room(
            submits_per_minute=numbers[at + 1],
            submits_left=numbers[at + 2],
            concurrent_tasks=numbers[at + 3],
            tasks_left=numbers[at + 4],
        )
        for at in range(0, len(numbers), 5)
    }


def _duplicates(batch: Sequence[NewTask]) -> list[int | None]:
    """For each submit the position (from 1) of the previous one with the same idempotency key."""
    last: dict[tuple[UUID, str], int] = {}
    previous: list[int | None] = []
    for position, task in enumerate(batch, 1):
        if task.idempotency_key is None:
            previous.append(None)
            continue
        name = (task.key_id, task.idempotency_key)
        previous.append(last.get(name))
        last[name] = position
    return previous
