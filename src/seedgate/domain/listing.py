"""A listing: what a vendor's dialect offers under which name, at which price, in which words.

A task keeps its listing's id and version and is rendered, priced and called back by them for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seedgate.domain.sizes import SizeBounds, SizeTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of the catalogue: what it can do, whoever serves it."""

    id: str
    title: str
    bounds: SizeBounds
    sizes: SizeTable
    max_references: int
    max_pictures_and_references: int
    """Pictures plus references that one sequential call may have."""
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One version of one offer."""

    id: str
    """`vendor/name`, unique with the version."""
    version: int
    vendor: str
    name: str
    """The id under which the vendor's callers know the model."""
    model: Model
    unit_price_micros: int
    """Price of one delivered picture."""
    enabled: bool = True
    typical_s: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Seconds that a picture usually takes, from and to, by tier, where the vendor says so."""
    terms: Mapping[str, object] = field(default_factory=dict)
    """The vendor's own readings; only the vendor's dialect understands them."""
