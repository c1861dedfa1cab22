"""What the scenes are made of: sky, sun, clouds, ridges, trees, flowers, houses, boats, planets.

What lies within a layer is placed by its cell along the layer, never by the order of drawing, so that a camera that
moves finds the same trees and houses where it left them.
"""

import math
import random
from collections.abc import Callable, Iterator

from seedgate.engines.sketch.canvas import Canvas, Point, closed, n, terrain, trace
from seedgate.engines.sketch.palette import mix

WHITE = "#ffffff"
DEEP = "#05060f"
LEAF = "#4f8f55"
NEAR_FLOWER = 20.0
"""A larger flower has leaves and shaded petals."""
MOST_FLOORS = 40


def sky(c: Canvas) -> None:
    top, middle, low = c.palette.sky
    c.rect(0, 0, c.w, c.h, c.linear((0, top), (0.36, middle), (0.66, low), (1, low)))


def sun(c: Canvas, *, height: float, size: float = 1.0) -> tuple[float, float]:
    """The sun or the moon with its light; gives its place."""
    p = c.palette
    side = c.rng.choice((-1, 1))
    x = c.w * (0.5 + side * c.rng.uniform(0.12, 0.3) + c.camera.sun)
    y, radius = c.h * (height + c.rng.uniform(-0.05, 0.03)), size * c.rng.uniform(58, 92)
    with c.layer(0.05):
        for share, strength in ((9.0, 0.30), (4.2, 0.42), (1.9, 0.55)):
            glow = c.radial((0, p.sun, strength), (0.4, p.sun, strength * 0.36), (1, p.sun, 0))
            c.ellipse(x, y, radius * share, radius * share, glow)
        c.ellipse(
            x, y, radius, radius, c.radial((0, mix(p.sun, WHITE, 0.6)), (0.75, p.sun), (1, mix(p.sun, p.sky[2], 0.15)))
        )
    return x, y


def rays(c: Canvas, x: float, y: float) -> None:
    """Beams out of the sun, through the mist."""
    reach = max(c.w, c.h)
    for number in range(11):
        angle, spread = math.tau * (number + c.rng.uniform(0.1, 0.9)) / 11, c.rng.uniform(0.02, 0.07)
        ends = [(x + math.cos(angle + turn) * reach, y + math.sin(angle + turn) * reach) for turn in (-spread, spread)]
        beam = f"M{n(x)} {n(y)}L{n(ends[0][0])} {n(ends[0][1])}L{n(ends[1][0])} {n(ends[1][1])}Z"
        c.path(beam, c.palette.sun, 0.09)


def stars_or_clouds(c: Canvas, share: float = 1.0) -> None:
    if c.palette.dark:
        stars(c, 0.5, count=120)
    else:
        clouds(c, max(1, round(5 * share)))


def stars(c: Canvas, below: float, *, count: int) -> None:
    with c.layer(0.02):
        for strength in (0.35, 0.6, 0.95):
            dots = []
            for _ in range(round(count * max(1.0, c.w / c.h) / 3)):
                x, y, r = c.rng.uniform(0, c.w), c.rng.uniform(0, c.h * below), c.rng.uniform(0.7, 2.2)
                dots.append(
                    f"M{n(x - r)} {n(y)}a{r:.2f} {r:.2f} 0 1 0 {2 * r:.2f} 0a{r:.2f} {r:.2f} 0 1 0 {-2 * r:.2f} 0"
                )
            c.path("".join(dots), "#fff8ea", strength)


def clouds(c: Canvas, count: int) -> None:
    """Low banks of soft puffs, flat at their foot."""
    with c.layer(0.1):
        for _ in range(count):
            x, y = c.rng.uniform(0, c.w), c.h * c.rng.uniform(0.26, 0.5)
            wide = c.rng.uniform(110, 260)
            for _ in range(9):
                share = c.rng.uniform(-1, 1)
                size = wide * 0.36 * (1.1 - abs(share)) * c.rng.uniform(0.6, 1.1)
                puff = c.radial((0, WHITE, 0.34), (0.6, WHITE, 0.16), (1, WHITE, 0))
                c.ellipse(x + share * wide, y - size * 0.34, size * 1.6, size * 0.72, puff)


