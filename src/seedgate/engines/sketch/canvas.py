"""A drawing in units of its own, and its way to pixels.

The short side measures 1,000 units. Every drawing is SVG that this package writes, without a word of the prompt in it;
libvips renders it tile by tile, because librsvg walks the whole tree for each of libvips' own small tiles.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyvips

from seedgate.engines.sketch.palette import Palette

pyvips.cache_set_max(0)
"""Nothing is drawn twice, so what libvips would remember only costs memory."""

SHORT_SIDE = 1000.0
MAX_ASPECT = 6.0
"""Beyond it the short side measures less, so that a ribbon does not cost more than a picture."""
TILE_PX = 1400
LATTICE = 256

Point = tuple[float, float]
Stop = tuple[float, str] | tuple[float, str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Where the picture is taken from; a series keeps its scene and moves this."""

    pan: float = 0.0
    """Sideways, in units at depth 1."""
    zoom: float = 1.0
    sun: float = 0.0
    """How far the sun has moved, as a share of the width."""


class Canvas:
    """Collects SVG from back to front."""

    def __init__(self, *, width_px: int, height_px: int, palette: Palette, camera: Camera, rng: random.Random) -> None:
        unit = max(min(width_px, height_px), max(width_px, height_px) / MAX_ASPECT) / SHORT_SIDE
        self.w, self.h = width_px / unit, height_px / unit
        self.size_px = (width_px, height_px)
        self.palette = palette
        self.camera = camera
        self.rng = rng
        self.key = rng.getrandbits(64)
        """What places along a layer are drawn from, wherever the camera is."""
        self.left, self.right = 0.0, self.w
        self._defs: list[str] = []
        self._body: list[str] = []

    @contextmanager
    def layer(self, depth: float) -> Iterator[None]:
        """What is drawn inside lies at that depth, 0 (the sky) to 1 (at hand), from `left` to `right`."""
        zoom, pan = 1 + (self.camera.zoom - 1) * depth, self.camera.pan * depth
        middle, foot = self.w / 2, self.h * 0.75
        self.left, self.right = pan + middle - middle / zoom - 20, pan + middle + middle / zoom + 20
        shift = f"translate({n(middle)} {n(foot)}) scale({zoom:.4f}) translate({n(-middle - pan)} {n(-foot)})"
        self._body.append(f'<g transform="{shift}">')
        yield
        self._body.append("</g>")
        self.left, self.right = 0.0, self.w

    def linear(self, *stops: Stop, start: Point = (0, 0), end: Point = (0, 1)) -> str:
        """A gradient along a line in the box of what it fills."""
        (x1, y1), (x2, y2) = start, end
        return self._gradient(f'linearGradient x1="{x1:.3f}" y1="{y1:.3f}" x2="{x2:.3f}" y2="{y2:.3f}"', stops)

    def radial(self, *stops: Stop, centre: Point = (0.5, 0.5), radius: float = 0.5) -> str:
        """A gradient around a point in the box of what it fills."""
        return self._gradient(f'radialGradient cx="{centre[0]:.3f}" cy="{centre[1]:.3f}" r="{radius:.3f}"', stops)

    def rect(self, x: float, y: float, w: float, h: float, fill: str, opacity: float = 1.0) -> None:
        self._add(f'rect x="{n(x)}" y="{n(y)}" width="{n(w)}" height="{n(h)}"', fill, opacity)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: str, opacity: float = 1.0) -> None:
        self._add(f'ellipse cx="{n(x)}" cy="{n(y)}" rx="{n(rx)}" ry="{n(ry)}"', fill, opacity)

    def path(self, d: str, fill: str, opacity: float = 1.0) -> None:
        self._add(f'path d="{d}"', fill, opacity)

    def stroke(self, d: str, colour: str, width: float, opacity: float = 1.0) -> None:
        line = f'stroke="{colour}" stroke-width="{width:.2f}" stroke-linecap="round" stroke-linejoin="round"'
        self._add(f'path d="{d}" {line}', "none", opacity)

    def ground(self, line: Callable[[float], float], fill: str, *, step: float = 24.0) -> None:
        """Fill below a skyline, across the layer and past the bottom."""
        count = max(2, math.ceil((self.right - self.left) / step))
        xs = [self.left + (self.right - self.left) * i / count for i in range(count + 1)]
        bottom = self.h * 1.4
        self.path(f"{smooth([(x, line(x)) for x in xs])}V{n(bottom)}H{n(self.left)}Z", fill)

    def render(self) -> pyvips.Image:
        """The picture, three bands."""
        width, height = self.size_px
        across, down = math.ceil(width / TILE_PX), math.ceil(height / TILE_PX)
        xs, ys = _cuts(width, across), _cuts(height, down)
        rows = []
        for top, bottom in pairwise(ys):
            row = [self._tile(left, top, right, bottom) for left, right in pairwise(xs)]
            rows.append(_joined(row, "horizontal"))
        return _joined(rows, "vertical").copy_memory()

    def _tile(self, left: int, top: int, right: int, bottom: int) -> pyvips.Image:
        per_px = self.w / self.size_px[0]
        box = " ".join(f"{part * per_px:.4f}" for part in (left, top, right - left, bottom - top))
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{right - left}" height="{bottom - top}" viewBox="{box}" '
            f'preserveAspectRatio="none"><defs>{"".join(self._defs)}</defs>{"".join(self._body)}</svg>'
        )
        tile = pyvips.Image.svgload_buffer(svg.encode(), unlimited=True)
        return tile.flatten(background=[0, 0, 0]).copy_memory()

    def _gradient(self, head: str, stops: Sequence[Stop]) -> str:
        name = f"g{len(self._defs)}"
        kind, _, rest = head.partition(" ")
        marks = "".join(
            f'<stop offset="{stop[0]:.3f}" stop-color="{stop[1]}"'
            + (f' stop-opacity="{stop[2]:.3f}"' if len(stop) == 3 else "")
            + "/>"
            for stop in stops
        )
        self._defs.append(f'<{kind} id="{name}" {rest}>{marks}</{kind}>')
        return f"url(#{name})"

    def _add(self, head: str, fill: str, opacity: float) -> None:
        shade = f' opacity="{opacity:.3f}"' if opacity < 1 else ""
        self._body.append(f'<{head} fill="{fill}"{shade}/>')


