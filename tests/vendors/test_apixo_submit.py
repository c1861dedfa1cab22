"""A submit as APIXO's callers send it: every generation of the pages, and everything that is wrong."""

import json
import tomllib
from dataclasses import replace

import pytest
from apixo_samples import APIXO, LISTINGS, MODELS, image_to_image, samples, submit, text_to_image

from seedgate.catalogue.load import VENDORS, load
from seedgate.dialect import Intent
from seedgate.domain.change import Kind
from seedgate.domain.errors import BadSettings, InvalidRequest, UnknownModel
from seedgate.domain.image import OutputFormat, Route, Size
from seedgate.domain.sizes import SizeTable
from seedgate.vendors.apixo.dialect import build

REQUESTS = samples("request")
SIZES = [(model, tier, ratio) for model in MODELS for tier, table in load().models[model].sizes.tiers.items() for ratio in table]  # fmt: skip


def report(submission):
    return {change.field: change.kind for change in submission.changes}


def with_top(**members):
    return text_to_image() | members


# A caller whose code was copied from the vendor's page would be refused.
@pytest.mark.parametrize(("name", "sample"), REQUESTS, ids=[name for name, _ in REQUESTS])
def test_every_printed_body_is_accepted(name, sample):
    sent = sample["body"]["input"]
    submission = submit(sample["body"], sample["model"])
    image = submission.image
    assert submission.listing.name == sample["model"]
    assert (image.prompt, image.pictures, image.tier) == (sent["prompt"], sent["max_images"], sent["resolution"])
    assert image.sequential is (sent.get("sequential_image_generation") == "auto")
    assert image.output_format == sent.get("output_format", "jpeg")
    assert image.web_search is sent.get("web_search", False)
    assert image.route == sample["body"].get("provider", "auto")
    assert image.references == (tuple(sent["image_urls"]) if sent["mode"] == "image-to-image" else ())
    assert (submission.callback_url is not None) is (sample["body"]["request_type"] == "callback")


# Pictures would come in another size than the vendor's table promises.
@pytest.mark.parametrize(("model", "tier", "ratio"), SIZES, ids=lambda value: str(value))
def test_resolution_and_ratio_give_the_printed_size(model, tier, ratio):
    image = submit(text_to_image(resolution=tier, aspect_ratio=ratio), model).image
    assert (image.tier, image.size) == (tier, load().models[model].sizes.size(tier, ratio))


# A table with a gap would end in a 500.
def test_a_ratio_that_only_another_tier_has():
    newest = LISTINGS.newest["seedream-5-0"]
    tiers = newest.model.sizes.tiers
    gap = SizeTable(tiers=tiers | {"3K": {"1:1": tiers["3K"]["1:1"]}})
    listing = replace(newest, model=replace(newest.model, sizes=gap))
    dialect = build(
        replace(LISTINGS, newest={listing.name: listing}, versions={(listing.id, listing.version): listing})
    )
    assert submit(text_to_image(resolution="2K"), dialect=dialect).image.size
    with pytest.raises(InvalidRequest, match=r"input\.aspect_ratio"):
        submit(text_to_image(resolution="3K"), dialect=dialect)


# Without a ratio a size would be forced on the model that the caller did not ask for.
def test_no_ratio_leaves_the_size_open():
    submission = submit(text_to_image(aspect_ratio=None, resolution=None))
    assert (submission.image.tier, submission.image.size) == ("2K", None)
    assert report(submission) == {
        "input.resolution": Kind.DEFAULTED,
        "input.output_format": Kind.DEFAULTED,
    }


# The newest pages' quickstart leaves out request_type and provider.
def test_the_newest_quickstart():
    body = {
        "input": {
            "mode": "text-to-image",
            "prompt": "a fox",
            "max_images": 1,
            "resolution": "2K",
            "aspect_ratio": "1:1",
            "output_format": "png",
            "prompt_optimize_mode": "standard",
        }
    }
    image = submit(body).image
    assert (image.output_format, image.prompt_rewriting, image.route) == (OutputFormat.PNG, "standard", Route.AUTO)


# A body without anything to change would still burden the caller with a report.
def test_nothing_is_reported_where_nothing_was_changed():
    assert submit(text_to_image(), "seedream-4-5").changes == ()


