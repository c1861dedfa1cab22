"""The submit rate as GCRA: one stored time per key, exact, with nothing to decrement or reset.

`tat` (theoretical arrival time) is the moment at which the bucket will be full again. All times are integer
microseconds of one clock, so the database computes the same numbers as this model.
"""

from collections.abc import Iterable
from dataclasses import dataclass

MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for a key that has no limits of its own; 0 and None are no limit."""

    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a caller has left of its limits, as a refusal tells it; None where there is no limit."""

    submits_per_minute: int | None = None
    submits_left: int | None = None
    concurrent_tasks: int | None = None
    tasks_left: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Either the new `tat_us`, or how long to wait before the next one would be allowed."""

    tat_us: int
    wait_us: int = 0

    @property
    def allowed(self) -> bool:
        """Whether the request is within the rate."""
        return self.wait_us == 0


def gcra(*, tat_us: int, now_us: int, per_minute: int) -> Verdict:
    """Ask for one request at `now_us`: a burst of `per_minute` at once, then one every 1/per_minute of a minute."""
    emission_us = MINUTE_US // per_minute
    earned = _at_most_full(tat_us, now_us) + emission_us
    excess = earned - now_us - emission_us * per_minute
    return Verdict(tat_us=tat_us, wait_us=excess) if excess > 0 else Verdict(tat_us=earned)


def left(*, tat_us: int, now_us: int, per_minute: int) -> int:
    """How many requests would be allowed at once at `now_us`."""
    emission_us = MINUTE_US // per_minute
    return max(0, (now_us + emission_us * per_minute - _at_most_full(tat_us, now_us)) // emission_us)


def _at_most_full(tat_us: int, now_us: int) -> int:
    """A bucket is never fuller than a minute: a time further ahead is from before the clock was set back."""
    return max(min(tat_us, now_us + MINUTE_US), now_us)


def nearest(limits: Iterable[tuple[int | None, int]]) -> tuple[int | None, int | None]:
    """Of pairs of a limit and what is left of it the one with least left; limits of 0 and None are none."""
    real = [(remaining, limit) for limit, remaining in limits if limit]
    if not real:
        return None, None
    remaining, limit = min(real)
    return limit, remaining