def n(value: float) -> str:
    """The number, short."""
    return f"{value:.1f}".removesuffix(".0")


def trace(*parts: str | float) -> str:
    """Path data out of commands and coordinates."""
    return " ".join(part if isinstance(part, str) else n(part) for part in parts)


def smooth(points: Sequence[Point]) -> str:
    """An open path through the points, without corners."""
    parts = [f"M{n(points[0][0])} {n(points[0][1])}"]
    last = len(points) - 1
    for i in range(last):
        (ax, ay), (bx, by) = points[max(0, i - 1)], points[i]
        (cx, cy), (dx, dy) = points[i + 1], points[min(last, i + 2)]
        controls = (bx + (cx - ax) / 6, by + (cy - ay) / 6, cx - (dx - bx) / 6, cy - (dy - by) / 6, cx, cy)
        parts.append("C" + " ".join(n(value) for value in controls))
    return "".join(parts)


def closed(points: Sequence[Point]) -> str:
    """A closed path through the points, without corners."""
    count = len(points)
    parts = [f"M{n(points[0][0])} {n(points[0][1])}"]
    for i in range(count):
        (ax, ay), (bx, by) = points[i - 1], points[i]
        (cx, cy), (dx, dy) = points[(i + 1) % count], points[(i + 2) % count]
        controls = (bx + (cx - ax) / 6, by + (cy - ay) / 6, cx - (dx - bx) / 6, cy - (dy - by) / 6, cx, cy)
        parts.append("C" + " ".join(n(value) for value in controls))
    return "".join(parts) + "Z"


def terrain(rng: random.Random, *, wave: float, octaves: int = 4, rough: float = 0.5) -> Callable[[float], float]:
    """A skyline between about -1 and 1, as a function of the place, so that a camera may move along it."""
    tables = [[rng.uniform(-1, 1) for _ in range(LATTICE)] for _ in range(octaves)]
    total = sum(rough**octave for octave in range(octaves))

    def height(x: float) -> float:
        value = 0.0
        for octave, table in enumerate(tables):
            place = x / wave * 2**octave
            cell = math.floor(place)
            share = place - cell
            share = share * share * (3 - 2 * share)
            low, high = table[cell % LATTICE], table[(cell + 1) % LATTICE]
            value += (low + (high - low) * share) * rough**octave
        return value / total * 1.6

    return height


def _cuts(length: int, parts: int) -> list[int]:
    return [length * part // parts for part in range(parts + 1)]


def _joined(images: list[Any], direction: str) -> pyvips.Image:
    joined = images[0]
    for image in images[1:]:
        joined = joined.join(image, direction)
    return joined
