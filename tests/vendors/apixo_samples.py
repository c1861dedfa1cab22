"""The samples printed on the vendor's pages, and a dialect over the shipped catalogue."""

import json
from pathlib import Path

from seedgate.catalogue.load import load
from seedgate.dialect import Incoming, Intent
from seedgate.vendors.apixo.dialect import build

FOLDER = Path(__file__).parent.parent / "fixtures" / "apixo"
LISTINGS = load().listings["apixo"]
APIXO = build(LISTINGS)
JSON = {b"content-type": b"application/json"}
MODELS = ("seedream-5-0", "seedream-4-5")


def samples(kind):
    """(file name, content) of every sample of a kind, in a stable order."""
    every = ((file.name, json.loads(file.read_text())) for file in sorted(FOLDER.glob("*.json")))
    return [(name, sample) for name, sample in every if sample["kind"] == kind]


def route(intent):
    return next(route for route in APIXO.routes if route.intent is intent)


def submit(body, model="seedream-5-0", *, headers=JSON, store=None, dialect=APIXO):
    """Parse a body, given as bytes or as a value."""
    raw = body if isinstance(body, bytes | memoryview) else json.dumps(body).encode()
    incoming = Incoming(route=route(Intent.SUBMIT), last_segment=model, query="", headers=headers, body=raw)
    return dialect.parse(incoming, store or no_store)


def no_store(url):
    raise AssertionError(f"nothing was to be stored: {url[:40]}")


def question(query, model="seedream-5-0", intent=Intent.STATUS):
    return Incoming(route=route(intent), last_segment=model, query=query, headers={})


def text_to_image(**changed):
    """A body with which nothing is defaulted; None leaves a field out."""
    given = {
        "mode": "text-to-image",
        "prompt": "a fox in watercolor style",
        "max_images": 2,
        "resolution": "2K",
        "aspect_ratio": "16:9",
        "sequential_image_generation": "disabled",
    } | changed
    return {"request_type": "async", "input": {name: value for name, value in given.items() if value is not None}}


def image_to_image(**changed):
    return text_to_image(**({"mode": "image-to-image", "image_urls": ["https://example.com/1.png"]} | changed))
