"""The blank engine: one flat colour, exactly the size asked for, for microseconds. For tests and measurements.

Its pictures are encoded once per size and format. Words in the prompt make it misbehave:

    [[refuse]]         refuses the job
    [[fail]]           raises, and lives on
    [[crash]]          the process ends at once
    [[hang]]           draws for ever, deaf to cancellation
    [[slow:SECONDS]]   takes that long over each picture, and hears a cancellation at once
    [[partial:N]]      draws N pictures, then raises
    [[wrong-size]]     the pictures are one pixel wider and higher than asked for
    [[torn]]           the files end half-way
"""

import io
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image

from seedgate.engine import Capabilities, Drawn, Engine, Job, JobCancelled, JobRefused

COLOUR = (214, 205, 190)
CACHED_PICTURES = 64
HEARING_S = 0.01
"""How often a slow picture asks whether it was cancelled."""
CRASH_STATUS = 70
PARTIAL = re.compile(r"\[\[partial:(\d{1,3})\]\]")
SLOW = re.compile(r"\[\[slow:(\d{1,4}(?:\.\d{1,6})?)\]\]")
SAVING = {
    "jpeg": {"quality": 60, "optimize": True},
    "png": {"compress_level": 1},
    "webp": {"quality": 60, "method": 0},
}


@lru_cache(maxsize=CACHED_PICTURES)
def picture(width: int, height: int, output_format: str) -> bytes:
    """The encoded picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), COLOUR).save(buffer, output_format, **SAVING[output_format])
    return buffer.getvalue()


class Blank:
    """Draws nothing, quickly."""

    name = "blank"
    version = "1"

    def capabilities(self) -> Capabilities:
        return Capabilities(min_side=1)

    def draw(
        self, job: Job, *, progress: Callable[[int, float], None], cancelled: Callable[[], bool]
    ) -> Iterator[Drawn]:
        _misbehave(job.prompt)
        partial = PARTIAL.search(job.prompt)
        for number in range(job.count):
            if partial is not None and number == int(partial[1]):
                raise RuntimeError("as many as asked for")
            _wait(job.prompt, cancelled)
            index = job.first_index + number
            progress(index, 1.0)
            yield Drawn(index=index, path=_write(job, index))


def _misbehave(prompt: str) -> None:
    if "[[refuse]]" in prompt:
        raise JobRefused("Refused, as the prompt asks.")
    if "[[fail]]" in prompt:
        raise RuntimeError("failed, as the prompt asks")
    if "[[crash]]" in prompt:
        os._exit(CRASH_STATUS)
    if "[[hang]]" in prompt:
        threading.Event().wait()


def _wait(prompt: str, cancelled: Callable[[], bool]) -> None:
    slow = SLOW.search(prompt)
    end = time.monotonic() + (float(slow[1]) if slow is not None else 0.0)
    while True:
        if cancelled():
            raise JobCancelled
        if (left := end - time.monotonic()) <= 0:
            return
        time.sleep(min(left, HEARING_S))


def _write(job: Job, index: int) -> Path:
    more = "[[wrong-size]]" in job.prompt
    content = picture(job.width + more, job.height + more, job.output_format)
    path = Path(job.folder, f"{index}.{job.output_format}")
    path.write_bytes(content[: len(content) // 2] if "[[torn]]" in job.prompt else content)
    return path


ENGINE: Engine = Blank()
