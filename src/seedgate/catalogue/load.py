"""Reads the catalogue: a pure function of two folders."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from seedgate.dialect import Listings
from seedgate.domain.errors import BadSettings
from seedgate.domain.image import OutputFormat, Size
from seedgate.domain.listing import Listing, Model
from seedgate.domain.money import micros
from seedgate.domain.sizes import SizeBounds, SizeTable, parse_pixels, parse_ratio

MODELS = Path(__file__).parent / "models"
VENDORS = Path(__file__).parent.parent / "vendors"

Positive = Annotated[int, msgspec.Meta(ge=1)]


class _Bounds(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    min_pixels: Positive
    max_pixels: Positive
    max_aspect: Positive


class _Model(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    title: str
    bounds: _Bounds
    sizes: dict[str, dict[str, str]]
    max_references: Annotated[int, msgspec.Meta(ge=0)]
    max_pictures_and_references: Positive
    formats: Annotated[tuple[OutputFormat, ...], msgspec.Meta(min_length=1)]


class _Listing(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    version: Positive
    model: str
    price: str
    enabled: bool = True
    terms: dict[str, Any] = {}


class _Polling(msgspec.Struct, frozen=True):
    typical_s: tuple[int, int]


class _Spoken(msgspec.Struct, frozen=True):
    """What is read of the terms whatever the vendor."""

    polling: dict[str, _Polling] = {}


class _Listings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    listing: list[_Listing]


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Everything that is known and offered."""

    models: Mapping[str, Model]
    listings: Mapping[str, Listings]
    """By vendor."""


def load(*, models: Path = MODELS, vendors: Path = VENDORS) -> Catalogue:
    """Read every `models/*.toml` and `vendors/*/listings.toml`. Raises BadSettings that names file and key."""
    known = {file.stem: _model(file) for file in sorted(models.glob("*.toml"))}
    offers = {file.parent.name: _listings(file, known) for file in sorted(vendors.glob("*/listings.toml"))}
    return Catalogue(models=known, listings=offers)


def _model(file: Path) -> Model:
    read = _decode(file, _Model)
    if read.bounds.min_pixels > read.bounds.max_pixels:
        raise _bad(file, "bounds.min_pixels", "is above max_pixels", "Swap the two.")
    model = Model(
        id=file.stem,
        title=read.title,
        bounds=SizeBounds(
            min_pixels=read.bounds.min_pixels,
            max_pixels=read.bounds.max_pixels,
            max_aspect=read.bounds.max_aspect,
        ),
        sizes=SizeTable(tiers={tier: _sizes(file, tier, ratios) for tier, ratios in read.sizes.items()}),
        max_references=read.max_references,
        max_pictures_and_references=read.max_pictures_and_references,
        formats=tuple(format_.value for format_ in read.formats),
    )
    _refuse_sizes_out_of_bounds(file, model)
    return model


def _sizes(file: Path, tier: str, ratios: Mapping[str, str]) -> dict[str, Size]:
    sizes = {}
    for ratio, text in ratios.items():
        size = parse_pixels(text)
        if parse_ratio(ratio) is None or size is None:
            hint = 'A line of a size table reads "16:9" = "2848x1600".'
            raise _bad(file, f"sizes.{tier}.{ratio}", f"cannot be {text!r}", hint)
        sizes[ratio] = size
    return sizes


def _refuse_sizes_out_of_bounds(file: Path, model: Model) -> None:
    for tier, ratios in model.sizes.tiers.items():
        for ratio, size in ratios.items():
            if not model.bounds.allows(size):
                hint = "Correct the size, or the bounds above it."
                raise _bad(file, f"sizes.{tier}.{ratio}", f"is {size}, outside the model's own bounds", hint)


def _listings(file: Path, models: Mapping[str, Model]) -> Listings:
    versions: dict[tuple[str, int], Listing] = {}
    for position, read in enumerate(_decode(file, _Listings).listing):
        listing = _listing(file, f"listing[{position}]", read, models)
        if (listing.id, listing.version) in versions:
            hint = "A changed offer is a new entry with the next version."
            raise _bad(file, f"listing[{position}]", f"repeats version {read.version} of {read.name!r}", hint)
        versions[listing.id, listing.version] = listing
    return Listings(newest=_newest(versions.values()), versions=versions)


def _listing(file: Path, key: str, read: _Listing, models: Mapping[str, Model]) -> Listing:
    if read.model not in models:
        raise _bad(file, f"{key}.model", f"names no model: {read.model!r}", f"Known are: {', '.join(sorted(models))}.")
    try:
        price = micros(read.price)
    except ValueError as error:
        raise _bad(file, f"{key}.price", f"is wrong: {error}", 'Write dollars as text: price = "0.035".') from None
    return Listing(
        id=f"{file.parent.name}/{read.name}",
        version=read.version,
        vendor=file.parent.name,
        name=read.name,
        model=models[read.model],
        unit_price_micros=price,
        enabled=read.enabled,
        typical_s=_typical(file, key, read.terms),
        terms=read.terms,
    )


def _typical(file: Path, key: str, terms: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    try:
        spoken = msgspec.convert(terms, _Spoken)
    except msgspec.ValidationError as error:
        hint = "A line of it reads 2K = { typical_s = [25, 35] }; a vendor may write more into it."
        raise _bad(file, f"{key}.terms.polling", f"is wrong: {error}", hint) from None
    return {tier: polling.typical_s for tier, polling in spoken.polling.items()}


def _newest(listings: Iterable[Listing]) -> dict[str, Listing]:
    return {listing.name: listing for listing in sorted(listings, key=lambda listing: listing.version)}


def _decode(file: Path, kind: type[_Struct]) -> _Struct:
    """The file as a struct; the decoder's own path becomes the key of the error."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        raise _bad(
            file, path.strip("`.") or "the file", f"is wrong: {what}", "Compare it with a shipped one."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad(file, "the file", f"is not TOML: {error}", "Check the quotes and brackets near there.") from None
    except OSError as error:
        raise _bad(file, "the file", f"cannot be read: {error.strerror}", "Check its owner and permissions.") from None


def _bad(file: Path, key: str, what: str, hint: str) -> BadSettings:
    return BadSettings(f"{file}: {key} {what}", hint=hint)
