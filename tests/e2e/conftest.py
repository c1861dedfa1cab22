"""One gateway with the blank engine for the tests of a module, and a host that serves reference pictures."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from gateway import Caller, Gateway
from PIL import Image
from world import SLOW_S


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    env = {"SEEDGATE_LIMITS__KEYS_PER_ACCOUNT": "100000"}  # tests that walk the documents make a key at each step
    with Gateway(tmp_path_factory.mktemp("gateway") / "data", env=env) as running:
        yield running


@pytest.fixture
async def caller(gateway: Gateway) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(gateway, session)


def picture(width: int = 60, height: int = 40, kind: str = "JPEG", colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, kind)
    return out.getvalue()


@pytest.fixture
async def references() -> AsyncIterator[str]:
    """Base address of a host with `/ref.jpg`, `/ref.png`, `/wide.png` (30:20), `/text.jpg` and `/missing.jpg`."""
    files = {
        "ref.jpg": picture(),
        "ref.png": picture(80, 80, "PNG", "orange"),
        "wide.png": picture(300, 200, "PNG"),
        "text.jpg": b"not a picture",
    }
    asked: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        asked.append(name)
        if name not in files:
            raise web.HTTPNotFound
        return web.Response(body=files[name], content_type="image/jpeg")

    async def serve_slowly(_: web.Request) -> web.Response:
        await asyncio.sleep(SLOW_S)  # not a wait for something: this is what a slow host is
        return web.Response(body=files["ref.jpg"], content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/{name}", serve)
    app.router.add_get("/slow/{name}", serve_slowly)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
def fixtures() -> Path:
    return Path(__file__).parents[1] / "fixtures" / "apixo"
