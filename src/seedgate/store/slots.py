"""T2 and T3: claims, intents, handles, pictures, and the leases behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from seedgate.store.database import Connection

LEASE_S = 8.0
"""How long a worker is believed to live after its last heartbeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """A worker process. `host` and `process` let another process of the same machine see that it is dead."""

    id: UUID
    host: str
    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A slot leased to this worker. `left_s` is the time to the task's deadline as of the claim."""

    task_id: UUID
    ordinal: int
    epoch: int
    account_id: UUID
    first_picture: int
    pictures: int
    handle: str | None
    crashes: int
    request: str
    listing_id: str
    listing_version: int
    left_s: float
    prepared: bool
    """Whether the task's references are already stored."""
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An attempt about to be made. `free` says that running it twice costs nothing."""

    task_id: UUID
    ordinal: int
    epoch: int
    lane: str
    free: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """What an upstream or engine calls its work on a slot."""

    task_id: UUID
    ordinal: int
    epoch: int
    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that was checked and stored under `name`."""

    task_id: UUID
    ordinal: int
    slot: int
    epoch: int
    name: str
    format: str
    width: int
    height: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReference:
    """A reference picture, fetched, cleaned and stored by the SHA-256 of its content."""

    original_sha256: str
    sha256: str
    format: str
    width: int
    height: int
    size_bytes: int


async def claim(lane: Connection, worker: WorkerIdentity, *, name: str, want: int, cursor: UUID) -> list[Claim]:
    """T2: lease up to `want` waiting slots of the lane called `name`, fairly between accounts from `cursor` on.

    Not repeated when the answer is lost: what was leased then is found by `strays`.
    """
    rows = await lane.fetch(
        "SELECT * FROM claim_slots($1, $2, $3, $4, $5, $6, $7)",
        name,
        worker.id,
        worker.host,
        worker.process,
        want,
        cursor,
        LEASE_S,
    )
    return [Claim(**row, lane=name) for row in rows]


async def strays(lane: Connection, worker_id: UUID, known: Sequence[tuple[UUID, int]]) -> list[Handle]:
    """Slots that the database says this worker holds and that the worker knows nothing of."""
    rows = await lane.fetch(
        "SELECT task_id, ordinal, epoch FROM slot s WHERE worker_id = $1 AND NOT EXISTS"
        " (SELECT 1 FROM unnest($2::uuid[], $3::int[]) k (t, o) WHERE k.t = s.task_id AND k.o = s.ordinal)",
        worker_id,
        [task_id for task_id, _ in known],
        [ordinal for _, ordinal in known],
    )
    return [Handle(**row, handle="") for row in rows]


async def open_attempts(lane: Connection, batch: Sequence[Intent]) -> list[bool]:
    """Write the intents; False for a slot that is no longer held, whose attempt must not be made."""
    return await _positions(
        lane,
        len(batch),
        "SELECT open_attempts($1::uuid[], $2::smallint[], $3::int[], $4::text[], $5::bool[])",
        [intent.task_id for intent in batch],
        [intent.ordinal for intent in batch],
        [intent.epoch for intent in batch],
        [intent.lane for intent in batch],
        [intent.free for intent in batch],
    )


async def record_handles(lane: Connection, batch: Sequence[Handle]) -> list[bool]:
    """T3: store handles; False for a slot that has moved on, whose handle is kept with its attempt all the same."""
    return await _positions(
        lane,
        len(batch),
        "SELECT record_handles($1::uuid[], $2::smallint[], $3::int[], $4::text[])",
        [handle.task_id for handle in batch],
        [handle.ordinal for handle in batch],
        [handle.epoch for handle in batch],
        [handle.handle for handle in batch],
    )


async def keep_images(lane: Connection, batch: Sequence[Picture]) -> list[bool]:
    """Make stored pictures count; False where the place is taken or the task has ended: that file must be removed."""
    return await _positions(
        lane,
        len(batch),
        "SELECT keep_images($1::uuid[], $2::smallint[], $3::smallint[], $4::int[], $5::text[], $6::text[], $7::int[],"
        " $8::int[], $9::bigint[], $10::bytea[])",
        [picture.task_id for picture in batch],
        [picture.ordinal for picture in batch],
        [picture.slot for picture in batch],
        [picture.epoch for picture in batch],
        [picture.name for picture in batch],
        [picture.format for picture in batch],
        [picture.width for picture in batch],
        [picture.height for picture in batch],
        [picture.size_bytes for picture in batch],
        [picture.sha256 for picture in batch],
    )


async def return_slot(lane: Connection, slot: Handle, *, crashed: bool, delay_s: float = 0.0) -> bool:
    """Give a leased slot back to the queue, now or after a delay; False when it is no longer held."""
    rows = await lane.fetch_repeatable(
        "SELECT return_slot($1, $2::smallint, $3, $4, $5)", slot.task_id, slot.ordinal, slot.epoch, crashed, delay_s
    )
    return bool(rows[0]["return_slot"])


async def record_references(lane: Connection, task_id: UUID, epoch: int, references: Sequence[StoredReference]) -> bool:
    """Write a task's references and unblock its other slots; False when the lease is lost."""
    rows = await lane.fetch_repeatable(
        "SELECT record_references($1, $2, $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::bigint[])",
        task_id,
        epoch,
        [reference.original_sha256 for reference in references],
        [reference.sha256 for reference in references],
        [reference.format for reference in references],
        [reference.width for reference in references],
        [reference.height for reference in references],
        [reference.size_bytes for reference in references],
    )
    return bool(rows[0]["record_references"])


async def read_references(lane: Connection, task_id: UUID) -> list[StoredReference]:
    """A task's stored references, in order."""
    rows = await lane.fetch(
        "SELECT original_sha256, sha256, format, width, height, size_bytes FROM reference WHERE task_id = $1"
        " ORDER BY ordinal",
        task_id,
    )
    return [StoredReference(**row) for row in rows]


async def renew_lease(lane: Connection, worker: WorkerIdentity) -> None:
    """The heartbeat: one row, however many slots the worker holds."""
    await lane.fetch_repeatable("SELECT renew_lease($1, $2, $3, $4)", worker.id, worker.host, worker.process, LEASE_S)


async def workers_of(lane: Connection, host: str) -> list[WorkerIdentity]:
    """The workers that this host is said to run."""
    rows = await lane.fetch("SELECT id, host, process FROM worker WHERE host = $1", host)
    return [WorkerIdentity(**row) for row in rows]


async def sweep_workers(lane: Connection, dead: Sequence[UUID], *, most: int) -> int:
    """Give back what expired workers, and those known to be dead, have left; returns how many slots moved."""
    rows = await lane.fetch_repeatable("SELECT sweep_workers($1::uuid[], $2)", list(dead), most)
    return int(rows[0]["sweep_workers"])


async def wake_delayed(lane: Connection, *, most: int) -> int:
    """Make delayed slots claimable whose time has come."""
    rows = await lane.fetch_repeatable("SELECT wake_delayed($1)", most)
    return int(rows[0]["wake_delayed"])


async def _positions(lane: Connection, length: int, sql: str, *arguments: object) -> list[bool]:
    rows = await lane.fetch_repeatable(sql, *arguments)
    won = {next(iter(row.values())) for row in rows}
    return [position in won for position in range(1, length + 1)]
