"""A worker's sign of life: who it is, and a heartbeat from a thread and a connection of its own.

The thread keeps the lease alive while the event loop is busy; a process that is stopped or dead has neither. On the
same machine a dead worker is recognised at once, elsewhere when its lease has run out.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

from seedgate import log
from seedgate.ids import Ids
from seedgate.store.database import Database
from seedgate.store.embedded_watchdog import identify
from seedgate.store.slots import WorkerIdentity, renew_lease

HEARTBEAT_S = 2.0


def this_host() -> str:
    """This boot of this machine, as seen from this process namespace; "" where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def identity(ids: Ids) -> WorkerIdentity:
    """A new identity for this process."""
    process = identify(os.getpid())
    return WorkerIdentity(id=ids.new(), host=this_host(), process=f"{process[0]}:{process[1]}" if process else "")


def is_dead(worker: WorkerIdentity) -> bool:
    """Whether a worker of this machine is certainly gone."""
    if not worker.process or worker.host != this_host():
        return False
    pid, started = (int(part) for part in worker.process.split(":"))
    try:
        return identify(pid) != (pid, started)
    except PermissionError:
        return False  # a system that hides its processes: the lease decides


class Heartbeat:
    """Renews a worker's lease every two seconds until stopped."""

    def __init__(self, connect: Callable[[], Database], worker: WorkerIdentity) -> None:
        self._connect = connect
        self._worker = worker
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin at once."""
        self._thread.start()

    async def stop(self) -> None:
        """End; the lease then runs out by itself, unless it is given up."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        asyncio.run(self._beat())

    async def _beat(self) -> None:
        database = self._connect()
        logger = log.get("heartbeat")
        try:
            while not self._stopping.is_set():
                try:
                    await renew_lease(database.work_lane, self._worker)
                except Exception as error:  # noqa: BLE001 - a worker whose heart stops loses everything it holds
                    logger.warning("heartbeat_failed", error=type(error).__name__)
                await asyncio.to_thread(self._stopping.wait, HEARTBEAT_S)
        finally:
            await database.close()
