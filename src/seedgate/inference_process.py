"""One engine process as its host sees it: started, given a job, read, killed.

A process is trusted with nothing: frames are bounded and typed, a picture counts only as a plain file in its job's own
folder, and a breach of either kills the process. What it says on stderr may hold prompts, so only lines with the shape
of a stack trace are ever shown.
"""

import asyncio
import contextlib
import os
import re
import signal
import stat
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from seedgate import log
from seedgate.domain.errors import EngineCrashed, EngineRefused, ShuttingDown
from seedgate.engine import Drawn, Job
from seedgate.inference_child import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    Cancel,
    Cancelled,
    Done,
    Draw,
    Failure,
    Picture,
    Progress,
    Ready,
    Refusal,
    Report,
    frame,
    reports,
)

STDERR_LINES = 40
"""Lines of a process's stderr that are kept, and that a crash may show."""
CHUNK_BYTES = 1 << 16
REASON_CHARS = 200
"""Of what a process says about a job."""
REAP_S = 5.0
"""A killed process must be gone; only one that left its session, and kept the pipes, takes longer."""
ENVIRONMENT = re.compile(
    r"(PATH|HOME|TMPDIR|TZ|LANG|LC_\w+|LD_LIBRARY_PATH|PYTHON\w+|COVERAGE_\w+"
    r"|VIPS_\w+|CUDA_\w+|NVIDIA_\w+|HF_\w+|TORCH\w*|OMP_\w+)"
)
"""Variables that a child inherits: never the server's secrets."""
CHILD_ENVIRONMENT = {"VIPS_CONCURRENCY": "1", "MALLOC_ARENA_MAX": "2"}
TRACE_LINE = re.compile(
    rb'(\s*File "[^"\s]{1,300}\.py", line \d+|Fatal Python error: |Thread 0x|Current thread 0x|(\w+\.)*\w+Error\b)'
)

logger = log.get("inference")


class Work:
    """A job in a child, from its start to its end."""

    def __init__(self, job: Job, on_progress: Callable[[int, float], None]) -> None:
        self.job = job
        self.deadline: asyncio.TimerHandle | None = None
        self.ended = asyncio.Event()
        self._on_progress = on_progress
        self._indexes = set(range(job.first_index, job.first_index + job.count))
        self._drawn: asyncio.Queue[Drawn | None] = asyncio.Queue()
        self._error: Exception | None = None

    async def next(self) -> Drawn | None:
        """The next picture; None, or the error, after the last."""
        drawn = await self._drawn.get()
        if drawn is None and self._error is not None:
            raise self._error
        return drawn

    def end(self, error: Exception | None) -> None:
        if self.ended.is_set():
            return
        self._error = error
        self.ended.set()
        self._drawn.put_nowait(None)
        if self.deadline is not None:
            self.deadline.cancel()

    def take(self, report: Report) -> None:
        """Account for a report of this job. Raises ValueError or OSError when it cannot be true."""
        match report:
            case Progress(index=index, fraction=fraction):
                self._on_progress(index, fraction)
            case Picture(index=index, path=path):
                self._drawn.put_nowait(self._checked(index, Path(path)))
            case Done():
                self.end(EngineCrashed("The engine left pictures out.") if self._indexes else None)
            case Cancelled():
                self.end(EngineCrashed("The engine gave the job up."))  # nobody waits for one that was asked to
            case Refusal(reason=reason):
                self.end(EngineRefused(reason[:REASON_CHARS]))
            case Failure(what=what):
                self.end(EngineCrashed(f"The engine failed: {what[:REASON_CHARS]}."))
            case Ready():
                raise ValueError("ready twice")

    def _checked(self, index: int, path: Path) -> Drawn:
        if index not in self._indexes:
            raise ValueError("a picture that nobody asked for")
        if path.parent != Path(self.job.folder) or not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("a picture that is no file of its job")
        self._indexes.remove(index)
        return Drawn(index=index, path=path)


