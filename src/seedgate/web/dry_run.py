"""`X-Seedgate-Dry-Run: 1` on any submit: what it would cost and become. Nothing is held, stored or started."""

from collections.abc import Mapping
from typing import Any

import msgspec

from seedgate.dialect import Answer
from seedgate.domain.errors import InvalidRequest
from seedgate.domain.money import dollars
from seedgate.store.funds import Spendable
from seedgate.tasks.submit import Quote
from seedgate.web.refusals import NOTHING_CHARGED, Headers

HEADER = b"x-seedgate-dry-run"
MARKS: Headers = ((b"x-seedgate-dry-run", b"1"), NOTHING_CHARGED)


def asked(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request is a dry run. Raises InvalidRequest for any other word: what was meant would be paid."""
    said = headers.get(HEADER)
    if said is None:
        return False
    word = said.strip().lower()
    if word in {b"1", b"true"}:
        return True
    if word in {b"0", b"false"}:
        return False
    raise InvalidRequest("X-Seedgate-Dry-Run must be 1 or 0", param="X-Seedgate-Dry-Run")


def render(quote: Quote, spendable: Spendable) -> Answer:
    """The quote as JSON, the same in every dialect. Amounts are exact decimal strings in dollars."""
    submission, listing = quote.submission, quote.submission.listing
    total_micros = quote.price.micros * submission.image.pictures
    document: dict[str, Any] = {
        "dry_run": True,
        "listing": listing.id,
        "listing_version": listing.version,
        "model": listing.model.id,
        "served_by": quote.lane,
        "price": {
            "currency": "USD",
            "unit": dollars(quote.price.micros),
            "pictures": submission.image.pictures,
            "total": dollars(total_micros),
            "total_micros": total_micros,
            "version": quote.price.version,
        },
        "available": dollars(spendable.available_micros),
        "budget_left": None if spendable.budget_left_micros is None else dollars(spendable.budget_left_micros),
        "affordable": spendable.covers(total_micros),
        "request": submission.image,
        "changes": submission.changes,
    }
    return Answer(status=200, body=msgspec.json.encode(document))
