"""Colours: a table of palettes, and the choice of one by the words of a prompt.

Words stand in the tables as they are written; a trailing `*` makes a stem of one. Scripts without spaces, and emoji,
are found anywhere in the prompt.
"""

import colorsys
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

TURNS = (-12.0, 6.0)
"""Degrees of hue, towards red and away from it; golden light soon looks sour."""

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The light of a scene, as `#rrggbb`."""

    sky: tuple[str, str, str]
    """From the zenith to the horizon."""
    far: str
    near: str
    sun: str
    accents: tuple[str, str]

    @property
    def dark(self) -> bool:
        return luminance(rgb(self.sky[0])) + luminance(rgb(self.sky[1])) < 0.5


def rgb(colour: str) -> Rgb:
    """(red, green, blue) of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def mix(first: str, second: str, share: float) -> str:
    """`share` of the way from the first colour to the second."""
    red, green, blue = (
        round(a + (b - a) * min(1.0, max(0.0, share))) for a, b in zip(rgb(first), rgb(second), strict=True)
    )
    return f"#{red:02x}{green:02x}{blue:02x}"


def turn(colour: str, degrees: float) -> str:
    """The colour with its hue turned."""
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in rgb(colour)))
    turned = colorsys.hls_to_rgb((hue + degrees / 360) % 1, light, saturation)
    return "#" + "".join(f"{round(part * 255):02x}" for part in turned)


def luminance(colour: Rgb) -> float:
    """Relative luminance from 0 to 1, as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: Rgb, second: Rgb) -> float:
    """Contrast ratio from 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _palette(line: str) -> Palette:
    top, middle, low, far, near, sun, first, second = line.split()
    return Palette(sky=(top, middle, low), far=far, near=near, sun=sun, accents=(first, second))


#          zenith  middle  horizon far     near    sun     accents
PALETTES = {
    name: _palette(line)
    for name, line in {
        "dawn": "#7f9bd3 #f0b9b4 #ffe3c2 #c79fb4 #43426f #fff3d6 #f08a77 #f9c784",
        "golden": "#e8904a #f8bf64 #ffedb8 #d98e4a #4f2724 #fffbe6 #e4572e #7a9e5f",
        "dusk": "#2d1e4f #8e3b76 #ff9a62 #7d3f78 #1b1236 #ffd9a0 #ff5d73 #ffb35c",
        "night": "#0b1436 #1d2f63 #52699f #2c4177 #070c1f #f4f1de #8fb8ff #f2c14e",
        "aurora": "#061a2b #0c4a52 #3fb59a #135058 #03131a #d8fff0 #58e6b0 #8a6df0",
        "ocean": "#2f7fc1 #7cc4e0 #e2f4ee #5aa6c4 #0d3b5e #ffffff #ff8a5c #ffd166",
        "meadow": "#6db7e8 #bfe3ea #fdf6d8 #a5cbb0 #2a6238 #fffbe0 #f25f5c #ffd23f",
        "forest": "#a3c2b2 #d4e2cf #f4f0dc #8fb3a0 #12352c #fff8d8 #d9822b #b5c95a",
        "desert": "#e3ae7d #f4d3a6 #fdecd0 #dd9a6a #74301f #fff1d0 #c8553d #588b8b",
        "blossom": "#f3bccb #fbdcdc #fff5ea #e6a6b8 #813a5c #ffffff #e0527d #8fb58a",
        "snow": "#93bbdc #cfe2ee #fbfbf7 #b9d0e2 #45678a #ffffff #e26d5c #2f4b6e",
        "ink": "#d5d2c7 #ebe8de #f7f4ea #b3b1a8 #23252b #c8442f #c8442f #55585f",
        "ember": "#3b0d1a #a11d2e #ff7a3c #8b1e2f #1f0810 #ffe0a8 #ff4d3d #ffb627",
        "lilac": "#8573bd #c9b6e4 #fbe4ee #a892d0 #352860 #fff4fb #ff8fab #7fd1c7",
        "neon": "#120a3a #5a1a8a #f0388f #3d1a78 #080420 #ffd6f2 #00e5ff #ff4fd8",
    }.items()
}

