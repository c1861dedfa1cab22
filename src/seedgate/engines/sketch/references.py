"""References as framed prints on the picture: which formats are opened, where each hangs, how it takes on the light."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyvips
from PIL import Image

from seedgate.engine import JobRefused
from seedgate.engines.sketch.palette import Palette, mix, rgb

SIGNATURES = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"GIF8"),
    (8, b"WEBP"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (4, b"ftyp"),
)
"""What libvips may open. It would open SVG and more by content, so anything else is refused before it looks."""
BITMAP = b"BM"
"""Opened by Pillow: libvips has no reader for it."""
SIGNATURE_BYTES = 12
MIN_PANEL_PX = 8
GAP = 0.028
FRAME = 0.011
CORNER = 0.016
"""Shares of the picture's short side."""
TINT = 0.10
"""How far the prints take on the light of the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A place in the picture, in pixels."""

    x: int
    y: int
    w: int
    h: int

    def inset(self, by: int) -> "Box":
        return Box(x=self.x + by, y=self.y + by, w=self.w - 2 * by, h=self.h - 2 * by)


def arrange(count: int, area: Box, gap: int) -> list[Box]:
    """Boxes in rows that fill the area, as square as they can be; side by side where two arrangements are as good."""
    rows = min(range(1, count + 1), key=lambda rows: (round(_stretch(count, rows, area), 2), rows))
    boxes = []
    tall = (area.h - gap * (rows - 1)) // rows
    for row in range(rows):
        first, last = count * row // rows, count * (row + 1) // rows
        wide = (area.w - gap * (last - first - 1)) // (last - first)
        boxes += [
            Box(x=area.x + column * (wide + gap), y=area.y + row * (tall + gap), w=wide, h=tall)
            for column in range(last - first)
        ]
    return boxes


def _stretch(count: int, rows: int, area: Box) -> float:
    """How far the cells are from square."""
    columns = count / rows
    return abs(math.log((area.w / columns) / (area.h / rows)))


def hang(picture: pyvips.Image, paths: Sequence[str], area: Box, palette: Palette) -> pyvips.Image:
    """The picture with the references on it."""
    short = min(picture.width, picture.height)
    for path, box in zip(paths, arrange(len(paths), area, round(GAP * short)), strict=True):
        if min(box.w, box.h) >= MIN_PANEL_PX:
            picture = _hang_one(picture, Path(path), box, palette)
    return picture.copy_memory()


def _hang_one(picture: pyvips.Image, path: Path, box: Box, palette: Palette) -> pyvips.Image:
    short = min(picture.width, picture.height)
    frame, radius = round(FRAME * short), round(CORNER * short)
    picture = shadow(picture, box, radius, palette)
    paper = solid(box.w, box.h, mix("#ffffff", palette.sky[2], 0.12))
    inner = box.inset(min(frame, min(box.w, box.h) // 4))
    photograph = _tinted(_open(path, inner.w, inner.h), palette)
    paper = paper.insert(photograph, inner.x - box.x, inner.y - box.y)
    return blend(picture, rounded(box.w, box.h, radius), paper, box.x, box.y)


def _open(path: Path, width: int, height: int) -> pyvips.Image:
    """The file cut to the size around what draws the eye, upright, three bands."""
    with path.open("rb") as file:
        head = file.read(SIGNATURE_BYTES)
    try:
        if head.startswith(BITMAP):
            image = _bitmap(path).thumbnail_image(width, height=height, crop="attention")
        elif any(head[at : at + len(magic)] == magic for at, magic in SIGNATURES):
            image = pyvips.Image.thumbnail(str(path), width, height=height, crop="attention")
        else:
            raise JobRefused("A reference is no picture in a format that can be opened.")
        image = image.colourspace("srgb")
        image = image.flatten(background=[255, 255, 255]) if image.hasalpha() else image
        return image.cast("uchar").copy_memory()
    except (pyvips.Error, OSError) as error:
        raise JobRefused("A reference cannot be decoded.") from error


def _bitmap(path: Path) -> pyvips.Image:
    with Image.open(path, formats=["BMP"]) as opened:
        rows = opened.convert("RGB")
        return pyvips.Image.new_from_memory(rows.tobytes(), rows.width, rows.height, 3, "uchar")


def _tinted(image: pyvips.Image, palette: Palette) -> pyvips.Image:
    """A little of the scene's light: multiplied towards its sun, lifted by its sky."""
    light, shade = rgb(mix("#ffffff", palette.sun, 0.8)), rgb(palette.sky[1])
    gain = [1 - TINT + TINT * (level / 255 - part / 255 * 0.5) for level, part in zip(light, shade, strict=True)]
    lift = [TINT * 0.5 * part for part in shade]
    return image.linear(gain, lift, uchar=True)


def shadow(picture: pyvips.Image, box: Box, radius: int, palette: Palette) -> pyvips.Image:
    """A soft shadow under the print, drawn small and blown up."""
    reach = max(4, 2 * radius)
    shrink = max(1, reach // 6)
    small = rounded(max(1, box.w // shrink), max(1, box.h // shrink), max(1, radius // shrink))
    margin = -(-reach // shrink)
    soft = small.embed(margin, margin, small.width + 2 * margin, small.height + 2 * margin).gaussblur(
        reach / shrink / 3
    )
    soft = soft.linear(0.42, 0, uchar=True).resize(shrink, kernel="linear")
    dark = solid(soft.width, soft.height, mix(palette.near, "#000000", 0.55))
    return blend(picture, soft, dark, box.x - margin * shrink, box.y - margin * shrink + reach // 3)


def blend(picture: pyvips.Image, mask: pyvips.Image, ink: pyvips.Image, x: int, y: int) -> pyvips.Image:
    """The picture with the ink where the mask is, its corner at (x, y); what lies outside is cut off."""
    left, top = max(0, -x), max(0, -y)
    width = min(mask.width - left, picture.width - max(0, x))
    height = min(mask.height - top, picture.height - max(0, y))
    if width <= 0 or height <= 0:
        return picture
    x, y = max(0, x), max(0, y)
    under = picture.crop(x, y, width, height)
    mask, ink = (image.crop(left, top, width, height) for image in (mask, ink))
    # One finished region at a time: libvips computes a lazy image again for each of its readers.
    return picture.insert(mask.ifthenelse(ink, under, blend=True).copy_memory(), x, y)


def solid(width: int, height: int, colour: str) -> pyvips.Image:
    return pyvips.Image.black(width, height).new_from_image(list(rgb(colour))).copy(interpretation="srgb")


def rounded(width: int, height: int, radius: int) -> pyvips.Image:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<rect width="{width}" height="{height}" rx="{radius}" fill="#fff"/></svg>'
    )
    return pyvips.Image.svgload_buffer(svg.encode(), unlimited=True).extract_band(3).copy_memory()
