"""Balances, and what an operator gives and takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from seedgate.combine import Combiner
from seedgate.domain.errors import InsufficientBalance, InvalidRequest, KeyReused, NotFound, SeedgateError
from seedgate.domain.ledger import Entry
from seedgate.domain.money import MAX_AMOUNT_MICROS, dollars
from seedgate.domain.statement import effect
from seedgate.ids import Ids
from seedgate.store.access import find_account, read_balances
from seedgate.store.database import Database
from seedgate.store.ledger import Adjustment, adjust, find_adjustment, lock_available

MAX_REASON = 1000
MAX_ACTOR = 200
MAX_IDEMPOTENCY_KEY = 255


class Balances:
    """Reads balances, many in one statement. One per process."""

    def __init__(self, database: Database) -> None:
        async def run(ids: Sequence[UUID]) -> Sequence[int | SeedgateError]:
            return await read_balances(database.access_lane, ids)

        self._combine: Combiner[UUID, int] = Combiner(run)

    async def read(self, account_id: UUID) -> int:
        """What the account can spend, in micro-dollars."""
        return await self._combine(account_id)

    async def close(self) -> None:
        """Answer what was asked."""
        await self._combine.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """What became of a grant or debit."""

    id: UUID
    """The adjustment's, new or as it was written before."""
    written: bool
    """False when it was written before under its idempotency key, and nothing happened now."""
    available_micros: int
    """What the account can spend now."""


async def _adjust(
    database: Database,
    ids: Ids,
    *,
    entry: Entry,
    account: str,
    amount_micros: int,
    reason: str,
    actor: str,
    idempotency_key: str | None = None,
) -> Adjusted:
    """Give credit to the account called `account`, or take away what it can spend; once under an idempotency key.

    Raises NotFound for an unknown account, InvalidRequest for an amount, reason, actor or key that is none, KeyReused
    when the key was used for another adjustment, and InsufficientBalance for a debit of more than is available: what
    open tasks hold cannot be taken.
    """
    found = await find_account(database, account)
    if found is None:
        raise NotFound(f"There is no account called {account!r}")
    adjustment = Adjustment(
        id=ids.new(),
        account_id=found[0],
        entry=entry,
        amount_micros=amount_micros,
        reason=reason,
        actor=actor,
        idempotency_key=idempotency_key,
    )
    _check(adjustment)
    async with database.write() as tx:
        available = await lock_available(tx, adjustment.account_id)
        earlier = await find_adjustment(tx, idempotency_key) if idempotency_key else None
        if earlier is not None and replace(earlier, id=adjustment.id, actor=actor) == adjustment:
            return Adjusted(id=earlier.id, written=False, available_micros=available)
        if earlier is None and entry is Entry.DEBIT and amount_micros > available:
            raise InsufficientBalance(
                f"The account {account!r} can spend ${dollars(available)}; that is less than ${dollars(amount_micros)}"
            )
        # An adjustment of another account may come between under the same key: the schema has the last word.
        if earlier is not None or not await adjust(tx, adjustment):
            raise KeyReused("This idempotency key was used for another grant or debit", param="idempotency_key")
    available += effect(entry, amount_micros).available_micros
    return Adjusted(id=adjustment.id, written=True, available_micros=available)


grant = partial(_adjust, entry=Entry.GRANT)
debit = partial(_adjust, entry=Entry.DEBIT)


def _check(adjustment: Adjustment) -> None:
    key = adjustment.idempotency_key
    if not adjustment.reason.strip() or len(adjustment.reason) > MAX_REASON:
        raise InvalidRequest(f"A grant or debit needs a reason of at most {MAX_REASON} characters", param="reason")
    if not 0 < len(adjustment.actor) <= MAX_ACTOR:
        raise InvalidRequest(f"An actor's name has 1 to {MAX_ACTOR} characters", param="actor")
    if not 0 < adjustment.amount_micros <= MAX_AMOUNT_MICROS:
        raise InvalidRequest(f"An amount is more than $0 and at most ${dollars(MAX_AMOUNT_MICROS)}", param="amount")
    if key is not None and not 0 < len(key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(
            f"An idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} characters; leave it out for none",
            param="idempotency_key",
        )
