"""The scenes: each paints a whole picture in the light of its palette, and leaves the sky to the lettering."""

import math
from collections.abc import Callable

from seedgate.engines.sketch.canvas import Canvas, terrain
from seedgate.engines.sketch.elements import (
    DEEP,
    WHITE,
    birds,
    conifers,
    flower,
    glitter,
    houses,
    misted,
    moon,
    planet,
    rays,
    ridges,
    sail,
    scatter,
    shade_side,
    sheet,
    sky,
    skyline,
    stars,
    stars_or_clouds,
    sun,
)
from seedgate.engines.sketch.palette import mix


def paint_hills(c: Canvas) -> None:
    """Ridges behind ridges, mist between them, a few conifers on the last."""
    sky(c)
    sun(c, height=0.5)
    stars_or_clouds(c)
    for depth, line, colour in ridges(c, layers=6, top=0.5, relief=0.13, wave=420):
        with c.layer(depth):
            c.ground(line, misted(c, colour, depth))
            if depth > 0.7:
                conifers(c, line, mix(colour, c.palette.near, 0.5), size=62 * depth, spacing=34, share=0.45)
    birds(c)


def paint_forest(c: Canvas) -> None:
    """Rows of conifers that come out of the mist."""
    sky(c)
    rays(c, *sun(c, height=0.47))
    for depth, line, colour in ridges(c, layers=6, top=0.52, relief=0.05, wave=700):
        with c.layer(depth):
            conifers(c, line, colour, size=70 + 230 * depth**1.5, spacing=30 + 62 * depth, share=0.9)
            c.ground(line, misted(c, colour, depth))
    birds(c)


def paint_sea(c: Canvas) -> None:
    """Sun over water, its path on the waves, an island and a sail."""
    p = c.palette
    sky(c)
    level = c.h * 0.6
    x, _ = sun(c, height=0.56)
    stars_or_clouds(c)
    island = terrain(c.rng, wave=520, octaves=5)
    place, sail_at = c.rng.uniform(0.1, 0.9) * c.w, x + (1 if x < c.w / 2 else -1) * c.rng.uniform(0.12, 0.3) * c.w
    with c.layer(0.15):
        c.ground(lambda at: level + 20 - 130 * math.exp(-(((at - place) / 260) ** 2)) * (1 + 0.5 * island(at)), p.far)
    deep = mix(p.near, p.far, 0.25)
    c.rect(
        -c.w, level, 3 * c.w, c.h, c.linear((0, mix(p.sky[2], p.far, 0.45)), (0.35, mix(p.far, deep, 0.5)), (1, deep))
    )
    glitter(c, x, level)
    with c.layer(0.25):
        sail(c, sail_at, level + c.h * 0.045, 120)
    for number in range(7):
        depth = 0.35 + 0.65 * number / 6
        wave = terrain(c.rng, wave=210 + 240 * depth, octaves=2)
        y, swing = level + c.h * (0.06 + 0.36 * (number / 6) ** 1.4), 6 + 22 * depth
        with c.layer(depth):
            shade = mix(mix(p.far, deep, 0.3 + 0.7 * number / 6), p.sky[1], 0.08)
            c.ground(skyline(wave, y, swing), c.linear((0, mix(shade, p.sky[2], 0.28)), (0.12, shade), (1, deep)))


def paint_dunes(c: Canvas) -> None:
    """Long dunes, one side in the light and one in the shade."""
    p = c.palette
    sky(c)
    sun(c, height=0.52, size=1.4)
    stars_or_clouds(c, share=0.5)
    for depth, line, colour in ridges(c, layers=5, top=0.56, relief=0.11, wave=900, octaves=2):
        with c.layer(depth):
            lit = mix(colour, p.sky[2], 0.3 * (1 - depth) + 0.12)
            c.ground(line, c.linear((0, lit), (0.5, colour), (1, mix(colour, p.near, 0.6)), end=(0.25, 1)))
            shifted = shade_side(line, 60 + 130 * depth)
            c.ground(shifted, c.linear((0, mix(colour, p.near, 0.55), 0.75), (0.8, p.near, 0.1), end=(0.4, 1)))
    birds(c)


def paint_garden(c: Canvas) -> None:
    """A meadow in bloom, near flowers framing the view."""
    sky(c)
    sun(c, height=0.53, size=1.2)
    stars_or_clouds(c)
    for depth, line, colour in ridges(c, layers=4, top=0.6, relief=0.06, wave=620):
        with c.layer(depth):
            c.ground(line, misted(c, colour, depth))
            for x, rng in scatter(c, 34 + 40 * depth, "meadow", depth):
                flower(c, rng, x, line(x) + rng.uniform(0, 70), 6 + 13 * depth, stem=14 + 26 * depth)
    with c.layer(1.0):
        for x, rng in scatter(c, 74, "front", 1.0):
            edge = abs((x - c.camera.pan) / c.w - 0.5) * 2
            tall = c.h * (0.1 + 0.3 * edge**2.2) * rng.uniform(0.6, 1.1)
            flower(c, rng, x, c.h * 1.02 - tall, rng.uniform(24, 46) * (0.7 + 0.5 * edge), stem=tall + 40)


