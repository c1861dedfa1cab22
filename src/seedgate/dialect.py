"""The dialect contract: how a vendor's callers speak to us.

A dialect is pure functions over bytes. It declares its routes and where the credential sits, reads a request into our
own words (raising `CallerError` with `param` set to the field as the vendor writes it), and writes answers in the
vendor's shape. It never sees a database, a clock or the web framework, and it decides every HTTP status.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from seedgate.domain.change import Change
from seedgate.domain.errors import SeedgateError
from seedgate.domain.image import ImageRequest
from seedgate.domain.listing import Listing
from seedgate.domain.task import TaskView
from seedgate.interface import Interface


class Intent(StrEnum):
    """What a route is for."""

    SUBMIT = "submit"
    STATUS = "status"
    CANCEL = "cancel"
    BALANCE = "balance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address. `{name}` in the path stands for one segment; only the last segment may be a parameter."""

    method: str
    path: str
    intent: Intent
    carries_images: bool = False
    """Whether image fields may hold data URLs, so that a large body is streamed to disk instead of refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A request as a dialect sees it. Header names are lower case; values are as sent."""

    route: Route
    last_segment: str
    """The path's parameter, percent-decoded; empty when the route has none."""
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes | memoryview = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response in the vendor's shape."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submit in our own words."""

    listing: Listing
    image: ImageRequest
    changes: tuple[Change, ...] = ()
    callback_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A question about one task. Tasks of another listing's name answer like unknown ones."""

    task_id: UUID
    listing: Listing


StoreDataUrl = Callable[[str], str]
"""Takes a data URL, keeps its bytes, gives back `sha256:<hex>`; raises InvalidRequest without a `param`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listings:
    """What a dialect offers: the newest version of each listing by name, and every version for old tasks."""

    newest: Mapping[str, Listing]
    versions: Mapping[tuple[str, int], Listing] = field(default_factory=dict)
    """By (listing id, version)."""


class Dialect(Protocol):
    """One vendor's way of speaking. `vendors/<name>/dialect.py` has `build(listings: Listings) -> Dialect`."""

    name: str
    routes: Sequence[Route]

    def credential(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The API key as the vendor's callers send it; None when there is none."""
        ...

    def parse(self, request: Incoming, store_data_url: StoreDataUrl) -> Submission:
        """Read a submit. Raises CallerError."""
        ...

    def parse_lookup(self, request: Incoming) -> Lookup:
        """Read a status question or a cancellation. Raises CallerError; NotFound for an id that cannot be ours."""
        ...

    def render_accepted(self, task_id: UUID, submission: Submission) -> Answer:
        """The answer to an accepted submit: a function of its arguments, stored and replayed byte for byte."""
        ...

    def render(self, view: TaskView, result_urls: Sequence[str]) -> Answer:
        """A task's status."""
        ...

    def render_balance(self, available_micros: int) -> Answer:
        """The caller's balance."""
        ...

    def render_error(self, error: SeedgateError, request: Incoming | None) -> Answer:
        """Any error. `request` tells which listing's words to use, where the request got that far."""
        ...

    def describe(self) -> Interface:
        """Every route below each base, with types and examples of its requests and successes; `web.openapi` adds the
        rest: idempotency keys, request ids, and every error as `render_error` writes it, of the type `error`."""
        ...
