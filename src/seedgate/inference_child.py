"""An engine's own process, and the messages that it exchanges with its host (`inference.py`).

Over stdin and stdout travel frames: four bytes of length, big-endian, then one msgpack message. The process takes one
job at a time; it ends when its stdin closes and when its parent dies, whichever it notices first. It imports nothing of
the server, so that it starts fast and stays small.
"""

import ctypes
import faulthandler
import importlib
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from seedgate.engine import Capabilities, Engine, Job, JobCancelled, JobRefused

HEADER_BYTES = 4
MAX_FRAME_BYTES = 1 << 20
NICENESS = 10
PROGRESS_STEP = 0.01
"""A smaller advance is not reported."""
PR_SET_PDEATHSIG = 1


class Draw(msgspec.Struct, frozen=True, tag="draw"):
    job: Job


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    job_id: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    name: str
    version: str
    capabilities: Capabilities


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    job_id: str
    index: int
    fraction: float


class Picture(msgspec.Struct, frozen=True, tag="picture"):
    job_id: str
    index: int
    path: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    job_id: str


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    job_id: str


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    job_id: str
    reason: str


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """`what` is the exception's class and place; never its message, which may quote the prompt."""

    job_id: str
    what: str


Order = Draw | Cancel
Report = Ready | Progress | Picture | Done | Cancelled | Refusal | Failure
orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def frame(message: Order | Report) -> bytes:
    """The message as it travels; ValueError when it is too long."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError("the message is too long")
    return len(body).to_bytes(HEADER_BYTES) + body


class Link:
    """The child's end of the pipes: a thread takes orders in, so that a cancellation is seen while drawing."""

    def __init__(self, orders_in: BinaryIO, reports_out: BinaryIO) -> None:
        self._in = orders_in
        self._out = reports_out
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._cancelled: str | None = None

    def listen(self) -> None:
        while len(header := self._in.read(HEADER_BYTES)) == HEADER_BYTES:
            order = orders.decode(self._in.read(int.from_bytes(header)))
            if isinstance(order, Draw):
                self._cancelled = None  # The same job may be asked for again.
                self._jobs.put(order.job)
            else:
                self._cancelled = order.job_id
        os._exit(0)  # The host has gone or wants us gone; nothing here is worth finishing.

    def next_job(self) -> Job:
        return self._jobs.get()

    def cancelled(self, job: Job) -> bool:
        return self._cancelled == job.id

    def send(self, report: Report) -> None:
        self._out.write(frame(report))
        self._out.flush()


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process with the thread that started it; elsewhere the end of stdin does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The frames' pipes, moved away from 0 and 1, so that a library's chatter goes to stderr and breaks no frame."""
    orders_in, reports_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return orders_in, reports_out


def _reporter(link: Link, job: Job) -> Callable[[int, float], None]:
    reported: dict[int, float] = {}

    def progress(index: int, fraction: float) -> None:
        if fraction - reported.get(index, -1.0) >= PROGRESS_STEP:
            reported[index] = fraction
            link.send(Progress(job.id, index, fraction))

    return progress


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _draw(engine: Engine, link: Link, job: Job) -> Report:
    try:
        for drawn in engine.draw(job, progress=_reporter(link, job), cancelled=lambda: link.cancelled(job)):
            link.send(Picture(job.id, drawn.index, str(drawn.path)))
    except JobCancelled:
        return Cancelled(job.id)
    except JobRefused as refused:
        return Refusal(job.id, str(refused))
    except Exception as error:  # noqa: BLE001 — whatever an engine raises, the process lives on.
        return Failure(job.id, _place(error))
    return Done(job.id)


def main(engine_name: str, parent: int) -> None:
    """Serve jobs until the host goes away. The name was checked by the host."""
    _die_with_parent(parent)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A core dump would hold prompts and pictures.
    faulthandler.enable()
    link = Link(*_take_pipes())
    threading.Thread(target=link.listen, daemon=True).start()
    engine: Engine = importlib.import_module(f"seedgate.engines.{engine_name}").ENGINE
    link.send(Ready(engine.name, engine.version, engine.capabilities()))
    while True:
        job = link.next_job()
        link.send(_draw(engine, link, job))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
