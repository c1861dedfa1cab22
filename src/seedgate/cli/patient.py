"""How the doctor works: what a check may look at, and how checks are run.

A check may fail with any error: `examine` makes a finding of it, so that one broken part never hides the others.
"""

import asyncio
import ctypes
import json
import os
import resource
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from seedgate.blobs import Blobs
from seedgate.cli import http
from seedgate.cli.ground import has_database
from seedgate.cli.run import RUNNING_FILE
from seedgate.compose.ground import open_database
from seedgate.domain.errors import SeedgateError
from seedgate.inference import EngineHost, HostLimits
from seedgate.settings import Settings, unknown_variables
from seedgate.store.database import Database

CHECK_LIMIT_S = 60.0
ENGINE_LIMITS = HostLimits(start_s=30.0, job_s=30.0, idle_wait_s=2.0)
TIME_ERROR = 5
"""What `adjtimex` returns while nothing keeps the clock right; see its manual page."""
TIMEX_BYTES = 512
"""More than any system's `struct timex`; all zero, it only asks."""

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found: a sentence, and where it is not well what to do."""

    name: str
    status: Status
    sentence: str
    hint: str = ""

    def document(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def _synchronized() -> bool:
    """Whether a time server keeps the kernel's clock right; true where the kernel does not say."""
    return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)) != TIME_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What the checks look at; the functions ask the machine, and a test gives others."""

    settings: Settings
    database: Database | None
    """None where there is none yet, or none that answers; then `why` says which."""
    why: SeedgateError | None = None
    pgdata: Path | None = None
    """The files of the embedded database, where it is open."""
    running: str = ""
    """The address that the data folder's gateway gave; empty where none runs."""
    writable: Callable[[Path], bool] = lambda path: os.access(path, os.W_OK | os.X_OK)
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    device: Callable[[Path], int] = lambda path: path.stat().st_dev
    """The file system, as a number."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    synchronized: Callable[[], bool] = _synchronized
    unknown_variables: Callable[[], Sequence[str]] = unknown_variables
    open_files: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    ask: Callable[[str], http.Answer] = lambda url: http.call("GET", url)
    open_blobs: Callable[[Path, str], Blobs] = lambda folder, url: Blobs.open(folder=folder, url=url)
    open_engine: Callable[[str, Path], EngineHost] = lambda name, scratch: EngineHost(
        name, scratch=scratch, limits=ENGINE_LIMITS
    )

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.settings.data.absolute()


class NotLooked(Exception):
    """There is no database to ask."""


Verdict = tuple[Status, str, str]
"""Status, sentence, hint."""
Check = Callable[[Patient], Awaitable[Verdict]]


async def examine(settings: Settings, checks: Mapping[str, Check], seen: Callable[[Finding], None]) -> list[Finding]:
    """Run every check, in order, and tell each finding as it is made."""
    findings = []
    async with admit(settings) as patient:
        for name, check in checks.items():
            findings.append(await look(name, check, patient))
            seen(findings[-1])
    return findings


async def look(name: str, check: Check, patient: Patient) -> Finding:
    """One check, within its time."""
    try:
        status, sentence, hint = await asyncio.wait_for(check(patient), CHECK_LIMIT_S)
    except NotLooked:
        status, sentence, hint = "warn", "Not looked at: there is no database to ask.", "See the line of the database."
    except TimeoutError:
        status, sentence, hint = "fail", f"No result after {CHECK_LIMIT_S:.0f} s.", "Is the machine overloaded?"
    except Exception as error:  # noqa: BLE001 - whatever is broken, the doctor says it and goes on
        hint = str(getattr(error, "hint", "")) or "The sentence is the error's own."
        status, sentence = "fail", str(error) or type(error).__name__
    return Finding(name=name, status=status, sentence=sentence, hint=hint)


@asynccontextmanager
async def admit(settings: Settings) -> AsyncIterator[Patient]:
    """The patient, with its database where there is one. Nothing is made that was not there."""
    database, why, pgdata = None, None, None
    async with AsyncExitStack() as stack:
        if has_database(settings):
            try:
                reached = await stack.enter_async_context(open_database(settings))
                database, pgdata = reached.database, reached.embedded.pgdata if reached.embedded else None
            except SeedgateError as error:
                why = error
        yield Patient(settings=settings, database=database, why=why, pgdata=pgdata, running=_running(settings.data))


def _running(data: Path) -> str:
    try:
        return str(json.loads((data / RUNNING_FILE).read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
