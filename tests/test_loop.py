"""Background loops: repeated at their own pace, never ended by a failure."""

import asyncio

from seedgate.clock import Clock
from seedgate.loop import MAX_PAUSE_S, Loop, run


async def _pauses(pause_s: float, failures: int, turns: int) -> list[float]:
    """How long a loop sleeps whose first turns fail."""
    pauses: list[float] = []
    stopping = asyncio.Event()
    done = 0

    async def turn() -> bool:
        nonlocal done
        done += 1
        if done > turns:
            stopping.set()
        if done <= failures:
            raise ValueError("broken")
        return False

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await run(Loop(name="test", turn=turn, pause_s=pause_s), clock=Clock(sleep=sleep), stopping=stopping)
    return pauses[:turns]


# If this failed, a slow loop would be run far too often.
async def test_a_long_pause_is_kept() -> None:
    assert await _pauses(300.0, 0, 3) == [300.0] * 3


# If this failed, a loop would end with its first failure, or hammer what has failed.
async def test_failures_stretch_the_pause_and_end_nothing() -> None:
    assert await _pauses(1.0, 6, 7) == [2.0, 4.0, 8.0, MAX_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S, 1.0]
