"""What travels. Ids are 32 hexadecimal digits, times RFC 3339 in UTC, money exact as text and in micro-dollars."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from seedgate.accounts.issue import MAX_NAME, MAX_OVERLAP
from seedgate.domain.configuration import MAX_COUNT, MAX_MODELS, MAX_RATE
from seedgate.domain.money import dollars


class Body(msgspec.Struct):
    """Every answer is one."""


class Money(Body):
    """An amount of US dollars: `amount` is exact, with at least two decimals; `micros` are millionths."""

    amount: str
    micros: int

    @classmethod
    def of(cls, micros: int) -> "Money":
        """As both."""
        return cls(amount=dollars(micros), micros=micros)


class Error(Body):
    """What is wrong. `param` names the member, query parameter, header or quota that it is about."""

    code: str
    message: str
    param: str | None
    request_id: str


class Failure(Body):
    """Every answer that is no success."""

    error: Error


class TaskLine(Body):
    """A task in a list. `charged` is null, and `delivered` 0, until it has ended."""

    id: str
    state: str
    dialect: str
    listing: str
    model: str | None
    pictures: int
    delivered: int
    held: Money
    charged: Money | None
    reason: str | None
    message: str | None
    created_at: datetime
    completed_at: datetime | None


class TaskPage(Body):
    """Newest first. A page may be short, even empty, with more to come: the end is where `next_cursor` is null."""

    tasks: list[TaskLine]
    next_cursor: str | None


class ReceiptLine(Body):
    """One picture that was asked for: charged if it was delivered, else released, and why."""

    picture: int
    charged: Money | None
    released: Money | None
    delivered_by: str | None
    """The engine or upstream."""
    slot: int
    attempt: int | None
    reason: str | None
    message: str | None


class Receipt(Body):
    """`charged` plus `released` is `held`, and each is the sum of its column; null until the task has ended."""

    unit_price: Money
    held: Money
    charged: Money | None
    released: Money | None
    pictures: list[ReceiptLine]


class ChangeLine(Body):
    """A parameter that was not taken exactly as sent."""

    field: str
    kind: str
    given: str | int | float | bool | None
    used: str | int | float | bool | None
    why: str


class AttemptLine(Body):
    """One try at a slot; `lane` is the engine or upstream."""

    slot: int
    attempt: int
    lane: str
    state: str
    reason: str | None
    started_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None


class Result(Body):
    """A picture. It is there from `stored_at` on, also while others are still drawn; after `removed_at` it is gone."""

    picture: int
    url: str
    format: str
    width: int
    height: int
    size_bytes: int
    stored_at: datetime
    expires_at: datetime | None
    removed_at: datetime | None


class Waiting(Body):
    """Why an open task is not done. Queues are counted up to `counted_up_to` waiting slots, and then are longer."""

    why: str
    lane: str
    slots: dict[str, int]
    """How many slots are in which state; pictures that do not belong together have a slot each."""
    waiting_in_lane: int
    tasks_ahead: int
    """Older tasks in the lane. Accounts take turns, so a quiet account's task may come before them."""
    ahead_in_account: int
    """Waiting slots of the account's own older tasks."""
    counted_up_to: int
    oldest_waiting_s: float | None
    deadline_at: datetime


class Task(Body):
    """Everything about one task, except what was asked for."""

    id: str
    state: str
    mode: str
    dialect: str
    listing: str
    listing_version: int
    model: str | None
    pictures: int
    reason: str | None
    message: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    results: list[Result]
    receipt: Receipt
    changes: list[ChangeLine]
    attempts: list[AttemptLine]
    waiting: Waiting | None
    """Null once the task has ended."""


class Balance(Body):
    """What the account can spend, and what its open tasks hold."""

    currency: str
    mode: str
    available: Money
    held: Money
    open_tasks: int


class Limits(Body):
    """What the model takes."""

    max_references: int
    max_pictures_and_references: int
    min_pixels: int
    max_pixels: int
    max_aspect: int


