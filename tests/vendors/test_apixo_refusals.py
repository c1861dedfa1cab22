"""What is wrong with a submit is told by its field, whatever it is: never a 500, and never obeyed in part."""

import json

import pytest
from apixo_samples import MODELS, image_to_image, submit, text_to_image
from hypothesis import given, settings
from hypothesis import strategies as st

from seedgate.dialect import Submission
from seedgate.domain.errors import CallerError, InvalidRequest

BAD_DOCUMENTS = {
    "empty": b"",
    "blank": b"  ",
    "cut": b'{"input":{"mode":',
    "single quotes": b"{'input':{}}",
    "trailing comma": b'{"input":{},}',
    "two documents": b'{"input":{}}{"input":{}}',
    "byte order mark": b'\xef\xbb\xbf{"input":{}}',
    "utf-16": '{"input":{}}'.encode("utf-16"),
    "broken utf-8": b'{"input":{"prompt":"\xff"}}',
    "lone surrogate": b'{"input":{"prompt":"\\ud800"}}',
    "nul": b'{"input":{"prompt":"a\\u0000b"}}',
    "nul in a name": b'{"a\\u0000":1}',
    "bare control character": b'{"input":{"prompt":"a\nb"}}',
    "duplicate at the top": b'{"input":{},"input":{}}',
    "duplicate inside": b'{"input":{"prompt":"a","prompt":"b"}}',
    "duplicate, escaped": b'{"input":{"prompt":"a","pro\\u006dpt":"b"}}',
    "duplicate beside an escaped colon": b'{"a":"\\u003a","a":1}',
    "duplicate in an unknown field": b'{"x":[{"a":1,"a":2}],"input":{}}',
    "nan": b'{"input":{"max_images":NaN}}',
    "infinity": b'{"input":{"max_images":Infinity}}',
    "out of range": b'{"input":{"max_images":1e999}}',
    "5,000 digits": b'{"input":{"max_images":' + b"1" * 5_000 + b"}}",
    "5,000 digits unknown": b'{"x":-' + b"9" * 5_000 + b"}",
    "33 levels": b'{"x":' + b"[" * 32 + b"]" * 32 + b"}",
    "100,000 arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "array": b"[]",
    "string": b'"input"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
}


# A malformed document would be accepted in part, or answered with a 500.
@pytest.mark.parametrize("body", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS.keys())
def test_bad_documents(body):
    with pytest.raises(InvalidRequest) as caught:
        submit(body)
    assert caught.value.message


# Plausible at first sight, but nothing that could ever be fetched or called.
NO_ADDRESS = ["https://example.com/" + "x" * 2_029, "https://example.com/" + "ü" * 1_020, "https://user:pw@example.com/", "https://user@example.com/1.png", "https://example.com?@host/", "https://example.com/\x7f", "https://example.com/\u202e1.png", "https://example.com/a\\b", "https://example.com/\u3000", "http://[:::::]/x", "http://a\u2100b.example/x", "http://\uff41.example/", "http://a..example/", "http://-a.example/", "http://1.2.3/", "http://" + "a" * 64 + ".example/", "http://" + "ü" * 63 + ".example/", "http://" + "a." * 127 + "example/", "https://example.com:0/", "https://example.com:65536/", "https://exa%6dple.com/"]  # fmt: skip
BAD_FIELDS = [
    *((("request_type"), value) for value in ("sync", "", "ASYNC", 1, True, [], {})),
    *((("provider"), value) for value in ("fast", "", "AUTO", 0, False, ["auto"])),
    *((("callback_url"), value) for value in (5, True, [], {})),
    *((("webhook"), value) for value in (5, {})),
    *((("input"), value) for value in ("text", 1, True, [], [{}])),
    *((("input.mode"), value) for value in ("image", "", "TEXT-TO-IMAGE", 1, True, {}, ["text-to-image"])),
    *((("input.prompt"), value) for value in ("", " ", "\n\t\u3000\u00a0", "x" * 5_001, "é" * 5_001, "e\u0301" * 5_001, "\u0958" * 2_501, "a" + "\u0301" * 5_000, "é" * 1_000_000, 5, 1.5, True, [], {})),
    *((("input.max_images"), value) for value in (0, -1, 11, 2**31, 2**63, 2**64 - 1, -(2**63), 1.0, 2.5, 1e3, "1", "", True, False, [], [1], {})),
    *((("input.resolution"), value) for value in ("4K", "1K", "", "2 K", "2048x2048", "２K", 2, True, [])),
    *((("input.aspect_ratio"), value) for value in ("16:10", "", "16/9", "auto", "0:0", 1.5, True, [])),
    *((("input.size"), value) for value in ("4K", "", "1500x1500", "1x1", "99999x99999", "100000x100000", "4097x4097", "16384x225", "1920x1919", "0x0", "-1x5", "2048 x 2048", "2048×2048", "٢٠٤٨x٢٠٤٨", "2048x2048x1", "x", 2048, True, [], {})),
    *((("input.sequential_image_generation"), value) for value in ("on", "", "AUTO", True, 1)),
    *((("input.web_search"), value) for value in ("true", "", 1, 0, [], {})),
    *((("input.output_format"), value) for value in ("webp", "jpg", "", "PNG", 1, True, [])),
    *((("input.prompt_optimize_mode"), value) for value in ("fast", "", True, 0)),
    *((("input.image_urls"), value) for value in ("https://example.com/1.png", 5, True, {}, [], ["https://example.com/1.png"] * 15, ["https://example.com/1.png"] * 10_000)),
    *((("input.image_urls[1]"), ["https://example.com/1.png", value]) for value in (5, None, True, [], {}, "", " ", "example.com/1.png", "//example.com/1.png", "ftp://example.com/1.png", "file:///etc/passwd", "javascript:alert(1)", "sha256:" + "0" * 64, "https://", "https:///1.png", "https://...", "https://a b/1.png", "https://example.com/1 .png", "https://example.com\\1.png", "https://example.com:port/", "https://[::1/", "https://exa\x01mple.com/", "https://example.com/\r\nHost: a", "https://example.com/" + "x" * 8_192, *NO_ADDRESS)),
]  # fmt: skip


