"""Who is let in: the decision of the accept transaction, as a pure function over one batch.

Submits are decided greedily in the order in which they arrived: a refused four-picture request does not block the
one-picture request behind it, and a refusal spends nothing. The database's `accept_tasks` makes the same decision under
the accounts' locks; a property test compares the two, batch by batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from uuid import UUID

from seedgate.domain.limits import gcra


class Code(IntEnum):
    """What became of a submit."""

    ACCEPTED = 0
    REPLAY = 1
    KEY_REUSED = 2
    BLOCKED = 3
    RATE = 4
    CONCURRENCY = 5
    BALANCE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account as locked. A limit of None is no limit."""

    avail_micros: int
    held_micros: int = 0
    open_holds: int = 0
    concurrent_tasks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """A key as read under its account's lock."""

    account_id: UUID
    open_holds: int = 0
    tat_us: int = 0
    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the decision needs of one submit."""

    task_id: UUID
    key_id: UUID
    amount_micros: int
    idempotency_key: str | None = None
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An accepted request's idempotency row."""

    fingerprint: bytes
    task_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`task_id` is the task that answers: the request's own, or for a replay the earlier one."""

    code: Code
    task_id: UUID | None = None
    wait_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything a batch is decided on, and after it: everything it left."""

    accounts: Mapping[UUID, AccountState]
    keys: Mapping[UUID, KeyState]
    idempotency: Mapping[tuple[UUID, str], Stored]


def admit(books: Books, batch: Sequence[Request], *, now_us: int) -> tuple[list[Decision], Books]:
    """Decide a batch in arrival order. Returns one decision per request and the books as they stand afterwards."""
    decisions = []
    for request in batch:
        decision, books = _admit_one(books, request, now_us)
        decisions.append(decision)
    return decisions, books


def _admit_one(books: Books, request: Request, now_us: int) -> tuple[Decision, Books]:
    key = books.keys[request.key_id]
    account = books.accounts[key.account_id]
    stored = books.idempotency.get((request.key_id, request.idempotency_key)) if request.idempotency_key else None
    if stored is not None:
        code = Code.REPLAY if stored.fingerprint == request.fingerprint else Code.KEY_REUSED
        return Decision(code=code, task_id=stored.task_id), books
    refusal = _refusal(account, key, request)
    if refusal is not None:
        return Decision(code=refusal), books
    tat_us = key.tat_us
    if key.submits_per_minute is not None:
        verdict = gcra(tat_us=key.tat_us, now_us=now_us, per_minute=key.submits_per_minute)
        if not verdict.allowed:
            return Decision(code=Code.RATE, wait_us=verdict.wait_us), books
        tat_us = verdict.tat_us
    return Decision(code=Code.ACCEPTED, task_id=request.task_id), _take(books, request, tat_us)


def _refusal(account: AccountState, key: KeyState, request: Request) -> Code | None:
    if key.blocked:
        return Code.BLOCKED
    if _full(account.open_holds, account.concurrent_tasks) or _full(key.open_holds, key.concurrent_tasks):
        return Code.CONCURRENCY
    if account.avail_micros < request.amount_micros:
        return Code.BALANCE
    return None


def _full(open_holds: int, limit: int | None) -> bool:
    return limit is not None and open_holds >= limit


def _take(books: Books, request: Request, tat_us: int) -> Books:
    key = books.keys[request.key_id]
    account = books.accounts[key.account_id]
    account = replace(
        account,
        avail_micros=account.avail_micros - request.amount_micros,
        held_micros=account.held_micros + request.amount_micros,
        open_holds=account.open_holds + 1,
    )
    idempotency = dict(books.idempotency)
    if request.idempotency_key:
        stored = Stored(fingerprint=request.fingerprint, task_id=request.task_id)
        idempotency[request.key_id, request.idempotency_key] = stored
    return Books(
        accounts={**books.accounts, key.account_id: account},
        keys={**books.keys, request.key_id: replace(key, open_holds=key.open_holds + 1, tat_us=tat_us)},
        idempotency=idempotency,
    )
