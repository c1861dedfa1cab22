"""One picture: the scene, the references on it, the prompt as type, a breath of grain."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyvips
from PIL import Image

from seedgate.engine import Job
from seedgate.engines.sketch import lettering
from seedgate.engines.sketch.canvas import Camera, Canvas
from seedgate.engines.sketch.palette import Palette, Rgb, choose, choose_palette, contrast, mix, rgb
from seedgate.engines.sketch.references import Box, blend, hang, rounded, shadow, solid
from seedgate.engines.sketch.scenes import PLACES, SCENES, paint_backdrop

GRAIN_TILE_PX = 512
GRAIN_SIGMA = 0.55
HALO_SHRINK = 8
READABLE = 4.5
"""WCAG's contrast ratio for text."""
DIGEST_CHUNK_BYTES = 1 << 20
MIN_TYPE_PX = 9.0
SMALLEST_TYPE, CAPTION, TITLE, PORTRAIT_TITLE = 0.024, 0.055, 0.08, 0.108
"""Sizes of type as shares of the picture's short side."""
TITLE_EMS = 80.0
"""A prompt that would be longer on one line, at size 1, is set as a text on a card."""
LEADING, TEXT_LEADING = 1.15, 1.42
CREAM = "#fffaf0"
SHOTS = (
    Camera(),
    Camera(pan=170, zoom=1.28, sun=0.03),
    Camera(pan=-190, zoom=1.1, sun=-0.04),
    Camera(pan=60, zoom=1.6, sun=0.06),
    Camera(pan=-420, zoom=1.0, sun=-0.08),
    Camera(pan=390, zoom=1.4, sun=0.1),
    Camera(pan=-90, zoom=1.9, sun=0.0),
)
"""The camera of each picture of a series, over and over."""


class Digests:
    """What decides a picture, as one number: seed, prompt, references and, outside a series, the index."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._references = [_digest(Path(path)) for path in job.references]

    def seed(self, index: int) -> int:
        place = "series" if self._job.sequential else str(index)
        parts = (str(self._job.seed), place, *self._references, self._job.prompt)
        return int.from_bytes(hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()[:8])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where things go, in pixels."""

    type: Box
    panels: Box | None = None
    align: float = 0.5


def compose(job: Job, index: int, *, seed: int, step: Callable[[float], None]) -> pyvips.Image:
    """The finished picture, in memory. `step` is told how much is done, and may raise to stop."""
    rng = random.Random(seed)
    palette = choose_palette(job.prompt, rng)
    scene = choose(job.prompt, PLACES, rng)
    camera = SHOTS[index % len(SHOTS)] if job.sequential else Camera()
    canvas = Canvas(width_px=job.width, height_px=job.height, palette=palette, camera=camera, rng=rng)
    layout = _layout(job, centred=scene == "paper", captioned=bool(lettering.typeset(job.prompt)))
    step(0.05)
    if job.references:
        paint_backdrop(canvas)
    else:
        SCENES[scene](canvas)
    _light(canvas)
    picture = canvas.render()
    step(0.5)
    if layout.panels is not None:
        picture = hang(picture, job.references, layout.panels, palette)
    step(0.65)
    picture = _letter(picture, job.prompt, layout, palette)
    if job.watermark:
        picture = _mark(picture, job.watermark)
    step(0.8)
    return _grained(picture, seed).copy_memory()


