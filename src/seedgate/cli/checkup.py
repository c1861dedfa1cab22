"""What the doctor looks at: `CHECKS`, each a small function of a `Patient`."""

import asyncio
import resource
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from seedgate.accounts import secret
from seedgate.blobs import Blobs, explain
from seedgate.cli import http
from seedgate.cli.patient import Check, NotLooked, Patient, Verdict
from seedgate.domain.errors import NotFound, Unavailable, UpstreamError
from seedgate.engine import Job
from seedgate.ids import Ids
from seedgate.store.database import Database
from seedgate.store.embedded import EmbeddedServer
from seedgate.store.migrate import check as check_schema
from seedgate.store.operations import read_secret_check, read_server
from seedgate.store.statistics import read_statistics

MIN_SERVER = 15
LOW_SPACE_BYTES, NO_SPACE_BYTES = 2 << 30, 100 << 20
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 60.0
ENGINE_HINT = "Its log line, on standard error, says why."
SPARE_FILES = 256
"""Open files that a gateway needs besides its connections."""


async def environment(patient: Patient) -> Verdict:
    """Variables that look like settings and are none; their values stay unsaid."""
    unknown = patient.unknown_variables()
    if unknown:
        hint = "They have no effect: settings.default.toml has the names of all settings."
        return "warn", f"Not known: {', '.join(unknown)}.", hint
    return "ok", "Every variable in the environment that begins with SEEDGATE_ is known.", ""


async def folder(patient: Patient) -> Verdict:
    """The data folder, or the place where it would be made."""
    place = _there(patient.data)
    if not place.is_dir():
        return "fail", f"{place} is no folder.", "Choose another with --data."
    if not patient.writable(place):
        return "fail", f"{place} cannot be written to.", "Give it to this user, or choose another with --data."
    return "ok", f"{patient.data} can be {'written to' if place == patient.data else 'made'}.", ""


async def space(patient: Patient) -> Verdict:
    """Free space: results, references and the database may each lie on another file system than the data folder."""
    parts = (_there(patient.data), patient.data / "results", patient.data / "references", patient.pgdata)
    places: dict[int, Path] = {}
    for part in parts:
        if part is not None and part.exists():
            places.setdefault(patient.device(part), part)
    free = {place: patient.free_bytes(place) for place in places.values()}
    sentence = f"Free: {', '.join(f'{size >> 20:,} MiB in {place}' for place, size in free.items())}."
    least = min(free.values())
    if least < NO_SPACE_BYTES:
        return "fail", sentence, "Free some space."
    return ("warn", sentence, "Pictures take 1 to 20 MB each.") if least < LOW_SPACE_BYTES else ("ok", sentence, "")


async def public_address(patient: Patient) -> Verdict:
    """Where callers reach the gateway and its results; in production over https."""
    settings = patient.settings
    if settings.production and not settings.public_url:
        hint = "Set SEEDGATE_PUBLIC_URL to the address under which callers reach this gateway."
        return "fail", "In production the setting public_url is needed.", hint
    named = {"public_url": settings.public_url, "files_url": settings.files_url}
    plain = [name for name, url in named.items() if url.lower().startswith("http://")]
    if settings.production and plain:
        hint = "Let callers come by https, with a proxy before the gateway."
        return "warn", f"By {' and '.join(plain)}, keys and pictures travel unencrypted.", hint
    return "ok", f"Callers reach it at {settings.public_url or 'the address where it listens'}.", ""


async def secret_key(patient: Patient) -> Verdict:
    """The installation's secret: whether it is the database's, and who else can read it."""
    given, file = patient.settings.secret_key.get_secret_value(), patient.settings.secret_key_file
    path = Path(file) if file else patient.data / secret.FILE_NAME
    if not given and not file and not path.exists():
        if patient.database is not None and await read_secret_check(patient.database) is not None:
            hint = "Bring it back before `up` makes another one, with which no key would be recognised."
            return "fail", f"{path} is missing, and the database belongs to it.", hint
        return "ok", "There is no secret yet; the first start makes one.", ""
    installed = secret.load(patient.data, given=given, file=file)
    if patient.database is not None:
        await secret.look(patient.database, installed)
    if given:
        return "ok", "The secret comes from the settings.", ""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return "fail", f"Others can read {path} (mode {mode:04o}).", f"chmod 600 {path}"
    return "ok", f"{path} has mode {mode:04o}.", ""


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
    """This machine's clock against the database's, by which everything is decided; and what keeps it right."""
    before = patient.now()
    server_now = (await read_server(_database(patient))).now
    after = patient.now()
    skew_s = max((before - server_now).total_seconds(), (server_now - after).total_seconds(), 0.0)
    sentence = f"This clock and the database's differ by {skew_s:.1f} s."
    hint = "Let both machines ask a time server (NTP)."
    if skew_s > SKEW_FAIL_S:
        return "fail", sentence, hint
    if skew_s > SKEW_WARN_S:
        return "warn", sentence, hint
    if patient.settings.production and not patient.synchronized():
        return "warn", f"{sentence} No time server keeps this one right.", hint
    return "ok", sentence, ""


