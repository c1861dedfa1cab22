"""URLs in a submit: what can never be fetched or called is refused at once, not when the task runs.

Which hosts may be called is decided where they are called; here a URL must only be one.
"""

import re
import unicodedata

from seedgate.domain.addresses import MAX_URL_BYTES, parse_url
from seedgate.domain.errors import AddressRefused

ADDRESS_RULE = f"of at most {MAX_URL_BYTES:,} bytes, with a valid host and no user name, spaces or backslashes"

# What nearly everybody sends, and `parse_url` surely takes: a plain name without a port, then visible ASCII.
_PLAIN = re.compile(
    r"https?://(?![^/]{254})(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:/[!-\[\]-~]*)?",
    re.IGNORECASE | re.ASCII,
)
# Letters, digits and marks, and the punctuation that RFC 5892 allows in some places of an international name.
_NAME_CATEGORIES = frozenset("LMN")
_NAME_PUNCTUATION = frozenset("-_.\N{MIDDLE DOT}\u0375\u05f3\u05f4\N{KATAKANA MIDDLE DOT}")


def is_web_url(text: str) -> bool:
    """Whether the text claims to be an http or https URL."""
    return text[:8].lower().startswith(("http://", "https://"))


def is_data_url(text: str) -> bool:
    """Whether the text claims to hold its picture itself."""
    return text[:5].lower() == "data:"


def is_address(text: str) -> bool:
    """Whether the text is an http or https URL that can be taken apart in one way only."""
    if len(text) <= MAX_URL_BYTES and _PLAIN.fullmatch(text):
        return True
    try:
        parse_url(text, to_ascii=_roughly_ascii)
    except AddressRefused:
        return False
    return True


def _roughly_ascii(host: str) -> str:
    """A name as long as the one that will be looked up. Raises `ValueError` for what is certainly none.

    The full rules of international names apply where it is looked up; like them, this never folds a character.
    """
    if unicodedata.normalize("NFKC", host) != host or not all(_may_stand_in_name(char) for char in host):
        raise ValueError("not a host name")
    labels = (label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in host.split("."))
    return ".".join(labels)


def _may_stand_in_name(char: str) -> bool:
    return char in _NAME_PUNCTUATION or unicodedata.category(char)[0] in _NAME_CATEGORIES
