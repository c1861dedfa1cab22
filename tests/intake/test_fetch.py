"""A task's references, from URLs to the shelf."""

import asyncio
import hashlib
import io
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from PIL import Image

from seedgate.domain.addresses import Policy
from seedgate.domain.reference import MAX_IMAGE_BYTES, ReferenceFault, ReferenceRefused
from seedgate.intake.dataurl import store_data_url
from seedgate.intake.fetch import FetchLimits, fetch_references
from seedgate.intake.gate import Gate, Passed
from seedgate.intake.shelf import Shelf
from seedgate.net import Limits, open_net

DEVELOPMENT = Policy(allow_http=True, allow_loopback=True)


def image(colour, name="PNG", size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, name)
    return buffer.getvalue()


async def resolve(host):
    answers = {"good.test": ["127.0.0.1"], "bad.test": ["10.0.0.1"]}
    if host not in answers:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return answers[host]


class House:
    """A host of images under `url`, and a shelf to put them on."""

    def __init__(self, net, root, url):
        self.net, self.url = net, url
        self.shelf = Shelf(root=root)
        self.gate = Gate()

    async def fetch(self, *references, **limits):
        return await fetch_references(
            references, net=self.net, gate=self.gate, shelf=self.shelf, limits=FetchLimits(**limits)
        )

    async def refusal(self, *references, **limits):
        with pytest.raises(ReferenceRefused) as caught:
            await self.fetch(*references, **limits)
        return caught.value.reason, caught.value.index

    def files(self):
        return sorted(path.name for path in self.shelf.root.rglob("*") if path.is_file())


@asynccontextmanager
async def house(root, serve, *, limits=None):
    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://good.test:{runner.addresses[0][1]}/"
        async with open_net(DEVELOPMENT, limits=limits or Limits(reach_s=0.5), resolver=resolve) as net:
            yield House(net, root, url)
    finally:
        await runner.cleanup()


class OpenGate:
    """Lets everything through at once, for tests of time."""

    async def normalise(self, original, clean):
        clean.write_bytes(original.read_bytes())
        return Passed(format="png", width=40, height=30)


def serving(*bodies, asked=None):
    """A host whose paths are indexes into `bodies`; what was asked for is noted in `asked`."""

    async def serve(request):
        name = request.match_info["name"]
        if asked is not None:
            asked.append(name)
        return web.Response(body=bodies[int(name)])

    return serve


async def test_references_arrive_in_order_clean_and_named_by_their_digest(tmp_path):
    originals = [image("red"), image("blue", "JPEG", (60, 40)), image("lime", "GIF")]
    async with house(tmp_path, serving(*originals)) as h:
        found = await h.fetch(*(f"{h.url}{n}" for n in range(3)))
    assert [(r.format, r.width, r.height) for r in found] == [("png", 40, 30), ("jpeg", 60, 40), ("png", 40, 30)]
    for reference, original in zip(found, originals, strict=True):
        content = h.shelf.path(reference.sha256).read_bytes()
        assert hashlib.sha256(content).hexdigest() == reference.sha256
        assert len(content) == reference.size_bytes
        assert reference.original_sha256 == hashlib.sha256(original).hexdigest()
    assert h.files() == sorted(r.sha256 for r in found)


async def test_no_references_are_no_work(tmp_path):
    async with house(tmp_path, serving()) as h:
        assert await h.fetch() == ()


# Row 63: what was moderated is what is sent, whatever the host says the next time.
async def test_each_url_is_fetched_once(tmp_path):
    turns = [image("red"), image("blue")]
    asked = []

    async def alternating(_request):
        asked.append(1)
        return web.Response(body=turns[len(asked) % 2])

    async with house(tmp_path, alternating) as h:
        first, second, third = await h.fetch(h.url + "a", h.url + "a", h.url + "a")
    assert first == second == third
    assert len(asked) == 1


