"""Starts one database server, outlives whoever asked for it, and ends it once nobody has held it for a while.

Run by path (`python -I -S embedded_watchdog.py …`) and made of the standard library's small modules only, so that it
costs 15 ms and a few megabytes. It is the server's parent, so a dead server does not stay a zombie.
`embedded.py` has the picture, and shares the primitives below: locks, the identity of a process, stopping a server.
"""

import fcntl
import os
import signal
import sys
import time

Process = tuple[int, int]
"""pid and start time in clock ticks: never twice the same within one boot."""

TICK_S = 5.0
LOG_LIMIT_BYTES = 4 << 20
FAST_STOP_LIMIT_S = 60.0
CRASH_STOP_LIMIT_S = 10.0
PREDECESSOR_LIMIT_S = 30.0


def take(path: str | os.PathLike[str], *, exclusive: bool, wait_s: float = 0.0) -> int | None:
    """A descriptor that holds the lock, or None if others kept it for `wait_s`.

    Closing it leaves the lock to processes that inherited it; `release` takes it from them too.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if _lock(fd, exclusive=exclusive, wait_s=wait_s):
        return fd
    os.close(fd)
    return None


def release(fd: int) -> None:
    """Ends a lock even where a forked child still has the descriptor."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def identify(pid: int) -> Process | None:
    """The process that has this pid, or None if there is none or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is too heavy here
            state, *fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in {b"Z", b"X"} else (pid, int(fields[18]))


def alive(process: Process) -> bool:
    """Whether exactly this process runs; neither a zombie nor a later owner of its pid counts."""
    return identify(process[0]) == process


def stop(process: Process) -> None:
    """Fast shutdown; where that hangs, the abrupt one that the next start repairs from the write-ahead log."""
    for number, limit_s in ((signal.SIGINT, FAST_STOP_LIMIT_S), (signal.SIGQUIT, CRASH_STOP_LIMIT_S)):
        deadline = time.monotonic() + limit_s
        if alive(process):
            try:
                os.kill(process[0], number)
            except ProcessLookupError:
                return
        while time.monotonic() < deadline:
            if not alive(process):
                return
            time.sleep(0.002)


def main(arguments: list[str]) -> None:
    """`FOLDER LOG IDLE_S LOCK_FD UID GID COMMAND…` starts a server; `FOLDER LOG IDLE_S PID` watches one that runs.

    Prints the server's pid and start time. The server inherits LOCK_FD; UID is -1 where no account is switched.
    """
    folder, log_path, idle_s, number, *start = arguments
    if os.fork():
        os._exit(0)
    os.setsid()
    # Opened once: they stay the right files when the folder is moved.
    startup, holders, watchdog = (os.open(f"{folder}/{name}.lock", os.O_RDWR | os.O_CREAT, 0o600) for name in LOCKS)
    log = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    server = identify(_spawn(int(number), log, *start) if start else int(number))
    if server is None:
        return
    _announce(server, folder)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    if _lock(watchdog, exclusive=True, wait_s=PREDECESSOR_LIMIT_S):
        _watch(server, startup=startup, holders=holders, idle_s=float(idle_s), log=log, log_path=log_path)


LOCKS = ("startup", "holders", "watchdog")


def _spawn(server_lock: int, log: int, uid: str, gid: str, *command: str) -> int:
    pid = os.fork()
    if pid:
        os.close(server_lock)
        return pid
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        if int(uid) >= 0:
            os.setgroups([])
            os.setgid(int(gid))
            os.setuid(int(uid))
        os.umask(0o077)
        os.execv(command[0], command)  # noqa: S606 - no shell is meant
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _announce(server: Process, folder: str) -> None:
    try:
        # Overwritten in place and of one length, so that a full disk cannot leave it empty.
        record = os.open(f"{folder}/server.pid", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(record, b"%10d %20d\n" % server)
        os.close(record)
    except OSError:
        stop(server)
        raise
    try:  # noqa: SIM105 - contextlib is too heavy here
        os.write(1, b"%d %d\n" % server)
    except BrokenPipeError:
        pass  # whoever asked was killed; the server is ended in time if nobody else comes
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)


def _watch(server: Process, *, startup: int, holders: int, idle_s: float, log: int, log_path: str) -> None:
    held_at = time.monotonic()
    while alive(server):
        signal.sigtimedwait({signal.SIGCHLD}, min(TICK_S, idle_s / 4))
        _trim(log, log_path)
        # Whoever has the startup lock is opening or closing, and counts as a holder.
        free = _lock(startup, exclusive=True) and _lock(holders, exclusive=True)
        if not free:
            held_at = time.monotonic()
        elif time.monotonic() - held_at >= idle_s:
            stop(server)
        fcntl.flock(holders, fcntl.LOCK_UN)
        fcntl.flock(startup, fcntl.LOCK_UN)
    try:  # noqa: SIM105
        os.waitpid(server[0], os.WNOHANG)
    except ChildProcessError:
        pass  # adopted, not started


def _trim(log: int, path: str) -> None:
    if os.fstat(log).st_size <= LOG_LIMIT_BYTES:
        return
    # The server keeps its descriptor and appends to it, so the file is emptied, not replaced.
    try:
        with open(path, "rb") as current, open(path + ".1", "wb") as previous:  # noqa: PTH123
            previous.write(current.read(LOG_LIMIT_BYTES))
    except OSError:
        pass  # a full disk or a moved folder costs the old log, not the watch
    os.ftruncate(log, 0)


def _lock(fd: int, *, exclusive: bool, wait_s: float = 0.0) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        else:
            return True


if __name__ == "__main__":
    main(sys.argv[1:])
