"""The way out, against servers on loopback that behave badly in every way we know of."""

import asyncio
import gzip
import hashlib
import itertools
import socket
import ssl
import time
from contextlib import asynccontextmanager, nullcontext
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from seedgate import names
from seedgate.domain.addresses import Policy
from seedgate.domain.errors import (
    AddressRefused,
    AnswerTooLarge,
    BadAnswer,
    ProtocolBroken,
    TimedOut,
    Unreachable,
)
from seedgate.net import HOST_UNUSABLE, Limits, _CheckedConnector, _CheckedResolver, open_net

DEVELOPMENT = Policy(allow_http=True, allow_loopback=True)
QUICK = Limits(reach_s=0.5, stall_s=0.5, min_bytes_per_s=1024, download_s=5)
CERTIFICATE = Path(__file__).parent / "fixtures/tls_good_test.pem"
CAP = 100_000


class Names:
    """A name server: each name has a list of answers, given in turn, the last one for ever."""

    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): list(turns) for name, turns in answers.items()}
        self.asked = []

    async def __call__(self, host):
        # A stub that only knew text would let a name in bytes slip by and call that a success.
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        if name not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        turns = self.answers[name]
        return turns.pop(0) if len(turns) > 1 else turns[0]


def opened(policy=DEVELOPMENT, *, limits=QUICK, tls=None, **answers):
    answers.setdefault("good_test", [["127.0.0.1"]])
    return open_net(policy, limits=limits, resolver=Names(**answers), tls=tls)


