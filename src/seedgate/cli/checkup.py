"""What the doctor looks at: `CHECKS`, each a small function of a `Patient`. A test builds another patient, or list.

A check may fail with any error: `examine` makes a finding of it, so that one broken part never hides the others.
"""

import asyncio
import json
import os
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from seedgate.accounts import secret
from seedgate.blobs import Blobs
from seedgate.cli import http
from seedgate.cli.ground import has_database
from seedgate.cli.run import RUNNING_FILE
from seedgate.compose.ground import open_database
from seedgate.domain.errors import SeedgateError
from seedgate.engine import Job
from seedgate.ids import Ids
from seedgate.inference import EngineHost, HostLimits
from seedgate.settings import Settings
from seedgate.store.database import Database
from seedgate.store.embedded import EmbeddedServer
from seedgate.store.migrate import check as check_schema
from seedgate.store.operations import read_server
from seedgate.store.statistics import read_statistics

CHECK_LIMIT_S = 60.0
MIN_PYTHON = (3, 11)
MIN_SERVER = 15
LOW_SPACE_BYTES, NO_SPACE_BYTES = 2 << 30, 100 << 20
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 60.0
SPARE_FILES = 256
"""Open files that a gateway needs besides its connections."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What the checks look at; the functions ask the machine."""

    settings: Settings
    database: Database | None
    """None where there is none yet, or none that answers; then `why` says which."""
    why: SeedgateError | None = None
    running: str = ""
    """The address that the data folder's gateway gave; empty where none runs."""
    python: tuple[int, int] = sys.version_info[:2]
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    open_files: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    ask: Callable[[str], http.Answer] = lambda url: http.call("GET", url)

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
    database, why = None, None
    async with AsyncExitStack() as stack:
        if has_database(settings):
            try:
                database = (await stack.enter_async_context(open_database(settings))).database
            except SeedgateError as error:
                why = error
        yield Patient(settings=settings, database=database, why=why, running=_running(settings.data))


async def python(patient: Patient) -> Verdict:
    """The interpreter."""
    found = ".".join(map(str, patient.python))
    if patient.python < MIN_PYTHON:
        return "fail", f"Python is {found}.", "Seedgate needs 3.11 or newer."
    return "ok", f"Python is {found}.", ""