def ridges(
    c: Canvas, *, layers: int, top: float, relief: float, wave: float, octaves: int = 4
) -> Iterator[tuple[float, Callable[[float], float], str]]:
    """Depth, skyline and colour of each ridge, the farthest first."""
    for number in range(layers):
        share = number / max(1, layers - 1)
        shape = terrain(c.rng, wave=wave * (0.7 + 0.7 * share), octaves=octaves, rough=0.5 - 0.1 * share)
        y = c.h * (top + (0.95 - top) * share**1.15)
        colour = mix(c.palette.far, c.palette.near, share**1.25)
        yield 0.2 + 0.8 * share, skyline(shape, y, c.h * relief * (1 - 0.35 * share)), colour


def skyline(shape: Callable[[float], float], y: float, swing: float) -> Callable[[float], float]:
    return lambda x: y + shape(x) * swing


def shade_side(line: Callable[[float], float], reach: float) -> Callable[[float], float]:
    """The foot of the shade that a crest throws: on the crest where the ground falls, below it where it rises."""
    return lambda x: line(x) + max(0.0, line(x) - line(x + reach)) * 1.2 + max(0.0, line(x - reach) - line(x)) * 0.6


def misted(c: Canvas, colour: str, depth: float) -> str:
    light = mix(colour, c.palette.sky[2], 0.5 * (1 - depth))
    return c.linear((0, colour), (0.42, light), (1, light))


def scatter(c: Canvas, spacing: float, *key: object) -> Iterator[tuple[float, random.Random]]:
    """Places along the layer, each with a source of chance of its own."""
    for cell in range(math.floor(c.left / spacing), math.ceil(c.right / spacing) + 1):
        rng = random.Random(f"{c.key} {key} {cell}")
        yield (cell + rng.uniform(-0.4, 0.4)) * spacing, rng


def conifers(
    c: Canvas, line: Callable[[float], float], colour: str, *, size: float, spacing: float, share: float
) -> None:
    trees = [
        conifer_outline(x, line(x) + size * 0.12, size * rng.uniform(0.5, 1.15))
        for x, rng in scatter(c, spacing, "tree", round(size))
        if rng.random() <= share
    ]
    c.path("".join(trees), colour)


def conifer_outline(x: float, foot: float, tall: float, tiers: int = 5) -> str:
    """The outline of a conifer: tiers of branches, narrower upwards, on a short trunk."""
    side = []
    for tier in range(tiers):
        low, wide = foot - tall * (0.1 + 0.72 * tier / tiers), tall * 0.2 * (1 - 0.8 * tier / tiers)
        side += [(wide, low), (wide * 0.5, low - tall * 0.13)]
    outline = [(x - dx, y) for dx, y in side] + [(x, foot - tall)] + [(x + dx, y) for dx, y in reversed(side)]
    trunk = trace("M", x - tall * 0.018, foot, "v", -tall * 0.2, "h", tall * 0.036, "v", tall * 0.2, "Z")
    return trunk + "M" + "L".join(f"{n(px)} {n(py)}" for px, py in outline) + "Z"


def birds(c: Canvas) -> None:
    x, y = c.rng.uniform(0.2, 0.8) * c.w, c.h * c.rng.uniform(0.36, 0.46)
    marks = []
    for _ in range(c.rng.randint(3, 6)):
        bx, by, r = x + c.rng.uniform(-90, 90), y + c.rng.uniform(-38, 38), c.rng.uniform(6, 12)
        wings = "q", r * 0.6, -r * 0.3, r, r * 0.5, "q", r * 0.4, -r * 0.8, r, -r * 0.5
        marks.append(trace("M", bx - r, by - r * 0.4, *wings))
    with c.layer(0.2):
        c.stroke("".join(marks), c.palette.near, 2.2, 0.7)


