"""The gate: an untrusted image is decoded by a limited child process and written anew, or refused.

A process per image: starting one costs about what decoding a photograph does, and nothing that one image did to its
decoder can reach the next. The parent never decodes, nor does it load a decoder; it looks at the first bytes and
chooses the only one that the child may use.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seedgate.domain.errors import Bug
from seedgate.domain.reference import ReferenceFault, ReferenceRefused

if TYPE_CHECKING:
    from seedgate.intake.decode_child import Order

CHILD: Final = "seedgate.intake.decode_child"
HEAD_BYTES: Final = 16
MAX_ANSWER_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What one image may cost."""

    at_once: int = 2
    """Children at the same time."""
    memory_bytes: int = 1 << 30
    """Address space of a child. The largest image, with alpha and turned, needs between 600 and 800 MiB (measured)."""
    cpu_s: int = 15
    wall_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """The clean file's properties."""

    format: str
    width: int
    height: int


class Gate:
    """Lets images through, a few at a time."""

    def __init__(self, limits: GateLimits | None = None) -> None:
        self._limits = limits or GateLimits()
        self._turn = asyncio.Semaphore(self._limits.at_once)

    async def normalise(self, original: Path, clean: Path) -> Passed:
        """Write `original` anew to `clean`: upright, sRGB, first frame only, no metadata.

        Raises `ReferenceRefused`, and `OSError` for a full disk.
        """
        decoder = sniff(original)
        if decoder is None:
            raise ReferenceRefused(ReferenceFault.FORMAT)
        order: Order = {
            "original": str(original.absolute()),
            "clean": str(clean.absolute()),
            "decoder": decoder,
            "parent": os.getpid(),
            "memory_bytes": self._limits.memory_bytes,
            "cpu_s": self._limits.cpu_s,
        }
        async with self._turn:
            answer = await self._ask(order)
        if answer and "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), order["clean"])
        if answer is None or "fault" in answer:
            raise ReferenceRefused(ReferenceFault(answer["fault"]) if answer else ReferenceFault.FORMAT)
        return Passed(format=str(answer["format"]), width=int(answer["width"]), height=int(answer["height"]))

    async def _ask(self, order: "Order") -> dict[str, Any] | None:
        """The child's answer, or None where the image was the end of it."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", CHILD, json.dumps(order)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        assert child.stdout is not None
        try:
            async with asyncio.timeout(self._limits.wall_s):
                answer = await child.stdout.read(MAX_ANSWER_BYTES)
                status = await child.wait()
        except TimeoutError:
            return None
        finally:
            await _end(child)
        if status > 0:
            raise Bug(f"the image decoder does not start: exit status {status}")
        return json.loads(answer) if answer else None


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
    await asyncio.shield(child.wait())


def sniff(path: Path) -> str | None:
    """The decoder for the file, told by its first bytes; None for anything but JPEG, PNG, GIF and WebP."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "WEBP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None
