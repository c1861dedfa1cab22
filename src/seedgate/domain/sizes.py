"""Sizes as vendors write them, and the rules a size must keep."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from seedgate.domain.image import Size

_PIXELS = re.compile(r"([1-9][0-9]{0,4})[xX*]([1-9][0-9]{0,4})")
_RATIO = re.compile(r"([1-9][0-9]?):([1-9][0-9]?)")
STEP = 16
"""Sides that we choose ourselves are multiples of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeBounds:
    """What a model can draw: area in pixels, and the longest side over the shortest."""

    min_pixels: int
    max_pixels: int
    max_aspect: int = 16

    def allows(self, size: Size) -> bool:
        """Whether the model draws exactly this size."""
        long, short = max(size.width, size.height), min(size.width, size.height)
        return self.min_pixels <= size.pixels <= self.max_pixels and long <= short * self.max_aspect


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeTable:
    """Tier → aspect ratio → size, as a model's page prints it."""

    tiers: Mapping[str, Mapping[str, Size]]

    def size(self, tier: str, ratio: str) -> Size:
        """The exact size; KeyError for a tier or ratio that the table has not."""
        return self.tiers[tier][ratio]


def parse_pixels(text: str) -> Size | None:
    """Read `2048x2048`, `2048X2048` or `2048*2048`; None for anything else."""
    match = _PIXELS.fullmatch(text)
    return Size(width=int(match[1]), height=int(match[2])) if match else None


def parse_ratio(text: str) -> tuple[int, int] | None:
    """Read `16:9`; None for anything else."""
    match = _RATIO.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def fit_ratio(*, like: Size, width: int, height: int, bounds: SizeBounds) -> Size:
    """A size of about the area of `like` with the ratio width:height, inside the bounds.

    For a request without aspect ratio: the first reference's ratio on the tier's square. Ratios beyond the bounds are
    drawn at the widest allowed one. `like` itself is the answer where no multiple of `STEP` keeps narrow bounds.
    """
    ratio = min(max(width / height, 1 / bounds.max_aspect), float(bounds.max_aspect))
    area = min(max(like.pixels, bounds.min_pixels), bounds.max_pixels)
    wide, high = (area * ratio) ** 0.5, (area / ratio) ** 0.5
    # A step of the short side is worth up to `max_aspect` steps of the long one, so each side also follows the other.
    near = [(x, y) for x in _steps(wide) for y in (*_steps(high), *_steps(x / ratio))]
    near += [(x, y) for y in _steps(high) for x in _steps(y * ratio)]
    return min(
        (size for x, y in near if bounds.allows(size := Size(width=x, height=y))),
        key=lambda size: abs(size.width / wide - 1) + abs(size.height / high - 1),
        default=like,
    )


def _steps(side: float) -> range:
    """The multiples of `STEP` next to a side, two below and two above."""
    below = int(side) // STEP * STEP
    return range(max(STEP, below - STEP), below + 2 * STEP + 1, STEP)