def paint_city(c: Canvas) -> None:
    """Skylines behind skylines, lit windows, haze between them."""
    p = c.palette
    sky(c)
    sun(c, height=0.52, size=1.3)
    stars_or_clouds(c)
    for number in range(5):
        depth = 0.15 + 0.85 * number / 4
        colour = mix(p.far, p.near, (number / 4) ** 1.1)
        top = c.h * (0.52 + 0.26 * (number / 4) ** 1.3)
        with c.layer(depth):
            houses(c, top, depth, colour)
    c.rect(0, c.h * 0.7, c.w, c.h * 0.3, c.linear((0, p.sky[2], 0.0), (1, p.near, 0.55)))


def paint_space(c: Canvas) -> None:
    """A planet with its ring over a strange shore."""
    p = c.palette
    deep = mix(p.sky[0], DEEP, 0.45 if p.dark else 0.82)
    c.rect(0, 0, c.w, c.h, c.linear((0, mix(deep, "#000000", 0.35)), (0.6, deep), (1, mix(deep, p.accents[0], 0.45))))
    for number in range(7):
        colour = (p.accents[0], p.accents[1], p.sky[2])[number % 3]
        x, y, size = c.rng.uniform(0, 1) * c.w, c.rng.uniform(0, 0.8) * c.h, c.rng.uniform(260, 620)
        c.ellipse(x, y, size, size * 0.6, c.radial((0, colour, 0.22), (0.5, colour, 0.09), (1, colour, 0)))
    stars(c, 0.85, count=260)
    side = c.rng.choice((0.27, 0.73))
    with c.layer(0.3):
        planet(c, (side + c.camera.sun) * c.w, c.h * 0.58, c.rng.uniform(130, 180))
        moon(c, (1 - side) * c.w, c.h * c.rng.uniform(0.5, 0.62), c.rng.uniform(28, 52))
    shore = mix(deep, "#000000", 0.35)
    for depth, line, _ in ridges(c, layers=3, top=0.78, relief=0.1, wave=300, octaves=5):
        with c.layer(depth):
            c.ground(line, c.linear((0, mix(shore, p.accents[0], 0.5 * (1 - depth) + 0.1)), (0.7, shore)))


def paint_paper(c: Canvas) -> None:
    """Sheets of cut paper, one above the other, light from below them."""
    p = c.palette
    ground = p.sun if p.dark else mix(p.sky[2], WHITE, 0.5)
    c.rect(0, 0, c.w, c.h, c.radial((0, ground), (0.5, mix(ground, p.accents[1], 0.3))))
    centre = c.w * c.rng.uniform(0.44, 0.56), c.h * c.rng.uniform(0.45, 0.55)
    shades = (p.sky[2], p.accents[1], p.accents[0], p.sky[1], p.far, p.sky[0], p.near)
    for number, shade in enumerate(shades):
        waves = [(turns, swing, c.rng.uniform(0, math.tau)) for turns, swing in ((2, 0.1), (3, 0.08), (5, 0.035))]
        with c.layer(0.2 + 0.12 * number):
            sheet(c, centre, 0.66 + 0.13 * number, waves, shade)


def paint_backdrop(c: Canvas) -> None:
    """Only light and soft shapes, for what hangs in front of it."""
    p = c.palette
    c.rect(0, 0, c.w, c.h, c.linear((0, p.sky[0]), (0.6, p.sky[1]), (1, p.sky[2]), end=(0.4, 1)))
    for number in range(6):
        colour = (p.sky[2], p.far, p.accents[0], p.sky[0])[number % 4]
        x, y, size = c.rng.uniform(0, 1) * c.w, c.rng.uniform(0, 1) * c.h, c.rng.uniform(300, 640)
        c.ellipse(x, y, size, size, c.radial((0, colour, 0.5), (0.5, colour, 0.2), (1, colour, 0)))
    for depth, line, colour in ridges(c, layers=3, top=0.72, relief=0.1, wave=520, octaves=2):
        with c.layer(depth):
            c.ground(line, mix(colour, p.sky[1], 0.45 - 0.2 * depth))


SCENES: dict[str, Callable[[Canvas], None]] = {
    "hills": paint_hills,
    "forest": paint_forest,
    "sea": paint_sea,
    "dunes": paint_dunes,
    "garden": paint_garden,
    "city": paint_city,
    "space": paint_space,
    "paper": paint_paper,
}

PLACES = {
    "forest": "forest woods tree trees fox wolf deer bear owl jungle лес* лис* волк* дерев* 森 林 树 狐 🌲 🦊 🍂",
    "sea": "sea ocean beach boat ship sail island lake river whale море* пляж* остров* озер* 海 湖 河 岛 🌊 ⛵ 🏝",
    "dunes": "desert dune dunes sand camel sahara canyon egypt pyramid пустын* песк* 沙 漠 🏜 🐫",
    "garden": "flower flowers garden meadow rose tulip butterfly cat rabbit цвет* сад* роз* кот* 花 园 猫 蝶 🌸 🌷 🐱",
    "city": "city street night cafe shop building skyline neon car robot cyberpunk город* улиц* кафе 城 街 店 🏙 🤖",
    "space": "space planet star stars rocket astronaut alien moon mars космос* планет* звезд* 宇宙 星 月 🚀 🪐 👽",
    "paper": "abstract pattern paper idea logo poster music dream shape абстракт* узор* музык* 抽象 音乐 🎵 💡",
    "hills": "mountain* hill* valley landscape snow* winter eagle горы горн* холм* снег* 山 雪 ⛰ 🏔",
}
