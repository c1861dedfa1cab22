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
