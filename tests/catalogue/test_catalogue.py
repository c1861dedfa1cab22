"""The catalogue: what is shipped, and how a broken file is told."""

from dataclasses import replace

import pytest

from seedgate.catalogue.load import MODELS, VENDORS, load
from seedgate.domain.errors import BadSettings
from seedgate.domain.image import Size

RATIOS = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9"]
PRINTED = {
    "2K": "2048x2048 2304x1728 1728x2304 2848x1600 1600x2848 2496x1664 1664x2496 3136x1344",
    "3K": "3072x3072 3456x2592 2592x3456 4096x2304 2304x4096 3744x2496 2496x3744 4704x2016",
    "4K": "4096x4096 4704x3520 3520x4704 5504x3040 3040x5504 4992x3328 3328x4992 6240x2656",
}
LISTING = """
[[listing]]
name = "small"
version = 1
model = "tiny"
price = "0.01"
"""
MODEL = """
title = "Tiny"
max_references = 0
max_pictures_and_references = 1
formats = ["png"]
bounds = { min_pixels = 1, max_pixels = 100, max_aspect = 2 }
[sizes.1K]
"1:1" = "10x10"
"""


@pytest.fixture
def folders(tmp_path):
    """A small catalogue that a test can break."""
    models, vendors = tmp_path / "models", tmp_path / "vendors"
    models.mkdir()
    (vendors / "acme").mkdir(parents=True)
    (models / "tiny.toml").write_text(MODEL)
    (vendors / "acme" / "listings.toml").write_text(LISTING)
    return models, vendors


def loaded(folders):
    models, vendors = folders
    return load(models=models, vendors=vendors)


# Sizes would differ from the tables that the vendor's page prints.
@pytest.mark.parametrize(("model", "tiers"), [("seedream-5-0", ["2K", "3K"]), ("seedream-4-5", ["2K", "4K"])])
def test_the_shipped_size_tables(model, tiers):
    table = load().models[model].sizes.tiers
    assert {tier: {ratio: str(size) for ratio, size in sizes.items()} for tier, sizes in table.items()} == {
        tier: dict(zip(RATIOS, PRINTED[tier].split(), strict=True)) for tier in tiers
    }


# A model would be asked for what it cannot draw.
def test_the_shipped_models():
    models = load().models
    assert set(models) >= {"seedream-5-0", "seedream-4-5"}
    for model in (models["seedream-5-0"], models["seedream-4-5"]):
        bounds = model.bounds
        assert (bounds.min_pixels, bounds.max_pixels, bounds.max_aspect) == (3_686_400, 16_777_216, 16)
        assert (model.max_references, model.max_pictures_and_references) == (14, 15)
    assert models["seedream-5-0"].formats == ("jpeg", "png")
    assert models["seedream-4-5"].formats == ("jpeg",)


# A folder that is there would be forgotten, which is how a vendor is added.
def test_every_vendor_with_listings_is_found():
    catalogue = load()
    assert set(catalogue.listings) == {file.parent.name for file in VENDORS.glob("*/listings.toml")}
    assert set(catalogue.models) == {file.stem for file in MODELS.glob("*.toml")}
    for vendor, listings in catalogue.listings.items():
        for (id_, version), listing in listings.versions.items():
            assert (listing.id, listing.version, listing.vendor) == (id_, version, vendor)
            assert listing.id == f"{vendor}/{listing.name}"


# An old task would be sold under the newest price, or a new one under an old price.
def test_the_newest_version_is_offered_and_every_version_kept(folders):
    file = folders[1] / "acme" / "listings.toml"
    newer = LISTING.replace("version = 1", "version = 2").replace("0.01", "0.02")
    file.write_text(newer + LISTING)
    listings = loaded(folders).listings["acme"]
    assert listings.newest["small"].unit_price_micros == 20_000
    assert {key: listing.unit_price_micros for key, listing in listings.versions.items()} == {
        ("acme/small", 1): 10_000,
        ("acme/small", 2): 20_000,
    }


# Tests and installations with folders of their own would read the shipped ones.
def test_it_is_a_function_of_its_folders(folders):
    catalogue = loaded(folders)
    assert list(catalogue.models) == ["tiny"]
    assert list(catalogue.listings) == ["acme"]
    model = catalogue.models["tiny"]
    assert (model.id, model.title, model.sizes.size("1K", "1:1")) == ("tiny", "Tiny", Size(width=10, height=10))
    assert loaded(folders) == catalogue
    assert replace(catalogue.listings["acme"].newest["small"], enabled=False).terms == {}


BROKEN_LISTINGS = {
    "no TOML": ("[[listing", "the file"),
    "no list": ("listing = 1", "listing"),
    "nothing": ("", "the file"),
    "unknown key": (LISTING + "colour = 1", "listing[0]"),
    "missing key": (LISTING.replace('price = "0.01"', ""), "listing[0]"),
    "price as a number": (LISTING.replace('"0.01"', "0.01"), "listing[0].price"),
    "price with a slip": (LISTING.replace("0.01", "0.0x1"), "listing[0].price"),
    "negative price": (LISTING.replace("0.01", "-1"), "listing[0].price"),
    "version zero": (LISTING.replace("version = 1", "version = 0"), "listing[0].version"),
    "no such model": (LISTING.replace('"tiny"', '"huge"'), "listing[0].model"),
    "no name": (LISTING.replace('"small"', '""'), "listing[0].name"),
    "duplicate": (LISTING * 2, "listing[1]"),
    "no text": (b"\xff", "the file"),
}
BROKEN_MODELS = {
    "no TOML": ("title = ", "the file"),
    "unknown key": ("colour = 1\n" + MODEL, "the file"),
    "missing key": (MODEL.replace('title = "Tiny"', ""), "the file"),
    "crossed bounds": (MODEL.replace("min_pixels = 1,", "min_pixels = 101,"), "bounds.min_pixels"),
    "no size": (MODEL.replace("10x10", "ten"), "sizes.1K.1:1"),
    "no ratio": (MODEL.replace("1:1", "square"), "sizes.1K.square"),
    "size out of bounds": (MODEL.replace("10x10", "11x11"), "sizes.1K.1:1"),
    "unknown format": (MODEL.replace("png", "gif"), "formats[0]"),
    "no format": (MODEL.replace('"png"', ""), "formats"),
    "number as a text": (MODEL.replace("max_references = 0", 'max_references = "0"'), "max_references"),
}


# A slip in a file would end in a stack trace instead of a sentence that says where it is.
@pytest.mark.parametrize(("text", "key"), BROKEN_LISTINGS.values(), ids=BROKEN_LISTINGS.keys())
def test_broken_listings_are_told(folders, text, key):
    file = folders[1] / "acme" / "listings.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_told(folders, file, key)


# The same for a model.
@pytest.mark.parametrize(("text", "key"), BROKEN_MODELS.values(), ids=BROKEN_MODELS.keys())
def test_broken_models_are_told(folders, text, key):
    file = folders[0] / "tiny.toml"
    file.write_text(text)
    assert_told(folders, file, key)


# A file that cannot be read is told like a broken one.
def test_a_file_that_cannot_be_read(folders):
    file = folders[0] / "folder.toml"
    file.mkdir()
    assert_told(folders, file, "the file")


def assert_told(folders, file, key):
    with pytest.raises(BadSettings) as caught:
        loaded(folders)
    assert caught.value.message.startswith(f"{file}: {key} ")
    assert caught.value.hint
