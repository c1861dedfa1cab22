"""Who is let in: the decision of the accept transaction, as a pure function over one batch.

Submits are decided greedily in the order in which they arrived: a refused four-picture request does not block the
one-picture request behind it, and a refusal spends nothing. The database's `accept_tasks` makes the same decision under
the accounts' locks; a property test compares the two, batch by batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from uuid import UUID

from seedgate.domain.limits import Defaults, Room, gcra, left, nearest

RETRY_US = 15 * 60 * 1_000_000
"""How long a submit without an idempotency key is remembered for a caller that says it retries."""


class Code(IntEnum):
    """What became of a submit."""

    ACCEPTED = 0
    REPLAY = 1
    KEY_REUSED = 2
    FROZEN = 3
    RATE = 4
    CONCURRENCY = 5
    BALANCE = 6
    BUDGET = 7


class Memory(IntEnum):
    """What a submit's idempotency key is."""

    NAMED = 0
    """The caller's own: whoever comes with it again gets the same answer, for as long as it is kept."""
    FRESH = 1
    """Its content, of a caller that does not say it retries: it is a submit of its own, and remembered."""
    RETRY = 2
    """Its content, of a caller that says it retries: answered like the last one if that is young enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account as locked. A limit of 0 or None is no limit."""

    avail_micros: int
    held_micros: int = 0
    open_holds: int = 0
    tat_us: int = 0
    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None
    frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """A key as read under its account's lock. A limit of None is the default, 0 is no limit."""

    account_id: UUID
    open_holds: int = 0
    tat_us: int = 0
    spent_micros: int = 0
    """Held for open tasks, and charged for ended ones."""
    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None
    budget_micros: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the decision needs of one submit."""

    task_id: UUID
    key_id: UUID
    amount_micros: int
    idempotency_key: str | None = None
    memory: Memory = Memory.NAMED
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An accepted request's idempotency row."""

    fingerprint: bytes
    task_id: UUID
    at_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`task_id` is the task that answers: the request's own, or for a replay the earlier one."""

    code: Code
    task_id: UUID | None = None
    wait_us: int = 0
    room: Room | None = None
    """For RATE and CONCURRENCY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything a batch is decided on, and after it: everything it left."""

    accounts: Mapping[UUID, AccountState]
    keys: Mapping[UUID, KeyState]
    idempotency: Mapping[tuple[UUID, str], Stored]


@dataclass(frozen=True, slots=True)
class _Rates:
    """Both rates after one more submit, or how long it must wait."""

    account_tat_us: int
    key_tat_us: int
    wait_us: int


def admit(
    books: Books, batch: Sequence[Request], *, now_us: int, defaults: Defaults | None = None
) -> tuple[list[Decision], Books]:
    """Decide a batch in arrival order. Returns one decision per request and the books as they stand afterwards."""
    decisions = []
    for request in batch:
        decision, books = _admit_one(books, request, now_us, defaults or Defaults())
        decisions.append(decision)
    return decisions, books


def _admit_one(books: Books, request: Request, now_us: int, defaults: Defaults) -> tuple[Decision, Books]:
    key = books.keys[request.key_id]
    account = books.accounts[key.account_id]
    stored = _remembered(books, request, now_us)
    if stored is not None:
        code = Code.REPLAY if stored.fingerprint == request.fingerprint else Code.KEY_REUSED
        return Decision(code=code, task_id=stored.task_id), books
    refusal = _refusal(account, key, request.amount_micros, defaults)
    if refusal is not None:
        room = _room(account, key, now_us, defaults) if refusal is Code.CONCURRENCY else None
        return Decision(code=refusal, room=room), _spoil(books, request)
    rates = _rates(account, key, now_us, defaults)
    if rates.wait_us > 0:
        room = _room(account, key, now_us, defaults)
        return Decision(code=Code.RATE, wait_us=rates.wait_us, room=room), _spoil(books, request)
    return Decision(code=Code.ACCEPTED, task_id=request.task_id), _take(books, request, rates, now_us)


