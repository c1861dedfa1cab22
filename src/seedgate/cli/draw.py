"""What `generate` does: submit, wait, download; or the same as curl."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from seedgate.cli import output, pictures
from seedgate.cli.gateway import Gateway, failure, interrupted, result_urls
from seedgate.domain.image import OutputFormat

MAX_ARGUMENT_CHARS = 100_000
"""Longer bodies do not fit on a command line, where Linux takes 128 KiB an argument."""


def wanted_format(model: str, given: OutputFormat | None, path: Path | None) -> str | None:
    """What to ask for: what was given, else what the file's name says where the model has a choice."""
    offered = pictures.offered_formats(model)
    if given is not None and offered and given not in offered:
        raise typer.BadParameter(f"{model} delivers {' or '.join(offered)}", param_hint="--format")
    if given is not None:
        return given.value
    named = pictures.named_format(path)
    return named.value if named is not None and named in offered and len(offered) > 1 else None


def body(
    prompt: str,
    *,
    count: int,
    size: str | None,
    aspect_ratio: str | None,
    output_format: str | None,
    images: Sequence[str],
) -> dict[str, Any]:
    """The body of a submit; what is None is left to the gateway. Images are addresses or files."""
    given = {
        "mode": "image-to-image" if images else "text-to-image",
        "prompt": prompt,
        "max_images": count,
        "size": size,
        "aspect_ratio": aspect_ratio,
        "output_format": output_format,
        "image_urls": [pictures.reference(text) for text in images] or None,
    }
    return {"input": {name: value for name, value in given.items() if value is not None}}


def draw(gateway: Gateway, body: Mapping[str, Any], path: Path | None, *, timeout_s: float, as_json: bool) -> None:
    """Make the task, wait for it, and save and tell its pictures."""
    pictures.check_writable(path)
    result = _run(gateway, body, path, timeout_s)
    _tell(result, asked=body["input"]["max_images"], name=path, as_json=as_json)


def _run(gateway: Gateway, body: Mapping[str, Any], path: Path | None, timeout_s: float) -> dict[str, Any]:
    """Submit, wait, download. Ctrl-C leaves the task running."""
    task_id, started = None, time.monotonic()
    asked = body["input"]["max_images"]
    try:
        with _progress() as show:
            task_id = gateway.submit(body)
            status = gateway.wait(task_id, limit_s=timeout_s, show=show)
            if status["state"] == "failed":
                raise failure(task_id, status)
            urls = result_urls(task_id, status)[:asked]
            show("downloading")
            saved = pictures.save(
                urls, path, task_id=task_id, pictures=asked, done=lambda n: show(f"saved {n} of {len(urls)}")
            )
    except KeyboardInterrupt:
        raise interrupted(task_id) from None
    elapsed_s = round(time.monotonic() - started, 3)
    return {"task_id": task_id, "state": "success", "model": gateway.model, "files": saved, "elapsed_s": elapsed_s}


def _tell(result: dict[str, Any], *, asked: int, name: Path | None, as_json: bool) -> None:
    saved: list[pictures.Saved] = result["files"]
    if as_json:
        output.document(result | {"asked": asked, "files": [file.document() for file in saved]})
    for file in () if as_json else saved:
        about = f"  {file.format}, {file.size_bytes / 1000:,.0f} kB, {result['elapsed_s']:.1f} s"
        output.line(f"{output.clean(str(file.path))}{about if sys.stdout.isatty() else ''}")
    meant = pictures.named_format(name)
    real = next((file for file in saved if meant is not None and file.format != meant), None)
    if real is not None:
        output.say(f"seedgate: {result['model']} delivered {real.format}, so the file is called {real.path.name}")
    if len(saved) < asked:
        output.say(f"seedgate: {len(saved)} of {asked} pictures were delivered; only they were charged")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Shows the state and the time, where somebody watches."""
    if not sys.stdout.isatty():
        yield lambda _state: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description:<12}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, console=Console(stderr=True)) as bars:
        bar = bars.add_task("submitting", total=None)
        yield lambda state: bars.update(bar, description=output.clean(state))


def print_curl(gateway: Gateway, body: Mapping[str, Any], *, as_json: bool) -> None:
    """The same as two commands for a shell."""
    content = json.dumps(body, ensure_ascii=False)
    authorization = shlex.quote(f"Authorization: Bearer {gateway.key}")
    data, below = shlex.quote(content), ""
    if len(data) > MAX_ARGUMENT_CHARS:
        data, below = "@-", f" <<'SEEDGATE'\n{content}\nSEEDGATE"
    submit = (
        f"curl -sS -X POST {shlex.quote(gateway.submit_url)} \\\n  -H {authorization}"
        f" -H 'Content-Type: application/json' \\\n  --data-binary {data}{below}"
    )
    status = f'curl -sS {shlex.quote(gateway.status_url(""))}"$TASK_ID" \\\n  -H {authorization}'
    if as_json:
        output.document({"submit": submit, "status": status})
    else:
        output.line(f"{submit}\n\n# with the answer's taskId in TASK_ID:\n{status}")
