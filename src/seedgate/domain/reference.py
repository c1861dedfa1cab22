"""Reference images: what is known of one that passed the gate, and why one did not."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from seedgate.domain.errors import CallerError

LOCAL_PREFIX = "sha256:"
"""Begins the name of an image that was sent with the request; `LOCAL_PREFIX` + digest stands where a URL would."""

MAX_IMAGE_BYTES = 10 * 2**20
MAX_STORED_BYTES = 10_000_000
"""Of an image that passed; what the upstreams take."""
MIN_SIDE = 15
MAX_PIXELS = 36_000_000
MAX_ASPECT = 16


class ReferenceFault(StrEnum):
    """Why a reference image was refused."""

    ADDRESS = "address"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"
    TOO_LARGE = "too_large"
    FORMAT = "format"
    DIMENSIONS = "dimensions"
    TIMED_OUT = "timed_out"

    @property
    def sentence(self) -> str:
        """For the caller; the same for a refused address as for one that nobody answers at."""
        match self:
            case ReferenceFault.ADDRESS | ReferenceFault.UNREACHABLE:
                return "host not allowed or not reachable"
            case ReferenceFault.BAD_ANSWER:
                return "the host did not answer with the image"
            case ReferenceFault.TOO_LARGE:
                return f"the image is larger than {MAX_IMAGE_BYTES // 2**20} MB"
            case ReferenceFault.FORMAT:
                return "not an intact JPEG, PNG, WebP or GIF image"
            case ReferenceFault.DIMENSIONS:
                return (
                    f"each side must exceed {MIN_SIDE - 1} pixels, one may be at most {MAX_ASPECT} times the other, "
                    f"and the image may hold at most {MAX_PIXELS // 1_000_000} megapixels"
                )
            case ReferenceFault.TIMED_OUT:
                return "the image took too long to arrive"
            case _:
                assert_never(self)


class ReferenceRefused(CallerError):
    """A reference image cannot be used."""

    code = "reference_refused"

    def __init__(self, reason: ReferenceFault, *, index: int = 0) -> None:
        super().__init__(f"reference image {index + 1}: {reason.sentence}")
        self.reason = reason
        self.index = index
        """Position among the request's references, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference image as it is stored: decoded once, turned upright, written anew without metadata."""

    sha256: str
    """Of the stored file; its name on the shelf."""
    format: str
    """`jpeg` or `png`."""
    width: int
    height: int
    size_bytes: int
    original_sha256: str
    """Of the bytes that arrived."""


def dimensions_fit(width: int, height: int) -> bool:
    """Whether an image of that size may be used at all."""
    small, large = sorted((width, height))
    return small >= MIN_SIDE and large <= small * MAX_ASPECT and width * height <= MAX_PIXELS
