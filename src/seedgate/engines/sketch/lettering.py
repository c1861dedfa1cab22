"""The prompt as type: what can be set of it, in which fonts, broken into which lines, and drawn as a mask.

Fonts are the vendored ones only, so the same prompt looks the same everywhere. What none of them has (emoji, scripts
that are not vendored) is left out: a wall of boxes helps nobody.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = Path(__file__).parent / "fonts"
MEASURE_PX = 64
"""Widths are measured at this size and scaled."""
MAX_LETTERS = 1200
"""More than this is never set; the rest becomes an ellipsis."""
LONGEST_WORD = 24
"""A longer one may be cut anywhere."""
BALANCE_STEPS = 14
SHRINK = 0.94
EMBOLDEN = 0.022
"""The fallback font has one weight: this share of the size is added to each side of its strokes for a title."""
FAMILIES = ("rubik", "rubik-arabic", "droid-fallback")
CLOSING = "，。、！？；：）」』》】〉”’…)]}!?.,;:%"
WIDE = re.compile(r"[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff60]")
"""Letters between which a line may break."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Lines of type that fit their box."""

    lines: tuple[str, ...]
    size: float
    leading: float
    bold: bool

    @property
    def width(self) -> float:
        return max(measure(line, bold=self.bold) for line in self.lines) * self.size

    @property
    def height(self) -> float:
        return len(self.lines) * self.leading * self.size


@lru_cache(maxsize=1)
def _coverage() -> dict[str, tuple[list[int], list[int]]]:
    """First and last character of each run that a family has."""
    found = {}
    for line in (FONTS / "coverage.txt").read_text().splitlines():
        family, *runs = line.split()
        ends = [run.split("-") for run in runs]
        found[family] = ([int(first, 16) for first, _ in ends], [int(last, 16) for _, last in ends])
    return found


@lru_cache(maxsize=4096)
def _family(letter: str) -> str | None:
    for family, (firsts, lasts) in _coverage().items():
        run = bisect_right(firsts, ord(letter)) - 1
        if run >= 0 and ord(letter) <= lasts[run]:
            return family
    return None


@lru_cache(maxsize=64)
def _font(family: str, size: float, *, bold: bool) -> ImageFont.FreeTypeFont:
    weight = "" if family == "droid-fallback" else "-bold" if bold else "-medium"
    return ImageFont.truetype(FONTS / f"{family}{weight}.ttf", size)


def typeset(text: str) -> str:
    """What can be set of the text, on one line."""
    words = " ".join(unicodedata.normalize("NFC", text).split())
    letters = "".join(letter for letter in words if letter == " " or _family(letter) is not None)
    kept = " ".join(letters.split())
    return kept if any(letter.isalnum() for letter in kept) else ""


def _runs(line: str) -> list[tuple[str, str]]:
    """(family, text) from left to right."""
    families: list[tuple[str, str]] = []
    for letter in line:
        family = _family(letter) or FAMILIES[0]
        if letter == " " and families and families[-1][0] == "rubik-arabic":
            family = "rubik-arabic"  # Words of one run are ordered by the shaper.
        families.append((family, letter))
    runs = [(family, "".join(letter for _, letter in group)) for family, group in groupby(families, lambda f: f[0])]
    directions = (unicodedata.bidirectional(letter) for letter in line)
    first = next((way for way in directions if way in {"L", "R", "AL"}), "L")
    return runs if first == "L" else runs[::-1]


@lru_cache(maxsize=8192)
def measure(text: str, *, bold: bool) -> float:
    """The width at size 1."""
    return sum(_font(family, MEASURE_PX, bold=bold).getlength(part) for family, part in _runs(text)) / MEASURE_PX


def _pieces(text: str) -> list[str]:
    """What a line may end after: a word with its space, or one wide letter with the closing marks after it."""
    pieces: list[str] = []
    for word in re.findall(r"\S+ ?", text):
        start = len(pieces)
        for part in re.findall(rf"{WIDE.pattern}|[^\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff60]+", word):
            if len(pieces) > start and part.strip() and part.strip()[0] in CLOSING:
                pieces[-1] += part
            else:
                pieces.append(part)
    return pieces


