"""Balances and grants."""

from collections.abc import Sequence
from uuid import UUID

from seedgate.combine import Combiner
from seedgate.domain.errors import InvalidRequest, KeyReused, NotFound, SeedgateError
from seedgate.domain.ledger import Entry
from seedgate.domain.money import dollars
from seedgate.ids import Ids
from seedgate.store.access import find_account, read_balances
from seedgate.store.database import Database
from seedgate.store.ledger import Adjustment, adjust, is_written

MAX_GRANT_MICROS = 10**15
MAX_REASON = 1000
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


async def grant(
    database: Database,
    ids: Ids,
    *,
    account: str,
    amount_micros: int,
    reason: str,
    actor: str,
    idempotency_key: str | None = None,
) -> bool:
    """Give credit to the account called `account`; False when this grant was given before under its idempotency key.

    Raises NotFound for an unknown account, InvalidRequest for an amount, reason or key that is none, and KeyReused when
    the key was used for another account, amount or reason.
    """
    found = await find_account(database, account)
    if found is None:
        raise NotFound(f"There is no account called {account!r}")
    if not 0 < len(reason) <= MAX_REASON:
        raise InvalidRequest(f"A grant needs a reason of at most {MAX_REASON} characters", param="reason")
    if not 0 < amount_micros <= MAX_GRANT_MICROS:
        raise InvalidRequest(f"A grant is more than $0 and at most ${dollars(MAX_GRANT_MICROS)}", param="amount")
    if idempotency_key is not None and not 0 < len(idempotency_key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(
            f"An idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} characters; leave it out for none",
            param="idempotency_key",
        )
    adjustment = Adjustment(
        id=ids.new(),
        account_id=found[0],
        entry=Entry.GRANT,
        amount_micros=amount_micros,
        reason=reason,
        actor=actor,
        idempotency_key=idempotency_key,
    )
    async with database.write() as tx:
        granted = await adjust(tx, adjustment)
        if not granted and not await is_written(tx, adjustment):
            raise KeyReused("This idempotency key was used for another grant", param="idempotency_key")
    return granted
