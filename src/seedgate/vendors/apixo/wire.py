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


def _told(description: str, **schema: object) -> msgspec.Meta:
    """What the document says of a field, beside its type; nothing of it is checked here."""
    return msgspec.Meta(description=description, extra_json_schema=schema)


class Input(msgspec.Struct, frozen=True):
    """The model's parameters."""

    mode: Annotated[
        Literal["text-to-image", "image-to-image"] | None, _told("Whether `image_urls` are drawn upon. Required.")
    ] = None
    prompt: Annotated[str | None, _told(f"1 to {MAX_PROMPT:,} characters, not only white space. Required.")] = None
    max_images: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=MAX_IMAGES)] | None,
        _told("How many pictures; of a series, the most that it may have."),
    ] = None
    image_urls: Annotated[
        list[str] | None, _told("References, as http, https or data URLs. Required for image-to-image.")
    ] = None
    resolution: Annotated[str | None, _told("A tier of the model.", examples=["2K"])] = None
    aspect_ratio: Annotated[str | None, _told("Width to height; open if not given.", examples=["16:9"])] = None
    size: Annotated[
        str | None, _told("A tier, or pixels written with x, X or *, before both.", examples=["2048x2048"])
    ] = None
    """The newest pages describe an explicit size."""
    sequential_image_generation: Annotated[
        Literal["disabled", "auto"] | None, _told("auto: one series; disabled: pictures on their own.")
    ] = None
    web_search: Annotated[bool | None, _told("Whether the model may search the web.")] = None
    output_format: Annotated[str | None, _told("A format of the model; its first if not given.")] = None
    prompt_optimize_mode: Annotated[Literal["standard"] | None, _told("How the prompt may be rewritten.")] = None


class Submit(msgspec.Struct, frozen=True):
    """The body of `POST /generateTask/{model}`. null means absent; unknown members are ignored."""

    request_type: Annotated[
        Literal["async", "callback"] | None, _told("callback: `callback_url` is called at the task's end, too.")
    ] = None
    callback_url: Annotated[str | None, _told("Required for callback.")] = None
    webhook: Annotated[str | None, _told("Read as `callback_url` where that is not given.")] = None
    """Sent by some callers; in no page of the vendor."""
    provider: Annotated[
        Literal["auto", "value", "official"] | None, _told("Which kind of upstream may serve the task.")
    ] = None
    input: Annotated[Input | None, _told("The model's parameters. Required.")] = None


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
