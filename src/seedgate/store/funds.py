"""What an account has, for the account itself."""

from dataclasses import dataclass
from uuid import UUID

from seedgate.domain.errors import NotFound
from seedgate.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """One row, so the figures belong together."""

    mode: str
    avail_micros: int
    held_micros: int
    open_holds: int


async def read_funds(database: Database, account_id: UUID) -> Funds:
    """Raises NotFound without such an account."""
    rows = await database.fetch(
        "SELECT mode, avail_micros, held_micros, open_holds FROM account WHERE id = $1", account_id
    )
    if not rows:
        raise NotFound
    return Funds(**rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Spendable:
    """What a key may spend now."""

    available_micros: int
    budget_left_micros: int | None
    """None where the key has no budget of its own."""

    def covers(self, amount_micros: int) -> bool:
        """Whether a submit of this amount would be paid."""
        left = self.budget_left_micros
        return amount_micros <= self.available_micros and (left is None or amount_micros <= left)


async def read_spendable(database: Database, account_id: UUID, key_id: UUID) -> Spendable:
    """Raises NotFound without such an account or key."""
    rows = await database.fetch(
        "SELECT a.avail_micros AS available_micros, k.budget_micros - k.spent_micros AS budget_left_micros"
        " FROM account a JOIN key_state k ON k.account_id = a.id WHERE a.id = $1 AND k.key_id = $2",
        account_id,
        key_id,
    )
    if not rows:
        raise NotFound
    return Spendable(**rows[0])
