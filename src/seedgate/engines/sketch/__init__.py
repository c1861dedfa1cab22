"""The sketch engine: an illustration in the mood of the prompt, with the prompt as its lettering.

    prompt ─► palette, scene ─► Canvas (SVG) ─► libvips ─► references hung ─► prompt typeset ─► grain ─► file

It needs no model, network or GPU, and says what it is: it paints a place and a light that the prompt's words suggest,
not what the prompt describes. The same job gives the same bytes wherever the same wheels run on the same kind of
processor; what changes them changes `version`. A series keeps its scene and its palette, and moves the camera.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from seedgate.engine import Capabilities, Drawn, Engine, Job, JobCancelled
from seedgate.engines.sketch.compose import Digests, compose
from seedgate.engines.sketch.encode import write


class Sketch:
    """Paints, in about 0.07 s of one core per megapixel."""

    name = "sketch"
    version = "1"

    def capabilities(self) -> Capabilities:
        return Capabilities()

    def draw(
        self, job: Job, *, progress: Callable[[int, float], None], cancelled: Callable[[], bool]
    ) -> Iterator[Drawn]:
        digests = Digests(job)
        for index in range(job.first_index, job.first_index + job.count):

            def step(done: float, index: int = index) -> None:
                if cancelled():
                    raise JobCancelled
                progress(index, done)

            picture = compose(job, index, seed=digests.seed(index), step=step)
            path = Path(job.folder, f"{index}.{job.output_format}")
            write(picture, path, job.output_format)
            progress(index, 1.0)
            yield Drawn(index=index, path=path)


ENGINE: Engine = Sketch()