def _layout(job: Job, *, centred: bool, captioned: bool) -> Layout:
    w, h = job.width, job.height
    margin = round(0.085 * min(w, h))
    if not job.references:
        top, bottom = (0.2, 0.8) if centred else (0.075, 0.43)
        wide = min(w - 2 * margin, round(2.4 * h))
        return Layout(type=Box(x=(w - wide) // 2, y=round(top * h), w=wide, h=round((bottom - top) * h)))
    if captioned and w >= 1.6 * h:
        column = round(0.27 * w)
        panels = Box(x=margin + column, y=margin, w=w - 2 * margin - column, h=h - 2 * margin)
        return Layout(type=Box(x=margin, y=margin, w=column - margin // 2, h=h - 2 * margin), panels=panels, align=0.0)
    caption = round(0.19 * h) if captioned else 0
    panels = Box(x=margin, y=margin, w=w - 2 * margin, h=h - 2 * margin - caption)
    below = panels.y + panels.h + margin // 2
    return Layout(type=Box(x=margin, y=below, w=w - 2 * margin, h=h - below - margin // 2), panels=panels)


def _light(canvas: Canvas) -> None:
    """Light from above, and edges a little darker."""
    p = canvas.palette
    canvas.rect(0, 0, canvas.w, canvas.h, canvas.linear((0, p.sun, 0.1), (0.6, p.sun, 0.0), end=(0.6, 1)))
    edge = canvas.radial((0, p.near, 0.0), (0.62, p.near, 0.0), (1, p.near, 0.3), radius=0.75)
    canvas.rect(0, 0, canvas.w, canvas.h, edge)


def _letter(picture: pyvips.Image, prompt: str, layout: Layout, palette: Palette) -> pyvips.Image:
    """The prompt on the picture: a title, or a text on a card."""
    text, box = lettering.typeset(prompt), layout.type
    if not text or min(box.w, box.h) < 2 * MIN_TYPE_PX:
        return picture
    em, bold = min(picture.width, picture.height), lettering.measure(text, bold=True) <= TITLE_EMS
    if not bold and layout.panels is None:
        return _card(picture, text, palette)
    largest = CAPTION if layout.panels is not None else PORTRAIT_TITLE if picture.height > picture.width else TITLE
    sizes = max(MIN_TYPE_PX, SMALLEST_TYPE * em), largest * em
    setting = lettering.fit(text, box=(box.w, box.h), sizes=sizes, leading=LEADING, bold=bold)
    return picture if setting is None else _print(picture, setting, box, palette, layout.align)


def _card(picture: pyvips.Image, text: str, palette: Palette) -> pyvips.Image:
    em = min(picture.width, picture.height)
    wide, high = min(0.82 * picture.width, 1.15 * em), min(0.8 * picture.height, 1.3 * em)
    pad = 0.06 * em
    sizes = (max(MIN_TYPE_PX, 0.021 * em), 0.042 * em)
    setting = lettering.fit(text, box=(wide - 2 * pad, high - 2 * pad), sizes=sizes, leading=TEXT_LEADING, bold=False)
    if setting is None:
        return picture
    w, h = round(setting.width + 2 * pad), round(setting.height + 2 * pad)
    box = Box(x=(picture.width - w) // 2, y=(picture.height - h) // 2, w=w, h=h)
    surface = mix(palette.sky[0], "#05060f", 0.55) if palette.dark else mix(palette.sky[2], "#ffffff", 0.55)
    picture = shadow(picture, box, round(0.02 * em), palette)
    sheet = rounded(w, h, round(0.02 * em)).linear(0.88, 0, uchar=True)
    picture = blend(picture, sheet, solid(w, h, surface), box.x, box.y)
    return _print(picture, setting, box.inset(round(pad)), palette, align=0.0)


def _print(picture: pyvips.Image, setting: lettering.Setting, box: Box, palette: Palette, align: float) -> pyvips.Image:
    """The type in the middle of its box, in the ink that reads best there, on a halo where it would not read."""
    mask = _mask(lettering.draw(setting, align=align))
    x = round(box.x + align * (box.w - setting.width) - (mask.width - setting.width) / 2)
    y = round(box.y + (box.h - setting.height) / 2 - (mask.height - setting.height) / 2)
    ground = _mean(picture, x, y, mask.width, mask.height)
    inks = (CREAM, mix(palette.near, "#05060f", 0.3))
    ink, other = sorted(inks, key=lambda ink: contrast(rgb(ink), ground), reverse=True)
    strength = 0.22 if contrast(rgb(ink), ground) > READABLE + 2 else 0.55
    picture = _halo(picture, mask, x, y, colour=other, reach=setting.size * 0.4, strength=strength)
    return blend(picture, mask, solid(mask.width, mask.height, ink), x, y)


def _halo(
    picture: pyvips.Image, mask: pyvips.Image, x: int, y: int, *, colour: str, reach: float, strength: float
) -> pyvips.Image:
    """A soft ground of the colour around what the mask shows; made small and blown up."""
    shrink = max(1, min(HALO_SHRINK, round(reach / 4)))
    margin = round(2.5 * reach / shrink)
    small = mask.shrink(shrink, shrink) if shrink > 1 else mask
    wide = small.embed(margin, margin, small.width + 2 * margin, small.height + 2 * margin)
    soft = wide.gaussblur(max(0.5, reach / shrink)).linear(2.2 * strength, 0, uchar=True)
    full = soft.resize(shrink, kernel="linear").copy_memory()
    return blend(picture, full, solid(full.width, full.height, colour), x - margin * shrink, y - margin * shrink)


def _mark(picture: pyvips.Image, words: str) -> pyvips.Image:
    """Small words in the lower right corner."""
    text, em = lettering.typeset(words), min(picture.width, picture.height)
    size = max(MIN_TYPE_PX, 0.022 * em)
    room = picture.width * 0.9
    setting = lettering.fit(text, box=(room, size * 1.3), sizes=(size, size), leading=LEADING, bold=False)
    if setting is None:
        return picture
    mask = _mask(lettering.draw(setting, align=1.0))
    x, y = (
        round(side - part - 0.02 * em)
        for side, part in zip((picture.width, picture.height), (mask.width, mask.height), strict=True)
    )
    picture = _halo(picture, mask, x, y, colour="#000000", reach=size * 0.4, strength=0.5)
    return blend(picture, mask.linear(0.9, 0, uchar=True), solid(mask.width, mask.height, CREAM), x, y)


def _mask(letters: Image.Image) -> pyvips.Image:
    return pyvips.Image.new_from_memory(letters.tobytes(), letters.width, letters.height, 1, "uchar")


def _mean(picture: pyvips.Image, x: int, y: int, width: int, height: int) -> Rgb:
    left, top = max(0, x), max(0, y)
    region = picture.crop(left, top, min(width, picture.width - left), min(height, picture.height - top))
    red, green, blue = (round(region.extract_band(band).avg()) for band in range(3))
    return red, green, blue


def _grained(picture: pyvips.Image, seed: int) -> pyvips.Image:
    """At most one level up or down, so that long gradients do not show their steps."""
    tile = pyvips.Image.gaussnoise(GRAIN_TILE_PX, GRAIN_TILE_PX, mean=0, sigma=GRAIN_SIGMA, seed=seed % 2**31)
    tile = tile.rint().clamp(min=-1, max=1).cast("char").copy_memory()
    across, down = (-(-side // GRAIN_TILE_PX) for side in (picture.width, picture.height))
    noise = tile.replicate(across, down).crop(0, 0, picture.width, picture.height)
    return (picture + noise).cast("uchar").copy(interpretation="srgb")
