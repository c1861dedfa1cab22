"""Where the embedded cluster is, how it is made, and its settings. `embedded.py` has the picture."""

import contextlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seedgate.domain.errors import NoPermission, NoSpace, OperatorError, ServerBroken
from seedgate.store.embedded_account import Account, copied_binaries, ourselves, switched, sync, wheel_binaries
from seedgate.store.embedded_watchdog import release, take

MAJOR = 18
NAME = "seedgate"
"""The database and its owner."""
PORT = 5432
SOCKET_PATH_LIMIT_BYTES = 107
FULL_BYTES = 1 << 20
ERROR_TAIL_CHARACTERS = 1500

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "io_method": "sync",  # three processes fewer, and no slower on this work
    "update_process_title": "off",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "2",  # pg_basebackup takes two
    # Every claim leaves dead entries in the queue's index. Tables that need more than this say so themselves.
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "top",
    "lc_messages": "C",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Statements and the details of errors carry prompts and keys.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster's place on disk; it need not exist yet."""

    pgdata: Path
    base: Path
    """Settings, log and socket: a folder that only we write."""
    binaries: Path
    account: Account

    @property
    def log(self) -> Path:
        return self.base / "server.log"

    @property
    def run_folder(self) -> Path:
        """Where the socket is: beside the settings, or in /tmp where that path would not do for a socket."""
        path = self.base / "run"
        # libpq takes a comma for the end of a host.
        if len(os.fsencode(path / _SOCKET)) <= SOCKET_PATH_LIMIT_BYTES and "," not in f"{path}":
            return path
        # By inode: a moved folder keeps its name, a copy gets another, and every process finds the same one.
        status = self.base.stat()
        return Path(f"/tmp/seedgate-{os.geteuid()}-{status.st_dev:x}-{status.st_ino:x}")  # noqa: S108 - owner is checked

    @property
    def socket(self) -> Path:
        return self.run_folder / _SOCKET

    def command(self) -> list[str]:
        postgres, settings = self.binaries / "bin/postgres", self.base / "postgresql.conf"
        return [*self.account.prefix, f"{postgres}", "-D", f"{self.pgdata}", "-c", f"config_file={settings}"]


_SOCKET = f".s.PGSQL.{PORT}"


def locate(folder: Path, *, system_dir: Path) -> Cluster:
    """The cluster that belongs to a data folder. `folder` is our own folder in it; the startup lock is held."""
    beside = folder.parent / f"pg{MAJOR}"
    _refuse_other_major(beside)
    if (folder / "cluster").exists():
        cluster = _under_system(folder, system_dir)
        _refuse_other_major(cluster.pgdata)
        return cluster
    if os.geteuid() == 0 and not beside.exists():
        _forget_unfinished(folder, system_dir)
        if account := switched(system_dir):
            return _new_under_system(folder, system_dir, account)
    return Cluster(pgdata=beside, base=folder, binaries=wheel_binaries(), account=ourselves(beside))


def _refuse_other_major(pgdata: Path) -> None:
    majors = [int(path.name[2:]) for path in pgdata.parent.glob("pg*") if re.fullmatch(r"pg[0-9]+", path.name)]
    # After an upgrade the old cluster may share its files with the new one and must not start again.
    made_by = f"{max(majors, default=MAJOR)}"
    if made_by == f"{MAJOR}" and pgdata.exists():
        made_by = (pgdata / "PG_VERSION").read_text().strip()
    if made_by != f"{MAJOR}":
        raise ServerBroken(
            f"The database in {pgdata.parent} was made by PostgreSQL {made_by}; this Seedgate has {MAJOR}",
            hint="Use the version of Seedgate that made it, or restore a dump of it.",
        )


def _under_system(folder: Path, system_dir: Path) -> Cluster:
    if os.geteuid() != 0:
        raise NoPermission(f"The database of {folder.parent} was made by root", hint="Run Seedgate as root.")
    base = system_dir / (folder / "cluster").read_text()
    pgdata = base / f"pg{MAJOR}"
    if not base.exists():
        raise ServerBroken(
            f"The database of {folder.parent} is missing: it was in {base}",
            hint=f"Bring {base} back (in a container, mount it too), or delete {folder / 'cluster'} to begin empty.",
        )
    _claim(base, folder)
    owner = pgdata.stat()
    account = Account(uid=owner.st_uid, gid=owner.st_gid, switch=True, peers=("root",))
    return Cluster(pgdata=pgdata, base=base, binaries=copied_binaries(system_dir), account=account)


def _claim(base: Path, folder: Path) -> None:
    """Follows a data folder that was moved; refuses one that was copied, which would share its original's database."""
    owner = json.loads((base / "owner.json").read_text())
    original = Path(owner["path"])
    if _inode(folder) != owner["inode"] and original != folder:
        with contextlib.suppress(OSError):
            if (original / "cluster").read_text() == base.name:
                raise ServerBroken(
                    f"{folder.parent} is a copy of {original.parent}, and both would use the database in {base}",
                    hint=f"Use the original; or delete {folder / 'cluster'} to begin with an empty database here.",
                )
    _write_owner(base, folder)


def _write_owner(base: Path, folder: Path) -> None:
    _write(base / "owner.json", json.dumps({"path": f"{folder}", "inode": _inode(folder)}))


def _inode(folder: Path) -> list[int]:
    status = folder.stat()
    return [status.st_dev, status.st_ino]


def _new_under_system(folder: Path, system_dir: Path, account: Account) -> Cluster:
    base = system_dir / secrets.token_hex(4)
    # Named before it is made, so that a half-made one is found again; `create` gives the file its final name.
    (folder / "cluster.new").write_text(base.name)
    base.mkdir()
    base.chmod(0o711)
    _write_owner(base, folder)
    return Cluster(pgdata=base / f"pg{MAJOR}", base=base, binaries=copied_binaries(system_dir), account=account)