async def folder(patient: Patient) -> Verdict:
    """The data folder, or the place where it would be made."""
    place = next(path for path in (patient.data, *patient.data.parents) if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return "fail", f"{place} cannot be written to.", "Give it to this user, or choose another with --data."
    free = patient.free_bytes(place)
    sentence = (
        f"{patient.data} {'can be written to' if place == patient.data else 'can be made'}, {free >> 20:,} MiB free."
    )
    if free < NO_SPACE_BYTES:
        return "fail", sentence, "Free some space."
    return ("warn", sentence, "Pictures take 1 to 20 MB each.") if free < LOW_SPACE_BYTES else ("ok", sentence, "")


async def server(patient: Patient) -> Verdict:
    """The database server; where there is none yet, whether one could be made."""
    if patient.why is not None:
        raise patient.why
    if patient.database is None:
        await asyncio.to_thread(_try_server)
        return "ok", "There is no database yet; one can be made.", ""
    version = (await read_server(patient.database)).version
    kind = "by address" if patient.settings.database_url.get_secret_value() else "embedded"
    sentence = f"PostgreSQL {version // 10_000}.{version % 10_000} answers, {kind}."
    if version < MIN_SERVER * 10_000:
        return "fail", sentence, f"Seedgate needs {MIN_SERVER} or newer."
    return "ok", sentence, ""


async def schema(patient: Patient) -> Verdict:
    """The schema against this program."""
    await check_schema(_database(patient))
    return "ok", "The schema fits this program.", ""


async def clock(patient: Patient) -> Verdict:
    """This machine's clock against the database's, by which everything is decided."""
    before = patient.now()
    server_now = (await read_server(_database(patient))).now
    after = patient.now()
    skew_s = max((before - server_now).total_seconds(), (server_now - after).total_seconds(), 0.0)
    sentence = f"This clock and the database's differ by {skew_s:.1f} s."
    hint = "Let both machines ask a time server (NTP)."
    if skew_s > SKEW_FAIL_S:
        return "fail", sentence, hint
    return ("warn", sentence, hint) if skew_s > SKEW_WARN_S else ("ok", sentence, "")


async def secret_key(patient: Patient) -> Verdict:
    """The installation's secret, and who else can read it."""
    given, file = patient.settings.secret_key.get_secret_value(), patient.settings.secret_key_file
    path = Path(file) if file else patient.data / secret.FILE_NAME
    if not given and not file and not path.exists():
        return "ok", "There is no secret yet; the first start makes one.", ""
    secret.load(patient.data, given=given, file=file)
    if given:
        return "ok", "The secret comes from the settings.", ""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return "fail", f"Others can read {path} (mode {mode:04o}).", f"chmod 600 {path}"
    return "ok", f"{path} has mode {mode:04o}.", ""


async def engine(patient: Patient) -> Verdict:
    """The engine, by a small picture."""
    name = patient.settings.work.engine
    with tempfile.TemporaryDirectory(prefix="seedgate-doctor-") as scratch:
        limits = HostLimits(start_s=30.0, job_s=30.0, idle_wait_s=2.0)
        host = EngineHost(name, scratch=Path(scratch), limits=limits)
        try:
            await host.start()
            job = Job(
                id="doctor", prompt="a fox", width=128, height=128, count=1, first_index=0, seed=1, output_format="jpeg"
            )
            sizes = [drawn.path.stat().st_size async for drawn in host.run(job)]
        finally:
            await host.stop()
    return "ok", f"The engine {name} drew a picture of {sizes[0]:,} bytes.", ""


async def results(patient: Patient) -> Verdict:
    """The results' store, by a file that comes and goes."""
    name, content = f"{Ids().token()}.png", b"seedgate doctor"
    url = patient.settings.blobs_url
    with tempfile.TemporaryDirectory(prefix="seedgate-doctor-") as scratch:
        folder = patient.data / "results"
        store = Blobs.open(folder=folder if folder.exists() else Path(scratch, "results"), url=url)
        draft = Path(scratch, "draft")
        draft.write_bytes(content)
        await store.put(name, draft)
        read = b"".join([chunk async for chunk in store.read(name, start=0, end=len(content))])
        await store.delete([name])
    where = url.partition("?")[0] or (folder if folder.exists() else "a temporary folder")
    if read != content:
        return "fail", f"{where} gave back something else than was put.", "Check blobs_url."
    return "ok", f"A file was put into {where}, read and removed.", ""


async def port(patient: Patient) -> Verdict:
    """The port, unless the gateway that runs has it."""
    address = f"{patient.settings.host}:{patient.settings.port}"
    if patient.running and await _answers(patient):
        return "ok", f"The gateway listens at {patient.running}.", ""
    family = socket.getaddrinfo(patient.settings.host, patient.settings.port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((patient.settings.host, patient.settings.port))
            probe.listen(1)
        except OSError as error:
            return "fail", f"Cannot listen on {address}: {error.strerror}.", "Choose another with --port."
    return "ok", f"{address} is free.", ""


async def gateway(patient: Patient) -> Verdict:
    """The gateway of this data folder."""
    if not patient.running:
        return "warn", "No gateway runs here.", "Start it with `seedgate up`."
    try:
        answer = await asyncio.to_thread(patient.ask, f"{patient.running}/readyz")
    except http.Unanswered as error:
        return "fail", f"{patient.running} does not answer: {error}.", "It may have been killed: start it again."
    if answer.status != 200:
        return "fail", f"{patient.running} is not ready: {answer.body.get('reason', answer.status)}.", "See its log."
    return "ok", f"{patient.running} is ready.", ""


async def workers(patient: Patient) -> Verdict:
    """Somebody who does the tasks."""
    found = await read_statistics(_database(patient))
    if found.workers:
        return "ok", f"{found.workers} alive.", ""
    hint = "Start one with `seedgate up` or `seedgate work`."
    if found.oldest_open_task_s > 0:
        return "fail", f"No worker lives, and a task waits for {found.oldest_open_task_s:.0f} s.", hint
    return "warn", "No worker lives; tasks would wait.", hint


async def open_files(patient: Patient) -> Verdict:
    """The limit of open files against the connections that are allowed."""
    limit, connections = patient.open_files(), patient.settings.limits.connections
    if limit == resource.RLIM_INFINITY or limit >= connections + SPARE_FILES:
        return "ok", f"{'Any number' if limit == resource.RLIM_INFINITY else limit} may be open.", ""
    hint = f"`ulimit -n {connections + SPARE_FILES}` before the start, or LimitNOFILE= in its unit."
    return "warn", f"{limit} files may be open, for {connections} connections.", hint


CHECKS: Mapping[str, Check] = {
    "python": python,
    "data folder": folder,
    "secret": secret_key,
    "database": server,
    "schema": schema,
    "clock": clock,
    "engine": engine,
    "results": results,
    "port": port,
    "gateway": gateway,
    "workers": workers,
    "open files": open_files,
}


def _database(patient: Patient) -> Database:
    if patient.database is None:
        raise NotLooked
    return patient.database


async def _answers(patient: Patient) -> bool:
    try:
        return (await asyncio.to_thread(patient.ask, f"{patient.running}/healthz")).status == 200
    except http.Unanswered:
        return False


def _running(data: Path) -> str:
    try:
        return str(json.loads((data / RUNNING_FILE).read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _try_server() -> None:
    """Make a database in a folder of its own, and leave nothing of it."""
    with tempfile.TemporaryDirectory(prefix="seedgate-doctor-") as place:
        try:
            EmbeddedServer.open(Path(place)).close()
        finally:
            EmbeddedServer.discard(Path(place))