async def test_an_image_from_the_request_goes_the_same_way(tmp_path):
    import base64

    async with house(tmp_path, serving(image("red"))) as h:
        original = image("blue")
        local = store_data_url("data:image/png;base64," + base64.b64encode(original).decode(), h.shelf)
        remote, own = await h.fetch(h.url + "0", local)
        assert own.original_sha256 == hashlib.sha256(original).hexdigest() == local.removeprefix("sha256:")
        assert own.sha256 != remote.sha256
        for unknown in ("sha256:" + "0" * 64, "sha256:../../etc/passwd", "sha256:"):
            assert await h.refusal(h.url + "0", unknown) == (ReferenceFault.ADDRESS, 1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("reference", "reason"),
        [
            ("http://10.0.0.1/x.png", ReferenceFault.ADDRESS),
            ("http://bad.test/x.png", ReferenceFault.ADDRESS),
            ("http://good.test:1\\@x/", ReferenceFault.ADDRESS),
            ("data:image/png;base64,AAAA", ReferenceFault.ADDRESS),
            ("/etc/passwd", ReferenceFault.ADDRESS),
            ("http://nowhere.test/x.png", ReferenceFault.UNREACHABLE),
            ("{url}404", ReferenceFault.BAD_ANSWER),
            ("{url}gzip", ReferenceFault.BAD_ANSWER),
            ("{url}large", ReferenceFault.TOO_LARGE),
            ("{url}html", ReferenceFault.FORMAT),
            ("{url}small", ReferenceFault.DIMENSIONS),
            ("{url}silent", ReferenceFault.TIMED_OUT),
        ],
    )
    async def test_one_bad_reference_fails_all_and_says_which(self, tmp_path, reference, reason):
        gone = asyncio.Event()

        async def serve(request):
            name = request.match_info["name"]
            if name == "silent":
                await gone.wait()
            headers = {"Content-Encoding": "gzip"} if name == "gzip" else {}
            bodies = {"large": bytes(MAX_IMAGE_BYTES + 1), "html": b"<html>", "small": image("red", size=(14, 14))}
            status = 404 if name == "404" else 200
            return web.Response(status=status, headers=headers, body=bodies.get(name, image("red")))

        async with house(tmp_path, serve, limits=Limits(reach_s=0.5, stall_s=1)) as h:
            bad = reference.format(url=h.url)
            assert await h.refusal(h.url + "fine", bad) == (reason, 1)
            gone.set()
            assert (await h.fetch(h.url + "fine"))[0].width == 40
        assert len(h.files()) == 1

    def test_address_and_unreachable_read_the_same(self):
        told = {
            ReferenceRefused(fault, index=2).message for fault in (ReferenceFault.ADDRESS, ReferenceFault.UNREACHABLE)
        }
        assert told == {"reference image 3: host not allowed or not reachable"}
        assert len({fault.sentence for fault in ReferenceFault}) == len(ReferenceFault) - 1


# Row 59: fourteen slow hosts hold a task up for one limit, not for fourteen.
async def test_all_together_have_one_limit_and_four_places(tmp_path):
    here, most, go_on = 0, 0, asyncio.Event()
    full = asyncio.Event()

    async def serve(request):
        nonlocal here, most
        if request.match_info["name"] == "0":
            return web.Response(body=image("red"))
        here += 1
        most = max(most, here)
        if here == 4:
            full.set()
        try:
            await go_on.wait()
        finally:
            here -= 1
        return web.Response(body=image("red"))

    async with house(tmp_path, serve) as h:
        h.gate = OpenGate()
        urls = [f"{h.url}{n}" for n in range(14)]
        task = asyncio.create_task(h.refusal(*urls, total_s=1))
        await full.wait()
        assert await task == (ReferenceFault.TIMED_OUT, 1)
        assert most == 4
        go_on.set()
    assert all(len(name) == 64 for name in h.files())


# If this fails, callers are told that their images came too late when it was our own queue that was long.
async def test_time_at_the_gate_does_not_count(tmp_path):
    class SlowGate(OpenGate):
        async def normalise(self, original, clean):
            await asyncio.sleep(0.6)
            return await super().normalise(original, clean)

    async with house(tmp_path, serving(image("red"))) as h:
        h.gate = SlowGate()
        assert len(await h.fetch(h.url + "0", total_s=0.5)) == 1


# Row 62: whatever becomes of a task, nothing half-done stays on the disk.
async def test_giving_up_leaves_nothing_behind(tmp_path):
    asked, never = asyncio.Event(), asyncio.Event()

    async def serve(_request):
        response = web.StreamResponse()
        asked.set()
        await never.wait()
        return response

    async with house(tmp_path, serve) as h:
        task = asyncio.create_task(h.fetch(h.url + "0"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert h.files() == []
        never.set()
