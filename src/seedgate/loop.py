"""Background loops with one life-cycle: started once, supervised, stopped twice without harm."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from seedgate import log
from seedgate.clock import Clock

MAX_PAUSE_S = 10.0
"""How far failures stretch a pause that is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A piece of work to be repeated for as long as the process lives."""

    name: str
    turn: Callable[[], Awaitable[bool]]
    """One turn; True asks for the next one at once, False for a pause."""
    pause_s: float
    wake: asyncio.Event | None = None
    """Cuts the pause short."""


async def run(loop: Loop, *, clock: Clock, stopping: asyncio.Event) -> None:
    """Repeat until `stopping`. A turn that fails is logged and repeated after a growing pause: no loop ever dies."""
    failures = 0
    logger = log.get(loop.name)
    while not stopping.is_set():
        try:
            again = await loop.turn()
            failures = 0
        except Exception as error:
            again, failures = False, failures + 1
            logger.warning("loop_turn_failed", failures=failures, error=type(error).__name__, exc_info=failures == 1)
        if not again:
            longest_s = max(loop.pause_s, MAX_PAUSE_S)
            await _pause(loop, min(loop.pause_s * 2 ** min(failures, 10), longest_s), stopping, clock)


async def _pause(loop: Loop, pause_s: float, stopping: asyncio.Event, clock: Clock) -> None:
    waits = [asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(clock.sleep(pause_s))]
    if loop.wake is not None:
        waits.append(asyncio.ensure_future(loop.wake.wait()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    if loop.wake is not None:
        loop.wake.clear()
