"""Images that come inside a request, as data URLs."""

import base64
import hashlib
import re

from seedgate.domain.reference import LOCAL_PREFIX, MAX_IMAGE_BYTES, ReferenceFault, ReferenceRefused
from seedgate.intake.shelf import Shelf

# Media types are short; the bound keeps the search off the megabytes that follow.
MAX_HEADER_CHARS = 200
MAX_TEXT_CHARS = MAX_HEADER_CHARS + 4 * -(-MAX_IMAGE_BYTES // 3)
_HEADER = re.compile(r"data:image/[a-z0-9][a-z0-9.+-]*(?:;[a-z0-9-]+=[a-z0-9.+-]+)*;base64,", re.IGNORECASE | re.ASCII)


def is_data_url(text: str) -> bool:
    """Whether the reference claims to hold its image itself."""
    return text[:5].lower() == "data:"


def store_data_url(text: str, shelf: Shelf, *, index: int = 0) -> str:
    """Put the image's bytes on the shelf, unseen, and give `sha256:<hex>` to stand where the URL stood.

    Blocks: call it in a thread. Raises `ReferenceRefused` for another media type, anything but strict base64, or too
    many bytes. Whether the bytes are an image is for the gate to say.
    """
    content = _content(text, index)
    with shelf.desk() as desk:
        made = desk / "original"
        made.write_bytes(content)
        return LOCAL_PREFIX + shelf.put(made)


def name_data_url(text: str, *, index: int = 0) -> str:
    """What `store_data_url` would give, with nothing stored. Raises as it does."""
    return LOCAL_PREFIX + hashlib.sha256(_content(text, index)).hexdigest()


def _content(text: str, index: int) -> bytes:
    if len(text) > MAX_TEXT_CHARS:
        raise ReferenceRefused(ReferenceFault.TOO_LARGE, index=index)
    header = _HEADER.match(text[:MAX_HEADER_CHARS])
    if header is None:
        raise ReferenceRefused(ReferenceFault.FORMAT, index=index)
    content = _decoded(text[header.end() :])
    if not content:
        raise ReferenceRefused(ReferenceFault.FORMAT, index=index)
    if len(content) > MAX_IMAGE_BYTES:
        raise ReferenceRefused(ReferenceFault.TOO_LARGE, index=index)
    return content


def _decoded(text: str) -> bytes:
    """The bytes, or none where the text is not exactly their base64."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    # Versions of Python differ in how much padding they forgive; encoding again forgives nothing.
    return content if base64.b64encode(content).decode() == text else b""
