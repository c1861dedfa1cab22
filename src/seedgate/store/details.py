"""One task with everything that its owner may know of it, and the queue that it stands in."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from seedgate.domain.ledger import Entry, Side
from seedgate.domain.receipt import Delivered, Posted, Receipt, Share, receipt
from seedgate.domain.slot import SlotState
from seedgate.domain.task import TaskState
from seedgate.store.database import Database

COUNTED = 1000
"""How many waiting slots are looked at to tell how long a queue is: what is beyond them costs nothing."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The task's own row."""

    id: UUID
    listing_id: str
    listing_version: int
    mode: str
    state: TaskState
    pictures: int
    unit_price_micros: int
    created_at: datetime
    deadline_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    reason: str | None
    message: str | None


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot of the task."""

    ordinal: int
    lane: str
    state: SlotState
    first_picture: int
    pictures: int
    not_before: datetime | None
    reason: str | None
    message: str | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a slot."""

    slot: int
    epoch: int
    lane: str
    state: str
    reason: str | None
    started_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that was delivered."""

    ordinal: int
    slot: int
    epoch: int
    name: str
    format: str
    width: int
    height: int
    size_bytes: int
    at: datetime
    deleted_at: datetime | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the report of changes."""

    kind: str
    field: str
    given: str | int | float | bool | None = None
    used: str | int | float | bool | None = None
    why: str = ""


class _Posting(msgspec.Struct, frozen=True, kw_only=True):
    entry: Entry
    side: Side
    amount_micros: int


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """Read in one statement, so that its parts fit together."""

    task: Head
    slots: list[Slot]
    attempts: list[Attempt]
    images: list[Image]
    postings: list[_Posting]
    changes: list[Change]
    unprepared: bool
    """Whether the task is open and has references that are not stored yet."""

    def receipt(self) -> Receipt:
        """What was held, charged and released. Raises UnbalancedEntry where the books contradict the pictures."""
        return receipt(
            unit_price_micros=self.task.unit_price_micros,
            ended=self.task.state.terminal,
            postings=[Posted(entry=p.entry, side=p.side, amount_micros=p.amount_micros) for p in self.postings],
            shares=[
                Share(
                    slot=slot.ordinal,
                    first_picture=slot.first_picture,
                    pictures=slot.pictures,
                    reason=slot.reason,
                    message=slot.message,
                )
                for slot in self.slots
            ],
            delivered=[Delivered(picture=i.ordinal, slot=i.slot, epoch=i.epoch) for i in self.images],
        )


_DETAILS = """
SELECT jsonb_build_object(
    'task', to_jsonb(t) - 'request' - 'changes' - 'files',
    'changes', t.changes::jsonb,
    'unprepared', CASE WHEN t.state < 10 THEN coalesce(jsonb_array_length(t.request::jsonb -> 'references'), 0) > 0
        AND NOT EXISTS (SELECT 1 FROM reference r WHERE r.task_id = t.id) ELSE false END,
    'slots', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.ordinal), '[]') FROM slot s WHERE s.task_id = t.id),
    'attempts', (SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.slot, a.epoch), '[]') FROM attempt a
                  WHERE a.task_id = t.id),
    'images', (SELECT coalesce(jsonb_agg(to_jsonb(i) - 'sha256' ORDER BY i.ordinal), '[]') FROM image i
                WHERE i.task_id = t.id),
    'postings', (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.entry, p.side), '[]') FROM posting p
                  WHERE p.subject_id = t.id))::text AS document
  FROM task t WHERE t.id = $1 AND ($2::uuid IS NULL OR t.account_id = $2)
"""


async def read_details(database: Database, task_id: UUID, *, account_id: UUID | None = None) -> Details | None:
    """The task; None for an unknown one and, where an account is given, for another account's."""
    rows = await database.fetch(_DETAILS, task_id, account_id)
    return msgspec.json.decode(rows[0]["document"], type=Details) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Where a task stands in its lane, counted over at most `COUNTED` waiting slots."""

    waiting: int
    """Slots that wait in the lane."""
    ahead: int
    """Older tasks among them. Accounts take turns, so a young task of a quiet account may still come first."""
    ahead_of_account: int
    """Waiting slots of older tasks of the same account: these do come first."""
    oldest_waiting_s: float | None


_QUEUE = """
WITH head AS (SELECT s.task_id FROM slot s WHERE s.state = 1 AND s.lane = $1 LIMIT $4)
SELECT (SELECT count(*) FROM head)::int AS waiting,
       (SELECT count(DISTINCT task_id) FROM head WHERE task_id < $3)::int AS ahead,
       (SELECT count(*) FROM (SELECT 1 FROM slot s WHERE s.state = 1 AND s.lane = $1 AND s.account_id = $2
                                 AND s.task_id < $3 LIMIT $4) own)::int AS ahead_of_account,
       (SELECT greatest(0, extract(epoch FROM seedgate_now() - t.created_at))::float8 FROM task t
         WHERE t.id = (SELECT task_id FROM head ORDER BY task_id LIMIT 1)) AS oldest_waiting_s
"""


async def read_queue(database: Database, *, lane: str, account_id: UUID, task_id: UUID) -> Queue:
    """The task's place in the lane's queue; the cost is bounded, however long that is."""
    rows = await database.fetch(_QUEUE, lane, account_id, task_id, COUNTED)
    return Queue(**rows[0])
