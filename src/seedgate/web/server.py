"""uvicorn with our protocol, our signals, and a listening socket that is bound before anything slow begins."""

import asyncio
import contextlib
import errno
import gc
import socket
from collections.abc import Iterator

import uvicorn

from seedgate.domain.errors import BadSettings, NoPermission
from seedgate.web.dispatch import App
from seedgate.web.protocol import ConnectionLimits, cut_off_late, guard

BACKLOG = 2048
KEEP_ALIVE_S = 75
DRAIN_S = 10
COLLECT_AFTER = (20_000, 20, 50)
"""Objects made and not freed before the youngest are collected, and rounds of each age before the next older one."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: asyncio.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """From here on requests are served."""
        await super().startup(sockets)
        _spare_collections()
        self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the command line's business."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BadSettings or NoPermission, with a hint."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no host's name"
        raise BadSettings(f"Cannot listen on {host!r}: {why}", hint="Check the setting `host`.") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EACCES:
            raise NoPermission(f"Port {port} may not be used", hint="Choose one from 1024 on.") from None
        hint = "Choose another with --port, or 0 for any free one."
        raise BadSettings(f"Cannot listen on {host}:{port}: {error.strerror}", hint=hint) from None
    listener.setblocking(False)
    return listener


def _spare_collections() -> None:
    """What is there by now stays for ever, so it need not be looked at again. A request leaves next to no cycles, so
    collecting after every few of them, as Python does by default, takes a tenth of the time for nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def serve(
    app: App,
    listener: socket.socket,
    *,
    stopping: asyncio.Event,
    ready: asyncio.Event,
    limits: ConnectionLimits,
) -> None:
    """Serve until `stopping`, then let requests under way finish for a while. `ready` is set once they are served."""
    config = uvicorn.Config(
        app,
        http=guard(limits),
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config, ready)
    serving = asyncio.create_task(server.serve([listener]))
    guarding = asyncio.create_task(cut_off_late(server.server_state.connections))
    try:
        await asyncio.wait([serving, asyncio.ensure_future(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        await serving
        guarding.cancel()
