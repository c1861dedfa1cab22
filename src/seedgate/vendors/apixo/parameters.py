"""A submit's body into our own words, for one listing.

The order: fields that the listing has not are dropped and reported, types are checked by the struct of `wire`, then
every value by the listing's own tables. Pictures inside the request are stored at the very end, when only one of them
can still refuse it.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import msgspec

from seedgate import strictjson
from seedgate.dialect import StoreDataUrl, Submission
from seedgate.domain.change import Change, Kind
from seedgate.domain.errors import InvalidRequest
from seedgate.domain.image import ImageRequest, OutputFormat, Route, Size
from seedgate.domain.listing import Listing
from seedgate.domain.reference import ReferenceRefused
from seedgate.domain.sizes import SizeBounds, parse_pixels
from seedgate.vendors.apixo import wire
from seedgate.vendors.apixo.urls import ADDRESS_RULE, is_address, is_data_url, is_web_url

MAX_STRANGERS = 16
"""Lines of the report for fields that the listing has not."""
MAX_SHOWN = 64
"""How much of a stranger's text the report repeats."""
MAX_SHRINK = 4
"""No text has more than four times the code points of its NFC."""
MAX_MARKS = 30
"""Combining marks in a row: the limit of Unicode's Stream-Safe Text Format (UAX #15)."""

_URL = f"must be an http or https URL {ADDRESS_RULE}"
_BOTH = {
    "request_type": "must be async or callback",
    "callback_url": _URL,
    "webhook": _URL,
    "provider": "must be auto, value or official",
    "input": "must be an object",
    "input.mode": "must be text-to-image or image-to-image",
    "input.prompt": f"must be a text of 1 to {wire.MAX_PROMPT:,} characters",
    "input.max_images": f"must be an integer from 1 to {wire.MAX_IMAGES}",
    "input.image_urls[]": "must be an http, https or data URL",
    "input.sequential_image_generation": "must be disabled or auto",
    "input.web_search": "must be true or false",
    "input.prompt_optimize_mode": "must be standard",
}


def _defaulted(field: str, used: str | int) -> Change:
    return Change(kind=Kind.DEFAULTED, field=field, used=used, why="not given")


