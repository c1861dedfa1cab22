"""The load: one thread of wrk on the same cores, with `load.lua`."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")
MOST_S = 120
"""wrk ends by then, whatever became of us."""
END_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk saw."""

    requests: int
    seconds: float
    wrong: int
    """Answers that were no success, and connections that broke."""
    p50_ms: float
    p99_ms: float
    mean_ms: float

    @property
    def per_s(self) -> float:
        """Answers in a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go, and which: `kind` and `lines` are load.lua's."""

    kind: str
    port: int
    path: str
    lines: Path


def provide() -> None:
    """Make sure that there is wrk: install Debian's package where we may. Exits with a sentence where we may not."""
    if shutil.which("wrk"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["install"], ["update"], ["install"]):
            tail = ["wrk"] if command == ["install"] else []
            subprocess.run(["apt-get", "-y", "-qq", *command, *tail], check=False, capture_output=True)
            if shutil.which("wrk"):
                return
    raise SystemExit("bench: wrk makes the load and is not installed (Debian: apt-get install wrk)")


async def run(target: Target, *, connections: int, seconds: float, name: str = "") -> Load:
    """Ask for so many seconds. wrk counts whole seconds only, so an interrupt ends it, which it takes as the end.

    `name` is in every prompt and idempotency key; each run has its own unless one is given.
    """
    name = name or f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-4000-8000"
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{connections}", f"-d{MOST_S}s", "-s", f"{SCRIPT}", f"http://127.0.0.1:{target.port}", "--"),
        *(target.kind, target.path, f"{target.lines}", name),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGINT)
        said, _ = await asyncio.wait_for(process.communicate(), END_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return parse(said.decode())


def parse(said: str) -> Load:
    """The line that load.lua adds to what wrk prints. Raises RuntimeError when there is none."""
    last = said.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        raise RuntimeError(f"wrk failed: {said.strip()}")
    line = json.loads(last)
    return Load(
        requests=line["requests"],
        seconds=line["duration_us"] / 1e6,
        wrong=line["refused"] + line["broken"],
        p50_ms=line["p50_us"] / 1e3,
        p99_ms=line["p99_us"] / 1e3,
        mean_ms=line["mean_us"] / 1e3,
    )
