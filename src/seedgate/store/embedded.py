"""The database that comes with Seedgate: PostgreSQL from a wheel, started by whoever needs it first.

    process A ─┐ shared lock      holders.lock     the last to leave stops the server
    process B ─┤                  startup.lock     whoever starts or stops is alone
    watchdog ──┘ looks            server.lock      inherited by every process of the server
        └─ postgres ─ backends    watchdog.lock    one watchdog at a time

Locks, not pid files, tell the truth: the kernel drops them with their last holder, whichever way that died. A pid can
be a zombie's, a stranger's, or another container's; the lock that all processes of a server inherit is free exactly
when none of them is left, so a cluster is never started under leftovers of a killed one. The pid in `server.pid`,
with its start time, only says whom to signal.

The watchdog is the server's parent, in a session of its own, so nothing that happens to a gateway reaches the server;
it ends a server that nobody has held for a while. `embedded_watchdog.py` is that process, `embedded_cluster.py` knows
where things are and makes them:

    as a user      DATA/pg18/                  DATA/postgres/   locks, settings, log, socket
    as root        /var/lib/seedgate/ID/pg18/  /var/lib/seedgate/ID/ settings, log, socket   DATA/postgres/ locks, ID
                   owned by an account that the server runs as; root connects by peer authentication
    as root without such an account: as a user, in a user namespace
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from seedgate.domain.errors import ServerBroken
from seedgate.store import embedded_watchdog
from seedgate.store.embedded_account import ENVIRONMENT, binary
from seedgate.store.embedded_cluster import (
    MAJOR,
    NAME,
    PORT,
    Cluster,
    configure,
    create,
    explained,
    locate,
    locked,
    prepare_run_folder,
    run_folder_is_ours,
    translated,
)
from seedgate.store.embedded_watchdog import Process, alive, release, stop, take

__all__ = ["EmbeddedServer", "binary"]

SYSTEM_DIR = Path("/var/lib/seedgate")
IDLE_S = 60.0
START_LIMIT_S = 300.0
"""How long a server may repair itself after a crash before we give up on it."""
LEFTOVERS_LIMIT_S = 10.0
LOCK_LIMIT_S = START_LIMIT_S + 30.0
PAUSE_LIMIT_S = 0.25
PROBE_LIMIT_S = 2.0
PROTOCOL = 3 << 16
CANNOT_CONNECT_NOW = b"C57P03\0"


class EmbeddedServer:
    """A running server, held by this process until `close`. Any number may be open, in one process or in many."""

    def __init__(self, data_dir: Path, *, idle_s: float, system_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "postgres"
        self._idle_s = idle_s
        self._system_dir = system_dir
        self._hold: int | None = None
        self._cluster: Cluster
        self._process: Process

    @classmethod
    def open(cls, data_dir: Path, *, idle_s: float = IDLE_S, system_dir: Path = SYSTEM_DIR) -> Self:
        """Makes the cluster if there is none, starts its server if none runs, and holds it.

        Blocks: milliseconds to attach, a second at the very first time, longer if the server must repair itself.
        Raises an OperatorError with a hint; then nothing is held and nothing half-made is left.
        """
        self = cls(data_dir.resolve(), idle_s=idle_s, system_dir=system_dir)
        with translated(self._data_dir):
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with self._startup() as startup_lock:
                self._cluster = locate(self._folder, system_dir=system_dir)
                if not self._cluster.pgdata.exists():
                    create(self._cluster, folder=self._folder, startup_lock=startup_lock)
                self._attach_or_start(may_replace=self._nobody_holds())
                self._hold = take(self._folder / "holders.lock", exclusive=False)
        return self

    @property
    def dsn_kwargs(self) -> dict[str, Any]:
        """What `asyncpg.connect` takes; the same for as long as the data folder is not moved."""
        return {"host": f"{self._cluster.run_folder}", "port": PORT, "user": NAME, "database": NAME}

    @property
    def pgdata(self) -> Path:
        """Where its files are, for whoever watches the space."""
        return self._cluster.pgdata

    def ensure_running(self) -> bool:
        """Restarts a server that died; says whether it had to. Cheap (30 µs) where it lives, else it blocks as `open`.

        For a periodic check, and for whoever failed to connect.
        """
        if alive(self._process) and self._cluster.socket.exists():
            return False
        with translated(self._data_dir), self._startup():
            if self._hold is None:
                return False
            self._attach_or_start(may_replace=True)
        return True

    def close(self) -> None:
        """Lets go of the server; the last one stops it, which takes as long as its final checkpoint."""
        if self._hold is None:
            return
        release(self._hold)
        self._hold = None
        with translated(self._data_dir), self._startup():
            if self._nobody_holds() and (process := self._running()):
                stop(process)

    @classmethod
    def discard(cls, data_dir: Path, *, system_dir: Path = SYSTEM_DIR) -> None:
        """Deletes a data folder's database, which for root is not in that folder. Refused while anybody holds it."""
        self = cls(data_dir.resolve(), idle_s=IDLE_S, system_dir=system_dir)
        pointer = self._folder / "cluster"
        if not pointer.exists() and not (self._data_dir / f"pg{MAJOR}").exists():
            return
        with translated(self._data_dir), self._startup():
            if not self._nobody_holds():
                raise ServerBroken(f"The database of {data_dir} is in use", hint="Stop Seedgate first.")
            cluster = locate(self._folder, system_dir=system_dir)
            if process := self._running():
                stop(process)
            shutil.rmtree(cluster.pgdata if cluster.base == self._folder else cluster.base)
            pointer.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _startup(self) -> AbstractContextManager[int]:
        return locked(self._folder / "startup.lock", wait_s=LOCK_LIMIT_S)

    def _nobody_holds(self) -> bool:
        return self._is_free("holders.lock")

    def _is_free(self, name: str) -> bool:
        fd = take(self._folder / name, exclusive=True)
        if fd is not None:
            release(fd)
        return fd is not None

    def _running(self) -> Process | None:
        """The server, if it lives. The record alone may be of before the last boot, or a copied folder's."""
        if self._is_free("server.lock"):
            return None
        try:
            pid, started = (self._folder / "server.pid").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return process if alive(process := (int(pid), int(started))) else None

    def _attach_or_start(self, *, may_replace: bool) -> None:
        if process := self._running():
            if self._becomes_ready(process, fresh=False):
                self._process = process
                if self._is_free("watchdog.lock"):
                    self._run_watchdog(f"{process[0]}")
                return
            if alive(process) and not may_replace:
                raise ServerBroken(
                    f"The server runs for another process, but there is no answer at {self._cluster.socket}",
                    hint="Does that process see another /tmp?",
                )
            stop(process)
        # Free when the last process of the server is gone, also those that survive a killed postmaster for a moment.
        server_lock = take(self._folder / "server.lock", exclusive=True, wait_s=LEFTOVERS_LIMIT_S)
        if server_lock is None:
            raise ServerBroken(
                f"Processes of a server that died still use {self._cluster.pgdata}",
                hint="Wait until they end, or end them (`fuser` shows which); they may be in another container.",
            )
        try:
            self._start(server_lock)
        finally:
            os.close(server_lock)

    def _start(self, server_lock: int) -> None:
        cluster = self._cluster
        configure(cluster)
        prepare_run_folder(cluster)
        log_start = cluster.log.stat().st_size if cluster.log.exists() else 0
        account = cluster.account
        uid, gid = (account.uid, account.gid) if account.switch else (-1, -1)
        report = self._run_watchdog(f"{server_lock}", f"{uid}", f"{gid}", *cluster.command(), keep=(server_lock,))
        if report:
            pid, started = report.split()
            self._process = int(pid), int(started)
            if self._becomes_ready(self._process, fresh=True):
                return
            stop(self._process)
        output = ""
        if cluster.log.exists():
            output = cluster.log.read_bytes()[log_start:].decode(errors="replace")
        raise explained(output, doing="start", path=cluster.pgdata)

    def _run_watchdog(self, *arguments: str, keep: tuple[int, ...] = ()) -> bytes:
        """Lets a new watchdog start or adopt a server. Empty if that failed; then the log says why."""
        common = f"{self._folder}", f"{self._cluster.log}", f"{self._idle_s}"
        log = os.open(self._cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.run(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-I", "-S", embedded_watchdog.__file__, *common, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=ENVIRONMENT | {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
                cwd="/",
                pass_fds=keep,
                check=False,
            ).stdout
        finally:
            os.close(log)

    def _becomes_ready(self, process: Process, *, fresh: bool) -> bool:
        """Waits until it takes connections. Only of a fresh server is the socket still to come."""
        status = self._cluster.pgdata / "postmaster.pid"
        deadline, pause_s = time.monotonic() + START_LIMIT_S, 0.002
        while alive(process) and time.monotonic() < deadline:
            # The file's last line spares a starting server the question; one that recovers has "ready" there too.
            if not fresh or (status.exists() and status.read_text().rstrip().endswith("ready")):
                match self._probe():
                    case "ready":
                        return True
                    case "gone":
                        return False
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, PAUSE_LIMIT_S)
        return False

    def _probe(self) -> Literal["ready", "busy", "gone"]:
        """Asks as `pg_isready` does: begins a connection, and looks whether it is refused for now."""
        if not run_folder_is_ours(self._cluster):
            return "gone"
        greeting = f"user\0{NAME}\0database\0{NAME}\0\0".encode()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PROBE_LIMIT_S)
            try:
                client.connect(f"{self._cluster.socket}")
                client.sendall(struct.pack("!ii", len(greeting) + 8, PROTOCOL) + greeting)
                answer = client.recv(1024)
            except (FileNotFoundError, ConnectionRefusedError):
                return "gone"
            except OSError:
                return "busy"
        return "busy" if not answer or CANNOT_CONNECT_NOW in answer else "ready"
