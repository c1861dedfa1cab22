"""Child processes, and what /proc says of them."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

STOP_S = 30.0
READY_S = 30.0
PROC = Path("/proc")


@asynccontextmanager
async def child(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process in a session of its own, stopped at the end; its standard error goes to `log`."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.communicate(), STOP_S)
            return


async def first_line(process: asyncio.subprocess.Process, log: Path) -> str:
    """What a child says when it is ready. Raises RuntimeError, with its log, when it says nothing."""
    assert process.stdout is not None
    with contextlib.suppress(TimeoutError):
        line = await asyncio.wait_for(process.stdout.readline(), READY_S)
        if line:
            return line.decode()
    raise RuntimeError(f"a process did not become ready: {log.read_text()[-2000:]}")


async def listening(port: int) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    parents = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for member in found:
        found += [one for one, parent in parents.items() if parent == member]
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU time that these processes have used, to the microsecond where the kernel tells."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += sum(int(each.read_text().split()[0]) for each in PROC.glob(f"{pid}/task/*/schedstat")) / 1e9
    return total


def memory_mb(pids: Iterable[int]) -> dict[str, float]:
    """Resident and proportional memory of these processes together."""
    totals = {"Rss": 0, "Pss": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in (PROC / f"{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in totals:
                    totals[name] += int(rest.split()[0])
    return {"rss_mb": round(totals["Rss"] / 1024, 1), "pss_mb": round(totals["Pss"] / 1024, 1)}