def glitter(c: Canvas, x: float, level: float) -> None:
    for number in range(26):
        share = (number + 0.5) / 26
        y, wide = level + (c.h - level) * share**1.5, (34 + 150 * share) * c.rng.uniform(0.35, 1.0)
        drift = c.rng.uniform(-24, 24) * (0.3 + share)
        c.ellipse(x + drift, y, wide, 1.6 + 5.5 * share, c.palette.sun, 0.75 - 0.5 * share)


def sail(c: Canvas, x: float, y: float, size: float) -> None:
    """A small boat with two sails, its waterline at y."""
    p = c.palette

    def shape(start: Point, *parts: str | float) -> str:
        """In shares of the size, around the mast's foot."""
        scaled = (part if isinstance(part, str) else part * size for part in parts)
        return f'{trace("M", *start, *scaled)}" transform="translate({n(x)} {n(y)})'

    main = shape((0, -size), "Q", 0.52, -0.4, 0.46, -0.12, "L", 0, -0.12, "Z")
    jib = shape((-0.05 * size, -0.86 * size), "Q", -0.3, -0.4, -0.34, -0.12, "L", -0.05, -0.12, "Z")
    right = ("L", 0.52, -0.08, "Q", 0.4, 0.1, 0.25, 0.1)
    hull = shape((-0.42 * size, -0.08 * size), *right, "L", -0.2, 0.1, "Q", -0.38, 0.08, -0.42, -0.08, "Z")
    c.path(main, mix(p.sun, WHITE, 0.4))
    c.path(jib, mix(p.accents[0], WHITE, 0.15))
    c.path(hull, p.near)


def flower(c: Canvas, rng: random.Random, x: float, y: float, size: float, *, stem: float) -> None:
    p = c.palette
    lean = rng.uniform(-0.16, 0.16) * stem
    green = mix(mix(p.near, p.far, rng.uniform(0.0, 0.35)), LEAF, 0.5)
    stalk = trace("M", x + lean, y + stem, "Q", x + lean, y + stem * 0.5, x, y)
    c.stroke(stalk, green, max(1.0, size * 0.11))
    near = size > NEAR_FLOWER
    if near:
        for way, at in ((1, 0.45), (-1, 0.62)):
            c.path(leaf_outline(x + lean * at, y + stem * at, way * size * rng.uniform(1.2, 1.9)), green)
    colour = mix(rng.choice((*p.accents, p.accents[0], p.sun)), rng.choice((WHITE, p.near)), rng.uniform(0, 0.25))
    petals, start = rng.choice((5, 6, 8)), rng.uniform(0, 1)
    lit = c.radial((0, mix(colour, p.near, 0.3)), (0.6, colour), (1, mix(colour, WHITE, 0.22))) if near else colour
    c.path("".join(petal_outline(x, y, size, (petal + start) / petals, 2.4 / petals) for petal in range(petals)), lit)
    c.ellipse(x, y, size * 0.24, size * 0.22, mix(p.accents[1], p.near, 0.12))


def leaf_outline(x: float, y: float, reach: float) -> str:
    up = abs(reach)
    over = ("Q", x + reach * 0.35, y - up * 0.7, x + reach, y - up * 0.6)
    return trace("M", x, y, *over, "Q", x + reach * 0.7, y - up * 0.02, x, y, "Z")


def petal_outline(x: float, y: float, size: float, turn: float, wide: float) -> str:
    def at(angle: float, reach: float) -> Point:
        return x + math.cos(angle) * size * reach, y + math.sin(angle) * size * reach * 0.92

    angle = math.tau * turn
    out = ("Q", *at(angle - wide, 0.95), *at(angle, 1.0))
    return trace("M", x, y, *out, "Q", *at(angle + wide, 0.95), x, y, "Z")


