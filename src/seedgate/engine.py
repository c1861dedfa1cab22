"""The engine contract: what a local inference engine takes and yields.

An engine lives in a process of its own (`inference.py` starts, watches, cancels and restarts it), at low priority. A
rerun costs nothing, so engines know no doubt: whatever happens to the process, the job is simply run again.

An engine is one folder `engines/<name>/` whose package exports `ENGINE`, an object with the shape of `Engine`. Pictures
are written to files, never sent through a pipe, and each counts as soon as it is yielded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class JobCancelled(Exception):
    """The job was cancelled."""


class JobRefused(Exception):
    """The engine cannot draw this job, now or later. Its message says why, without a word of the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do, as its folder states it."""

    min_side: int = 64
    max_side: int = 8192
    max_pixels: int = 40_000_000
    max_references: int = 14
    formats: tuple[str, ...] = ("jpeg", "png", "webp")

    def refusal(self, job: "Job") -> str | None:
        """Why the job is out of bounds, as a sentence; None when it is within them."""
        if not all(self.min_side <= side <= self.max_side for side in (job.width, job.height)):
            return f"A side must be between {self.min_side} and {self.max_side} pixels."
        if job.width * job.height > self.max_pixels:
            return f"A picture may have at most {self.max_pixels} pixels."
        if len(job.references) > self.max_references:
            return f"At most {self.max_references} reference pictures are possible."
        if job.output_format not in self.formats:
            return f"The format must be one of {', '.join(self.formats)}."
        return None if job.count >= 1 else "At least one picture must be asked for."


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One slot's work. Sizes in pixels; `references` are pictures that already passed the intake gate."""

    id: str
    prompt: str
    width: int
    height: int
    count: int
    first_index: int
    """Index of the slot's first picture within its task, so that independent pictures of one task differ."""
    seed: int
    output_format: str
    references: tuple[str, ...] = ()
    sequential: bool = False
    watermark: str | None = None
    folder: str = ""
    """Where the engine writes its pictures; emptied by the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One finished picture on disk."""

    index: int
    path: Path


class Engine(Protocol):
    """A local inference engine."""

    name: str
    version: str

    def capabilities(self) -> Capabilities:
        """Sizes and formats that `draw` accepts."""
        ...

    def draw(
        self, job: Job, *, progress: Callable[[int, float], None], cancelled: Callable[[], bool]
    ) -> Iterator[Drawn]:
        """Yield each picture when its file is complete.

        `progress(index, fraction)` may be called at any time with a fraction from 0 to 1. `cancelled()` is cheap; an
        engine asks it between stages and raises `JobCancelled` when it answers true.
        """
        ...
