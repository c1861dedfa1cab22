"""URLs in a submit: callbacks, reference pictures, and pictures inside the request."""

import pytest
from apixo_samples import image_to_image, no_store, submit, text_to_image
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seedgate.domain.addresses import parse_url
from seedgate.domain.errors import InvalidRequest
from seedgate.domain.reference import ReferenceFault, ReferenceRefused
from seedgate.vendors.apixo.urls import is_address


# Pictures inside a request would be lost, stored under the wrong name, or stored for a refused request.
def test_data_urls_are_stored():
    stored = []

    def store(url):
        stored.append(url)
        return "sha256:" + "0" * 64

    urls = ["https://example.com/1.png", "data:image/png;base64,AAAA", "DATA:image/png;base64,BBBB"]
    assert submit(image_to_image(image_urls=urls), store=store).image.references == (
        urls[0],
        "sha256:" + "0" * 64,
        "sha256:" + "0" * 64,
    )
    assert stored == urls[1:]
    with pytest.raises(InvalidRequest):
        submit(image_to_image(image_urls=[*urls, "nonsense"]), store=no_store)


# The caller would not learn which of fourteen pictures is broken.
def test_a_refused_data_url_names_its_place():
    def store(url):
        raise InvalidRequest("is not base64")

    urls = ["https://example.com/1.png"] * 3 + ["data:image/png;base64,!"]
    with pytest.raises(InvalidRequest, match=r"input\.image_urls\[3\]: is not base64") as caught:
        submit(image_to_image(image_urls=urls), store=store)
    assert caught.value.param == "input.image_urls[3]"


# The place that the keeper of pictures tells is not the place in the request, and names no field.
@pytest.mark.parametrize("fault", [ReferenceFault.FORMAT, ReferenceFault.TOO_LARGE])
def test_a_refused_reference_names_its_place(fault):
    def store(url):
        raise ReferenceRefused(fault)

    urls = ["https://example.com/1.png"] * 2 + ["data:image/png;base64,!"]
    with pytest.raises(InvalidRequest) as caught:
        submit(image_to_image(image_urls=urls), store=store)
    assert caught.value.message == f"input.image_urls[2]: {fault.sentence}"
    assert caught.value.param == "input.image_urls[2]"


# Pictures of requests that were never accepted would fill the disk.
@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": " "},
        {"max_images": 11},
        {"size": "1x1"},
        {"aspect_ratio": "5:4"},
        {"output_format": "bmp"},
        {"image_urls": ["data:image/png;base64,AAAA", "https://user:pw@example.com/"]},
        {"image_urls": ["data:image/png;base64,AAAA", "ftp://example.com/"]},
        {"image_urls": ["data:image/png;base64,AAAA"] * 15},
        {"callback_url": "nowhere"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_nothing_is_stored_for_a_request_that_anything_else_refuses(wrong):
    body = image_to_image(image_urls=["data:image/png;base64,AAAA"]) | {"request_type": "callback"}
    body["callback_url"] = wrong.get("callback_url", "https://a.example/hook")
    body["input"] |= {name: value for name, value in wrong.items() if name != "callback_url"}
    with pytest.raises(InvalidRequest):
        submit(body, store=no_store)


# Addresses that work elsewhere would be refused here.
@pytest.mark.parametrize(
    "url",
    ["https://a.example", "http://127.0.0.1:8080/x", "https://[::1]:8443/", "HTTPS://A.EXAMPLE/?q=1#f", "https://a.example/@x?y@z", "https://a_b.example/", "https://a.example:8443", "https://例え.jp/", "https://l·l.example/", "https://a.example/" + "x" * 2_030, "https://bücher.example/ü", "https://a.example?x", "http://localhost:1/"],
)  # fmt: skip
def test_urls_that_are_plausible(url):
    assert submit(text_to_image() | {"request_type": "callback", "callback_url": url}).callback_url == url
    assert submit(image_to_image(image_urls=[url])).image.references == (url,)


# The short way for common URLs would let pass what the fetcher refuses later.
@settings(max_examples=1_000, deadline=None)
@given(rest=st.text(st.sampled_from("a1-_.:@/?#[]%\\ \x00é\u2100"), max_size=24))
@example(rest="a" * 63 + "." + "b" * 64)
@example(rest="a." * 125 + "abc/" + "x" * 500)
@example(rest="a." * 125 + "abcd/")
def test_every_url_that_passes_can_be_taken_apart(rest):
    for scheme in ("http://", "HTTPS://"):
        if is_address(scheme + rest):
            parse_url(scheme + rest, to_ascii=lambda host: host.encode("idna").decode())
