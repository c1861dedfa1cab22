"""The only door outward: checked addresses, our own redirects, counted bytes, a limit on every wait.

A URL passes three checks: its text (`domain/addresses.py`), every address that its name resolves to, and, once
connected and before a byte of the request is sent, the address at the other end. The name is resolved once and the
connection goes to one of the addresses that were checked, so a name server is never asked for a second answer.

`Unreachable` and `AddressRefused` are the only errors that prove that nothing was sent. After any other one an unsafe
request is in doubt.
"""

import asyncio
import hashlib
import io
import re
import secrets
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from seedgate import names
from seedgate.domain.addresses import IPAddress, Policy, Target, check_text, parse_url
from seedgate.domain.errors import (
    AddressRefused,
    AnswerTooLarge,
    BadAnswer,
    ProtocolBroken,
    SeedgateError,
    TimedOut,
    Unreachable,
)

HOST_UNUSABLE: Final = AddressRefused().message
USER_AGENT: Final = "seedgate"
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
WRITE_BYTES: Final = 256 * 1024
READ_BYTES: Final = 64 * 1024
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how much."""

    reach_s: float = 5.0
    """For name, connection and TLS handshake together; a refused or failed download always takes this long."""
    stall_s: float = 5.0
    """The longest silence in a download, and its time of grace before `min_bytes_per_s` counts."""
    min_bytes_per_s: int = 1024
    download_s: float = 20.0
    """For one download with all its redirects."""
    max_redirects: int = 3
    max_connections: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A file that arrived whole."""

    size_bytes: int
    sha256: str
    content_type: str
    """As the host named it; a hint, never a fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer with its body in memory."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer whose body is still on its way."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    content: aiohttp.StreamReader = field(repr=False)

    async def chunks(
        self, *, max_bytes: int, min_bytes_per_s: int = 0, grace_s: float = 0.0
    ) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises `AnswerTooLarge` at the first byte over, `TimedOut` when it merely drips."""
        if int(self.headers.get("Content-Length", "0")) > max_bytes:
            raise AnswerTooLarge
        clock = asyncio.get_running_loop().time
        started, received = clock(), 0
        async for chunk in self.content.iter_any():
            received += len(chunk)
            if received > max_bytes:
                raise AnswerTooLarge
            elapsed_s = clock() - started
            if elapsed_s > grace_s and received < elapsed_s * min_bytes_per_s:
                raise TimedOut
            yield chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """One process's way out. Made by `open_net`."""

    policy: Policy
    limits: Limits
    single: aiohttp.ClientSession
    """A connection per request: a kept one may die under a request just sent and leave an unsafe one in doubt."""
    pooled: aiohttp.ClientSession
    """Connections kept per host name, for safe methods: polls, mostly."""

    def check(self, url: str) -> Target:
        """The URL as it would be called; raises `AddressRefused` where its text alone forbids that."""
        target = parse_url(url, to_ascii=names.to_ascii)
        if not self.policy.permits_target(target) or (target.address and _is_own(self.policy, target.address)):
            raise AddressRefused
        return target

    async def request(
        self,
        method: str,
        url: str,
        *,
        total_s: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Reply:
        """Send and read the whole answer, whatever its status; redirects are answers too and are not followed."""
        stream = self.stream(method, url, total_s=total_s, headers=headers, body=body)
        async with stream as answer, aclosing(answer.chunks(max_bytes=max_bytes)) as chunks:
            received = [chunk async for chunk in chunks]
        return Reply(status=answer.status, headers=answer.headers, body=b"".join(received))

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, total_s: float, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AsyncIterator[Answer]:
        """Send, and leave the reading to the caller, who has `total_s` for all of it."""
        target = self.check(url)
        session = self.pooled if method in {"GET", "HEAD"} else self.single
        async with _within(total_s), self._exchange(session, method, target, headers=headers, body=body) as answer:
            yield answer

    async def download(
        self,
        url: str,
        path: Path,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        total_s: float | None = None,
    ) -> Downloaded:
        """Write the file that the URL gives to `path`, following redirects; nothing is left there if that fails.

        `headers` go to the first host only. Raises `AddressRefused`, `Unreachable`, `BadAnswer`, `AnswerTooLarge`,
        `TimedOut`, `ProtocolBroken`. The first two say the same and, where a name was resolved, take the same time.
        """
        target = self.check(url)
        async with _within(total_s or self.limits.download_s):
            for _ in range(self.limits.max_redirects + 1):
                async with self._unhurried(), self._exchange(self.single, "GET", target, headers=headers) as answer:
                    location = answer.headers.get("Location") if answer.status in REDIRECTS else None
                    if location is None:
                        return await self._save(answer, path, max_bytes)
                    target, headers = self._onward(target, location), None
        raise BadAnswer("too many redirects")

    @asynccontextmanager
    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        method: str,
        target: Target,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AsyncIterator[Answer]:
        sent = CIMultiDict(headers or {})
        sent["Accept-Encoding"] = "identity"
        data = io.BytesIO(body) if body else None  # a file object, because large bytes are sent in one blocking go
        url = URL(target.url, encoded=True)  # `encoded`, because quoting a signed query again breaks the signature
        silence_s = None if session is not self.single or method != "GET" else self.limits.stall_s
        timeout = aiohttp.ClientTimeout(total=None, connect=self.limits.reach_s, sock_read=silence_s)
        with _translated():
            async with session.request(
                method, url, headers=sent, data=data, allow_redirects=False, timeout=timeout
            ) as response:
                if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
                    raise ProtocolBroken("the answer is compressed although it was asked not to be")
                yield Answer(status=response.status, headers=response.headers, content=response.content)

    def _onward(self, target: Target, location: str) -> Target:
        check_text(location)  # first, because urljoin silently drops tabs and line breaks
        # An absolute address is read as strictly as the first one was; urljoin would mend http:///host and http:host.
        onward = self.check(location if _ABSOLUTE.match(location) else urljoin(target.url, location))
        if target.scheme == "https" and onward.scheme != "https":
            raise AddressRefused
        return onward

    @asynccontextmanager
    async def _unhurried(self) -> AsyncIterator[None]:
        """Let a refused address take as long as a silent one: the difference would map the network for a stranger."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            yield
        except (AddressRefused, Unreachable):
            await asyncio.sleep(started + self.limits.reach_s - clock())
            raise

    async def _save(self, answer: Answer, path: Path, max_bytes: int) -> Downloaded:
        if answer.status != 200:
            raise BadAnswer(status=answer.status)
        chunks = answer.chunks(
            max_bytes=max_bytes, min_bytes_per_s=self.limits.min_bytes_per_s, grace_s=self.limits.stall_s
        )
        sink = _Sink(path)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    if sink.take(chunk):
                        await asyncio.to_thread(sink.flush)
            await asyncio.to_thread(sink.flush)
            sink.keep()
        finally:
            sink.close()
        content_type = answer.headers.get("Content-Type", "")
        return Downloaded(size_bytes=sink.size_bytes, sha256=sink.digest.hexdigest(), content_type=content_type)


@asynccontextmanager
async def open_net(
    policy: Policy,
    *,
    limits: Limits | None = None,
    resolver: names.Resolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Net]:
    """The way out, for as long as the context lasts. `tls` replaces the system's certificates."""
    limits = limits or Limits()

    def session(resolve: names.Resolver, *, single: bool) -> aiohttp.ClientSession:
        checked = _CheckedResolver(policy, resolve)
        connector = _CheckedConnector(
            policy, resolver=checked, limit=limits.max_connections, force_close=single, ssl=tls or True
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES,
        )

    with names.system_resolver() as system:
        resolve = resolver or system
        async with session(resolve, single=True) as single, session(resolve, single=False) as pooled:
            yield Net(policy=policy, limits=limits, single=single, pooled=pooled)


class _CheckedResolver(AbstractResolver):
    """Gives a connector addresses that were all checked, or none."""

    def __init__(self, policy: Policy, resolve: names.Resolver) -> None:
        self._policy = policy
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        assert family == socket.AF_UNSPEC, "the connector was built for both families"
        try:
            found = [ip_address(text) for text in await self._resolve(host)]
        except (OSError, ValueError) as error:
            raise _noted(Unreachable(HOST_UNUSABLE), error) from None
        if not found:
            raise Unreachable(HOST_UNUSABLE)
        # One bad address among good ones is how rebinding begins, so it spoils them all.
        if not all(_permitted(self._policy, address, port) for address in found):
            raise AddressRefused
        return [_result(host, port, address) for address in found]

    async def close(self) -> None:
        """Nothing is held here."""


class _CheckedConnector(aiohttp.TCPConnector):
    """Checks the other end of a connection, new or kept, before it is used."""

    def __init__(
        self, policy: Policy, *, resolver: AbstractResolver, limit: int, force_close: bool, ssl: ssl.SSLContext | bool
    ) -> None:
        super().__init__(resolver=resolver, use_dns_cache=False, limit=limit, force_close=force_close, ssl=ssl)
        self._policy = policy

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        if peer is None or not _permitted(self._policy, ip_address(peer[0]), peer[1]):
            connection.close()
            raise AddressRefused
        return connection


class _Sink:
    """A file being received: written beside its place, counted, hashed, and moved there when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        self._file = self._part.open("xb")
        self._waiting = bytearray()
        self.size_bytes = 0
        self.digest = hashlib.sha256()

    def take(self, chunk: bytes) -> bool:
        """Whether it is time to flush."""
        self._waiting += chunk
        return len(self._waiting) >= WRITE_BYTES

    def flush(self) -> None:
        self.digest.update(self._waiting)
        self.size_bytes += len(self._waiting)
        self._file.write(self._waiting)
        self._waiting.clear()

    def keep(self) -> None:
        """Put the file in its place. Two quick calls, not in a thread, where giving up could come between them."""
        self._file.close()
        self._part.replace(self._path)

    def close(self) -> None:
        """Drop what was not kept."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def _permitted(policy: Policy, address: IPAddress, port: int) -> bool:
    return policy.permits(address, port) and not _is_own(policy, address)


def _is_own(policy: Policy, address: IPAddress) -> bool:
    return not policy.allow_loopback and names.is_own(address)


def _result(host: str, port: int, address: IPAddress) -> ResolveResult:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return ResolveResult(
        hostname=host, host=str(address), port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
    )


@asynccontextmanager
async def _within(total_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(total_s):
            yield
    except TimeoutError:
        raise TimedOut from None


@contextmanager
def _translated() -> Iterator[None]:
    """The client's errors in our words. Its own messages hold whole URLs, so they go no further."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise _noted(Unreachable(HOST_UNUSABLE), error) from None
    except aiohttp.SocketTimeoutError as error:
        raise _noted(TimedOut(), error) from None
    except aiohttp.ClientError as error:
        raise _noted(ProtocolBroken(), error) from None


def _noted(ours: SeedgateError, theirs: Exception) -> SeedgateError:
    ours.add_note(" ".join(filter(None, [type(theirs).__name__, getattr(theirs, "strerror", None)])))
    return ours
