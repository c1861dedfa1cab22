"""Ids, tokens and keys. Tests pass their own `Ids` built on a seeded source."""

import hashlib
import hmac
import re
import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"sg_(live|test|dev)_([0-9A-Za-z]{32})_([0-9A-Za-z]{6})")
FILE_NAME = re.compile(r"[0-9A-Za-z]{22}\.(jpg|png|webp)")
"""Name of a picture in an address: a token and the format's extension."""
KEY_LENGTH = 47
"""Longest key there is; anything longer is no key."""


class KeyKind(StrEnum):
    """What a key is for; live keys spend live money, the others play money."""

    LIVE = "live"
    TEST = "test"
    DEV = "dev"


def uuid7(*, unix_ms: int, entropy: bytes) -> UUID:
    """A UUIDv7 of RFC 9562: 48 bits of time, then 74 bits taken from ten random bytes."""
    tail = int.from_bytes(entropy, "big")
    high = (unix_ms << 16) | 0x7000 | ((tail >> 62) & 0x0FFF)
    low = 0x8000_0000_0000_0000 | (tail & 0x3FFF_FFFF_FFFF_FFFF)
    return UUID(int=(high << 64) | low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The source of everything that must be unique or unguessable."""

    entropy: Callable[[int], bytes] = secrets.token_bytes
    unix_ns: Callable[[], int] = time.time_ns

    def new(self) -> UUID:
        """A UUIDv7: unique, sorted by time, usable as a partition key."""
        return uuid7(unix_ms=self.unix_ns() // 1_000_000, entropy=self.entropy(10))

    def token(self) -> str:
        """131 random bits, safe in an address and in a file name."""
        return _base62(int.from_bytes(self.entropy(20), "big") % 62**22, 22)

    def api_key(self, kind: KeyKind) -> str:
        """A key of 190 random bits with a checksum, so that scanners and gateways can refuse garbage offline."""
        body = f"sg_{kind.value}_{_base62(int.from_bytes(self.entropy(32), 'big') % 62**32, 32)}"
        return f"{body}_{_checksum(body)}"


def well_formed_key(key: str) -> bool:
    """Whether the text has a key's form and checksum; false for garbage, without asking a database."""
    if len(key) > KEY_LENGTH:
        return False
    match = _KEY.fullmatch(key)
    return match is not None and hmac.compare_digest(_checksum(key[: match.end(2)]), match[3])


def key_prefix(key: str) -> str:
    """The part of a key that may be shown: kind and eight characters."""
    kind_end = key.index("_", 3) + 1
    return key[: kind_end + 8]


def key_digest(pepper: bytes, key: str) -> bytes:
    """What is stored of a key. A slow hash is not needed for 190 random bits; the pepper stays outside the database."""
    return hmac.digest(pepper, key.encode(), hashlib.sha256)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), 6)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
