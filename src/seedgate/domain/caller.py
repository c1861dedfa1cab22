"""Who asks."""

from dataclasses import dataclass, field
from uuid import UUID

from seedgate.domain.image import Route
from seedgate.domain.listing import Listing


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated API key and the account it spends from."""

    key_id: UUID
    account_id: UUID
    models: frozenset[str] | None = None
    """What the key may ask for: models of the catalogue, ids of listings, or names of listings. None: everything."""
    route: Route = Route.AUTO
    """The class of upstream that the key's submits take where they name none."""
    manages_keys: bool = False
    """Whether it may make, rotate and revoke its account's other keys."""
    polls_per_minute: int | None = None
    """The key's own; 0 is no limit, None the default."""
    account_polls_per_minute: int | None = None
    """Of all its account's keys together; 0 and None are no limit."""
    digest: bytes = field(default=b"", repr=False)
    """Of the secret that it came with: a key may have several, and the older ones change no keys."""

    def may_use(self, listing: Listing) -> bool:
        """Whether the key may ask for this listing."""
        return self.models is None or not self.models.isdisjoint((listing.id, listing.name, listing.model.id))
