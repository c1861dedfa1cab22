"""The sketch engine: exact sizes, equal bytes, readable type, references in their places."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seedgate.engine import Job, JobCancelled, JobRefused
from seedgate.engines.sketch import ENGINE
from seedgate.engines.sketch.lettering import FONTS, fit, measure, typeset
from seedgate.engines.sketch.palette import MOODS, PALETTES, hits
from seedgate.engines.sketch.references import Box, arrange
from seedgate.engines.sketch.scenes import PLACES, SCENES

JOB = Job(
    id="j", prompt="a fox in watercolor", width=320, height=256, count=1, first_index=0, seed=1, output_format="png"
)
PROMPTS = {
    "short": "fox",
    "long": "a lantern in the fog, brass and rain, cinematic light " * 93,
    "cyrillic": "Лес в тумане, раннее утро",
    "chinese": "秋天的山谷里有一只狐狸，远处的雪山。",
    "korean": "서울의 밤, 네온 불빛",
    "arabic": "شروق الشمس فوق البحر",
    "emoji": "🦊🌲✨👩‍👩‍👧",
    "nothing": " \n\t ",
    "not vendored": "สวัสดีชาวโลก नमस्ते",
    "one endless word": "abc" * 1600,
    "markup": '<svg onload="x"><b>&amp;</b>]]>\0\x1b[31m\ud800',
}


def draw(folder, *, cancelled=lambda: False, **change):
    job = replace(JOB, folder=str(folder), **change)
    return [picture.path for picture in ENGINE.draw(job, progress=lambda index, fraction: None, cancelled=cancelled)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def distance(first: Path, second: Path) -> float:
    one, other = (pyvips.Image.new_from_file(str(path)) for path in (first, second))
    return (one - other).abs().avg()


@pytest.fixture
def references(tmp_path):
    """Fourteen flat pictures in every format that is opened, each of its own colour."""
    paths = []
    for number in range(14):
        suffix = ("png", "jpeg", "webp", "gif", "tiff", "bmp")[number % 6]
        mode = "L" if number == 7 else "RGB"
        colour = (17 * number, 255 - 17 * number, 90) if mode == "RGB" else 120
        paths.append(str(tmp_path / f"reference{number}.{suffix}"))
        Image.new(mode, (40 + 20 * number, 60)).save(paths[-1])
        Image.new(mode, (40 + 20 * number, 60), colour).save(paths[-1])
    return tuple(paths)


@pytest.mark.parametrize(
    "size", [(64, 64), (64, 8192), (8192, 64), (1001, 667), (2048, 2048), (6240, 2656), (3040, 5504)]
)
def test_the_size_is_exact(tmp_path, size):
    (path,) = draw(tmp_path, width=size[0], height=size[1], output_format="jpeg")
    with Image.open(path) as picture:
        picture.load()
        assert (picture.size, picture.mode, picture.format) == (size, "RGB", "JPEG")


@pytest.mark.parametrize("output_format", ["jpeg", "png", "webp"])
def test_every_format_decodes_without_metadata(tmp_path, output_format):
    (path,) = draw(tmp_path, output_format=output_format)
    with Image.open(path) as picture:
        picture.load()
        assert (picture.format, picture.mode, picture.size) == (output_format.upper(), "RGB", (320, 256))
        assert not picture.getexif()
        assert b"fox" not in path.read_bytes()


DRAW = """
import sys
from seedgate.engine import Job
from seedgate.engines.sketch import ENGINE
job = Job(id="j", prompt="a fox, 秋", width=320, height=256, count=2, first_index=3, seed=9, output_format="png",
          references=tuple(sys.argv[2:]), watermark="AI", folder=sys.argv[1])
