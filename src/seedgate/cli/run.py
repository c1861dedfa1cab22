"""`up`, `serve` and `work`: the processes that stay."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedgate.cli import numbers, texts

if TYPE_CHECKING:
    import asyncio

    from seedgate.compose.gateway import Gateway
    from seedgate.compose.ground import Ground
    from seedgate.settings import Settings

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file (TOML).", envvar="SEEDGATE_CONFIG", **texts.PATH)
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder where everything is kept.", **texts.PATH)]
Port = Annotated[
    int | None, typer.Option("--port", help="Port to listen on; 0 takes any free one.", **numbers.whole(0, 65_535))
]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", **texts.TEXT)]

RUNNING_FILE = "running.json"
"""In the data folder: where the gateway that uses it can be reached."""
FORCED_EXIT = 130


def up(config: Config = None, data: Data = None, port: Port = None, host: Host = None) -> None:
    """Run everything in one process: database, API, worker, built-in engine. Needs no configuration."""
    _run(_load(config, data=data, port=port, host=host), _up)


def serve(config: Config = None, data: Data = None, port: Port = None, host: Host = None) -> None:
    """Serve the API only; `seedgate work` does the tasks, here or on other machines."""
    _run(_load(config, data=data, port=port, host=host), _serve)


def work(config: Config = None, data: Data = None) -> None:
    """Do tasks only; any number of these may run beside `seedgate serve`."""
    _run(_load(config, data=data), _work)


def _load(config: Path | None, **flags: Any) -> "Settings":
    from seedgate import log
    from seedgate.settings import load, unknown_variables

    settings = load(config, **flags)
    log.configure(level=settings.log_level)
    log.warn_unknown(unknown_variables())
    return settings


def _run(settings: "Settings", role: "Callable[[Settings, asyncio.Event], Any]") -> None:
    import asyncio

    import uvloop

    async def main() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if stopping.is_set():
                os._exit(FORCED_EXIT)
            stopping.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        await role(settings, stopping)

    uvloop.run(main())


async def _up(settings: "Settings", stopping: "asyncio.Event") -> None:
    from seedgate.compose.ground import open_ground
    from seedgate.web.server import bind

    listener = bind(settings.host, settings.port)
    async with open_ground(settings, migrating=True) as ground:
        await _http(ground, listener, stopping, work=True, key=await _development_key(ground))


async def _serve(settings: "Settings", stopping: "asyncio.Event") -> None:
    from seedgate.compose.ground import open_ground
    from seedgate.web.server import bind

    listener = bind(settings.host, settings.port)
    async with open_ground(settings, migrating=False) as ground:
        await _http(ground, listener, stopping, work=False, key=await _development_key(ground))


async def _work(settings: "Settings", stopping: "asyncio.Event") -> None:
    from seedgate.compose.gateway import open_gateway
    from seedgate.compose.ground import open_ground

    async with (
        open_ground(settings, migrating=False) as ground,
        open_gateway(ground, serve=False, work=True, base_url=""),
    ):
        _say({"event": "ready", "data_dir": str(ground.data)}, "Working. Stop with Ctrl-C.")
        await stopping.wait()


async def _development_key(ground: "Ground") -> str | None:
    from seedgate.accounts.issue import development_key
    from seedgate.domain.money import micros

    if ground.settings.production:
        return None
    credit = micros(ground.settings.development.credit)
    return await development_key(ground.database, ground.ids, ground.secret, data=ground.data, credit_micros=credit)


async def _http(
    ground: "Ground", listener: socket.socket, stopping: "asyncio.Event", *, work: bool, key: str | None
) -> None:
    import asyncio

    from seedgate.compose.gateway import open_gateway
    from seedgate.web.protocol import ConnectionLimits
    from seedgate.web.server import serve

    settings = ground.settings
    port = listener.getsockname()[1]
    local = f"http://{_reachable(settings.host)}:{port}"
    ready, closing = asyncio.Event(), asyncio.Event()
    async with open_gateway(ground, serve=True, work=work, base_url=settings.public_url or local) as gateway:
        assert gateway.dispatch is not None
        serving = asyncio.create_task(
            serve(
                gateway.dispatch,
                listener,
                stopping=closing,
                ready=ready,
                limits=ConnectionLimits(
                    **{each.name: getattr(settings.limits, each.name) for each in fields(ConnectionLimits)}
                ),
            )
        )
        await asyncio.wait([serving, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        _announce(ground, gateway, local, key)
        await asyncio.wait([serving, asyncio.ensure_future(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
        gateway.dispatch.measured.draining = True
        closing.set()
        await serving
    (ground.data / RUNNING_FILE).unlink(missing_ok=True)


def _reachable(host: str) -> str:
    """A host that can stand in an address; one that listens everywhere is reached from this machine."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - asked, not opened
        host = "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _announce(ground: "Ground", gateway: "Gateway", url: str, key: str | None) -> None:
    running = ground.data / RUNNING_FILE
    draft = running.with_suffix(".draft")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
    draft.replace(running)
    document = {
        "event": "ready",
        "url": url,
        "api_key": key,
        "data_dir": str(ground.data),
        "login_url": None,
    }
    del gateway
    _say(document, _welcome(url, key, ground))


def _say(document: Mapping[str, object], text: str) -> None:
    sys.stdout.write((text if sys.stdout.isatty() else json.dumps(document, separators=(",", ":"))) + "\n")
    sys.stdout.flush()


def _welcome(url: str, key: str | None, ground: "Ground") -> str:
    from importlib.metadata import version

    mode = "production" if ground.settings.production else "development"
    body = '{"input":{"mode":"text-to-image","prompt":"a fox in watercolor","max_images":1}}'
    lines = [
        f"  Seedgate {version('seedgate')} · {mode} · data in {ground.data}",
        f"  API      {url}",
        f"  Key      {key or 'make one with `seedgate keys create`'}",
        f"  Engine   {ground.settings.work.engine}",
        "",
        f"  curl -sX POST {url}/api/v1/generateTask/seedream-4-5 \\",
        f"    -H 'Authorization: Bearer {key or 'YOUR_API_KEY'}' -H 'Content-Type: application/json' \\",
        f"    -d '{body}'",
        "",
        '  or, in a second terminal:  seedgate generate "a fox in watercolor" -o fox.png',
    ]
    return "\n".join(lines)
