"""Money is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.money import MAX_AMOUNT_MICROS, dollars, micros


# An amount written to a file or shown to a person would come back as another one.
@given(st.integers(0, MAX_AMOUNT_MICROS))
def test_what_is_written_is_read_back(amount):
    assert micros(dollars(amount)) == amount


# Prices are quoted to people in this form.
@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.035", 35_000), ("0.000001", 1), ("1", 1_000_000), ("0", 0), ("0.00", 0), ("1.5", 1_500_000), ("000.5", 500_000), ("1000000000", MAX_AMOUNT_MICROS), ("0.100000", 100_000)],
)  # fmt: skip
def test_reading(text, amount):
    assert micros(text) == amount


# A price with a slip in it would be rounded instead of refused.
@pytest.mark.parametrize(
    "text",
    ["", " ", "-0.01", "-0", "+1", "0.0000001", "0.0350000", "0.03500000000000000000000000000001", "1e3", "1E-3", "NaN", "sNaN", "Infinity", "1,5", "1_000", " 1", "1\n", ".5", "5.", "0x10", "１", "1000000000.000001", "9" * 5_000, "$1"],
    ids=lambda text: ascii(text[:24]),
)  # fmt: skip
def test_refused(text):
    with pytest.raises(ValueError):
        micros(text)


# Some text would raise something else than ValueError and stop the start.
@given(st.text() | st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,8})?", fullmatch=True))
def test_any_text(text):
    try:
        amount = micros(text)
    except ValueError:
        return
    assert 0 <= amount <= MAX_AMOUNT_MICROS


# A balance would be shown wrongly to the person who paid.
@pytest.mark.parametrize(
    ("amount", "text"),
    [(35_000, "0.035"), (1_000_000, "1.00"), (1, "0.000001"), (0, "0.00"), (-35_000, "-0.035"), (-1_500_000, "-1.50"), (10**15, "1000000000.00")],
)  # fmt: skip
def test_writing(amount, text):
    assert dollars(amount) == text
