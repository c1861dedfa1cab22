"""Many concurrent calls, one batch.

    call ─┐                       ┌─ result
    call ─┼─▶ waiting ──▶ run() ──┼─ result        one batch is out at a time; what arrives meanwhile is the next one
    call ─┘                       └─ result

A lone call is a batch of one and goes out in the same turn of the event loop in which it came. A batch that fails as a
whole is tried again in halves, so that only the guilty call sees the error; `run` must therefore be safe to repeat.
A caller that goes away does not take its batch along: the work is done, the result is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from seedgate.domain.errors import SeedgateError, ShuttingDown, Unavailable

Call = TypeVar("Call")
Result = TypeVar("Result")


class Combiner(Generic[Call, Result]):
    """Collects calls and hands them to `run`, which returns one result (or one SeedgateError) per call, in order."""

    def __init__(
        self,
        run: Callable[[Sequence[Call]], Awaitable[Sequence[Result | SeedgateError]]],
        *,
        max_calls: int = 256,
        max_bytes: int = 4 << 20,
        max_waiting: int = 20_000,
        size_bytes: Callable[[Call], int] | None = None,
    ) -> None:
        self._run = run
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._size_bytes = size_bytes
        self._waiting: deque[tuple[Call, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    def __call__(self, call: Call) -> asyncio.Future[Result]:
        """The result for this call, or what `run` says of it; cancelling it drops the result.

        Raises ShuttingDown, or Unavailable when too many are waiting.
        """
        if self._closed:
            raise ShuttingDown
        if len(self._waiting) >= self._max_waiting:
            raise Unavailable(retry_after_s=1)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._drain())
        return future

    async def close(self) -> None:
        """Let everything that waits finish; later calls are refused."""
        self._closed = True
        if self._worker is not None:
            await self._worker

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._settle(self._take())
        finally:
            self._worker = None

    def _take(self) -> list[tuple[Call, asyncio.Future[Result]]]:
        waiting, size_bytes = self._waiting, self._size_bytes
        batch = [waiting.popleft()]
        if size_bytes is None:
            batch += [waiting.popleft() for _ in range(min(len(waiting), self._max_calls - 1))]
            return batch
        size = size_bytes(batch[0][0])
        while waiting and len(batch) < self._max_calls:
            size += size_bytes(waiting[0][0])
            if size > self._max_bytes:
                break
            batch.append(waiting.popleft())
        return batch

    async def _settle(self, batch: list[tuple[Call, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run([call for call, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever broke the batch belongs to one of its callers
            await self._settle_halves(batch, error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, SeedgateError):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def _settle_halves(self, batch: list[tuple[Call, asyncio.Future[Result]]], error: Exception) -> None:
        # An outage is nobody's guilt: halving would only ask a dead server more often.
        if len(batch) == 1 or isinstance(error, Unavailable):
            for _, future in batch:
                if not future.cancelled():
                    future.set_exception(error)
            return
        middle = len(batch) // 2
        await self._settle(batch[:middle])
        await self._settle(batch[middle:])
