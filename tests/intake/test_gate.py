"""The gate, against images made to hurt it."""

import asyncio
import errno
import io
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from seedgate.domain.errors import Bug
from seedgate.domain.reference import MAX_STORED_BYTES, ReferenceFault, ReferenceRefused, dimensions_fit
from seedgate.intake import gate as gate_module
from seedgate.intake.gate import Gate, GateLimits

FORMAT, DIMENSIONS = ReferenceFault.FORMAT, ReferenceFault.DIMENSIONS
RED = (220, 30, 30)


def encoded(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def picture(mode="RGB", size=(40, 30), colour=RED):
    return Image.new("RGB", size, colour).convert(mode, palette=Image.Palette.ADAPTIVE)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *, depth=8, colour=2, rows=b"", extra=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def gif(frames, size=(40, 30)):
    head = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + b"\x00\x00\x00\xdc\x1e\x1e"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\x00"
    return head + frame * frames + b"\x3b"


def webp_header(width, height):
    extended = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    body = b"WEBP" + extended + b"VP8L" + struct.pack("<I", 10) + b"\x2f" + bytes(9)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_header(width, height):
    whole = bytearray(encoded(picture(), "JPEG"))
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


class Desk:
    def __init__(self, folder, limits=None):
        self.original, self.clean = folder / "original", folder / "clean"
        self.gate = Gate(limits)

    async def passes(self, content):
        self.original.write_bytes(content)
        passed = await self.gate.normalise(self.original, self.clean)
        image = Image.open(self.clean)
        image.load()
        assert image.format.lower() == passed.format == ("png" if image.mode == "RGBA" else passed.format)
        assert image.size == (passed.width, passed.height)
        return image

    async def refusal(self, content):
        self.original.write_bytes(content)
        with pytest.raises(ReferenceRefused) as caught:
            await self.gate.normalise(self.original, self.clean)
        return caught.value.reason


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def close_to(pixel, colour, by=6):
    return all(abs(a - b) <= by for a, b in zip(pixel, colour, strict=False))


class TestHonestImages:
    @pytest.mark.parametrize(
        ("name", "mode"),
        [
            *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
            *(("PNG", mode) for mode in ("RGB", "RGBA", "P")),
            ("GIF", "P"),
            ("WEBP", "RGB"),
        ],
    )
    async def test_every_format_and_mode_comes_out_plain(self, desk, name, mode):
        image = await desk.passes(encoded(picture(mode), name))
        assert image.mode == "RGB"
        assert image.format == ("PNG" if name in {"PNG", "GIF"} else "JPEG")
        expected = picture("L").convert("RGB").getpixel((5, 5)) if mode == "L" else RED
        assert close_to(image.getpixel((5, 5)), expected)

    async def test_sixteen_bits_are_scaled_not_clipped(self, desk):
        row = b"\x00" + struct.pack(">40H", *([0x6400] * 40))
        image = await desk.passes(png(40, 30, depth=16, colour=0, rows=row * 30))
        assert image.getpixel((5, 5)) == (0x64, 0x64, 0x64)

    async def test_one_bit_is_black_and_white(self, desk):
        image = await desk.passes(encoded(Image.new("1", (40, 30), 1), "PNG"))
        assert image.getpixel((5, 5)) == (255, 255, 255)

    @pytest.mark.parametrize("name", ["PNG", "WEBP"])
    async def test_alpha_stays_where_something_shows_through(self, desk, name):
        see_through = picture("RGBA")
        see_through.putpixel((0, 0), (0, 0, 0, 0))
        image = await desk.passes(encoded(see_through, name, lossless=True))
        assert (image.mode, image.getpixel((0, 0))[3], image.getpixel((9, 9))) == ("RGBA", 0, (*RED, 255))
        assert (await desk.passes(encoded(picture("RGBA"), name, lossless=True))).mode == "RGB"

    async def test_a_transparent_palette_keeps_its_hole(self, desk):
        image = await desk.passes(encoded(picture("P"), "PNG", transparency=picture("P").getpixel((0, 0))))
        assert image.getpixel((0, 0))[3] == 0

    @pytest.mark.parametrize("orientation", range(1, 9))
    async def test_it_is_turned_upright(self, desk, orientation):
        upright = picture(colour="white")
        upright.paste((0, 0, 0), (0, 0, 20, 15))
        # The inverse of what the tag asks for, so that obeying it gives the upright picture again.
        flip = Image.Transpose
        undo = [
            None,
            flip.FLIP_LEFT_RIGHT,
            flip.ROTATE_180,
            flip.FLIP_TOP_BOTTOM,
            flip.TRANSPOSE,
            flip.ROTATE_90,
            flip.TRANSVERSE,
            flip.ROTATE_270,
        ]
        turn = undo[orientation - 1]
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = upright if turn is None else upright.transpose(turn)
        image = await desk.passes(encoded(turned, "JPEG", exif=exif))
        assert image.size == (40, 30)
        assert [image.getpixel(at)[0] < 128 for at in ((3, 3), (36, 3), (3, 26), (36, 26))] == [
            True,
            False,
            False,
            False,
        ]

    async def test_broken_exif_is_no_reason_to_refuse(self, desk):
        await desk.passes(encoded(picture(), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff" + os.urandom(50)))
        await desk.passes(encoded(picture(), "JPEG", exif=b"Exif\x00\x00rubbish"))

    async def test_a_profile_is_applied_and_dropped(self, desk):
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert "icc_profile" not in (await desk.passes(encoded(picture(), "JPEG", icc_profile=lab))).info
        assert "icc_profile" not in (await desk.passes(encoded(picture(), "PNG", icc_profile=b"nonsense"))).info

    # If this fails, a caller's place, camera or name travels on to the upstream.
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF"])
    async def test_no_metadata_survives(self, desk, name):
        from PIL.PngImagePlugin import PngInfo

        exif = Image.Exif()
        exif[0x010E] = "secret place"
        text = PngInfo()
        text.add_text("Comment", "secret place")
        options = {
            "JPEG": {"exif": exif, "comment": "secret place", "xmp": b"secret place"},
            "PNG": {"exif": exif, "pnginfo": text},
            "WEBP": {"exif": exif, "xmp": b"secret place"},
            "GIF": {"comment": b"secret place"},
        }[name]
        content = encoded(picture("P" if name == "GIF" else "RGB"), name, **options)
        assert b"secret place" in content
        await desk.passes(content)
        assert b"secret place" not in desk.clean.read_bytes()

    async def test_noise_is_made_to_fit(self, desk):
        noise = Image.frombytes("RGB", (2000, 2000), os.urandom(2000 * 2000 * 3))
        image = await desk.passes(encoded(noise, "PNG", compress_level=0))
        assert image.format == "JPEG"
        assert desk.clean.stat().st_size <= MAX_STORED_BYTES

    @pytest.mark.parametrize(
        ("size", "fits"),
        [
            ((14, 100), False),
            ((15, 15), True),
            ((15, 240), True),
            ((15, 241), False),
            ((6000, 6000), True),
            ((6001, 6000), False),
        ],
    )
    def test_dimensions(self, size, fits):
        assert dimensions_fit(*size) is fits
        assert dimensions_fit(*size[::-1]) is fits


# Row 60
class TestHostileImages:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (png(65_000, 65_000), DIMENSIONS),
            (png(2**31 - 1, 2**31 - 1), DIMENSIONS),
            (gif(1, (65_000, 65_000)), DIMENSIONS),
            (webp_header(16_000, 16_000), DIMENSIONS),
            (jpeg_header(65_000, 65_000), DIMENSIONS),
            (png(6001, 6000), DIMENSIONS),
            (png(14, 14, rows=bytes(14 * 43)), DIMENSIONS),
            (encoded(picture(size=(330, 20)), "PNG"), DIMENSIONS),
            (png(5000, 5000, rows=b"short"), FORMAT),
            (png(0, 0), FORMAT),
            (encoded(picture(size=(400, 300)), "JPEG")[:-200], FORMAT),
            (encoded(picture(size=(400, 300)), "PNG")[:-100], FORMAT),
            (encoded(picture(size=(400, 300)), "WEBP")[:-60], FORMAT),
            (encoded(picture("P", size=(400, 300)), "GIF")[:-60], FORMAT),
            (b"", FORMAT),
            (b"\xff\xd8\xff", FORMAT),
            (b"\x89PNG\r\n\x1a\n", FORMAT),
            (b"RIFF\x00\x00\x00\x00WEBP", FORMAT),
            (b"GIF89a", FORMAT),
            (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', FORMAT),
            (b"<?xml version='1.0'?><svg/>", FORMAT),
            (b"SIMPLE  =                    T" + b" " * 2850, FORMAT),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", FORMAT),
            (b"%PDF-1.7\n", FORMAT),
            (b"push graphic-context\nfill 'url(https://127.0.0.1/)'\npop graphic-context", FORMAT),
            (b"<html><script>1</script></html>", FORMAT),
            (b"\x00\x00\x00\x1cftypavif" + bytes(40), FORMAT),
            (encoded(picture(), "BMP"), FORMAT),
            (encoded(picture(), "TIFF"), FORMAT),
            (encoded(picture(), "ICO"), FORMAT),
            (encoded(picture(), "PPM"), FORMAT),
            (encoded(picture(), "JPEG2000"), FORMAT),
            (b"\x89PNG\r\n\x1a\n" + encoded(picture(), "JPEG"), FORMAT),
            (b"\xff\xd8\xff\xe0" + encoded(picture(), "PNG"), FORMAT),
            (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40), FORMAT),
        ],
    )
    async def test_what_is_no_good_image_is_refused_with_its_reason(self, desk, content, reason):
        assert await desk.refusal(content) == reason

    # The pixels fit, but each costs more than its share: a large plain area packed into a few kilobytes is welcome …
    async def test_bombs_cost_the_parent_nothing(self, desk):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows = zlib.compressobj(1)
        packed = b"".join(rows.compress(bytes(1 + 6000 * 4)) for _ in range(6000)) + rows.flush()
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 6000, 6000, 8, 6, 0, 0, 0))
        desk.original.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
        await desk.gate.normalise(desk.original, desk.clean)
        text = chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(20_000_000), 1))
        assert await desk.refusal(png(40, 30, rows=bytes(30 * 121), extra=text)) == FORMAT
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024

    # … but not beyond the limits of the process that unpacks it.
    async def test_too_much_memory_is_the_childs_end(self, tmp_path):
        content = encoded(picture("RGBA", size=(4000, 4000)), "PNG")
        tight = Desk(tmp_path, GateLimits(memory_bytes=150_000_000))
        assert await tight.refusal(content) == FORMAT
        await tight.passes(encoded(picture(), "PNG"))

    async def test_too_much_time_is_the_childs_end(self, tmp_path):
        slow = Desk(tmp_path, GateLimits(wall_s=0.01))
        assert await slow.refusal(encoded(picture(size=(3000, 3000)), "PNG")) == FORMAT

    async def test_a_hundred_thousand_frames_cost_as_much_as_one(self, desk):
        content = gif(100_000)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        image = await desk.passes(content)
        assert (image.size, getattr(image, "n_frames", 1)) == ((40, 30), 1)
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1

    async def test_only_the_first_frame_counts(self, desk):
        frames = [picture(colour=colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
        for name in ("WEBP", "GIF", "PNG"):
            image = await desk.passes(encoded(frames[0], name, save_all=True, append_images=frames[1:], duration=10))
            assert close_to(image.convert("RGB").getpixel((5, 5)), RED)
            assert getattr(image, "n_frames", 1) == 1

    # A file that is an image to one program and something else to another comes out as nothing but an image.
    @pytest.mark.parametrize(
        "payload", [b"<script>alert(1)</script>", b"PK\x03\x04 and the rest of an archive", b"%PDF-1.7"]
    )
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP"])
    async def test_polyglots_lose_their_second_face(self, desk, name, payload):
        await desk.passes(encoded(picture("P" if name == "GIF" else "RGB"), name) + payload * 100)
        assert payload not in desk.clean.read_bytes()


class TestTheChild:
    async def test_only_so_many_live_at_once(self, tmp_path):
        (tmp_path / "original").write_bytes(encoded(picture(), "PNG"))
        gate, running = Gate(GateLimits(at_once=2)), []
        ask = gate._ask

        async def watched(order):
            running.append(len(running) + 1)
            assert len(running) <= 2
            try:
                return await ask(order)
            finally:
                running.pop()

        gate._ask = watched
        await asyncio.gather(*(gate.normalise(tmp_path / "original", tmp_path / str(n)) for n in range(6)))

    async def test_giving_up_kills_it(self, tmp_path, monkeypatch):
        started = asyncio.get_running_loop().create_future()
        create = asyncio.create_subprocess_exec

        async def created(*arguments, **options):
            child = await create(sys.executable, "-c", "import time; time.sleep(1000)", **options)
            started.set_result(child)
            return child

        monkeypatch.setattr(asyncio, "create_subprocess_exec", created)
        (tmp_path / "original").write_bytes(encoded(picture(), "PNG"))
        task = asyncio.create_task(Gate().normalise(tmp_path / "original", tmp_path / "clean"))
        child = await started
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert child.returncode == -signal.SIGKILL

    # If this fails, a broken installation would blame every caller's image.
    async def test_a_child_that_does_not_start_is_our_fault(self, desk, monkeypatch):
        monkeypatch.setattr(gate_module, "CHILD", "seedgate.intake.no_such_module")
        desk.original.write_bytes(encoded(picture(), "PNG"))
        with pytest.raises(Bug):
            await desk.gate.normalise(desk.original, desk.clean)

    # If this fails, callers are told that their images are broken when it is our disk that is full.
    async def test_a_full_disk_is_our_fault(self, desk):
        desk.original.write_bytes(encoded(picture(), "PNG"))
        with pytest.raises(OSError) as caught:
            await desk.gate.normalise(desk.original, Path("/dev/full"))
        assert caught.value.errno == errno.ENOSPC

    def test_the_parent_loads_no_decoder(self):
        code = "import sys, seedgate.intake.fetch; sys.exit('PIL' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    # If this fails, a killed gateway leaves decoders behind that nobody watches.
    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's own")
    def test_it_dies_with_its_parent(self, tmp_path):
        fifo = tmp_path / "original"
        os.mkfifo(fifo)
        code = f"""
import json, os, subprocess, sys
order = dict(original={str(fifo)!r}, clean={str(tmp_path / "clean")!r}, decoder="PNG", parent=os.getpid(), memory_bytes=1 << 30, cpu_s=9)
child = subprocess.Popen([sys.executable, "-I", "-m", "seedgate.intake.decode_child", json.dumps(order)])
print(child.pid, flush=True)
child.wait()
"""
        parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        child = int(parent.stdout.readline())
        writer = os.open(fifo, os.O_WRONLY)  # opens once the child has limited itself and opened its side
        limits = Path(f"/proc/{child}/limits").read_text()
        for name, value in (
            ("cpu time", 9),
            ("file size", MAX_STORED_BYTES),
            ("address space", 1 << 30),
            ("core file size", 0),
            ("open files", 32),
        ):
            assert re.search(rf"^Max {name} +{value} +{value} ", limits, re.MULTILINE), limits
        watched = os.pidfd_open(child)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        import select

        assert select.select([watched], [], [], 10)[0], "the child outlived its parent"
        os.close(watched)
        os.close(writer)