async def engine(patient: Patient) -> Verdict:
    """The engine, by a small picture."""
    name = patient.settings.work.engine
    with tempfile.TemporaryDirectory(prefix="seedgate-doctor-") as scratch:
        host = patient.open_engine(name, Path(scratch))
        try:
            await host.start()
            if not host.free:
                return "fail", f"The engine {name} does not start.", ENGINE_HINT
            job = Job(
                id="doctor", prompt="a fox", width=128, height=128, count=1, first_index=0, seed=1, output_format="jpeg"
            )
            sizes = [drawn.path.stat().st_size async for drawn in host.run(job)]
        except UpstreamError as error:
            return "fail", str(error), ENGINE_HINT
        finally:
            await host.stop()
    return "ok", f"The engine {name} drew a picture of {sizes[0]:,} bytes.", ""


async def results(patient: Patient) -> Verdict:
    """The results' store, by a file that comes and goes."""
    url, folder = patient.settings.blobs_url, patient.data / "results"
    kept = folder.exists()
    where = _shown(url) if url else folder if kept else "a temporary folder"
    with tempfile.TemporaryDirectory(prefix="seedgate-doctor-") as scratch:
        store = patient.open_blobs(folder if kept else Path(scratch, "results"), url)
        try:
            trouble = await _try_results(store, Path(scratch, "draft"))
        except Unavailable as error:
            trouble = f"takes no file: {explain(error.__cause__ or error)}"
        except Exception as error:  # noqa: BLE001 - the store's library has errors of its own, with addresses in them
            trouble = f"does not give a file back: {explain(error)}"
    if trouble:
        hint = "Check blobs_url, and what its credentials may do." if url else "Check who owns it, and its disk."
        return "fail", f"{where} {trouble}.", hint
    return "ok", f"A file was put into {where}, read and removed.", ""


async def port(patient: Patient) -> Verdict:
    """The port, unless the gateway that runs has it."""
    address = f"{patient.settings.host}:{patient.settings.port}"
    if patient.running and await _answers(patient):
        return "ok", f"The gateway listens at {patient.running}.", ""
    try:
        family = socket.getaddrinfo(patient.settings.host, patient.settings.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((patient.settings.host, patient.settings.port))
            probe.listen(1)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no host's name"
        return "fail", f"Cannot listen on {address}: {why}.", "Choose another with --port or --host."
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
    "environment": environment,
    "data folder": folder,
    "space": space,
    "public address": public_address,
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


def _there(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _shown(url: str) -> str:
    """Without credentials and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _database(patient: Patient) -> Database:
    if patient.database is None:
        raise NotLooked
    return patient.database


async def _answers(patient: Patient) -> bool:
    try:
        return (await asyncio.to_thread(patient.ask, f"{patient.running}/healthz")).status == 200
    except http.Unanswered:
        return False


async def _try_results(store: Blobs, draft: Path) -> str:
    """What is wrong; nothing where a file can be put, read and removed."""
    name, content = f"{Ids().token()}.png", b"seedgate doctor"
    draft.write_bytes(content)
    await store.put(name, draft)
    try:
        read = b"".join([chunk async for chunk in store.read(name, start=0, end=len(content))])
    finally:
        await store.delete([name])
    if read != content:
        return "gave back something else than was put"
    try:
        async for _ in store.read(name, start=0, end=1):
            return "does not remove what is deleted, so that results would stay for ever"
    except NotFound:
        pass
    return ""


def _try_server() -> None:
    """Make a database in a folder of its own, and leave nothing of it."""
    with tempfile.TemporaryDirectory(prefix="seedgate-doctor-") as place:
        try:
            EmbeddedServer.open(Path(place)).close()
        finally:
            EmbeddedServer.discard(Path(place))
