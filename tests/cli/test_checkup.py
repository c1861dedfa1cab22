"""Every check of the doctor, seen failing on something that is broken, with what it says and advises."""

import asyncio
import contextlib
import re
import socket
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from world import World

from seedgate.accounts import secret
from seedgate.blobs import Blobs
from seedgate.cli import http
from seedgate.cli.checkup import CHECKS
from seedgate.cli.patient import Patient, examine, look
from seedgate.inference import EngineHost, HostLimits
from seedgate.settings import load

ONLY_WARN = {"environment", "open files"}
"""What no gateway fails of."""
ILL = []
"""Check, status, a pattern of the sentence, the hint's beginning, and the function that breaks what is looked at."""
NOW = datetime(2026, 11, 20, tzinfo=UTC)
QUICK = HostLimits(start_s=10, job_s=10, idle_wait_s=1, stop_grace_s=0.3, restart_first_s=5)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A patient in health, and what it lives in."""

    patient: Patient
    data: Path
    held: contextlib.ExitStack
    """What is held until the check has been seen."""
    world: World | None = None
    """Where the database is one, and its tables are there."""

    def but(self, *, settings: dict[str, Any] | None = None, **changes: Any) -> Patient:
        """The patient with other facts."""
        patient = replace(self.patient, **changes)
        return replace(patient, settings=patient.settings.model_copy(update=settings)) if settings else patient


def ill(check: str, status: str, sentence: str, hint: str):
    """Registers a function that makes an ill patient of the scene's."""

    def register(spoil):
        ILL.append(pytest.param(check, status, sentence, hint, spoil, id=f"{check}: {spoil.__name__}"))
        return spoil

    return register


