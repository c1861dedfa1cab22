"""How a connection's answers are written, and how it ends.

uvicorn hands head and body of a response to the socket one by one, which costs a second system call per answer: a head
is held back until its body comes, or until the loop's next turn. And uvicorn closes the connection of a caller that is
still sending, which resets it: the answer would be lost with what was not read (RFC 9112, 9.6).
"""

import asyncio
from collections.abc import Callable
from typing import Any


class JoinedTransport:
    """A transport that sends a response's head together with what follows it, and lingers where it must."""

    __slots__ = ("_ending", "_head", "_linger", "_loop", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, linger: Callable[[], bool]
    ) -> None:
        """`linger` is asked at the first `close`: where it says yes, only writing ends, until another `close`."""
        self._transport = transport
        self._loop = loop
        self._linger = linger
        self._head: bytes | None = None
        self._ending = False

    def write(self, data: bytes) -> None:
        """Send, or keep a head for what comes next."""
        if self._ending:
            return
        if self._head is not None:
            data, self._head = self._head + data, None
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            self._head = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head to which nothing came."""
        if self._head is not None:
            data, self._head = self._head, None
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Send what is kept and close."""
        self.flush()
        if self._ending or self._transport.is_closing() or not self._linger():
            self._transport.close()
        else:
            self._ending = True
            self._transport.write_eof()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._ending or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