# Light and weather before places, places before animals: of two moods as strong, the first is taken.
MOODS = {
    "neon": "neon cyberpunk city robot future futuristic synthwave club electric неон* город* робот* 霓虹 城 机器 🤖",
    "dusk": "dusk sunset evening twilight romantic cinematic dramatic закат* вечер* 夕 黄昏 🌇 🌆",
    "night": "night moon midnight star stars starry dream dark black ночь ночн* лун* звезд* 夜 月 星 黑 🌙 ⭐ 🌃",
    "snow": "snow* winter ice icy cold white arctic penguin christmas minimal снег* зим* бел* 雪 冬 白 ❄ ⛄ 🐧",
    "dawn": "dawn sunrise morning soft gentle pastel spring рассвет* утр* 晨 早 日出 朝 🌅",
    "ink": "ink calligraphy sumi paper sketch pencil drawing line monochrome чернил* рисун* 墨 水墨 书法 🖋",
    "ember": "fire ember volcano dragon red rage lava passion battle огон* огн* красн* дракон* 火 红 赤 龙 🔥 🐉 🌋",
    "aurora": "aurora northern magic mystic emerald fantasy teal волшеб* сияни* 极光 魔 🔮",
    "blossom": "blossom flower flowers cherry pink rose love sakura spring цвет* роз* люб* 花 樱 桜 爱 粉 🌸 🌷 🌹 ❤",
    "desert": "desert sand dune dunes camel canyon mars clay brown vintage пустын* пес* 沙 🏜 🐫",
    "ocean": "sea ocean beach water blue summer boat wave whale fish море* морск* океан* син* 海 水 蓝 夏 🌊 🐳 🐟 ⛵",
    "forest": "forest woods tree trees jungle mist fog rain deer bear лес* туман* дожд* 森 林 雨 🌲 🌳 🐻",
    "meadow": "meadow field sunny day happy dog child children green grass park луг* пол* зелен* собак* 草 绿 狗 🐶 ☀",
    "lilac": "lilac lavender purple violet dreamy unicorn magical cat сирен* фиолет* кот* кошк* 紫 猫 🦄 🐱",
    "golden": "golden gold autumn fall warm harvest lion fox amber orange осен* золот* рыж* лис* 秋 金 橙 🍂 🦊 🦁",
}

WORD = re.compile(r"\w+")
ALPHABETIC = re.compile(r"[a-zа-яё]+\*?")


def hits(prompt: str, table: Mapping[str, str]) -> dict[str, int]:
    """How many listed words of each entry occur in the prompt; entries without any are left out."""
    text = prompt.lower()
    words = frozenset(WORD.findall(text))
    found = {name: sum(_occurs(listed, text, words) for listed in line.split()) for name, line in table.items()}
    return {name: count for name, count in found.items() if count}


def _occurs(listed: str, text: str, words: frozenset[str]) -> bool:
    if not ALPHABETIC.fullmatch(listed):
        return listed in text
    if listed.endswith("*"):
        return any(word.startswith(listed[:-1]) for word in words)
    return listed in words


def choose(prompt: str, table: Mapping[str, str], rng: random.Random) -> str:
    """The entry that the prompt names most often, of several the first in the table; any when it names none."""
    found = hits(prompt, table)
    anything = rng.choice(list(table))
    return max(found, key=lambda name: found[name]) if found else anything


def choose_palette(prompt: str, rng: random.Random) -> Palette:
    """The palette of the prompt's mood, its hues turned a little, so that no two seeds share one."""
    p, angle = PALETTES[choose(prompt, MOODS, rng)], rng.uniform(*TURNS)
    top, middle, low, far, near, sun, first, second = (
        turn(colour, angle) for colour in (*p.sky, p.far, p.near, p.sun, *p.accents)
    )
    return Palette(sky=(top, middle, low), far=far, near=near, sun=sun, accents=(first, second))