def _forget_unfinished(folder: Path, system_dir: Path) -> None:
    unfinished = folder / "cluster.new"
    if unfinished.exists() and (name := unfinished.read_text()):
        shutil.rmtree(system_dir / name, ignore_errors=True)
    unfinished.unlink(missing_ok=True)


def create(cluster: Cluster, *, folder: Path, startup_lock: int) -> None:
    """Makes the cluster under another name and renames it, so that only a whole one is ever found."""
    fresh = cluster.pgdata.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        cluster.account.make_folder(fresh)
        for command, stdin in _recipe(cluster.binaries / "bin", fresh):
            # It inherits the lock: should it outlive us, others stay out of its folder until it is done.
            done = cluster.account.run(*command, stdin=stdin, keep=(startup_lock,))
            if done.returncode:
                raise explained(done.stdout, doing="create", path=cluster.pgdata)
        fresh.rename(cluster.pgdata)
        sync(cluster.pgdata.parent)
        if cluster.base != folder:
            (folder / "cluster.new").rename(folder / "cluster")
        sync(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        _forget_unfinished(folder, cluster.base.parent)
        raise


def _recipe(programs: Path, pgdata: Path) -> list[tuple[list[str], str]]:
    initdb = [f"{programs / 'initdb'}", "-D", f"{pgdata}"]
    locale = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    single = [f"{programs / 'postgres'}", "--single", "-D", f"{pgdata}", "-F", "-c", "exit_on_error=on", "postgres"]
    return [
        ([*initdb, *locale, f"--username={NAME}", "--auth=peer", "--data-checksums", "--no-sync"], ""),
        (single, f"CREATE DATABASE {NAME}\n"),
        ([*initdb, "--sync-only"], ""),
    ]


def configure(cluster: Cluster) -> None:
    """Writes this version's settings; an operator's own, in `local.conf`, win."""
    run_folder = str(cluster.run_folder).replace('"', '""')
    settings = SETTINGS | {
        "port": f"{PORT}",
        "unix_socket_directories": f'"{run_folder}"',  # a list, so its elements have quotes of their own
        "hba_file": f"{cluster.base / 'pg_hba.conf'}",
        "ident_file": f"{cluster.base / 'pg_ident.conf'}",
    }
    lines = ["# Rewritten at every start. Your own settings belong in local.conf beside this file."]
    lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    lines += ["include 'local.conf'"] if (cluster.base / "local.conf").exists() else []
    _write(cluster.base / "postgresql.conf", "\n".join([*lines, ""]))
    rule = f"peer map={NAME}\n"
    _write(cluster.base / "pg_hba.conf", f"local all all {rule}local replication all {rule}")
    _write(cluster.base / "pg_ident.conf", "".join(f'{NAME} "{peer}" {NAME}\n' for peer in cluster.account.peers))


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _write(path: Path, text: str) -> None:
    content = os.fsencode(text)
    if path.exists() and path.read_bytes() == content:
        return  # so that a start on a full disk gets as far as it can
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(content)
    fresh.chmod(0o644)  # the account reads it; the folder decides who gets here
    sync(fresh)
    fresh.rename(path)


def prepare_run_folder(cluster: Cluster) -> None:
    """Makes the socket's folder and clears what a killed server left; nothing of the cluster may be running."""
    with contextlib.suppress(FileExistsError):
        cluster.account.make_folder(cluster.run_folder)
    if not run_folder_is_ours(cluster):
        raise ServerBroken(f"{cluster.run_folder} is not ours alone", hint="Remove it.")
    # The pids in these may by now be a zombie's or a stranger's, and PostgreSQL would refuse to start for them.
    for stale in (cluster.pgdata / "postmaster.pid", cluster.socket, Path(f"{cluster.socket}.lock")):
        stale.unlink(missing_ok=True)


def run_folder_is_ours(cluster: Cluster) -> bool:
    """Whether nobody else can have put a socket there."""
    try:
        status = cluster.run_folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == cluster.account.uid and not status.st_mode & 0o077


@contextlib.contextmanager
def locked(path: Path, *, wait_s: float) -> Iterator[int]:
    """Holds an exclusive lock; yields its descriptor."""
    fd = take(path, exclusive=True, wait_s=wait_s)
    if fd is None:
        raise ServerBroken(f"Another process has held {path} for {wait_s:.0f} s", hint="`fuser` shows which; end it.")
    try:
        yield fd
    finally:
        release(fd)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns the operating system's errors into the operator's."""
    try:
        yield
    except OSError as error:
        raise explained(error.strerror or f"{error}", doing="use", path=Path(error.filename or path)) from error


def explained(output: str, *, doing: str, path: Path) -> OperatorError:
    """The error that a program's output, or a full disk, speaks of."""
    what = f"Cannot {doing} {path}"
    if any(words in output for words in ("Permission denied", "not permitted", "Read-only file system")):
        return NoPermission(f"{what}: permission denied", hint="Check who owns it, and who runs Seedgate.")
    if any(
        words in output for words in ("No space left", "free disk space", "Disk quota", "File too large")
    ) or _is_full(path):
        return NoSpace(f"{what}: no space is left", hint="Free some space and start again; nothing was damaged.")
    hint = "Check what is there, and on which disk." if doing == "use" else "The end of the log says why."
    return ServerBroken(f"{what}: {output[-ERROR_TAIL_CHARACTERS:].strip()}", hint=hint)


def _is_full(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(path if path.exists() else path.parent).free < FULL_BYTES
    return False
