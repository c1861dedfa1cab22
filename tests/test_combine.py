"""Many calls, one batch; one guilty call, one error."""

import asyncio
from collections.abc import Sequence

import pytest

from seedgate.combine import Combiner
from seedgate.domain.errors import NotFound, ShuttingDown, Unavailable


class Recorder:
    """Doubles numbers; a batch with a 13 in it fails as a whole."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, batch: Sequence[int]) -> list[int | NotFound]:
        self.batches.append(list(batch))
        await self.gate.wait()
        if 13 in batch:
            raise ValueError("thirteen")
        return [NotFound() if number < 0 else number * 2 for number in batch]


# If this failed, concurrent callers would each pay for a transaction of their own.
async def test_calls_of_one_turn_are_one_batch() -> None:
    recorder = Recorder()
    combine: Combiner[int, int] = Combiner(recorder.run)
    numbers = range(100, 132)
    assert await asyncio.gather(*(combine(n) for n in numbers)) == [n * 2 for n in numbers]
    assert len(recorder.batches) == 1


# If this failed, calls that arrive while a batch is out would wait for nothing, or go out one by one.
async def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    combine: Combiner[int, int] = Combiner(recorder.run)
    first = asyncio.ensure_future(combine(0))
    while not recorder.batches:
        await asyncio.sleep(0)
    rest = [asyncio.ensure_future(combine(n)) for n in range(1, 10)]
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await asyncio.gather(first, *rest) == [n * 2 for n in range(10)]
    assert [len(batch) for batch in recorder.batches] == [1, 9]


# If this failed, one broken call would be everybody's error.
async def test_only_the_guilty_call_fails() -> None:
    recorder = Recorder()
    combine: Combiner[int, int] = Combiner(recorder.run)
    results = await asyncio.gather(*(combine(n) for n in (1, 2, 13, 4, 5, 6, 7)), return_exceptions=True)
    assert isinstance(results[2], ValueError)
    assert [r for i, r in enumerate(results) if i != 2] == [2, 4, 8, 10, 12, 14]


# If this failed, a call's own refusal would not reach it.
async def test_a_result_that_is_an_error_is_raised_for_its_caller() -> None:
    combine: Combiner[int, int] = Combiner(Recorder().run)
    good, bad = await asyncio.gather(combine(3), combine(-1), return_exceptions=True)
    assert good == 6
    assert isinstance(bad, NotFound)


# If this failed, a caller that hangs up would take others' work along.
async def test_a_caller_that_leaves_does_not_stop_its_batch() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    combine: Combiner[int, int] = Combiner(recorder.run)
    leaving, staying = asyncio.ensure_future(combine(1)), asyncio.ensure_future(combine(2))
    while not recorder.batches:
        await asyncio.sleep(0)
    leaving.cancel()
    recorder.gate.set()
    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving


# If this failed, an outage would be multiplied by asking again in halves.
async def test_an_outage_is_not_halved() -> None:
    asked = 0

    async def away(batch: Sequence[int]) -> list[int]:
        nonlocal asked
        asked += 1
        raise Unavailable

    combine: Combiner[int, int] = Combiner(away)
    results = await asyncio.gather(*(combine(n) for n in range(8)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert asked == 1


# If this failed, memory would grow with whoever calls.
async def test_waiting_is_bounded_and_batches_too() -> None:
    recorder = Recorder()
    combine: Combiner[int, int] = Combiner(
        recorder.run, max_calls=4, max_waiting=10, max_bytes=100, size_bytes=lambda n: 60 if n == 9 else 1
    )
    calls = [combine(n) for n in (9, 9, 1, 2, 3, 4, 5, 6, 7, 8)]
    with pytest.raises(Unavailable):
        combine(0)
    await asyncio.gather(*calls)
    assert [len(batch) for batch in recorder.batches] == [1, 4, 4, 1]


# If this failed, a process that leaves would drop what it has promised, or take on more.
async def test_closing_finishes_what_waits() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    combine: Combiner[int, int] = Combiner(recorder.run)
    call = asyncio.ensure_future(combine(5))
    await asyncio.sleep(0)
    closing = asyncio.create_task(combine.close())
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        combine(6)
    recorder.gate.set()
    await closing
    assert await call == 10