def _broken(pieces: Sequence[str], limit: float, *, bold: bool) -> list[str]:
    """The pieces, those wider than the limit cut."""
    cut: list[str] = []
    for piece in pieces:
        rest = piece
        while len(rest) > 1 and measure(rest.strip(), bold=bold) > limit:
            keep = max(1, int(len(rest) * limit / measure(rest, bold=bold)))
            while keep > 1 and measure(rest[:keep], bold=bold) > limit:
                keep -= 1
            cut.append(rest[:keep])
            rest = rest[keep:]
        cut.append(rest)
    return cut


def _wrap(pieces: Sequence[str], limit: float, *, bold: bool) -> list[str]:
    lines, line, width = [], "", 0.0
    for piece in pieces:
        whole = measure(piece, bold=bold)
        if line and width + measure(piece.rstrip(), bold=bold) > limit:
            lines.append(line.strip())
            line, width = "", 0.0
        line, width = line + piece, width + whole
    return [*lines, line.strip()] if line.strip() else lines


def _balanced(pieces: Sequence[str], limit: float, *, bold: bool) -> list[str]:
    """As few lines as the limit allows, as even as they can be."""
    best = _wrap(pieces, limit, bold=bold)
    low, high = limit / 2, limit
    for _ in range(BALANCE_STEPS):
        middle = (low + high) / 2
        lines = _wrap(_broken(pieces, middle, bold=bold), middle, bold=bold)
        if len(lines) > len(best):
            low = middle
        else:
            best, high = lines, middle
    return best


def fit(
    text: str, *, box: tuple[float, float], sizes: tuple[float, float], leading: float, bold: bool
) -> Setting | None:
    """The text as large as its box (width, height) and the sizes (smallest, largest) allow, cut where it must be."""
    text = text if len(text) <= MAX_LETTERS else _shortened(text[:MAX_LETTERS])
    smallest, size = sizes
    pieces = _pieces(text)
    if not pieces:
        return None
    while True:
        limit = box[0] / size
        cut = _broken(pieces, limit, bold=bold)
        lines = _wrap(cut, limit, bold=bold)
        most = int(box[1] / (leading * size))
        if len(lines) <= most:
            even = tuple(_balanced(cut, limit, bold=bold))
            return Setting(lines=even, size=size, leading=leading, bold=bold)
        if size <= smallest:
            break
        size = max(smallest, size * SHRINK)
    if most < 1:
        return None
    last = _shortened(lines[most - 1])
    while len(last) > 1 and measure(last, bold=bold) > limit:
        last = _shortened(last[:-2])
    return Setting(lines=(*lines[: most - 1], last), size=size, leading=leading, bold=bold)


def _shortened(text: str) -> str:
    """The text up to its last whole word, with an ellipsis."""
    head, space, tail = text.rstrip("…").rpartition(" ")
    kept = head if space and len(tail) <= LONGEST_WORD else text
    return kept.rstrip(CLOSING + "… ") + "…"


def draw(setting: Setting, *, align: float) -> Image.Image:
    """The lines as a mask, 8 bits a pixel; `align` 0 sets them left, 0.5 centred, 1 right."""
    pad = round(setting.size * 0.3)
    mask = Image.new("L", (round(setting.width) + 2 * pad, round(setting.height) + 2 * pad))
    pen = ImageDraw.Draw(mask)
    for number, line in enumerate(setting.lines):
        room = setting.width - measure(line, bold=setting.bold) * setting.size
        x, baseline = pad + align * room, pad + ((number + 0.5) * setting.leading + 0.35) * setting.size
        for family, part in _runs(line):
            font = _font(family, setting.size, bold=setting.bold)
            stroke = setting.size * EMBOLDEN if setting.bold and family == "droid-fallback" else 0
            pen.text((x, baseline), part, fill=255, font=font, anchor="ls", stroke_width=stroke)
            x += font.getlength(part)
    return mask