# A wrong value would be obeyed, answered without naming its field, or answered with a 500.
@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=[f"{n:03d} {field} {value!r:.24}".encode("unicode_escape").decode() for n, (field, value) in enumerate(BAD_FIELDS)])  # fmt: skip
def test_bad_values_name_their_field(field, value):
    body = image_to_image()
    name = field.partition("[")[0]
    if name.startswith("input."):
        body["input"][name.removeprefix("input.")] = value
    else:
        body[name] = value
    with pytest.raises(InvalidRequest) as caught:
        submit(body)
    assert caught.value.param == field
    assert field in caught.value.message
    assert len(caught.value.message) < 300


# The sentence is what a caller acts on: it names the field and what is allowed.
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_images": 11}, "input.max_images must be an integer from 1 to 10"),
        ({"mode": "image-to-image", "image_urls": [1]}, "input.image_urls[0] must be an http, https or data URL"),
        ({"mode": "image-to-image", "image_urls": ["x"]}, "input.image_urls[0] must be an http, https or data URL"),
        ({"mode": "image-to-image", "image_urls": 1}, "input.image_urls must be an array of 1 to 14 URLs"),
        (
            {"mode": "image-to-image", "image_urls": ["https://a@b.example/"]},
            "input.image_urls[0] must be an http or https URL of at most 2,048 bytes, with a valid host and no user name, spaces or backslashes",
        ),
        ({"resolution": "4K"}, "input.resolution must be 2K or 3K"),
        ({"aspect_ratio": "5:4"}, "input.aspect_ratio must be 1:1, 4:3, 3:4, 16:9, 9:16, 3:2, 2:3 or 21:9"),
        ({"prompt": " "}, "input.prompt must be a text of 1 to 5,000 characters"),
        (
            {"size": "1500x1500"},
            "input.size must be 2K, 3K or pixels such as 2048x2048, with 3,686,400 to 16,777,216 pixels and an aspect ratio from 1:16 to 16:1",
        ),
    ],
    ids=str,
)
def test_messages(fields, message):
    with pytest.raises(InvalidRequest) as caught:
        submit(text_to_image(**fields))
    assert caught.value.message == message


# A missing field would fall to a default that the vendor does not have.
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": {}}, "input.mode"),
        (text_to_image(mode=None), "input.mode"),
        (text_to_image(prompt=None), "input.prompt"),
        (image_to_image(image_urls=None), "input.image_urls"),
        (text_to_image() | {"request_type": "callback"}, "callback_url"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("model", MODELS)
def test_missing_fields_are_named(body, field, model):
    with pytest.raises(InvalidRequest, match="is required") as caught:
        submit(body, model)
    assert caught.value.param == field


# A callback would be promised to something that is no address.
@pytest.mark.parametrize("url", ["", "https://...", "example.com", "ftp://example.com", "https://" + "a" * 2_048, "http://", *NO_ADDRESS], ids=lambda url: url[:24])  # fmt: skip
@pytest.mark.parametrize("field", ["callback_url", "webhook"])
def test_a_callback_needs_a_url(field, url):
    with pytest.raises(InvalidRequest) as caught:
        submit(text_to_image() | {"request_type": "callback", field: url})
    assert caught.value.param == field


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["mode", "prompt", "max_images", "image_urls", "resolution", "aspect_ratio", "size", "sequential_image_generation", "web_search", "output_format", "prompt_optimize_mode", "other"]  # fmt: skip
PLAUSIBLE = st.sampled_from(["text-to-image", "image-to-image", "2K", "3k", "4K", "16:9", "2048*2048", "auto", "disabled", "standard", "png", "https://example.com/1.png", "data:,x", 1, 10, True, ["https://example.com/1.png"], ["data:,x"] * 14])  # fmt: skip


def outcome(body, model):
    """What parsing came to; anything else than a submission or an error of the caller's fails the test."""
    try:
        submission = submit(body, model, store=lambda url: "sha256:" + "0" * 64)
    except CallerError as error:
        return error
    assert isinstance(submission, Submission)
    assert 1 <= submission.image.pictures <= 10
    assert submission.image.size is None or submission.listing.model.bounds.allows(submission.image.size)
    return submission


# Some value in some field would be answered with a 500.
@settings(max_examples=400, deadline=None)
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), PLAUSIBLE | ANY_JSON, max_size=5),
    top=st.dictionaries(st.sampled_from(["request_type", "callback_url", "webhook", "provider", "input", "other"]), PLAUSIBLE | ANY_JSON, max_size=2),
    model=st.sampled_from(MODELS),
)  # fmt: skip
def test_any_value_in_any_field(fields, top, model):
    body = image_to_image()
    body["input"] |= fields
    outcome(body | top, model)


# Some bytes would be answered with a 500.
@settings(max_examples=400, deadline=None)
@given(body=st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(body):
    outcome(body, "seedream-5-0")
    outcome(memoryview(body), "seedream-4-5")