# Explicit sizes of the newest pages would be refused, or win and lose at random.
@pytest.mark.parametrize(
    ("fields", "tier", "size", "reported"),
    [
        ({"size": "2048x2048", "resolution": None, "aspect_ratio": None}, "2K", Size(width=2048, height=2048), {}),
        ({"size": "2048X2048", "resolution": None, "aspect_ratio": None}, "2K", Size(width=2048, height=2048), {"input.size": Kind.MAPPED}),
        ({"size": "2048*2048", "resolution": None, "aspect_ratio": None}, "2K", Size(width=2048, height=2048), {"input.size": Kind.MAPPED}),
        ({"size": "3000x3000"}, "3K", Size(width=3000, height=3000), {"input.resolution": Kind.IGNORED, "input.aspect_ratio": Kind.IGNORED}),
        ({"size": "4096x4096"}, "3K", Size(width=4096, height=4096), {"input.resolution": Kind.IGNORED, "input.aspect_ratio": Kind.IGNORED}),
        ({"size": "7680x480", "resolution": None, "aspect_ratio": None}, "2K", Size(width=7680, height=480), {}),
        ({"size": "3K", "resolution": None}, "3K", Size(width=4096, height=2304), {}),
        ({"size": "3K"}, "3K", Size(width=4096, height=2304), {"input.resolution": Kind.IGNORED}),
        ({"size": "2K"}, "2K", Size(width=2848, height=1600), {}),
        ({"size": "3k", "resolution": None, "aspect_ratio": None}, "3K", None, {"input.size": Kind.MAPPED}),
        ({"resolution": "3k"}, "3K", Size(width=4096, height=2304), {"input.resolution": Kind.MAPPED}),
    ],
    ids=lambda value: json.dumps(value, default=str) if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_explicit_sizes(fields, tier, size, reported):
    submission = submit(text_to_image(output_format="png", **fields))
    assert (submission.image.tier, submission.image.size) == (tier, size)
    assert report(submission) == reported


# Callers that write null for what they do not use would be refused.
def test_null_is_absent():
    body = text_to_image() | {"callback_url": None, "webhook": None, "provider": None, "source": None}
    body["input"] |= {"image_urls": None, "size": None, "web_search": None, "output_format": None, "seed": None}
    assert report(submit(body)) == {"input.output_format": Kind.DEFAULTED}


# An unknown field would break callers, or be swallowed without a word.
def test_unknown_fields_are_ignored_and_reported():
    body = text_to_image(output_format="jpeg", negative_prompt="rain", seed=7, deep={"a": [1]}) | {"source": "agent"}
    submission = submit(body)
    assert {change.field: (change.kind, change.given) for change in submission.changes} == {
        "source": (Kind.IGNORED, "agent"),
        "input.deep": (Kind.IGNORED, None),
        "input.negative_prompt": (Kind.IGNORED, "rain"),
        "input.seed": (Kind.IGNORED, 7),
    }


# A caller could make the report grow without a limit.
def test_the_report_of_unknown_fields_is_limited():
    body = text_to_image() | {f"field-{number}": "x" * 1_000 for number in range(1_000)}
    changes = submit(body, "seedream-4-5").changes
    assert len(changes) == 16
    assert all(len(change.given) <= 64 for change in changes)


# Fields of 5.0 sent to 4.5 would be obeyed, or break a caller that serves both models with one body.
@pytest.mark.parametrize("value", [True, "png", "official", "nonsense", 5, [], {}], ids=str)
def test_fields_that_the_model_has_not_are_ignored_whatever_they_hold(value):
    body = text_to_image(web_search=value, output_format=value) | {"provider": value}
    submission = submit(body, "seedream-4-5")
    assert (submission.image.web_search, submission.image.output_format) == (False, OutputFormat.JPEG)
    assert submission.image.route is Route.AUTO
    assert report(submission) == dict.fromkeys(("provider", "input.web_search", "input.output_format"), Kind.IGNORED)


# Routing by the body would stop working for 5.0.
@pytest.mark.parametrize("provider", ["auto", "value", "official"])
def test_provider_is_honoured_for_5_0(provider):
    assert submit(with_top(provider=provider)).image.route == provider


# The readings of max_images are disputed: 4.5 says required, 5.0 does not say it.
def test_max_images_may_be_absent_for_5_0_only():
    submission = submit(text_to_image(max_images=None))
    assert submission.image.pictures == 1
    assert report(submission)["input.max_images"] is Kind.DEFAULTED
    with pytest.raises(InvalidRequest, match=r"input\.max_images is required") as caught:
        submit(text_to_image(max_images=None), "seedream-4-5")
    assert caught.value.param == "input.max_images"


# The strict reading of 5.0 would be a switch that switches nothing.
def test_the_strict_switch_of_max_images():
    newest = LISTINGS.newest["seedream-5-0"]
    strict = replace(newest, terms={**newest.terms, "max_images_required": True})
    listings = replace(LISTINGS, newest={strict.name: strict}, versions={(strict.id, strict.version): strict})
    with pytest.raises(InvalidRequest):
        submit(text_to_image(max_images=None), dialect=build(listings))


# A series with many references would be refused upstream, or charged for pictures that cannot come.
@pytest.mark.parametrize(("asked", "references", "used"), [(10, 14, 1), (10, 6, 9), (2, 14, 1)])
def test_a_series_is_clamped_in_the_report_and_held_in_full(asked, references, used):
    urls = [f"https://example.com/{number}.png" for number in range(references)]
    body = image_to_image(max_images=asked, image_urls=urls, sequential_image_generation="auto")
    submission = submit(body, "seedream-4-5")
    assert submission.image.pictures == asked
    [change] = submission.changes
    assert (change.kind, change.field, change.given, change.used) == (Kind.CLAMPED, "input.max_images", asked, used)


# Pictures would be missing where nothing limits them: a series within the limit, and independent pictures.
@pytest.mark.parametrize(("mode", "references"), [("auto", 5), ("disabled", 14)])
def test_what_is_within_the_limit_is_not_clamped(mode, references):
    urls = [f"https://example.com/{number}.png" for number in range(references)]
    body = image_to_image(max_images=10, image_urls=urls, sequential_image_generation=mode)
    assert submit(body, "seedream-4-5").changes == ()


# The vendor's own sample sends both; refusing it, or obeying it, would surprise its callers.
def test_what_the_sample_sends_in_vain_is_reported():
    body = text_to_image(image_urls=["..."], output_format="jpeg") | {"callback_url": "https://..."}
    submission = submit(body)
    assert (submission.callback_url, submission.image.references) == (None, ())
    assert report(submission) == {"callback_url": Kind.IGNORED, "input.image_urls": Kind.IGNORED}


# Callers that write webhook for callback_url would never be called.
def test_webhook_is_an_alias():
    submission = submit(with_top(request_type="callback", webhook="https://a.example/hook"), "seedream-4-5")
    assert submission.callback_url == "https://a.example/hook"
    assert report(submission) == {"webhook": Kind.MAPPED}
    both = with_top(request_type="callback", webhook="https://a.example/", callback_url="https://b.example/")
    assert submit(both).callback_url == "https://b.example/"
    assert report(submit(both, "seedream-4-5")) == {"webhook": Kind.IGNORED}
    assert report(submit(with_top(webhook="https://a.example/"), "seedream-4-5")) == {"webhook": Kind.IGNORED}


# Prompts in some scripts would be counted wrongly, or changed on the way to the model.
@pytest.mark.parametrize(
    "prompt",
    [
        "a",
        "x" * 5_000,
        "é" * 5_000,
        "e\u0301" * 5_000,
        "각" * 5_000,
        "\u1100\u1161\u11a8" * 5_000,
        "🦊" * 5_000,
        "\u1f82" * 5_000,
        "\u03b1\u0313\u0300\u0345" * 5_000,
        "  a fox  ",
    ],
    ids=["one", "ascii", "composed", "decomposed", "syllables", "jamo", "emoji", "greek", "greek-decomposed", "blanks"],
)
def test_prompts_of_up_to_5000_characters_are_kept_as_sent(prompt):
    assert submit(text_to_image(prompt=prompt)).image.prompt == prompt


# Somebody else's charset or capitals in a header would be refused.
@pytest.mark.parametrize(
    "value",
    [b"application/json", b"application/json; charset=utf-8", b"Application/JSON;charset=UTF-8", b"application/vnd.api+json", b" application/json ", b'application/json; charset="UTF-8"', b"application/json; Charset = utf-8 ; q=1", b'application/json; note="; charset=utf-16"', b"application/json;", b"application/json; charset-x=utf-16"],
    ids=lambda value: value.decode(),
)  # fmt: skip
def test_content_types_that_are_json(value):
    assert submit(text_to_image(), headers={b"content-type": value})


# A form or a text would be read as JSON, which browsers may send across sites without asking.
@pytest.mark.parametrize(
    "headers",
    [{}] + [{b"content-type": value} for value in (b"", b"text/plain", b"application/x-www-form-urlencoded", b"json", b"+json", b"/+json", b"/x+json", b"a b/x+json", b"application/json; charset=utf-16", b"application/json;CHARSET=latin1", b'application/json; charset="utf-16"', b"application/json; charset=", b"application/json; charset=utf-8; charset=utf-16", b'application/json; note="a"; charset=utf-32', b"multipart/form-data; boundary=application/json", b"application/jsonp", b"\xff\xfe")],
    ids=lambda headers: repr(headers.get(b"content-type")),
)  # fmt: skip
def test_content_types_that_are_not(headers):
    with pytest.raises(InvalidRequest) as caught:
        submit(text_to_image(), headers=headers)
    assert caught.value.param == "Content-Type"


# An unknown model would be served by another one.
@pytest.mark.parametrize("model", ["seedream-6-0", "", "SEEDREAM-5-0", "apixo/seedream-5-0", "x" * 10_000, "\udc80"], ids=lambda model: ascii(model[:20]))  # fmt: skip
def test_unknown_models(model):
    with pytest.raises(UnknownModel) as caught:
        submit(text_to_image(), model)
    assert len(caught.value.message) < 500


# A listing that an operator switched off would go on selling.
def test_a_listing_that_is_switched_off_answers_like_an_unknown_one():
    off = replace(LISTINGS.newest["seedream-5-0"], enabled=False)
    listings = replace(LISTINGS, newest={off.name: off}, versions={(off.id, off.version): off})
    with pytest.raises(UnknownModel):
        submit(text_to_image(), dialect=build(listings))


# A base URL with or without /api/v1 would stop working.
def test_routes():
    assert {(route.method, route.path, route.intent) for route in APIXO.routes} == {
        (method, base + path, intent)
        for base in ("", "/api/v1")
        for method, path, intent in (
            ("POST", "/generateTask/{model}", Intent.SUBMIT),
            ("GET", "/statusTask/{model}", Intent.STATUS),
            ("DELETE", "/statusTask/{model}", Intent.CANCEL),
            ("GET", "/apikeys/current-balance", Intent.BALANCE),
        )
    }
    assert all(route.carries_images is (route.intent is Intent.SUBMIT) for route in APIXO.routes)


# Somebody's key would not be found, or a wrong scheme taken for a key.
@pytest.mark.parametrize(
    ("header", "key"),
    [(b"Bearer sg_dev_1", "sg_dev_1"), (b"bearer  sg_dev_1 ", "sg_dev_1"), (b"Bearer", None), (b"Bearer ", None), (b"Basic abc", None), (b"sg_dev_1", None), (b"", None), (b"Bearer \xff", "\xff")],
    ids=repr,
)  # fmt: skip
def test_the_credential(header, key):
    assert APIXO.credential({b"authorization": header}) == key
    assert APIXO.credential({}) is None


# A listing with a gap in its terms would only fail when a task fails.
@pytest.mark.parametrize("change", [{"failures": {}}, {"default_resolution": "9K"}, {"polling": {}}, {"insufficient_balance": 500}, {"surprise": 1}, {"fields": ["seed"]}], ids=str)  # fmt: skip
def test_wrong_terms_are_refused_at_start(change):
    newest = LISTINGS.newest["seedream-5-0"]
    broken = replace(newest, terms={**newest.terms, **change})
    listings = replace(LISTINGS, newest={broken.name: broken}, versions={(broken.id, broken.version): broken})
    with pytest.raises(BadSettings, match=r"apixo/seedream-5-0, version 1") as caught:
        build(listings)
    assert caught.value.hint


# The file that decides disputed readings would lose its prices or versions unnoticed.
def test_the_shipped_listings():
    with (VENDORS / "apixo" / "listings.toml").open("rb") as file:
        raw = tomllib.load(file)["listing"]
    assert {(entry["name"], entry["price"]) for entry in raw} == {(name, "0.035") for name in MODELS}
    assert {listing.unit_price_micros for listing in LISTINGS.newest.values()} == {35_000}
    assert {entry["terms"]["result_days"] for entry in raw} == {15}
