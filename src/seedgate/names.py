"""Names and addresses as this machine sees them."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import idna

from seedgate.domain.addresses import IPAddress

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""Takes an ASCII name and gives its addresses as text; raises `OSError` where there are none."""

# Names are looked up on threads of their own: a stranger's name server that hangs must not hold up anything else.
RESOLVER_THREADS: Final = 32
# Documentation addresses, which no machine has.
_NOBODY = {4: "192.0.2.1", 6: "2001:db8::1"}


def to_ascii(host: str) -> str:
    """An international name as it is looked up. Raises `ValueError`, also for wide digits, which others would fold."""
    return idna.encode(host, strict=True, std3_rules=True).decode("ascii")


@contextmanager
def system_resolver() -> Iterator[Resolver]:
    """The operating system's resolver. Leaving does not wait for lookups that hang."""
    threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    def look_up(host: str) -> list[str]:
        # As bytes, or Python would put the name through an encoding of its own.
        answers = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
        return [str(answer[4][0]) for answer in answers]

    async def resolve(host: str) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(threads, look_up, host)

    try:
        yield resolve
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def is_own(address: IPAddress) -> bool:
    """Whether the address is one of this machine's: only those can be bound.

    Where the kernel lets any address be bound (`ip_nonlocal_bind`) nothing can be told, and the answer is False.
    """
    return _can_bind(str(address)) and not _can_bind(_NOBODY[address.version])


def _can_bind(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
