"""The submit rate as GCRA: one stored time per key, exact, with nothing to decrement or reset.

`tat` (theoretical arrival time) is the moment at which the bucket will be full again. All times are integer
microseconds of one clock, so the database computes the same numbers as this model.
"""

from dataclasses import dataclass

MINUTE_US = 60_000_000


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
    earned = max(tat_us, now_us) + emission_us
    excess = earned - now_us - emission_us * per_minute
    return Verdict(tat_us=tat_us, wait_us=excess) if excess > 0 else Verdict(tat_us=earned)
