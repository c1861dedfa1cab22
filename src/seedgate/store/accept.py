"""T1: accept a batch of submits in one transaction."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from seedgate.domain.admission import Code
from seedgate.domain.errors import Unavailable
from seedgate.store.database import Connection, OutcomeUnknown

_ACCEPT = """
SELECT codes, owners, waits_us, hit_at, hit_answers FROM accept_tasks(
    $1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::text[], $6::bytea[], $7::int[], $8::uuid[], $9::text[],
    $10::int[], $11::text[], $12::smallint[], $13::smallint[], $14::bool[], $15::bigint[], $16::text[], $17::text[],
    $18::text[], $19::bytea[], $20::int[], true)
"""
TRIES = 3
LOOK_UPS = 40
LOOK_UP_PAUSE_S = 0.2
_EXISTING = "SELECT id FROM task WHERE id = ANY ($1::uuid[])"


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A submit on its way into the database. `request` and `changes` are JSON; `answer` is what a replay gets.

    A struct, because making a frozen dataclass of so many fields takes longer than everything else that is done to it.
    """

    id: UUID
    account_id: UUID
    key_id: UUID
    listing_id: str
    listing_version: int
    lane: str
    pictures: int
    slots: int
    has_references: bool
    unit_price_micros: int
    request: str
    changes: str
    callback_url: str | None
    answer: bytes
    deadline_s: int
    idempotency_key: str | None = None
    """What is asked for (dialect and listing), a line feed, and the caller's key."""
    fingerprint: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """About what it takes on the way."""
        return len(self.request) + len(self.changes) + len(self.answer) + 512


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a submit. `answer` is set for ACCEPTED and REPLAY."""

    code: Code
    answer: bytes | None = None
    wait_us: int = 0


async def accept(lane: Connection, batch: Sequence[NewTask]) -> list[Verdict]:
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
            decided = await _accept(lane, undecided) if undecided else []
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


async def _written(lane: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these tasks exist. Waits for a server that is just coming back: its answer decides about money."""
    for _ in range(LOOK_UPS):
        try:
            return {row["id"] for row in await lane.fetch_repeatable(_EXISTING, ids)}
        except Unavailable:
            await asyncio.sleep(LOOK_UP_PAUSE_S)
    return {row["id"] for row in await lane.fetch_repeatable(_EXISTING, ids)}


async def _accept(lane: Connection, batch: Sequence[NewTask]) -> list[Verdict]:
    accounts = sorted({task.account_id for task in batch})
    keys = sorted({task.key_id for task in batch})
    account_at = {account: position for position, account in enumerate(accounts, 1)}
    key_at = {key: position for position, key in enumerate(keys, 1)}
    rows = [
        (
            account_at[task.account_id],
            key_at[task.key_id],
            task.idempotency_key,
            task.fingerprint,
            duplicate,
            task.id,
            task.listing_id,
            task.listing_version,
            task.lane,
            task.pictures,
            task.slots,
            task.has_references,
            task.unit_price_micros,
            task.request,
            task.changes,
            task.callback_url,
            task.answer,
            task.deadline_s,
        )
        for task, duplicate in zip(batch, _duplicates(batch), strict=True)
    ]
    (row,) = await lane.fetch(_ACCEPT, accounts, keys, *zip(*rows, strict=True))
    hits = dict(zip(row["hit_at"] or (), row["hit_answers"] or (), strict=True))
    verdicts = []
    for position, (code, owner, wait_us) in enumerate(
        zip(row["codes"], row["owners"], row["waits_us"], strict=True), 1
    ):
        answer = hits.get(position) or (batch[owner - 1].answer if owner else None)
        verdicts.append(Verdict(code=Code(code), answer=answer if code <= Code.REPLAY else None, wait_us=wait_us))
    return verdicts


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
