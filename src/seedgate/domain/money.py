"""Money is an integer of micro-dollars: $0.035 is 35,000. A float never touches it."""

from decimal import Decimal, InvalidOperation

MICROS_PER_DOLLAR = 1_000_000
MAX_AMOUNT_MICROS = 10**15
"""One billion dollars: far above any amount that is meant, far below what a bigint holds."""


def micros(dollars: str) -> int:
    """Read an exact amount such as `0.035`. Raises ValueError beyond six decimals, below zero or above the maximum."""
    try:
        amount = Decimal(dollars) * MICROS_PER_DOLLAR
    except InvalidOperation:
        raise ValueError(f"not an amount of money: {dollars!r}") from None
    if not amount.is_finite() or amount != amount.to_integral_value():
        raise ValueError(f"an amount has at most six decimals: {dollars!r}")
    if not 0 <= amount <= MAX_AMOUNT_MICROS:
        raise ValueError(f"an amount lies between 0 and {MAX_AMOUNT_MICROS // MICROS_PER_DOLLAR} dollars: {dollars!r}")
    return int(amount)


def dollars(amount_micros: int) -> str:
    """Write an amount exactly, with at least two decimals: 35,000 micros are `0.035`, 1,000,000 are `1.00`."""
    sign = "-" if amount_micros < 0 else ""
    whole, part = divmod(abs(amount_micros), MICROS_PER_DOLLAR)
    decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