@pytest.fixture
def scene(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    settings = load(data=data, port=0)
    with contextlib.ExitStack() as held:
        yield Scene(patient=Patient(settings=settings, database=None), data=data, held=held)


@pytest.fixture
def stored(scene, database, world):
    return replace(scene, patient=replace(scene.patient, database=database), world=world)


@ill("environment", "warn", r"Not known: SEEDGATE_TYPO\.", "They have no effect")
def a_slip_of_the_pen(scene):
    return scene.but(unknown_variables=lambda: ["SEEDGATE_TYPO"])


@ill("data folder", "fail", r"data\.txt is no folder\.", "Choose another with --data.")
def a_file(scene):
    (scene.data / "data.txt").touch()
    return scene.but(settings={"data": scene.data / "data.txt" / "seedgate"})


@ill("data folder", "fail", r"data cannot be written to\.", "Give it to this user, or choose another with --data.")
def read_only(scene):
    return scene.but(writable=lambda _: False)


@ill("space", "fail", r"Free: 99 MiB in .*/data\.", "Free some space.")
def a_full_disk(scene):
    return scene.but(free_bytes=lambda _: 99 << 20)


@ill("space", "warn", r"Free: 2,047 MiB in .*/data\.", "Pictures take 1 to 20 MB each.")
def a_disk_that_fills(scene):
    return scene.but(free_bytes=lambda _: (2 << 30) - 1)


@ill("space", "fail", r"Free: 4,096 MiB in .*/data, 0 MiB in .*/results\.", "Free some space.")
def results_on_a_full_disk_of_their_own(scene):
    (scene.data / "results").mkdir()
    (scene.data / "references").mkdir()
    return scene.but(
        device=lambda path: int(path.name == "results"), free_bytes=lambda path: (path.name != "results") * 4 << 30
    )


@ill("space", "fail", r"Free: 4,096 MiB in .*/data, 0 MiB in .*/pg18\.", "Free some space.")
def a_database_on_a_full_disk_of_its_own(scene):
    pgdata = scene.data.parent / "pg18"
    pgdata.mkdir()
    on_it = {"device": lambda path: int(path == pgdata), "free_bytes": lambda path: (path != pgdata) * 4 << 30}
    return scene.but(pgdata=pgdata, **on_it)


@ill("public address", "fail", "In production the setting public_url is needed.", "Set SEEDGATE_PUBLIC_URL to ")
def production_without_an_address(scene):
    return scene.but(settings={"mode": "production"})


@ill("public address", "warn", "By public_url, keys and pictures travel unencrypted.", "Let callers come by https")
def production_over_http(scene):
    return scene.but(settings={"mode": "production", "public_url": "http://images.example"})


@ill("public address", "warn", "By files_url, keys and pictures travel unencrypted.", "Let callers come by https")
def pictures_over_http(scene):
    urls = {"public_url": "https://images.example", "files_url": "HTTP://files.example"}
    return scene.but(settings={"mode": "production", **urls})


@ill("secret", "fail", r"Others can read .*/secret\.key \(mode 0644\)\.", "chmod 600 FOLDER/secret.key")
def an_open_secret(scene):
    keep(scene, b"x" * 44, 0o644)
    return scene.patient


@ill("secret", "fail", r"secret\.key is shorter than 32 bytes", "Make a longer one.")
def a_short_secret(scene):
    keep(scene, b"short", 0o600)
    return scene.patient


@ill("secret", "fail", r"nowhere does not exist", "Check secret_key_file.")
def a_secret_that_is_not_mounted(scene):
    return scene.but(settings={"secret_key_file": str(scene.data / "nowhere")})


@ill("secret", "fail", "This database belongs to another secret", "Use the secret.key of the data folder that made it")
async def a_secret_of_another_database(stored):
    keep(stored, b"x" * 44, 0o600)
    await secret.check(stored.patient.database, stored.world.ids, secret.Secret(b"y" * 44))
    return stored.patient


@ill("secret", "fail", r"secret\.key is missing, and the database belongs to it\.", "Bring it back before `up` makes")
async def a_secret_that_is_lost(stored):
    await secret.check(stored.patient.database, stored.world.ids, secret.Secret(b"y" * 44))
    return stored.patient


def keep(scene, content: bytes, mode: int) -> None:
    path = scene.data / "secret.key"
    path.write_bytes(content)
    path.chmod(mode)


class Server:
    """A database server that says of itself what it is told to."""

    def __init__(self, version: int, now: datetime):
        self.row = {"version": version, "now": now}

    async def fetch(self, _sql: str) -> list[dict[str, Any]]:
        return [self.row]


@ill("database", "fail", r"PostgreSQL 14\.11 answers, embedded\.", "Seedgate needs 15 or newer.")
def an_old_server(scene):
    return scene.but(database=Server(140_011, NOW))


@ill("database", "fail", r"The database does not answer: .*Connect call failed", "Check host and port in DATABASE_URL")
def a_server_that_is_away(scene):
    return load(data=scene.data, database_url="postgresql://u:hush@127.0.0.1:1/x")


@ill("database", "fail", r"Cannot use .*/postgres: File exists", "Check what is there, and on which disk.")
def a_broken_folder_of_the_database(scene):
    (scene.data / "postgres").write_text("no folder")
    return load(data=scene.data)


@ill("schema", "fail", "schema is older than this program", "Run `seedgate db migrate` first.")
async def an_old_schema(stored):
    async with stored.patient.database.write() as tx:
        await tx.execute("DELETE FROM schema_version WHERE number = (SELECT max(number) FROM schema_version)")
    return stored.patient


@ill("schema", "fail", "written by a newer Seedgate", "Start the newer program")
async def a_newer_schema(stored):
    async with stored.patient.database.write() as tx:
        await tx.execute("INSERT INTO schema_version (number, name, digest, min_reader) VALUES (9999, 'x', 'x', 9999)")
    return stored.patient


@ill("clock", "fail", r"This clock and the database's differ by 86400\.0 s\.", "Let both machines ask")
def a_clock_of_yesterday(scene):
    return scene.but(database=Server(180_000, NOW), now=lambda: NOW - timedelta(days=1))


@ill("clock", "warn", r"This clock and the database's differ by 10\.0 s\.", "Let both machines ask")
def a_clock_that_is_fast(scene):
    return scene.but(database=Server(180_000, NOW), now=lambda: NOW + timedelta(seconds=10))


@ill("clock", "warn", r"differ by 0\.0 s\. No time server keeps this one right\.", "Let both machines ask")
def a_clock_that_nobody_sets(scene):
    settings = {"mode": "production"}
    return scene.but(settings=settings, database=Server(180_000, NOW), now=lambda: NOW, synchronized=lambda: False)


@ill("engine", "fail", "There is no engine 'none'", "Installed: blank, sketch")
def an_engine_that_is_not_there(scene):
    return scene.but(settings={"work": scene.patient.settings.work.model_copy(update={"engine": "none"})})


@ill("engine", "fail", r"The engine sketch does not start\.", "Its log line, on standard error, says why.")
def an_engine_that_does_not_start(scene):
    return scene.but(open_engine=child("raise SystemExit(1)"))


@ill("engine", "fail", r"The engine's process died\.", "Its log line, on standard error, says why.")
def an_engine_that_dies(scene):
    program = "from seedgate.inference_child import *; import sys; out = sys.stdout.buffer"
    ready = "out.write(frame(Ready('x', '1', Capabilities()))); out.flush(); sys.stdin.buffer.read(4)"
    return scene.but(open_engine=child(f"{program}; {ready}"))


def child(program: str):
    command = (sys.executable, "-c", program)
    return lambda name, scratch: EngineHost(name, scratch=scratch, limits=QUICK, command=command)


@ill("results", "fail", r"results takes no file: No such file or directory\.", "Check who owns it, and")
def results_that_take_nothing(scene):
    def unmounted(folder: Path, _url: str) -> Blobs:
        blobs = Blobs.open(folder=folder)
        folder.rmdir()
        return blobs

    (scene.data / "results").mkdir()
    return scene.but(open_blobs=unmounted)


@ill("results", "fail", "Results cannot be kept in .*/results: File exists", "Check who owns it, and who")
def results_that_are_no_folder(scene):
    (scene.data / "results").touch()
    return scene.patient


@ill("results", "fail", r"The setting blobs_url cannot be used: .*ftp://…@host/\?…", "It looks like")
def a_store_that_nobody_knows(scene):
    return scene.but(settings={"blobs_url": "ftp://user:hush@host/?sig=hush"})


@ill("results", "fail", r"^http://127\.0\.0\.1:1/x takes no file: .*", "Check blobs_url, and what its")
def a_store_that_does_not_answer(scene):
    return scene.but(settings={"blobs_url": "http://127.0.0.1:1/x?sig=hush"})


@ill("results", "fail", "a temporary folder gave back something else than was put", "Check who owns it")
def a_store_that_forgets(scene):
    class Forgetful(Blobs):
        async def read(self, name, *, start, end):
            yield b"something else"

    return scene.but(open_blobs=lambda folder, _: Forgetful.open(folder=folder))


@ill(
    "results", "fail", r"a temporary folder does not give a file back: GET https://a/b\?…\.$", "Check who owns it, and"
)
def a_store_that_may_not_be_read(scene):
    class Closed(Blobs):
        async def read(self, name, *, start, end):
            raise OSError("GET https://a/b?sig=hush\nDebug source: hush")
            yield

    return scene.but(open_blobs=lambda folder, _: Closed.open(folder=folder))


@ill("results", "fail", "does not remove what is deleted, so that results would stay for ever", "Check who owns it")
def a_store_that_keeps_everything(scene):
    class Keeping(Blobs):
        async def delete(self, names):
            pass

    return scene.but(open_blobs=lambda folder, _: Keeping.open(folder=folder))


@ill("port", "fail", r"Cannot listen on 127\.0\.0\.1:\d+: Address already in use\.", "Choose another with")
def a_port_that_is_taken(scene):
    listener = scene.held.enter_context(socket.create_server(("127.0.0.1", 0)))
    return scene.but(settings={"port": listener.getsockname()[1]})


@ill("port", "fail", r"Cannot listen on no host:0: .*not known\.", "Choose another with")
def a_host_that_is_not_here(scene):
    return scene.but(settings={"host": "no host"})


@ill("gateway", "fail", r"http://127\.0\.0\.1:1 does not answer: Connection refused\.", "It may have been killed")
def a_gateway_that_was_killed(scene):
    return scene.but(running="http://127.0.0.1:1")


@ill("gateway", "fail", r"u is not ready: the database does not answer\.", "See its log.")
def a_gateway_that_is_not_ready(scene):
    body = {"reason": "the database does not answer"}
    return scene.but(running="u", ask=lambda _: http.Answer(status=503, body=body))


@ill("gateway", "warn", r"No gateway runs here\.", "Start it with `seedgate up`.")
def no_gateway(scene):
    return scene.patient


@ill("workers", "fail", r"No worker lives, and a task waits for \d+ s\.", "Start one with `seedgate up`")
async def a_task_that_nobody_does(stored):
    account = await stored.world.account()
    await stored.world.accept(stored.world.task(account, await stored.world.key(account)))
    return stored.patient


@ill("workers", "warn", r"No worker lives; tasks would wait\.", "Start one with `seedgate up`")
async def no_worker(stored):
    return stored.patient


@ill("workers", "warn", r"Not looked at: there is no database to ask\.", "See the line of the database.")
def no_database(scene):
    return scene.patient


@ill("open files", "warn", r"1024 files may be open, for 10000 connections\.", "`ulimit -n 10256` before the start")
def few_open_files(scene):
    return scene.but(open_files=lambda: 1024)


def cases(*, with_database: bool):
    found = [case for case in ILL if asyncio.iscoroutinefunction(case.values[-1]) == with_database]
    return pytest.mark.parametrize(("name", "status", "sentence", "hint", "spoil"), found)


async def see(name, patient):
    """The finding; settings stand for whoever comes with them."""
    if isinstance(patient, Patient):
        return await look(name, CHECKS[name], patient)
    (finding,) = await examine(patient, {name: CHECKS[name]}, lambda _: None)
    return finding


def agree(finding, status, sentence, hint):
    assert finding.status == status, finding
    assert re.search(sentence, finding.sentence), finding
    assert finding.hint.startswith(hint), finding
    assert "hush" not in str(finding.document())


# If a check could not fail, it would be decoration; without a hint, nobody would know what to do.
@cases(with_database=False)
async def test_what_is_broken_is_told(scene, name, status, sentence, hint, spoil):
    agree(await see(name, spoil(scene)), status, sentence, hint.replace("FOLDER", str(scene.data)))


# As above, for what is wrong in a database.
@cases(with_database=True)
async def test_what_is_broken_in_the_database_is_told(stored, name, status, sentence, hint, spoil):
    agree(await see(name, await spoil(stored)), status, sentence, hint)


# If a new check came without a case above, nobody would know whether it can fail.
def test_every_check_is_seen_failing():
    seen = {(check, status) for check, status, *_ in (case.values for case in ILL)}
    assert {check for check, status in seen if status == "fail"} == set(CHECKS) - ONLY_WARN
    assert {check for check, status in seen if status == "warn"} >= ONLY_WARN
