"""Sizes: how they are written, and what a model draws."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from seedgate.domain.image import Size
from seedgate.domain.sizes import STEP, SizeBounds, fit_ratio, parse_pixels, parse_ratio

SEEDREAM = SizeBounds(min_pixels=3_686_400, max_pixels=16_777_216)
SMALL = SizeBounds(min_pixels=921_600, max_pixels=16_777_216)
NARROW = SizeBounds(min_pixels=1_000_000, max_pixels=2_000_000, max_aspect=3)
SQUARES = [2048, 3072, 4096]


# A size in one of the vendor's three notations would be refused.
@pytest.mark.parametrize("text", ["2848x1600", "2848X1600", "2848*1600"])
def test_pixels(text):
    assert parse_pixels(text) == Size(width=2848, height=1600)
    assert str(parse_pixels(text)) == "2848x1600"


# Something else would be read as a size.
@pytest.mark.parametrize(
    "text", ["", "x", "2K", "2048", "2048x", "0x1", "01x1", "1x-1", "1 x 1", "1x1x1", "100000x1", "1×1", "1.5x1", "１x１", "1x1\n"]
)  # fmt: skip
def test_no_pixels(text):
    assert parse_pixels(text) is None


# A ratio would be read where none is written.
def test_ratios():
    assert parse_ratio("16:9") == (16, 9)
    assert [parse_ratio(text) for text in ("", "16/9", "0:1", "100:1", "16:9 ", "1:1:1", "a:b")] == [None] * 7


# A size at the very edge would be refused, or one beyond it sent upstream.
@pytest.mark.parametrize(
    ("width", "height", "allowed"),
    [(1920, 1920, True), (1920, 1919, False), (4096, 4096, True), (4097, 4096, False), (7680, 480, True), (7681, 480, False), (480, 7680, True), (3750, 1250, True), (1500, 1500, False)],
)  # fmt: skip
def test_bounds(width, height, allowed):
    assert SEEDREAM.allows(Size(width=width, height=height)) is allowed


# Pictures like a reference would be refused upstream, be distorted, or have another area than the tier.
@given(
    bounds=st.sampled_from([SEEDREAM, SMALL, NARROW]),
    side=st.sampled_from(SQUARES),
    width=st.integers(1, 36_000),
    height=st.integers(1, 36_000),
)
@example(bounds=SEEDREAM, side=2048, width=16, height=1)
@example(bounds=SEEDREAM, side=4096, width=1, height=16)
@example(bounds=SEEDREAM, side=4096, width=36_000, height=1)
@example(bounds=NARROW, side=4096, width=3, height=1)
def test_a_fitted_size_is_within_the_bounds(bounds, side, width, height):
    like = Size(width=side, height=side)
    size = fit_ratio(like=like, width=width, height=height, bounds=bounds)
    assert bounds.allows(size)
    assert size.width % STEP == size.height % STEP == 0
    ratio = min(max(width / height, 1 / bounds.max_aspect), bounds.max_aspect)
    assert size.width / size.height == pytest.approx(ratio, rel=0.13)
    area = min(max(like.pixels, bounds.min_pixels), bounds.max_pixels)
    assert size.pixels == pytest.approx(area, rel=0.13)


# The same for bounds that nobody has written yet, as long as they leave room for a multiple of the step.
@given(
    min_pixels=st.integers(2**18, 2**22),
    room=st.floats(1.5, 8),
    max_aspect=st.integers(2, 16),
    area=st.integers(2**18, 2**24),
    width=st.integers(1, 5_000),
    height=st.integers(1, 5_000),
)
def test_other_bounds(min_pixels, room, max_aspect, area, width, height):
    bounds = SizeBounds(min_pixels=min_pixels, max_pixels=int(min_pixels * room), max_aspect=max_aspect)
    like = Size(width=int(area**0.5), height=int(area**0.5))
    assert bounds.allows(fit_ratio(like=like, width=width, height=height, bounds=bounds))


# A ratio that a multiple of the step has exactly would be missed.
@given(width=st.integers(1, 9), height=st.integers(1, 9), unit=st.integers(1, 4))
def test_exact_sizes_are_kept(width, height, unit):
    exact = Size(width=width * 256 * unit, height=height * 256 * unit)
    assume(SMALL.allows(exact))
    assert fit_ratio(like=exact, width=width, height=height, bounds=SMALL) == exact


# Bounds that no multiple of the step keeps would end in a crash.
def test_bounds_without_room_give_the_size_itself():
    like = Size(width=1001, height=1001)
    bounds = SizeBounds(min_pixels=like.pixels, max_pixels=like.pixels)
    assert fit_ratio(like=like, width=1, height=1, bounds=bounds) == like
