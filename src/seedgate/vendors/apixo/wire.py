"""What travels between APIXO's callers and us, and the terms of a listing.

The bodies merge every generation of the vendor's pages (https://apixo.ai/docs/models/image/seedream-5-0 and
…/seedream-4-5, read in November 2026, and their translations). Everything is optional here because null means absent;
what is required is said in `parameters`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from seedgate.domain.errors import BadSettings
from seedgate.domain.listing import Listing
from seedgate.domain.reason import Reason

MAX_PROMPT = 5_000
"""Code points after NFC."""
MAX_IMAGES = 10


class Input(msgspec.Struct, frozen=True):
    """The model's parameters."""

    mode: Literal["text-to-image", "image-to-image"] | None = None
    prompt: str | None = None
    max_images: Annotated[int, msgspec.Meta(ge=1, le=MAX_IMAGES)] | None = None
    image_urls: list[str] | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    size: str | None = None
    """The newest pages describe an explicit size: a resolution tier, or pixels written with x, X or *."""
    sequential_image_generation: Literal["disabled", "auto"] | None = None
    web_search: bool | None = None
    output_format: str | None = None
    prompt_optimize_mode: Literal["standard"] | None = None


class Submit(msgspec.Struct, frozen=True):
    """The body of `POST /generateTask/{model}`."""

    request_type: Literal["async", "callback"] | None = None
    callback_url: str | None = None
    webhook: str | None = None
    """Sent by some callers in place of `callback_url`; in no page of the vendor."""
    provider: Literal["auto", "value", "official"] | None = None
    input: Input | None = None


class Failure(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a reason is told. Without a message the task's own one is shown."""

    code: str
    message: str | None = None


class Envelope(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Code and message around a callback's data."""

    code: int
    message: str


class Polling(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The page's advice for one resolution."""

    typical_s: tuple[int, int]
    first_poll_s: int
    interval_s: Annotated[int, msgspec.Meta(ge=1)]


class Terms(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a model's own page is read wherever the pages disagree; `listings.toml` tells the reasons."""

    fields: frozenset[Literal["provider", "input.web_search", "input.output_format"]]
    max_images_required: bool
    default_resolution: str
    cost_time_on_failure: bool
    insufficient_balance: Literal[400, 402]
    failed_callback: Envelope
    reference_formats: tuple[str, ...]
    reference_megabytes: Annotated[int, msgspec.Meta(ge=1)]
    result_days: Annotated[int, msgspec.Meta(ge=1)]
    polling: Annotated[dict[str, Polling], msgspec.Meta(min_length=1)]
    failures: Mapping[Reason, Failure]


def read_terms(listing: Listing) -> Terms:
    """The terms of a listing, checked. Raises BadSettings."""
    where = f"{listing.id}, version {listing.version}"
    try:
        terms = msgspec.convert(listing.terms, Terms)
    except msgspec.ValidationError as error:
        hint = "Compare the entry with the ones that Seedgate ships."
        raise BadSettings(f"The terms of {where} are wrong: {error}", hint=hint) from None
    if missing := set(Reason) - terms.failures.keys():
        hint = "Every reason needs its line in [listing.terms.failures]."
        raise BadSettings(f"The terms of {where} have no failure for {', '.join(sorted(missing))}", hint=hint)
    if terms.default_resolution not in listing.model.sizes.tiers:
        hint = f"The model has {', '.join(listing.model.sizes.tiers)}."
        raise BadSettings(f"The default resolution of {where} is {terms.default_resolution!r}", hint=hint)
    return terms
