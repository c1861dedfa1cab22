"""How each dialect is spoken in tests that are written once for all of them. A dialect without an adapter fails them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seedgate.catalogue.load import load
from seedgate.compose.offer import dialects
from seedgate.dialect import Intent
from seedgate.domain.admission import Code
from seedgate.domain.listing import Listing


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One dialect's words for a submit of one picture."""

    path: Callable[[str, Listing], str]
    """A route's path for a listing."""
    body: Callable[[Listing, str], Any]
    """For a prompt."""
    headers: Callable[[str], Mapping[str, str]]
    """For a key."""
    task_id: Callable[[Any], str]
    """From the answer."""
    statuses: Callable[[Listing], Mapping[Code, int]]
    """Of what is refused."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A listing with every address under which it can be submitted."""

    dialect: str
    listing: Listing
    paths: Sequence[str]

    @property
    def adapter(self) -> Adapter:
        return ADAPTERS[self.dialect]


def ways() -> list[Way]:
    """Every listing of every dialect that there is."""
    catalogue = load()
    return [
        Way(
            dialect=dialect.name,
            listing=listing,
            paths=[
                ADAPTERS[dialect.name].path(route.path, listing)
                for route in dialect.routes
                if route.intent is Intent.SUBMIT
            ],
        )
        for dialect in dialects(catalogue)
        for listing in catalogue.listings[dialect.name].newest.values()
        if listing.enabled
    ]


def _apixo_statuses(listing: Listing) -> Mapping[Code, int]:
    return {
        Code.KEY_REUSED: 422,
        Code.FROZEN: 403,
        Code.RATE: 429,
        Code.CONCURRENCY: 429,
        Code.BALANCE: 400 if listing.name == "seedream-5-0" else 402,
        Code.BUDGET: 402,
    }


ADAPTERS: dict[str, Adapter] = {
    "apixo": Adapter(
        path=lambda path, listing: path.replace("{model}", listing.name),
        body=lambda _, prompt: {"input": {"mode": "text-to-image", "prompt": prompt, "max_images": 1}},
        headers=lambda key: {"Authorization": f"Bearer {key}"},
        task_id=lambda answer: answer["data"]["taskId"],
        statuses=_apixo_statuses,
    ),
}
