"""Who asks."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated API key and the account it spends from."""

    key_id: UUID
    account_id: UUID