def houses(c: Canvas, top: float, depth: float, colour: str) -> None:
    p = c.palette
    walls: list[str] = []
    windows: list[str] = []
    spacing, grid, bottom = 62 + 70 * depth, 7 + 9 * depth, c.h * 1.2
    for x, rng in scatter(c, spacing, "house", round(depth, 2)):
        tall = c.h * rng.choice((0.04, 0.07, 0.1, 0.15)) * rng.uniform(0.7, 1.2)
        wide, roof = spacing * rng.uniform(0.75, 1.15), top - tall * (1.25 - 0.5 * depth)
        walls.append(trace("M", x, bottom, "V", roof, roof_outline(rng, x, wide, roof), "V", bottom, "Z"))
        rows, columns = min(MOST_FLOORS, int((c.h * 0.9 - roof) / (grid * 1.9))), int((wide - grid) / (grid * 1.6))
        for cell in range(rows * columns):
            if rng.random() < (0.42 if p.dark else 0.3):
                wx, wy = x + grid * (0.8 + cell % columns * 1.6), roof + grid * (1.2 + cell // columns * 1.9)
                windows.append(trace("M", wx, wy, "h", grid * 0.75, "v", grid, "h", -grid * 0.75, "Z"))
    c.path("".join(walls), c.linear((0, colour), (0.9, mix(colour, p.sky[2], 0.45 * (1.1 - depth)))))
    c.path("".join(windows), mix(p.sun, p.accents[1], 0.35), (0.25 + 0.6 * depth) * (1.0 if p.dark else 0.55))


def roof_outline(rng: random.Random, x: float, wide: float, roof: float) -> str:
    match rng.randrange(5):
        case 0:
            return trace("L", x + wide / 2, roof - wide * 0.3, "L", x + wide, roof)
        case 1:
            step = wide * 0.22
            return trace("H", x + step, "v", -step, "H", x + wide - step, "v", step, "H", x + wide)
        case 2:
            mast = x + wide / 2
            return trace("H", mast - 2, "v", -wide * 0.5, "h", 4, "v", wide * 0.5, "H", x + wide)
        case _:
            return trace("H", x + wide)


def planet(c: Canvas, x: float, y: float, size: float) -> None:
    p = c.palette
    body, ring, reach = p.accents[0], mix(p.accents[1], WHITE, 0.35), size * 1.75
    turn = f'" transform="rotate(-14 {n(x)} {n(y)})'
    back, front = (
        trace("M", x - reach, y, "A", reach, reach * 0.26, f"0 0 {side}", x + reach, y) + turn for side in (1, 0)
    )
    c.ellipse(x, y, size * 2.6, size * 2.6, c.radial((0, body, 0.5), (0.5, body, 0.14), (1, body, 0)))
    c.stroke(back, ring, size * 0.13, 0.55)
    c.ellipse(x, y, size, size, ball(c, body, mix(body, WHITE, 0.65)))
    c.stroke(front, ring, size * 0.13, 0.9)
    c.stroke(front, mix(ring, DEEP, 0.5), size * 0.018, 0.8)


def ball(c: Canvas, colour: str, light: str) -> str:
    return c.radial((0, light), (0.45, colour), (1, mix(colour, DEEP, 0.85)), centre=(0.34, 0.3), radius=0.73)


def moon(c: Canvas, x: float, y: float, size: float) -> None:
    c.ellipse(x, y, size, size, ball(c, mix(c.palette.sun, c.palette.far, 0.3), WHITE))


def sheet(
    c: Canvas, centre: tuple[float, float], share: float, waves: list[tuple[int, float, float]], colour: str
) -> None:
    """All but a hole of some organic shape, with a soft shadow falling into it."""
    points = []
    for step in range(48):
        angle = math.tau * step / 48
        swing = share / 2 * (1 + sum(size * math.sin(turns * angle + start) for turns, size, start in waves))
        points.append((math.cos(angle) * swing * c.w, math.sin(angle) * swing * c.h))
    around = f"M{n(-c.w)} {n(-c.h)}H{n(2 * c.w)}V{n(2 * c.h)}H{n(-c.w)}Z"

    def cut(lift: float) -> str:
        narrow = 1 - lift / 1400
        hole = closed([(centre[0] + dx * narrow, centre[1] + dy * narrow + lift) for dx, dy in points])
        return f'{around}{hole}" fill-rule="evenodd'

    for lift in range(30, 0, -2):
        c.path(cut(lift), "#1a1020", 0.022)
    c.path(cut(0), c.linear((0, mix(colour, WHITE, 0.14)), (1, colour), end=(0.4, 1)))
