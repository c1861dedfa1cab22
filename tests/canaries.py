"""Words that must not come out, and a scanner that finds them in whatever form they do."""

import base64
import gzip
import secrets
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

_LETTERS = string.ascii_letters + string.digits


def token(length: int = 24) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def forms(text: str) -> set[bytes]:
    """The text as it is, escaped for addresses, in base64 wherever it begins there, and in hexadecimal digits."""
    raw = text.encode()
    found = {raw, quote(text, safe="").encode(), quote_plus(text).encode(), raw.hex().encode(), raw[::-1]}
    for shift in range(3):
        # What is certain of the text's base64 after `shift` bytes of something else, and before anything.
        encoded = base64.b64encode(b"\0" * shift + raw)[(8 * shift + 5) // 6 :]
        encoded = encoded[: (8 * (shift + len(raw))) // 6 - (8 * shift + 5) // 6]
        found |= {encoded, encoded.replace(b"+", b"-").replace(b"/", b"_")}
    return found


@dataclass
class Canaries:
    """What was planted, by slot, and where it may be found all the same."""

    planted: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def plant(self, slot: str, value: str | None = None, *, allowed: str = "") -> str:
        """A new word in a slot; `allowed` names the places, with spaces, where it belongs."""
        value = value or token()
        self.planted[slot] = (value, frozenset(allowed.split()))
        return value

    def found(self, place: str, content: bytes | str) -> list[str]:
        """The slots whose words came out in this place, though they may not."""
        content = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        seen = [content]
        if content[:2] == b"\x1f\x8b":
            seen.append(gzip.decompress(content))
        return [
            f"{slot} in {place}"
            for slot, (value, allowed) in self.planted.items()
            if place.split(maxsplit=1)[0] not in allowed and any(form in each for form in forms(value) for each in seen)
        ]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file below a folder."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), path.read_bytes() if path.is_file() else b""
