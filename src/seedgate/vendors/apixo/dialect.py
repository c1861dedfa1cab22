"""Seedgate as APIXO: https://apixo.ai/docs/models/image/seedream-5-0 and …/seedream-4-5, read in November 2026."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus
from uuid import UUID

from seedgate.dialect import Answer, Dialect, Incoming, Intent, Listings, Lookup, Route, StoreDataUrl, Submission
from seedgate.domain.errors import Bug, InvalidRequest, NotFound, SeedgateError, UnknownModel
from seedgate.domain.task import TaskView
from seedgate.interface import Interface
from seedgate.vendors.apixo import answers, description, parameters
from seedgate.vendors.apixo.answers import Words
from seedgate.vendors.apixo.parameters import Offer

BASES = ("/api/v1", "")
"""The vendor's base URL ends in /api/v1; its own client for agents is configured without that part."""
ROUTES = tuple(
    route
    for base in BASES
    for route in (
        Route(method="POST", path=f"{base}/generateTask/{{model}}", intent=Intent.SUBMIT, carries_images=True),
        Route(method="GET", path=f"{base}/statusTask/{{model}}", intent=Intent.STATUS),
        # Ours: the vendor documents no way to cancel.
        Route(method="DELETE", path=f"{base}/statusTask/{{model}}", intent=Intent.CANCEL),
        Route(method="GET", path=f"{base}/apikeys/current-balance", intent=Intent.BALANCE),
    )
)
MAX_SHOWN = 64
"""How much of an unknown model's name a message repeats."""
_JSON_TYPE = re.compile(rb"application/json|[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]*\+json", re.IGNORECASE)
_MEDIA_PARAMETER = re.compile(rb';[ \t]*([^=;\s]*)[ \t]*(?:=[ \t]*("(?:[^"\\]|\\.)*"|[^;]*))?')
_TASK_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def build(listings: Listings) -> Dialect:
    """The dialect over what is offered. Raises BadSettings where a listing's terms are wrong."""
    offers = {key: parameters.prepare(listing) for key, listing in listings.versions.items()}
    return Apixo(
        newest={name: offers[listing.id, listing.version] for name, listing in listings.newest.items()},
        words={key: answers.prepare(offer.terms) for key, offer in offers.items()},
    )


class Apixo:
    """See `seedgate.dialect.Dialect`."""

    name: str = "apixo"
    routes: Sequence[Route] = ROUTES

    def __init__(self, *, newest: Mapping[str, Offer], words: Mapping[tuple[str, int], Words]) -> None:
        self._newest = newest
        """By the name in the address."""
        self._words = words
        """By listing id and version."""

    def credential(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The bearer token."""
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        return key.strip().decode("latin-1") or None if scheme.lower() == b"bearer" else None

    def parse(self, request: Incoming, store_data_url: StoreDataUrl) -> Submission:
        """A submit; a listing that is switched off answers like an unknown one."""
        offer = self._newest.get(request.last_segment)
        if offer is None or not offer.listing.enabled:
            raise _unknown(request.last_segment)
        if not _is_json(request.headers.get(b"content-type", b"")):
            raise InvalidRequest("The Content-Type header must be application/json in UTF-8", param="Content-Type")
        return parameters.read(offer, request.body, store_data_url)

    def parse_lookup(self, request: Incoming) -> Lookup:
        """A status question or a cancellation; a listing that is switched off still answers both."""
        offer = self._newest.get(request.last_segment)
        if offer is None:
            raise _unknown(request.last_segment)
        task_id = _parameter(request.query, "taskId")
        if not task_id:
            raise InvalidRequest("taskId is required", param="taskId")
        if _TASK_ID.fullmatch(task_id) is None:
            raise NotFound
        return Lookup(task_id=UUID(task_id), listing=offer.listing)

    def render_accepted(self, task_id: UUID, submission: Submission) -> Answer:
        """The task id, whatever was submitted."""
        del submission
        return answers.accepted(task_id)

    def render(self, view: TaskView, result_urls: Sequence[str]) -> Answer:
        """The status in the words of the task's own version."""
        words = self._words.get((view.listing_id, view.listing_version))
        if words is None:
            raise Bug(f"a task has a listing that is not there: {view.listing_id}, version {view.listing_version}")
        return answers.status(words, view, result_urls)

    def render_balance(self, available_micros: int) -> Answer:
        """The balance in dollars."""
        return answers.balance(available_micros)

    def render_error(self, error: SeedgateError, request: Incoming | None) -> Answer:
        """The error; the models' pages disagree on the status of an insufficient balance."""
        offer = None if request is None else self._newest.get(request.last_segment)
        return answers.failed(error, insufficient_balance=None if offer is None else offer.terms.insufficient_balance)

    def describe(self) -> Interface:
        """The routes below each base."""
        return description.describe(self._newest, bases=BASES)


def _unknown(name: str) -> UnknownModel:
    return UnknownModel(f"Model {name[:MAX_SHOWN]!r} was not found", param="model")


def _is_json(content_type: bytes) -> bool:
    """Whether the media type is application/json or anything/…+json, and no charset but UTF-8 is named."""
    if content_type == b"application/json":
        return True
    media_type, semicolon, parameters = content_type.partition(b";")
    if _JSON_TYPE.fullmatch(media_type.strip()) is None:
        return False
    named = _MEDIA_PARAMETER.findall(semicolon + parameters)
    charsets = [value.strip(b'" \t').lower() for name, value in named if name.lower() == b"charset"]
    return all(charset in {b"utf-8", b"utf8"} for charset in charsets)


def _parameter(query: str, name: str) -> str:
    """The first value of a parameter of the query; empty when there is none."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name or unquote_plus(key) == name:
            return unquote_plus(value)
    return ""
