"""The host of a local engine: starts its processes, gives them jobs, and outlives whatever happens to them.

    EngineHost ── _keep, a loop per place: start → ready ⇄ drawing → gone → back-off → start …
        └─ EngineProcess   one process: writes orders, reads reports, guards the limits
             └─ Work       the job in it: pictures as they come, then the end or one error

A rerun costs nothing: every failure is final here, and whoever asked may ask again.
"""

import asyncio
import contextlib
import fcntl
import os
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seedgate.domain.errors import BadSettings, Overloaded, ShuttingDown
from seedgate.engine import Drawn, Job
from seedgate.inference_process import EngineProcess, Work, start_process

CHILD = (sys.executable, "-P", "-m", "seedgate.inference_child")
"""The child's command line; the engine's name and the host's process id follow. -P: nothing is imported from the
folder that the server happens to run in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """What a host waits for, in seconds."""

    start_s: float = 30.0
    """A process must be ready."""
    job_s: float = 300.0
    """A job must end, all its pictures drawn."""
    idle_wait_s: float = 30.0
    """`run` waits for an idle process."""
    cancel_grace_s: float = 3.0
    """A cancelled job may stop by itself."""
    stop_grace_s: float = 2.0
    """A process may leave by itself."""
    restart_first_s: float = 0.2
    restart_most_s: float = 30.0
    """The pause before a restart doubles from the first to the most; a finished job makes it the first again."""


def engine_names() -> list[str]:
    """The engines that are installed, found without importing any."""
    return sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent / "engines")]) if found.ispkg)


def _ignore(index: int, fraction: float) -> None:
    """Progress that nobody watches."""


class _Scratch:
    """A host's own folder in a shared one, with a lock that says that the host lives."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        with (root / "engines.lock").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            self._sweep(root)
            self.path = Path(tempfile.mkdtemp(prefix="engine-", dir=root)).resolve()
            self._lock = (self.path / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def new_folder(self) -> str:
        return tempfile.mkdtemp(prefix="job-", dir=self.path)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    @staticmethod
    def _sweep(root: Path) -> None:
        """Remove the folders of hosts that died."""
        for lock_path in root.glob("engine-*/lock"):
            with lock_path.open("w") as lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_path.parent, ignore_errors=True)


class EngineHost:
    """Runs jobs in `processes` processes of one engine, one job in each. Used in one event loop.

    `scratch` is a folder that hosts may share: each draws in a folder of its own, and removes those that dead hosts
    left. The processes have sessions of their own, so a Ctrl-C in the terminal reaches only the server.
    """

    def __init__(
        self,
        engine: str,
        *,
        scratch: Path,
        processes: int = 1,
        limits: HostLimits | None = None,
        command: Sequence[str] = CHILD,
    ) -> None:
        if engine not in engine_names():
            raise BadSettings(f"There is no engine {engine!r}.", hint=f"Installed: {', '.join(engine_names())}.")
        self.engine = engine
        self._limits = limits or HostLimits()
        self._command = (*command, engine, str(os.getpid()))
        self._root = scratch
        self._scratch: _Scratch | None = None
        self._places: list[EngineProcess | None] = [None] * processes
        self._freed = asyncio.Event()
        """A process may have become idle."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def free(self) -> int:
        """How many jobs could start now."""
        return sum(child is not None and child.idle for child in self._places)

    async def start(self) -> None:
        """Start the processes, and wait until each is ready or has failed once; one that failed is tried again."""
        self._scratch = _Scratch(self._root)
        tried = [asyncio.Event() for _ in self._places]
        for place, event in enumerate(tried):
            self._spawn(self._keep(place, event))
        await asyncio.gather(*(event.wait() for event in tried))

    async def stop(self) -> None:
        """End all processes now; running jobs raise `ShuttingDown`. Who wants them finished waits for them before."""
        scratch, self._scratch = self._scratch, None
        self._freed.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(child.stop(self._limits.stop_grace_s) for child in self._places if child is not None))
        if scratch is not None:
            scratch.remove()

    async def run(self, job: Job, *, on_progress: Callable[[int, float], None] = _ignore) -> AsyncGenerator[Drawn]:
        """Draw the job and yield each picture as it is finished; the files live until this generator ends.

        A caller that leaves early (`aclose`) cancels the job. Raises EngineRefused for a job that no rerun helps,
        EngineCrashed for one that a rerun may help, ShuttingDown after `stop`, and Overloaded when no process became
        idle in time. What was finished before an error is yielded before it.
        """
        child, folder = await self._idle_process()
        work = Work(replace(job, folder=folder), on_progress)
        try:
            child.begin(work, self._limits.job_s)
            while (drawn := await work.next()) is not None:
                yield drawn
        finally:
            if child.work is work and not work.ended.is_set():
                self._spawn(self._abandon(child, work))
            else:
                shutil.rmtree(work.job.folder, ignore_errors=True)

    async def _abandon(self, child: EngineProcess, work: Work) -> None:
        await child.halt(work, self._limits.cancel_grace_s)
        shutil.rmtree(work.job.folder, ignore_errors=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _idle_process(self) -> tuple[EngineProcess, str]:
        """A process that can begin now, and a folder for it to draw in."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.idle_wait_s):
                while self._scratch is not None:
                    for child in self._places:
                        if child is not None and child.idle:
                            return child, self._scratch.new_folder()
                    self._freed.clear()
                    await self._freed.wait()
                raise ShuttingDown
        raise Overloaded("No engine process is free.")

    async def _keep(self, place: int, tried: asyncio.Event) -> None:
        """Keep one process running."""
        pause_s = self._limits.restart_first_s
        while True:
            child = await start_process(self._command, limit_s=self._limits.start_s, on_idle=self._freed.set)
            self._places[place] = child
            tried.set()
            if child is not None:
                self._freed.set()
                await child.gone.wait()
                pause_s = self._limits.restart_first_s if child.proven else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._limits.restart_most_s)