list(ENGINE.draw(job, progress=lambda *_: None, cancelled=lambda: False))
"""


# A seed is a promise: the same request must bring the same picture in whichever process it is drawn.
@pytest.mark.parametrize("count", [0, 2])
def test_the_same_job_gives_the_same_bytes_in_every_process(tmp_path, references, count):
    found = set()
    for hash_seed, threads in (("1", "1"), ("2", "2")):
        folder = tmp_path / hash_seed
        folder.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "VIPS_CONCURRENCY": threads}
        command = [sys.executable, "-c", DRAW, str(folder), *references[:count]]
        subprocess.run(command, check=True, env=environment)
        found.add((digest(folder / "3.png"), digest(folder / "4.png")))
    assert len(found) == 1
    assert len(set(found.pop())) == 2


def test_seed_prompt_index_and_references_each_make_another_picture(tmp_path, references):
    changes = [
        {},
        {"seed": 2},
        {"prompt": "a fox in watercolour"},
        {"first_index": 1},
        {"references": references[:1]},
        {"references": references[1:2]},
        {"watermark": "AI generated"},
    ]
    paths = []
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths += draw(folder, **change)
    assert len({digest(path) for path in paths}) == len(changes)


def test_a_series_keeps_its_scene(tmp_path):
    series, singles = tmp_path / "series", tmp_path / "singles"
    for folder in (series, singles):
        folder.mkdir()
    first, second = draw(series, count=2, sequential=True, prompt="quiet")
    other, another = draw(singles, count=2, prompt="quiet")
    assert 0 < distance(first, second) < distance(other, another)


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_paints_at_every_shape(tmp_path, scene):
    word = PLACES[scene].split()[0].strip("*")
    for width, height in ((210, 90), (90, 160)):
        (path,) = draw(tmp_path, prompt=word, width=width, height=height)
        picture = pyvips.Image.new_from_file(str(path))
        assert picture.deviate() > 10


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_any_prompt_gives_a_picture(tmp_path, references, prompt):
    for width, height, count in ((400, 400, 0), (420, 180, 2), (180, 320, 1)):
        (path,) = draw(tmp_path, prompt=prompt, width=width, height=height, references=references[:count])
        with Image.open(path) as picture:
            assert picture.size == (width, height)


@pytest.mark.parametrize("count", [1, 2, 5, 14])
def test_references_are_shown(tmp_path, references, count):
    without, shown = tmp_path / "without", tmp_path / "shown"
    for folder in (without, shown):
        folder.mkdir()
    (plain,) = draw(without, width=700, height=500)
    (path,) = draw(shown, width=700, height=500, references=references[:count])
    assert distance(plain, path) > 20


@pytest.mark.parametrize("mode", ["CMYK", "LA", "RGBA", "I;16", "P", "1"])
def test_every_kind_of_pixel_is_opened(tmp_path, mode):
    reference = tmp_path / ("reference.jpeg" if mode == "CMYK" else "reference.png")
    Image.new(mode, (300, 200)).save(reference)
    (path,) = draw(tmp_path, references=(str(reference),))
    assert path.exists()


@pytest.mark.parametrize(
    "content", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"BM not", b"GIF89a<svg/>"]
)
def test_what_is_no_picture_is_refused(tmp_path, content):
    reference = tmp_path / "reference.png"
    reference.write_bytes(content)
    with pytest.raises(JobRefused):
        draw(tmp_path, references=(str(reference),))


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_cancellation_is_heard_between_stages(tmp_path, after):
    asked = iter(range(100))
    with pytest.raises(JobCancelled):
        draw(tmp_path, cancelled=lambda: next(asked) >= after)
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_yielded_one_by_one(tmp_path):
    progress = []
    job = replace(JOB, folder=str(tmp_path), count=3)
    pictures = ENGINE.draw(job, progress=lambda *at: progress.append(at), cancelled=lambda: False)
    assert next(pictures).path.exists()
    assert not (tmp_path / "1.png").exists()
    assert [picture.index for picture in pictures] == [1, 2]
    fractions = [fraction for index, fraction in progress if index == 1]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@given(count=st.integers(1, 14), width=st.integers(200, 4000), height=st.integers(200, 4000))
def test_prints_stay_in_their_area_and_apart(count, width, height):
    area = Box(x=10, y=20, w=width, h=height)
    boxes = arrange(count, area, gap=4)
    assert len(boxes) == count
    for number, box in enumerate(boxes):
        assert area.x <= box.x < box.x + box.w <= area.x + area.w
        assert area.y <= box.y < box.y + box.h <= area.y + area.h
        for other in boxes[:number]:
            assert box.x >= other.x + other.w + 4 or box.y >= other.y + other.h + 4


def test_two_references_are_side_by_side_on_landscape_and_stacked_on_portrait():
    left, right = arrange(2, Box(x=0, y=0, w=300, h=200), 4)
    assert left.y == right.y
    upper, lower = arrange(2, Box(x=0, y=0, w=200, h=300), 4)
    assert upper.x == lower.x


@settings(deadline=None)
@given(
    text=st.text(max_size=300) | st.text(alphabet="aWil 0中、い\u0431", max_size=600),
    width=st.integers(60, 900),
    height=st.integers(30, 500),
    bold=st.booleans(),
)
def test_type_stays_in_its_box(text, width, height, bold):
    setting = fit(typeset(text), box=(width, height), sizes=(12, 60), leading=1.2, bold=bold)
    if setting is not None:
        assert setting.height <= height
        room = max(1.02 * width, 2 * setting.size)  # Kerning between words is not counted; one letter always stays.
        assert all(measure(line, bold=bold) * setting.size <= room for line in setting.lines)


def test_lines_are_balanced():
    text = typeset("a very quiet harbour in the early morning with one single boat")
    setting = fit(text, box=(600, 400), sizes=(40, 40), leading=1.2, bold=True)
    widths = [measure(line, bold=True) for line in setting.lines]
    assert len(widths) >= 3
    assert min(widths) > 0.6 * max(widths)
    assert " ".join(setting.lines) == text


def test_a_long_text_ends_in_an_ellipsis_after_a_whole_word():
    setting = fit("lantern " * 400, box=(300, 200), sizes=(14, 30), leading=1.2, bold=False)
    assert setting.lines[-1].endswith("lantern…")


def test_what_no_font_has_is_left_out():
    assert typeset("a fox 🦊 in\tวันนี้ winter\n") == "a fox in winter"
    assert typeset("🦊 ✨ …") == ""


def test_the_tables_are_whole():
    assert set(MOODS) == set(PALETTES)
    assert set(PLACES) == set(SCENES)
    assert "sea" in hits("Sunset over the SEA", PLACES)
    assert "forest" not in hits("the fabric of reality", PLACES)


# The fonts travel with their licences, and fit into the wheel.
def test_fonts_are_small_and_licensed():
    assert {"LICENSE.rubik", "LICENSE.droid"} <= {path.name for path in FONTS.iterdir()}
    assert sum(path.stat().st_size for path in FONTS.iterdir()) < 4_000_000
