"""Pictures on this machine: references on their way out, results on their way in, and what the files are called."""

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedgate.cli import http
from seedgate.cli.output import Stop
from seedgate.domain.image import OutputFormat

MAX_REFERENCE_BYTES = 10_000_000
_FORMATS = {"jpg": OutputFormat.JPEG} | {format_.value: format_ for format_ in OutputFormat}
_MAGIC = (("jpeg", b"\xff\xd8\xff"), ("png", b"\x89PNG\r\n\x1a\n"), ("gif", b"GIF8"))
_HEAD_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A result on disk."""

    path: Path
    format: str
    size_bytes: int
    url: str

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {"path": str(self.path), "format": self.format, "size_bytes": self.size_bytes, "url": self.url}


def named_format(path: Path | None) -> OutputFormat | None:
    """The format that a file's name asks for."""
    return None if path is None else _FORMATS.get(path.suffix.lower().removeprefix("."))


def offered_formats(model: str) -> Sequence[str]:
    """The formats of a model that we know; none of one that only the gateway knows."""
    from seedgate.catalogue.load import load

    listing = load().listings["apixo"].newest.get(model)
    return () if listing is None else listing.model.formats


def reference(text: str) -> str:
    """An address as it is; a file as a data URL. Raises Stop for a file that is no picture."""
    if text.lower().startswith(("http://", "https://", "data:")):
        return text
    path = Path(text)
    hint = "--image takes a file, or an http or https address."
    try:
        if path.exists() and not path.is_file():  # a device or a pipe may have no end
            raise Stop(f"The image {path} is no file", hint=hint, exit_code=2)
        with path.open("rb") as file:
            content = file.read(MAX_REFERENCE_BYTES + 1)
    except OSError as error:
        raise Stop(f"The image {path} cannot be read: {error.strerror}", hint=hint, exit_code=2) from None
    if len(content) > MAX_REFERENCE_BYTES:
        limit = f"A reference has at most {MAX_REFERENCE_BYTES // 1_000_000} MB."
        raise Stop(f"The image {path} is too large", hint=limit, exit_code=2)
    kind = _kind(content)
    if kind is None:
        raise Stop(f"The file {path} is no picture", hint="References are JPEG, PNG, WebP or GIF.", exit_code=2)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def check_writable(output: Path | None) -> None:
    """Nothing is asked for that could not be kept. Raises Stop."""
    folder = _split(output, "x")[0]
    if not os.access(folder, os.W_OK | os.X_OK):
        what = "does not exist" if not folder.exists() else "cannot be written to"
        raise Stop(f"The folder {folder} {what}", hint="Make it first, or choose another with -o.", exit_code=2)


def save(
    urls: Sequence[str], output: Path | None, *, task_id: str, pictures: int, done: Callable[[int], None]
) -> list[Saved]:
    """Download every result under its final name; complete there, or not at all. Raises Stop, naming the task.

    `pictures` is how many were asked for: several are numbered, also where only one came.
    """
    folder, stem = _split(output, f"seedgate-{task_id[-8:]}")
    saved = []
    for number, url in enumerate(urls, 1):
        stem_of_it = f"{stem}-{number}" if max(pictures, len(urls)) > 1 else stem
        saved.append(_save(url, folder, stem_of_it, output=output, task_id=task_id))
        done(number)
    return saved


def _save(url: str, folder: Path, stem: str, *, output: Path | None, task_id: str) -> Saved:
    draft = folder / f".{stem}.{os.getpid()}.part"
    try:
        http.download(url, draft)
        with draft.open("rb") as file:
            kind = _kind(file.read(_HEAD_BYTES))
        if kind is None:
            raise http.Unanswered("it is no picture")
        path = folder / f"{stem}{_suffix(kind, output)}"
        size = draft.stat().st_size
        draft.replace(path)
    except (http.Unanswered, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        hint = f"The result is kept by the gateway: {url}"
        raise Stop(f"A result could not be saved: {why}", hint=hint, code="not_saved", task_id=task_id) from None
    finally:
        draft.unlink(missing_ok=True)
    return Saved(path=path, format=kind, size_bytes=size, url=url)


def _split(output: Path | None, default: str) -> tuple[Path, str]:
    """Folder and name without its extension, where it is one of a picture."""
    if output is None:
        return Path(), default
    if output.is_dir():
        return output, default
    return output.parent, output.stem if named_format(output) is not None else output.name


def _suffix(kind: str, output: Path | None) -> str:
    """What the file's name asks for where it is true, .jpeg as well as .JPG; else the format's own."""
    if output is not None and named_format(output) == kind and not output.is_dir():
        return output.suffix
    return f".{OutputFormat(kind).extension if kind in _FORMATS else kind}"


def _kind(content: bytes) -> str | None:
    """The format by a file's first bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((kind for kind, magic in _MAGIC if content.startswith(magic)), None)
