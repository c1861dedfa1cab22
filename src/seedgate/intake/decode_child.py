"""The process that decodes one untrusted image and writes it anew; `gate.py` starts it, this file is all that it does.

It limits itself first, then opens the file with exactly one decoder, looks at the header before decoding, and decodes
the first frame only. Argument: one JSON object, `Order`. Answer: one JSON object on standard output: `{"fault": …}`,
`{"errno": …}` for a full disk, or `{"format": …, "width": …, "height": …}`. A decoder that is taken over finds a
process with little memory, few files and seconds to live.
"""

import ctypes
import errno
import io
import json
import os
import resource
import signal
import struct
import sys
import warnings
from collections.abc import Iterator
from typing import TypedDict

from PIL import Image, ImageCms

from seedgate.domain.reference import MAX_PIXELS, MAX_STORED_BYTES, ReferenceFault, dimensions_fit


class Order(TypedDict):
    """What to do."""

    original: str
    clean: str
    decoder: str
    parent: int
    memory_bytes: int
    cpu_s: int


MAX_OPEN_FILES = 32
NICENESS = 10
# What came without loss stays so while it fits, and so does alpha; then quality goes before the image does.
JPEG_STEPS = (
    {"quality": 95, "subsampling": 0},
    {"quality": 85, "subsampling": 2},
    {"quality": 60, "subsampling": 2},
    {"quality": 35, "subsampling": 2},
)
PNG_STEP = {"compress_level": 3}
LOSSLESS = frozenset({"PNG", "GIF"})

_PR_SET_PDEATHSIG = 1
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Fault(Exception):
    def __init__(self, fault: ReferenceFault) -> None:
        super().__init__(fault)
        self.fault = fault


def main() -> None:
    """Do the order that is the only argument."""
    order: Order = json.loads(sys.argv[1])
    _limit(order)
    try:
        answer: dict[str, str | int] = _normalise(order)
    except _Fault as error:
        answer = {"fault": error.fault}
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like at bytes they do not understand
        answer = {"fault": ReferenceFault.FORMAT}
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            answer = {"errno": error.errno}
    os.write(1, json.dumps(answer).encode())


def _limit(order: Order) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:  # it died before the line above could take effect
        sys.exit(0)
    os.nice(NICENESS)
    for limit, value in (
        (resource.RLIMIT_AS, order["memory_bytes"]),
        (resource.RLIMIT_CPU, order["cpu_s"]),
        (resource.RLIMIT_FSIZE, MAX_STORED_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))


def _normalise(order: Order) -> dict[str, str | int]:
    warnings.simplefilter("ignore")
    # Pillow refuses at twice this number, and for WebP before it reserves the memory.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    try:
        opened = Image.open(order["original"], formats=[order["decoder"]])
    except Image.DecompressionBombError:
        raise _Fault(ReferenceFault.DIMENSIONS) from None
    with opened:
        if not dimensions_fit(*opened.size):
            raise _Fault(ReferenceFault.DIMENSIONS)
        opened.load()
        image = _plain(_upright(opened))
    image.info = {}  # some encoders copy profiles and comments from here
    written = _write(image, order["clean"], lossless=order["decoder"] in LOSSLESS)
    return {"format": written, "width": image.width, "height": image.height}


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, ValueError, LookupError, TypeError, OSError, struct.error):
        return image  # broken EXIF is common and no reason to refuse a picture
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image) -> Image.Image:
    """As 8-bit sRGB; with alpha only where something shows through."""
    if image.mode.startswith("I"):
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return _srgb(image).convert("RGB")
    with_alpha = image.convert("RGBA")
    alpha = with_alpha.getchannel("A")
    plain = with_alpha.convert("RGB")
    if image.mode == "RGBA":
        plain.info = image.info
        plain = _srgb(plain)
    if alpha.getextrema() != (255, 255):
        plain.putalpha(alpha)
    return plain


def _srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "CMYK"}:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image
    return converted or image


def _write(image: Image.Image, path: str, *, lossless: bool) -> str:
    for name, options in _steps(has_alpha=image.mode == "RGBA", lossless=lossless):
        try:
            _over_white(image, name).save(path, name, **options)
        except OSError as error:
            if error.errno == errno.EFBIG:  # the limit on file sizes: this way it does not fit
                continue
            raise
        return name.lower()
    raise _Fault(ReferenceFault.TOO_LARGE)


def _steps(*, has_alpha: bool, lossless: bool) -> Iterator[tuple[str, dict[str, int]]]:
    if has_alpha or lossless:
        yield "PNG", PNG_STEP
    for options in JPEG_STEPS:
        yield "JPEG", options


def _over_white(image: Image.Image, name: str) -> Image.Image:
    if name != "JPEG" or image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


if __name__ == "__main__":
    main()