class EngineProcess:
    """One engine process, ready or drawing, until `gone`."""

    def __init__(self, process: Process, ready: Ready, noise: "_Noise", on_idle: Callable[[], None]) -> None:
        self.capabilities = ready.capabilities
        self.gone = asyncio.Event()
        self.work: Work | None = None
        self.proven = False
        """It finished a job."""
        self._process = process
        self._noise = noise
        self._on_idle = on_idle
        self._why = "The engine's process died."
        self._reader = asyncio.create_task(self._read())

    @property
    def idle(self) -> bool:
        return self.work is None and not self.gone.is_set()

    def begin(self, work: Work, limit_s: float) -> None:
        """Start drawing. Raises EngineRefused when the job is out of the engine's bounds."""
        if (reason := self.capabilities.refusal(work.job)) is not None:
            raise EngineRefused(reason)
        try:
            order = frame(Draw(work.job))
        except ValueError as error:
            raise EngineRefused("The job is too large to be handed to an engine.") from error
        self.work = work
        hung = f"The engine took longer than {limit_s:g} s."
        work.deadline = asyncio.get_running_loop().call_later(limit_s, self.kill, hung)
        self._write(order)

    async def halt(self, work: Work, grace_s: float) -> None:
        """Make an end of the job: ask for it, then kill."""
        self._write(frame(Cancel(work.job.id)))
        if not await _within(grace_s, work.ended):
            self.kill("The engine did not stop when it was asked to.")
            await work.ended.wait()

    async def stop(self, grace_s: float) -> None:
        if self.work is not None:
            self.work.end(ShuttingDown())
        _close(self._process)
        if not await _within(grace_s, self.gone):
            self.kill("The engine did not leave when it was asked to.")
            await self.gone.wait()

    def kill(self, why: str) -> None:
        """End the process and all that it started, at once."""
        self._why = why
        _kill(self._process)

    def _write(self, order: bytes) -> None:
        # Orders are few and bounded and the child always reads, so nothing waits for the pipe to drain.
        if self._process.stdin is not None:
            self._process.stdin.write(order)

    async def _read(self) -> None:
        try:
            while True:
                self._take(await _report(self._process))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as error:  # noqa: BLE001 — whatever a broken process sends, the host stays up.
            self._why = f"The engine's process broke the protocol: {type(error).__name__}."
        trace = await _reap(self._process, self._noise)
        self.gone.set()
        if self._process.returncode == 0 and self.work is None:
            logger.debug("engine_stopped")
        else:
            logger.warning("engine_gone", why=self._why, status=self._process.returncode, trace=trace)
        if self.work is not None:
            self.work.end(EngineCrashed(self._why))

    def _take(self, report: Report) -> None:
        if self.work is None or isinstance(report, Ready) or report.job_id != self.work.job.id:
            raise ValueError("a report out of turn")
        self.work.take(report)
        if isinstance(report, Done | Cancelled | Refusal | Failure):
            self.work = None
            self.proven = True
            self._on_idle()


class _Noise:
    """The tail of a process's stderr."""

    def __init__(self, stream: asyncio.StreamReader | None) -> None:
        self._lines: deque[bytes] = deque(maxlen=STDERR_LINES)
        self._task = asyncio.create_task(self._read(stream)) if stream is not None else None

    async def trace(self) -> list[str]:
        """Its last lines with the shape of a stack trace, once the process has ended."""
        if self._task is not None:
            await self._task
        return [found[0].decode(errors="replace").strip() for line in self._lines if (found := TRACE_LINE.match(line))]

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(CHUNK_BYTES):
            self._lines.extend(chunk.splitlines())


async def _within(limit_s: float, event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()
    return event.is_set()


def _close(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _kill(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


async def _reap(process: Process, noise: _Noise) -> list[str]:
    """Kill what is left of the process; give the trace that it left."""
    _kill(process)
    _close(process)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REAP_S):
            # Unread output would pause its pipe, whose end asyncio then never sees, and `wait` would not return.
            while process.stdout is not None and await process.stdout.read(CHUNK_BYTES):
                pass
            await process.wait()
            return await noise.trace()
    return []


async def _report(process: Process) -> Report:
    if process.stdout is None:
        raise ConnectionError
    length = int.from_bytes(await process.stdout.readexactly(HEADER_BYTES))
    if length > MAX_FRAME_BYTES:
        raise ValueError("a frame too long")
    return reports.decode(await process.stdout.readexactly(length))


async def start_process(command: Sequence[str], *, limit_s: float, on_idle: Callable[[], None]) -> EngineProcess | None:
    """A process that is ready, or None when there was none in time; the log says why."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_environment(), start_new_session=True
        )
    except OSError as error:
        logger.warning("engine_start_failed", why=error.strerror)
        return None
    noise = _Noise(process.stderr)
    try:
        async with asyncio.timeout(limit_s):
            ready = await _report(process)
        if isinstance(ready, Ready):
            return EngineProcess(process, ready, noise, on_idle)
        raise ValueError("not ready")
    except (TimeoutError, ValueError, asyncio.IncompleteReadError, ConnectionError) as error:
        logger.warning("engine_start_failed", why=type(error).__name__, trace=await _reap(process, noise))
        return None
    except asyncio.CancelledError:
        await _reap(process, noise)
        raise


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)} | CHILD_ENVIRONMENT