class ListingLine(Body):
    """A model as one dialect offers it. `price` is that of one delivered picture."""

    name: str
    version: int
    model: str
    title: str
    price: Money
    formats: list[str]
    limits: Limits
    sizes: dict[str, dict[str, str]]
    """Tier, then aspect ratio, then width x height."""
    typical_s: dict[str, tuple[int, int]]
    """Seconds that it usually takes, from and to, by tier; as the vendor says, not as measured here."""


class DialectLine(Body):
    """A vendor's format, and what is offered in it."""

    dialect: str
    listings: list[ListingLine]


class Models(Body):
    """What can be drawn."""

    currency: str
    dialects: list[DialectLine]


class File(Body):
    """An uploaded reference picture as it is kept: upright, in sRGB, without metadata."""

    id: str
    url: str
    format: str
    width: int
    height: int
    size_bytes: int
    created_at: datetime
    expires_at: datetime


class FileUsage(Body):
    """What the account keeps, and may keep; a limit of 0 is none."""

    files: int
    max_files: int
    size_bytes: int
    max_size_bytes: int


class FilePage(Body):
    """Newest first."""

    files: list[File]
    usage: FileUsage
    next_cursor: str | None


class Deleted(Body):
    """It is gone."""

    id: str
    deleted: bool


Rate = Annotated[int, msgspec.Meta(ge=0, le=MAX_RATE)]


class KeyWish(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A key to be made. What is left out is as the key has it that makes this one; a limit of 0 is none."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    submits_per_minute: Rate | None = None
    concurrent_tasks: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)] | None = None
    polls_per_minute: Rate | None = None
    budget: Annotated[str, msgspec.Meta(description="All that it may spend, in dollars, such as 2.50.")] | None = None
    models: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_MODELS)] | None = None
    route: Literal["auto", "value", "official"] | None = None
    manages_keys: bool = False
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How long the secrets that a key has work on beside its new one."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=int(MAX_OVERLAP.total_seconds()))] = 86_400


class KeyLine(Body):
    """A key as it is now. A limit of null is none; no budget is any, no models are all."""

    id: str
    name: str
    kind: str
    prefix: str
    """How its newest secret begins."""
    state: str
    is_caller: bool
    """Whether it is the key of this very request."""
    submits_per_minute: int | None
    concurrent_tasks: int | None
    polls_per_minute: int | None
    budget: Money | None
    spent: Money
    """Held for open tasks, and charged for ended ones."""
    open_tasks: int
    models: list[str] | None
    route: str
    manages_keys: bool
    older_secrets: int
    """Secrets that were replaced and still work."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyUsage(Body):
    """How many of the account's keys work, and may."""

    active: int
    max_active: int


class KeyPage(Body):
    """Newest first."""

    keys: list[KeyLine]
    usage: KeyUsage
    next_cursor: str | None


class ShownKey(KeyLine):
    """A key with its newest secret, which is shown this once."""

    key: str


class Amounts(Body):
    """Micro-dollars; `balance` is the sum of what is available and what is held."""

    available_micros: int
    held_micros: int
    balance_micros: int


class End(Amounts):
    """The balance at one end of a statement; the account's beginning has no time."""

    at: datetime | None


class Entry(Body):
    """One entry of the ledger: what it changed, and what there was behind it."""

    at: datetime
    entry: Literal["hold", "charge", "release", "grant", "debit"]
    amount_micros: int
    change: Amounts
    after: Amounts
    task_id: str | msgspec.UnsetType = msgspec.UNSET
    adjustment_id: str | msgspec.UnsetType = msgspec.UNSET
    """Of a grant or debit."""
    reason: str | msgspec.UnsetType | None = msgspec.UNSET
    actor: msgspec.UnsetType | None = msgspec.UNSET


class Totals(Body):
    """Of the entries that are shown, by kind."""

    hold_micros: int
    charge_micros: int
    release_micros: int
    grant_micros: int
    debit_micros: int


class Statement(Body):
    """Entries, oldest first: `opening` and their changes make up `closing`."""

    account: str
    mode: str
    at: datetime
    since: datetime | None
    until: datetime | None
    newest_first: bool
    entries: list[Entry]
    opening: End
    closing: End
    totals: Totals
    next_cursor: str | None