@asynccontextmanager
async def raw_server(handle, **options):
    """A server that sends what it likes. Yields its port and the list of requests that it saw."""
    seen = []

    async def serve(reader, writer):
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            await handle(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()
        await server.wait_closed()


def answer(body=b"picture", *, status="200 OK", headers=()):
    head = [f"HTTP/1.1 {status}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in head):
        head.append(f"Content-Length: {len(body)}")

    async def handle(writer):
        writer.write("\r\n".join([*head, "", ""]).encode("utf-8", "surrogateescape") + body)

    return handle


@asynccontextmanager
async def app_server(handler):
    """A well-behaved server; every request goes to `handler`."""
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


async def download(net, url, folder, **options):
    return await net.download(url, folder / "file", max_bytes=CAP, **options)


class TestDownload:
    async def test_a_file_arrives_whole_and_is_hashed(self, tmp_path):
        body = bytes(range(256)) * 300
        async with raw_server(answer(body, headers=["Content-Type: image/png"])) as (port, seen), opened() as net:
            got = await download(net, f"http://good.test:{port}/a%2Fb%61?s=%2B%7E", tmp_path)
        assert (tmp_path / "file").read_bytes() == body
        assert got.size_bytes == len(body)
        assert got.sha256 == hashlib.sha256(body).hexdigest()
        assert got.content_type == "image/png"
        assert seen[0].startswith(b"GET /a%2Fb%61?s=%2B%7E HTTP/1.1\r\n")
        assert left_in(tmp_path) == ["file"]

    async def test_large_files_are_not_kept_in_memory(self, tmp_path):
        import tracemalloc

        async def large(writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n")
            for _ in range(800):
                writer.write(bytes(10_000))
                await writer.drain()

        async with raw_server(large) as (port, _), opened() as net:
            tracemalloc.start()
            await net.download(f"http://good.test:{port}/", tmp_path / "file", max_bytes=10_000_000)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 3_000_000

    @pytest.mark.parametrize(
        "status", ["404 Not Found", "204 No Content", "206 Partial Content", "500 Oops", "304 Same"]
    )
    async def test_only_status_200_is_a_file(self, tmp_path, status):
        async with raw_server(answer(b"", status=status)) as (port, _), opened() as net:
            with pytest.raises(BadAnswer) as caught:
                await download(net, f"http://good.test:{port}/", tmp_path)
        assert caught.value.status == int(status[:3])
        assert left_in(tmp_path) == []


# Row 53: literal addresses in the way a caller would send them; the full list is in the vectors.
class TestLiterals:
    async def test_a_permitted_literal_works(self, tmp_path):
        async with raw_server(answer()) as (port, _), opened() as net:
            assert (await download(net, f"http://127.0.0.1:{port}/", tmp_path)).size_bytes == 7

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "127.1",
            "0177.0.0.1",
            "１２７.０.０.１",
            "127。0。0。1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ],
    )
    async def test_production_refuses_loopback_in_every_spelling(self, tmp_path, host):
        async with raw_server(answer()) as (port, seen), opened(Policy(allow_http=True)) as net:
            with pytest.raises(AddressRefused):
                await download(net, f"http://{host}:{port}/", tmp_path)
        assert seen == []


# Row 54: a name that means one address when it is checked and another when it is called.
class TestRebinding:
    async def test_the_connection_goes_to_the_address_that_was_checked(self, tmp_path):
        turns = [["127.0.0.1"], ["169.254.169.254"]]
        async with raw_server(answer()) as (port, seen), opened(flip_test=turns) as net:
            await download(net, f"http://flip.test:{port}/", tmp_path)
            assert len(seen) == 1
            with pytest.raises(AddressRefused):
                await download(net, f"http://flip.test:{port}/", tmp_path)
            with pytest.raises(AddressRefused):
                await net.request("GET", f"http://flip.test:{port}/", total_s=5, max_bytes=CAP)

    async def test_a_name_is_resolved_once_per_request(self, tmp_path):
        resolver = Names(good_test=[["127.0.0.1"]])
        async with raw_server(answer()) as (port, _), open_net(DEVELOPMENT, limits=QUICK, resolver=resolver) as net:
            await download(net, f"http://good.test:{port}/", tmp_path)
        assert resolver.asked == ["good.test"]

    async def test_one_bad_answer_spoils_all(self, tmp_path):
        bad = [
            ["127.0.0.1", "10.0.0.1"],
            ["10.0.0.1", "127.0.0.1"],
            ["127.0.0.1", "::ffff:127.0.0.1"],
            ["127.0.0.1", "fe80::1%1"],
        ]
        mixed = {f"mixed{n}_test": [answers] for n, answers in enumerate(bad)}
        async with raw_server(answer()) as (port, seen), opened(**mixed) as net:
            tries = [download(net, f"http://mixed{n}.test:{port}/", tmp_path) for n in range(len(bad))]
            failures = await asyncio.gather(*tries, return_exceptions=True)
            assert {type(failure) for failure in failures} == {AddressRefused}
            await download(net, f"http://good.test:{port}/", tmp_path)
        assert len(seen) == 1

    async def test_names_that_share_an_address_share_no_connection(self):
        peers = []

        async def handler(request):
            peers.append((request.host, request.transport.get_extra_info("peername")[1]))
            return web.Response(text="ok")

        async with app_server(handler) as port, opened(other_test=[["127.0.0.1"]]) as net:
            for name in ("good.test", "good.test", "other.test"):
                await net.request("GET", f"http://{name}:{port}/", total_s=5, max_bytes=CAP)
        first, second, third = (connection for _, connection in peers)
        assert first == second != third

    # The last line of defence: even a connector that was led astray sends nothing.
    async def test_the_other_end_is_checked_before_anything_is_sent(self):
        unchecked = _CheckedResolver(DEVELOPMENT, Names(good_test=[["127.0.0.1"]]))
        async with raw_server(answer()) as (port, seen):
            for policy, permitted in ((DEVELOPMENT, True), (Policy(allow_http=True), False)):
                connector = _CheckedConnector(policy, resolver=unchecked, limit=1, force_close=True, ssl=True)
                async with aiohttp.ClientSession(connector=connector) as session:
                    with nullcontext() if permitted else pytest.raises(AddressRefused):
                        async with session.get(f"http://good.test:{port}/") as response:
                            await response.read()
                    assert len(seen) == 1


class TestOwnAddresses:
    def test_a_machine_knows_its_own_addresses(self):
        from ipaddress import ip_address

        assert names.is_own(ip_address("127.0.0.1"))
        assert not names.is_own(ip_address("93.184.215.14"))
        assert not names.is_own(ip_address("2606:4700:4700::1111"))

    async def test_they_are_refused_even_in_a_trusted_network(self, tmp_path):
        policy = Policy(allow_http=True, trusted_networks=(ip_network("127.0.0.0/8"),))
        async with raw_server(answer()) as (port, seen), opened(policy) as net:
            for host in ("127.0.0.1", "good.test"):
                with pytest.raises(AddressRefused):
                    await download(net, f"http://{host}:{port}/", tmp_path)
        assert seen == []

    async def test_so_is_its_public_name(self, tmp_path):
        policy = Policy(allow_http=True, allow_loopback=True, own_hosts=frozenset({"me.test"}))
        async with raw_server(answer()) as (port, seen), opened(policy, me_test=[["127.0.0.1"]]) as net:
            with pytest.raises(AddressRefused):
                await download(net, f"http://me.test:{port}/", tmp_path)
            await download(net, f"http://good.test:{port}/", tmp_path)
        assert len(seen) == 1


# Row 55
class TestRedirects:
    async def test_three_hops_are_followed_and_headers_stay_behind(self, tmp_path):
        saw = []

        async def handler(request):
            saw.append((request.path, request.headers.get("X-Secret"), request.headers.get("Cookie")))
            hop = int(request.path[1:])
            if hop == 3:
                return web.Response(body=b"here")
            return web.Response(status=302, headers={"Location": f"/{hop + 1}", "Set-Cookie": "a=b"})

        async with app_server(handler) as port, opened() as net:
            got = await download(net, f"http://good.test:{port}/0", tmp_path, headers={"X-Secret": "s"})
        assert got.size_bytes == 4
        assert saw == [("/0", "s", None), ("/1", None, None), ("/2", None, None), ("/3", None, None)]

    async def test_twenty_hops_are_not(self, tmp_path):
        hops = itertools.count(1)

        async def handler(_request):
            return web.Response(status=307, headers={"Location": f"/{next(hops)}"})

        async with app_server(handler) as port, opened() as net:
            with pytest.raises(BadAnswer):
                await download(net, f"http://good.test:{port}/0", tmp_path)
        assert next(hops) == 5

    async def test_each_hop_is_checked_like_the_first(self, tmp_path):
        locations = [
            "http://10.0.0.1/",
            "http://169.254.169.254/latest/meta-data/",
            "//0x7f000001/",
            "http://bad.test/",
            "http://public.test:8080/",
            "http://good.test\\@10.0.0.1/",
            "http://user@good.test/",
            "http://good\t.test/",
            "ftp://good.test/",
            "http:///10.0.0.1/",
            "http:10.0.0.1/",
            "/a\tb",
            "/\\10.0.0.1/",
            "http:/10.0.0.1/",
            "http://g\udcffod.test/",
            "file:///etc/passwd",
        ]

        async def handle(writer):
            writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n")
            writer.write(f"Location: {locations.pop()}\r\n\r\n".encode("utf-8", "surrogateescape"))

        bad = {"bad_test": [["192.168.0.1"]], "public_test": [["93.184.215.14"]]}
        async with raw_server(handle) as (port, seen), opened(**bad) as net:
            url = f"http://good.test:{port}/"
            tries = [download(net, url, tmp_path) for _ in locations]
            failures = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(failure) for failure in failures} == {AddressRefused}
        assert len(seen) == len(tries)

    async def test_another_name_that_is_permitted_works(self, tmp_path):
        async with raw_server(answer()) as (port, _):
            redirect = answer(b"", status="301 Moved", headers=[f"Location: http://other.test:{port}/x"])
            async with raw_server(redirect) as (first, _), opened(other_test=[["127.0.0.1"]]) as net:
                assert (await download(net, f"http://good.test:{first}/", tmp_path)).size_bytes == 7

    async def test_https_never_becomes_http(self, tmp_path):
        async with raw_server(answer()) as (port, seen):
            down = answer(b"", status="302 Found", headers=[f"Location: http://good.test:{port}/"])
            async with raw_server(down, ssl=server_tls()) as (first, _), opened(tls=client_tls()) as net:
                with pytest.raises(AddressRefused):
                    await download(net, f"https://good.test:{first}/", tmp_path)
                await download(net, f"http://good.test:{port}/", tmp_path)
        assert len(seen) == 1

    async def test_a_request_follows_none(self):
        redirect = answer(b"", status="302 Found", headers=["Location: http://10.0.0.1/"])
        async with raw_server(redirect) as (port, _), opened() as net:
            reply = await net.request("POST", f"http://good.test:{port}/", total_s=5, max_bytes=CAP, body=b"x")
        assert reply.status == 302


def server_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_tls():
    return ssl.create_default_context(cafile=str(CERTIFICATE))


class TestTls:
    async def test_the_certificate_must_bear_the_name(self, tmp_path):
        async with raw_server(answer(), ssl=server_tls()) as (port, seen):
            async with opened(tls=client_tls(), other_test=[["127.0.0.1"]]) as net:
                await download(net, f"https://good.test:{port}/", tmp_path)
                wrong = [download(net, f"https://{host}:{port}/", tmp_path) for host in ("other.test", "127.0.0.1")]
                for failure in await asyncio.gather(*wrong, return_exceptions=True):
                    assert type(failure) is Unreachable
                    assert "Certificate" in failure.__notes__[0]
            async with opened() as net:
                with pytest.raises(Unreachable):
                    await download(net, f"https://good.test:{port}/", tmp_path)
        assert len(seen) == 1


# Row 57
async def test_proxies_in_the_environment_are_ignored(tmp_path, monkeypatch):
    async with raw_server(answer(b"proxied")) as (proxy, through), raw_server(answer()) as (port, direct):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with opened() as net:
            await download(net, f"http://good.test:{port}/", tmp_path)
            await net.request("GET", f"http://good.test:{port}/", total_s=5, max_bytes=CAP)
    assert (len(through), len(direct)) == (0, 2)


async def endless_chunks(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        await writer.drain()


async def endless_without_length(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(bytes(0x1000))
        await writer.drain()


# Row 58
class TestSize:
    @pytest.mark.parametrize(("size", "fits"), [(CAP, True), (CAP + 1, False)])
    @pytest.mark.parametrize("framing", ["length", "close"])
    async def test_the_limit_is_exact(self, tmp_path, size, fits, framing):
        async def until_close(writer):
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(size))

        handle = answer(bytes(size)) if framing == "length" else until_close
        async with raw_server(handle) as (port, _), opened() as net:
            if fits:
                assert (await download(net, f"http://good.test:{port}/", tmp_path)).size_bytes == size
            else:
                with pytest.raises(AnswerTooLarge):
                    await download(net, f"http://good.test:{port}/", tmp_path)
                assert left_in(tmp_path) == []

    @pytest.mark.parametrize("handle", [endless_chunks, endless_without_length])
    async def test_endless_answers_end_at_the_limit(self, tmp_path, handle):
        async with raw_server(handle) as (port, _), opened() as net:
            with pytest.raises(AnswerTooLarge):
                await download(net, f"http://good.test:{port}/", tmp_path)
            with pytest.raises(AnswerTooLarge):
                await net.request("GET", f"http://good.test:{port}/", total_s=5, max_bytes=CAP)
        assert left_in(tmp_path) == []

    async def test_a_length_that_promises_too_much_is_believed_at_once(self, tmp_path):
        lie = answer(b"", headers=[f"Content-Length: {CAP + 1}"])
        async with raw_server(lie) as (port, _), opened() as net:
            with pytest.raises(AnswerTooLarge):
                await download(net, f"http://good.test:{port}/", tmp_path)

    @pytest.mark.parametrize("length", [100, 99_999])
    async def test_a_file_that_ends_early_is_no_file(self, tmp_path, length):
        lie = answer(b"short", headers=[f"Content-Length: {length}"])
        async with raw_server(lie) as (port, _), opened() as net:
            with pytest.raises(ProtocolBroken):
                await download(net, f"http://good.test:{port}/", tmp_path)
        assert left_in(tmp_path) == []

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
    async def test_compressed_answers_are_refused_unread(self, tmp_path, encoding):
        bomb = answer(gzip.compress(bytes(10_000_000)), headers=[f"Content-Encoding: {encoding}"])
        async with raw_server(bomb) as (port, seen), opened() as net:
            with pytest.raises(ProtocolBroken):
                await download(net, f"http://good.test:{port}/", tmp_path, headers={"accept-encoding": "gzip"})
        assert [line for line in seen[0].lower().split(b"\r\n") if b"accept-encoding" in line] == [
            b"accept-encoding: identity"
        ]

    @pytest.mark.parametrize("head", [b"X-Long: " + b"a" * 100_000, b"\r\n".join(b"X-%d: 1" % i for i in range(5000))])
    async def test_endless_headers_are_refused(self, tmp_path, head):
        async def handle(writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + head + b"\r\n\r\nx")

        async with raw_server(handle) as (port, _), opened() as net:
            with pytest.raises(ProtocolBroken):
                await download(net, f"http://good.test:{port}/", tmp_path)

    @pytest.mark.parametrize(
        "bytes_", [b"", b"\x00\x01garbage\r\n\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"SSH-2.0-OpenSSH\r\n"]
    )
    async def test_nonsense_is_not_an_answer(self, tmp_path, bytes_):
        async def handle(writer):
            writer.write(bytes_)

        async with raw_server(handle) as (port, _), opened() as net:
            with pytest.raises(ProtocolBroken):
                await download(net, f"http://good.test:{port}/", tmp_path)


def drip(every_s, body=b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"):
    async def handle(writer):
        writer.write(body)
        while True:
            await asyncio.sleep(every_s)
            writer.write(b"x")
            await writer.drain()

    return handle


# Row 59
class TestTime:
    async def test_a_drip_is_cut_off(self, tmp_path):
        async with raw_server(drip(0.05)) as (port, _), opened() as net:
            started = time.monotonic()
            with pytest.raises(TimedOut):
                await download(net, f"http://good.test:{port}/", tmp_path)
        assert time.monotonic() - started < 4
        assert left_in(tmp_path) == []

    async def test_silence_is_cut_off(self, tmp_path):
        async with raw_server(drip(3600)) as (port, _), opened() as net:
            started = time.monotonic()
            with pytest.raises(TimedOut):
                await download(net, f"http://good.test:{port}/", tmp_path)
        assert time.monotonic() - started < 4

    async def test_headers_that_drip_run_into_the_whole_limit(self, tmp_path):
        async with raw_server(drip(0.05, b"HTTP/1.1 200 OK\r\nX: ")) as (port, _), opened() as net:
            with pytest.raises(TimedOut):
                await download(net, f"http://good.test:{port}/", tmp_path, total_s=0.5)

    async def test_redirects_share_one_limit(self, tmp_path):
        async def handler(_request):
            await asyncio.sleep(0.2)
            return web.Response(status=302, headers={"Location": "/"})

        async with app_server(handler) as port, opened() as net:
            with pytest.raises(TimedOut):
                await download(net, f"http://good.test:{port}/", tmp_path, total_s=0.5)

    async def test_a_name_server_that_hangs_is_unreachable(self, tmp_path):
        async def hang(_host):
            await asyncio.Event().wait()

        async with open_net(DEVELOPMENT, limits=QUICK, resolver=hang) as net:
            with pytest.raises(Unreachable):
                await download(net, "http://good.test/", tmp_path)

    async def test_a_request_may_be_silent_until_its_own_limit(self):
        async def handler(_request):
            await asyncio.sleep(0.5)
            return web.Response(text="late")

        async with app_server(handler) as port, opened() as net:
            url = f"http://good.test:{port}/"
            assert (await net.request("POST", url, total_s=5, max_bytes=CAP)).body == b"late"
            with pytest.raises(TimedOut):
                await net.request("POST", url, total_s=0.2, max_bytes=CAP)


# If this fails, a stranger can tell which names and hosts exist inside by what is said, or by how soon.
async def test_refused_and_unreachable_look_alike(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with opened(bad_test=[["10.0.0.1"]]) as net:
            told = []
            for url in ("http://bad.test/", f"http://good.test:{port}/", "http://nowhere.test/"):
                started = time.monotonic()
                with pytest.raises((AddressRefused, Unreachable)) as caught:
                    await download(net, url, tmp_path)
                told.append(caught.value.message)
                assert QUICK.reach_s <= time.monotonic() - started < QUICK.reach_s + 1.5
    assert told == [HOST_UNUSABLE] * 3


class TestRequest:
    async def test_headers_and_body_go_out_and_any_status_comes_back(self):
        async def handler(request):
            return web.Response(status=402, body=await request.read(), headers={"X-Got": request.headers["X-Sent"]})

        body = bytes(3_000_000)
        async with app_server(handler) as port, opened() as net:
            reply = await net.request(
                "POST", f"http://good.test:{port}/", total_s=5, max_bytes=len(body), headers={"X-Sent": "1"}, body=body
            )
        assert (reply.status, reply.headers["x-got"], reply.body) == (402, "1", body)

    async def test_a_stream_is_read_as_it_comes(self):
        go_on = asyncio.Event()

        async def handle(writer):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await go_on.wait()
            writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

        async with raw_server(handle) as (port, _), opened() as net:
            async with net.stream("GET", f"http://good.test:{port}/", total_s=5) as answer:
                chunks = answer.chunks(max_bytes=CAP)
                assert await anext(chunks) == b"one"
                go_on.set()
                assert [chunk async for chunk in chunks] == [b"two"]

    async def test_unsafe_methods_never_use_a_kept_connection(self):
        peers = []

        async def handler(request):
            peers.append(request.transport.get_extra_info("peername")[1])
            return web.Response(text="ok")

        async with app_server(handler) as port, opened() as net:
            for method in ("GET", "GET", "POST", "POST"):
                await net.request(method, f"http://good.test:{port}/", total_s=5, max_bytes=CAP)
        assert peers[0] == peers[1]
        assert len(set(peers[1:])) == 3

    # What may be sent again is decided by these two: nothing sent, or in doubt.
    async def test_unreachable_means_that_nothing_was_sent(self):
        async def cut(_writer):
            raise ConnectionResetError

        async with raw_server(cut) as (port, seen), opened() as net:
            with pytest.raises(ProtocolBroken):
                await net.request("POST", f"http://good.test:{port}/", total_s=5, max_bytes=CAP, body=b"x")
        assert len(seen) == 1
        async with opened() as net:
            with pytest.raises(Unreachable):
                await net.request("POST", f"http://good.test:{port}/", total_s=5, max_bytes=CAP, body=b"x")


async def test_the_systems_resolver_finds_localhost():
    with names.system_resolver() as resolve:
        assert set(await resolve("localhost")) <= {"127.0.0.1", "::1"}
        with pytest.raises(OSError):
            await resolve("no-such-name.invalid")
