"""The blank engine: exact sizes, and every way in which it misbehaves."""

import time
from dataclasses import replace

import pytest
from PIL import Image

from seedgate.engine import Job, JobCancelled, JobRefused
from seedgate.engines.blank import ENGINE

JOB = Job(id="j", prompt="", width=64, height=64, count=1, first_index=0, seed=1, output_format="jpeg")
SIZES = [
    *((1024, 1024), (864, 1152), (1152, 864), (1312, 736), (736, 1312), (832, 1248), (1248, 832), (1568, 672)),
    *((2048, 2048), (1728, 2304), (2304, 1728), (2848, 1600), (1600, 2848), (1664, 2496), (2496, 1664), (3136, 1344)),
    *((4096, 4096), (3520, 4704), (4704, 3520), (5504, 3040), (3040, 5504), (3328, 4992), (4992, 3328), (6240, 2656)),
]


def draw(tmp_path, *, cancelled=lambda: False, **change):
    job = replace(JOB, folder=str(tmp_path), **change)
    return [picture.path for picture in ENGINE.draw(job, progress=lambda index, fraction: None, cancelled=cancelled)]


@pytest.mark.parametrize(("width", "height"), [*SIZES, (1, 1), (64, 8192)])
def test_every_size_is_exact(tmp_path, width, height):
    (path,) = draw(tmp_path, width=width, height=height)
    with Image.open(path) as picture:
        assert picture.size == (width, height)


@pytest.mark.parametrize("output_format", ["jpeg", "png", "webp"])
def test_every_format_decodes(tmp_path, output_format):
    (path,) = draw(tmp_path, output_format=output_format)
    with Image.open(path) as picture:
        picture.load()
        assert (picture.format, picture.mode) == (output_format.upper(), "RGB")


# Measurements of the gateway are only that while the engine costs next to nothing.
def test_a_picture_costs_microseconds_once_its_size_is_known(tmp_path):
    draw(tmp_path, width=2048, height=2048)
    begin = time.process_time()
    draw(tmp_path, width=2048, height=2048, count=100)
    assert time.process_time() - begin < 0.2


def test_wrong_size_and_torn(tmp_path):
    (path,) = draw(tmp_path, prompt="[[wrong-size]]")
    with Image.open(path) as picture:
        assert picture.size == (65, 65)
    (path,) = draw(tmp_path, prompt="[[torn]]", output_format="png")
    with Image.open(path) as picture, pytest.raises(OSError, match="trunc|broken|incomplete"):
        picture.load()


def test_refuse_fail_partial_and_slow(tmp_path):
    with pytest.raises(JobRefused):
        draw(tmp_path, prompt="[[refuse]]")
    with pytest.raises(RuntimeError):
        draw(tmp_path, prompt="[[fail]]")
    with pytest.raises(RuntimeError):
        draw(tmp_path, prompt="[[partial:1]]", count=2)
    assert (tmp_path / "0.jpeg").exists()
    begin = time.monotonic()
    draw(tmp_path, prompt="[[slow:0.03]]", count=2)
    assert time.monotonic() - begin >= 0.06
    with pytest.raises(JobCancelled):
        draw(tmp_path, prompt="[[slow:60]]", cancelled=lambda: True)
