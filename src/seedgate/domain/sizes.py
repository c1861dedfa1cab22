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
    drawn at the widest allowed one.
    """
    ratio = min(max(width / height, 1 / bounds.max_aspect), float(bounds.max_aspect))
    area = min(max(like.pixels, bounds.min_pixels), bounds.max_pixels)
    best = _step(area**0.5 * ratio**0.5), _step(area**0.5 / ratio**0.5)
    return _nudge(best[0], best[1], bounds)


def _step(side: float) -> int:
    return max(STEP, round(side / STEP) * STEP)


def _nudge(width: int, height: int, bounds: SizeBounds) -> Size:
    """Move single steps until the rounded sides keep the bounds; a few steps always suffice (property-tested)."""
    size = Size(width=width, height=height)
    for _ in range(64):
        if bounds.allows(size):
            return size
        long_is_width = size.width >= size.height
        too_long = max(size.width, size.height) > min(size.width, size.height) * bounds.max_aspect
        if too_long:
            grow, shrink = (0, -STEP) if size.pixels > bounds.min_pixels else (STEP, 0)
        elif size.pixels < bounds.min_pixels:
            grow, shrink = STEP, 0
        else:
            grow, shrink = 0, -STEP
        if long_is_width:
            size = Size(width=size.width + shrink, height=size.height + grow)
        else:
            size = Size(width=size.width + grow, height=size.height + shrink)
    return size
