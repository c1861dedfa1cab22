"""Money is an integer of micro-dollars: $0.035 is 35,000. A float never touches it."""

import re

MICROS_PER_DOLLAR = 1_000_000
MAX_AMOUNT_MICROS = 10**15
"""One billion dollars: far above any amount that is meant, far below what a bigint holds."""
MAX_SHOWN = 32
"""How much of what is no amount a message repeats."""

_AMOUNT = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,6}))?")


def micros(dollars: str) -> int:
    """Read an exact amount such as `0.035`. Raises ValueError beyond six decimals, below zero or above the maximum."""
    match = _AMOUNT.fullmatch(dollars)
    if match is None:
        form = "in dollars with at most six decimals, such as 0.035"
        raise ValueError(f"an amount is written {form}: {dollars[:MAX_SHOWN]!r}")
    amount = int(match[1]) * MICROS_PER_DOLLAR + int((match[2] or "").ljust(6, "0"))
    if amount > MAX_AMOUNT_MICROS:
        most = MAX_AMOUNT_MICROS // MICROS_PER_DOLLAR
        raise ValueError(f"an amount is at most {most} dollars: {dollars[:MAX_SHOWN]!r}")
    return amount


def dollars(amount_micros: int) -> str:
    """Write an amount exactly, with at least two decimals: 35,000 micros are `0.035`, 1,000,000 are `1.00`."""
    sign = "-" if amount_micros < 0 else ""
    whole, part = divmod(abs(amount_micros), MICROS_PER_DOLLAR)
    decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