def _remembered(books: Books, request: Request, now_us: int) -> Stored | None:
    """The earlier submit that answers this one."""
    if request.idempotency_key is None or request.memory is Memory.FRESH:
        return None
    stored = books.idempotency.get((request.key_id, request.idempotency_key))
    if stored is not None and request.memory is Memory.RETRY and stored.at_us <= now_us - RETRY_US:
        return None
    return stored


def _spoil(books: Books, request: Request) -> Books:
    """What was asked for anew and refused has no answer: a retry of it must not be given an earlier one's."""
    place = (request.key_id, request.idempotency_key or "")
    if request.memory is not Memory.FRESH or place not in books.idempotency:
        return books
    return replace(books, idempotency={**books.idempotency, place: replace(books.idempotency[place], at_us=0)})


def _refusal(account: AccountState, key: KeyState, amount_micros: int, defaults: Defaults) -> Code | None:
    if account.frozen:
        return Code.FROZEN
    if _full(account.open_holds, account.concurrent_tasks) or _full(key.open_holds, _tasks_of(key, defaults)):
        return Code.CONCURRENCY
    if account.avail_micros < amount_micros:
        return Code.BALANCE
    if key.budget_micros is not None and key.budget_micros - key.spent_micros < amount_micros:
        return Code.BUDGET
    return None


def _full(open_holds: int, limit: int | None) -> bool:
    return bool(limit) and open_holds >= (limit or 0)


def _tasks_of(key: KeyState, defaults: Defaults) -> int | None:
    return defaults.concurrent_tasks if key.concurrent_tasks is None else key.concurrent_tasks


def _submits_of(key: KeyState, defaults: Defaults) -> int | None:
    return defaults.submits_per_minute if key.submits_per_minute is None else key.submits_per_minute


def _room(account: AccountState, key: KeyState, now_us: int, defaults: Defaults) -> Room:
    rates = ((account.tat_us, account.submits_per_minute), (key.tat_us, _submits_of(key, defaults)))
    tasks = ((account.concurrent_tasks, account.open_holds), (_tasks_of(key, defaults), key.open_holds))
    submits_per_minute, submits_left = nearest(
        (rate, left(tat_us=tat_us, now_us=now_us, per_minute=rate)) if rate else (None, 0) for tat_us, rate in rates
    )
    concurrent_tasks, tasks_left = nearest((limit, max(0, (limit or 0) - taken)) for limit, taken in tasks)
    return Room(
        submits_per_minute=submits_per_minute,
        submits_left=submits_left,
        concurrent_tasks=concurrent_tasks,
        tasks_left=tasks_left,
    )


def _rates(account: AccountState, key: KeyState, now_us: int, defaults: Defaults) -> _Rates:
    """Neither rate is spent where the other one refuses."""
    account_tat, account_wait = _rate(account.tat_us, account.submits_per_minute, now_us)
    key_tat, key_wait = _rate(key.tat_us, _submits_of(key, defaults), now_us)
    return _Rates(account_tat, key_tat, max(account_wait, key_wait))


def _rate(tat_us: int, per_minute: int | None, now_us: int) -> tuple[int, int]:
    if not per_minute:
        return tat_us, 0
    verdict = gcra(tat_us=tat_us, now_us=now_us, per_minute=per_minute)
    return verdict.tat_us, verdict.wait_us


def _take(books: Books, request: Request, rates: _Rates, now_us: int) -> Books:
    key = books.keys[request.key_id]
    account = books.accounts[key.account_id]
    account = replace(
        account,
        avail_micros=account.avail_micros - request.amount_micros,
        held_micros=account.held_micros + request.amount_micros,
        open_holds=account.open_holds + 1,
        tat_us=rates.account_tat_us,
    )
    key = replace(
        key,
        open_holds=key.open_holds + 1,
        spent_micros=key.spent_micros + request.amount_micros,
        tat_us=rates.key_tat_us,
    )
    idempotency = dict(books.idempotency)
    if request.idempotency_key is not None:
        stored = Stored(fingerprint=request.fingerprint, task_id=request.task_id, at_us=now_us)
        idempotency[request.key_id, request.idempotency_key] = stored
    return Books(
        accounts={**books.accounts, key.account_id: account},
        keys={**books.keys, request.key_id: key},
        idempotency=idempotency,
    )