_ONE_IMAGE = _defaulted("input.max_images", 1)
_INDEPENDENT = _defaulted("input.sequential_image_generation", "disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A listing, prepared for reading submits."""

    listing: Listing
    terms: wire.Terms
    fields: frozenset[str]
    """The members that the body may have."""
    input_fields: frozenset[str]
    """The members that its `input` may have."""
    tiers: Mapping[str, Mapping[str, Size]]
    ratios: tuple[str, ...]
    formats: Mapping[str, OutputFormat]
    rules: Mapping[str, str]
    """What a field must be, to follow its name in a message."""
    default_resolution: Change
    default_format: Change
    report_format: bool

    def refusal(self, field: str) -> InvalidRequest:
        """The error that says what the field must be; `field` may end in an index."""
        name, index, _ = field.partition("[")
        return InvalidRequest(f"{field} {self.rules[f'{name}[]' if index else name]}", param=field)


def prepare(listing: Listing) -> Offer:
    """Everything about a listing that does not depend on the request. Raises BadSettings."""
    terms, model = wire.read_terms(listing), listing.model
    lacking = {"provider", "input.web_search", "input.output_format"} - terms.fields
    tiers = model.sizes.tiers
    ratios = tuple(dict.fromkeys(ratio for table in tiers.values() for ratio in table))
    return Offer(
        listing=listing,
        terms=terms,
        fields=frozenset(wire.Submit.__struct_fields__) - lacking,
        input_fields=frozenset(wire.Input.__struct_fields__) - {name.removeprefix("input.") for name in lacking},
        tiers=tiers,
        ratios=ratios,
        formats={name: OutputFormat(name) for name in model.formats},
        rules=_BOTH
        | {
            "input.resolution": f"must be {_alternatives(tiers)}",
            "input.aspect_ratio": f"must be {_alternatives(ratios)}",
            "input.output_format": f"must be {_alternatives(model.formats)}",
            "input.image_urls": f"must be an array of 1 to {model.max_references} URLs",
            "input.size": f"must be {', '.join(tiers)} or pixels such as 2048x2048, {_span(model.bounds)}",
        },
        default_resolution=_defaulted("input.resolution", terms.default_resolution),
        default_format=_defaulted("input.output_format", model.formats[0]),
        report_format="input.output_format" in terms.fields,
    )


def _alternatives(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _span(bounds: SizeBounds) -> str:
    return (
        f"with {bounds.min_pixels:,} to {bounds.max_pixels:,} pixels"
        f" and an aspect ratio from 1:{bounds.max_aspect} to {bounds.max_aspect}:1"
    )


def read(offer: Offer, body: bytes | memoryview, store_data_url: StoreDataUrl) -> Submission:
    """A body of `POST /generateTask/{model}`. Raises InvalidRequest that names the field."""
    changes: list[Change] = []
    sent = _typed(offer, _without_strangers(offer, strictjson.decode(body), changes))
    if sent.input is None:
        raise _required("input")
    callback_url = _callback(offer, sent, changes)
    image = _image(offer, sent.input, sent.provider, changes)
    if image.references and any(is_data_url(url) for url in image.references):
        image = replace(image, references=_stored(image.references, store_data_url))
    return Submission(listing=offer.listing, image=image, changes=tuple(changes), callback_url=callback_url)


def _required(field: str, why: str = "") -> InvalidRequest:
    return InvalidRequest(f"{field} is required{why}", param=field)


def _without_strangers(offer: Offer, body: Any, changes: list[Change]) -> dict[str, Any]:
    """The body without the fields that the listing has not: they are never an error, whatever they hold."""
    if type(body) is not dict:
        raise InvalidRequest("The request body must be a JSON object")
    _drop(body, offer.fields, "", changes)
    given = body.get("input")
    if type(given) is dict:
        _drop(given, offer.input_fields, "input.", changes)
    return body


def _drop(members: dict[str, Any], known: frozenset[str], prefix: str, changes: list[Change]) -> None:
    if members.keys() <= known:
        return
    for name in sorted(members.keys() - known):
        given = members.pop(name)
        if given is not None and len(changes) < MAX_STRANGERS:
            shown = given[:MAX_SHOWN] if isinstance(given, str) else given
            changes.append(
                Change(
                    kind=Kind.IGNORED,
                    field=prefix + name[:MAX_SHOWN],
                    given=shown if isinstance(shown, str | int | float) else None,
                    why="the model has no such field",
                )
            )


def _typed(offer: Offer, body: dict[str, Any]) -> wire.Submit:
    try:
        return msgspec.convert(body, wire.Submit)
    except msgspec.ValidationError as error:
        # The message ends in a path such as - at `$.input.image_urls[3]`; nothing else of it is for callers.
        raise offer.refusal(str(error).rpartition("`$.")[2].rstrip("`")) from None


def _callback(offer: Offer, sent: wire.Submit, changes: list[Change]) -> str | None:
    """Where to call back; None unless `request_type` is callback.

    The vendor's own sample sends a `callback_url` with `async` (https://apixo.ai/docs/models/image/seedream-5-0,
    November 2026), so that is no error.
    """
    field, url = ("callback_url", sent.callback_url) if sent.callback_url is not None else ("webhook", sent.webhook)
    if sent.request_type != "callback":
        if url is not None:
            changes.append(Change(kind=Kind.IGNORED, field=field, why="request_type is not callback"))
        return None
    if url is None:
        raise _required("callback_url", " when request_type is callback")
    if not is_address(url):
        raise offer.refusal(field)
    if field == "webhook":
        changes.append(Change(kind=Kind.MAPPED, field=field, used="callback_url", why="read as callback_url"))
    elif sent.webhook is not None:
        changes.append(Change(kind=Kind.IGNORED, field="webhook", why="callback_url is given"))
    return url


def _image(offer: Offer, given: wire.Input, provider: str | None, changes: list[Change]) -> ImageRequest:
    if given.mode is None:
        raise _required("input.mode")
    sequential = given.sequential_image_generation == "auto"
    if given.sequential_image_generation is None:
        changes.append(_INDEPENDENT)
    tier, size = _size(offer, given, changes)
    return ImageRequest(
        prompt=_prompt(offer, given.prompt),
        model=offer.listing.model.id,
        pictures=_pictures(offer, given.max_images, changes),
        tier=tier,
        size=size,
        output_format=_format(offer, given.output_format, changes),
        sequential=sequential,
        web_search=given.web_search is True,
        prompt_rewriting=given.prompt_optimize_mode,
        route=Route.AUTO if provider is None else Route(provider),
        references=_references(offer, given, changes),
    )


def _prompt(offer: Offer, prompt: str | None) -> str:
    if prompt is None:
        raise _required("input.prompt")
    if not prompt or prompt.isspace() or _length(prompt) > wire.MAX_PROMPT:
        raise offer.refusal("input.prompt")
    return prompt


def _length(prompt: str) -> int:
    """Code points of the prompt's NFC, or of the prompt as sent where that decides already.

    Sorting a long run of combining marks takes Unicode's algorithm quadratic time, so a text that is not stream-safe
    is counted as sent.
    """
    sent = len(prompt)
    if prompt.isascii() or sent * MAX_SHRINK <= wire.MAX_PROMPT or sent > wire.MAX_PROMPT * MAX_SHRINK:
        return sent
    marks = groupby(prompt, key=lambda character: unicodedata.combining(character) != 0)
    if any(combining and sum(1 for _ in run) > MAX_MARKS for combining, run in marks):
        return sent
    return len(unicodedata.normalize("NFC", prompt))


def _pictures(offer: Offer, asked: int | None, changes: list[Change]) -> int:
    if asked is not None:
        return asked
    if offer.terms.max_images_required:
        raise _required("input.max_images", f" and {offer.rules['input.max_images']}")
    changes.append(_ONE_IMAGE)
    return 1


def _format(offer: Offer, asked: str | None, changes: list[Change]) -> OutputFormat:
    if asked is None:
        if offer.report_format:
            changes.append(offer.default_format)
        return next(iter(offer.formats.values()))
    if asked not in offer.formats:
        raise offer.refusal("input.output_format")
    return offer.formats[asked]


def _size(offer: Offer, given: wire.Input, changes: list[Change]) -> tuple[str, Size | None]:
    """The tier, and the exact size where one is asked for.

    No page says which of `size` and `resolution` with `aspect_ratio` wins: `size` does, being the more exact.
    Without an aspect ratio the ratio stays open, as the 4.5 page says (read in November 2026).
    """
    ratio = given.aspect_ratio
    if ratio is not None and ratio not in offer.ratios:
        raise offer.refusal("input.aspect_ratio")
    tier = None if given.resolution is None else _tier(offer, "input.resolution", given.resolution, changes)
    if given.size is not None:
        exact = parse_pixels(given.size)
        if exact is not None:
            return _exact(offer, given, exact, changes)
        named = _tier(offer, "input.size", given.size, changes)
        if tier is not None and tier != named:
            changes.append(_outdone("input.resolution", tier))
        tier = named
    if tier is None:
        tier = offer.terms.default_resolution
        changes.append(offer.default_resolution)
    if ratio is None:
        return tier, None
    if ratio not in offer.tiers[tier]:
        raise offer.refusal("input.aspect_ratio")
    return tier, offer.tiers[tier][ratio]


def _tier(offer: Offer, field: str, given: str, changes: list[Change]) -> str:
    """The vendor writes upper case; the model behind it takes either."""
    if given in offer.tiers:
        return given
    tier = given.upper()
    if tier not in offer.tiers:
        raise offer.refusal(field)
    changes.append(Change(kind=Kind.MAPPED, field=field, given=given, used=tier, why="written in upper case"))
    return tier


def _exact(offer: Offer, given: wire.Input, size: Size, changes: list[Change]) -> tuple[str, Size]:
    """The smallest tier that has pictures as large as `size`, else the largest, and `size`."""
    if not offer.listing.model.bounds.allows(size):
        raise offer.refusal("input.size")
    if given.size != str(size):
        changes.append(Change(kind=Kind.MAPPED, field="input.size", given=given.size, used=str(size), why="notation"))
    for field, value in (("input.resolution", given.resolution), ("input.aspect_ratio", given.aspect_ratio)):
        if value is not None:
            changes.append(_outdone(field, value))
    largest = {tier: max(each.pixels for each in table.values()) for tier, table in offer.tiers.items()}
    tiers = sorted(largest, key=largest.__getitem__)
    return next((tier for tier in tiers if size.pixels <= largest[tier]), tiers[-1]), size


def _outdone(field: str, given: str) -> Change:
    return Change(kind=Kind.IGNORED, field=field, given=given, why="input.size is given")


def _references(offer: Offer, given: wire.Input, changes: list[Change]) -> tuple[str, ...]:
    """The URLs of the reference pictures as sent, with those that hold their picture themselves.

    The vendor's own text-to-image sample has `image_urls` (https://apixo.ai/docs/models/image/seedream-5-0, November
    2026), so they are no error there.
    """
    urls = given.image_urls
    if given.mode == "text-to-image":
        if urls:
            changes.append(Change(kind=Kind.IGNORED, field="input.image_urls", why="mode is text-to-image"))
        return ()
    if urls is None:
        raise _required("input.image_urls", " when input.mode is image-to-image")
    model = offer.listing.model
    if not 1 <= len(urls) <= model.max_references:
        raise offer.refusal("input.image_urls")
    for index, url in enumerate(urls):
        if is_data_url(url) or is_address(url):
            continue
        if is_web_url(url):
            raise InvalidRequest(f"{_nth(index)} {_URL}", param=_nth(index))
        raise offer.refusal(_nth(index))
    _report_clamp(given, len(urls), model.max_pictures_and_references, changes)
    return tuple(urls)


def _nth(index: int) -> str:
    return f"input.image_urls[{index}]"


def _stored(urls: tuple[str, ...], store_data_url: StoreDataUrl) -> tuple[str, ...]:
    return tuple(_reference(index, url, store_data_url) for index, url in enumerate(urls))


def _reference(index: int, url: str, store_data_url: StoreDataUrl) -> str:
    if not is_data_url(url):
        return url
    try:
        return store_data_url(url)
    except InvalidRequest as error:
        why = error.message
    except ReferenceRefused as error:
        # Its own message counts the data URLs by themselves.
        why = error.reason.sentence
    raise InvalidRequest(f"{_nth(index)}: {why}", param=_nth(index))


def _report_clamp(given: wire.Input, references: int, limit: int, changes: list[Change]) -> None:
    """One call upstream has at most 15 references and pictures; the pictures that it cannot bring are refunded."""
    asked = given.max_images or 1
    if given.sequential_image_generation == "auto" and asked + references > limit:
        why = f"references and pictures of one series are at most {limit}; the others are refunded"
        changes.append(
            Change(kind=Kind.CLAMPED, field="input.max_images", given=asked, used=limit - references, why=why)
        )
