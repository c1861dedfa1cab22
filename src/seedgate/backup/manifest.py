"""The manifest of a backup: what is in it, and what it must still be when it is restored."""

from datetime import datetime
from uuid import UUID

import msgspec

from seedgate.domain.errors import NewerSchema, OperatorError

FORMAT = 1
"""Raised when an older program could no longer restore what this one writes."""
MANIFEST = "manifest.json"
DATABASE = "database.sql.gz"
FILES = "files.txt"
DAMAGED = "Use another backup. Nothing was changed."


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the backup itself."""

    size_bytes: int
    sha256: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures of a folder."""

    count: int = 0
    size_bytes: int = 0
    missing: int = 0
    """Named by a row, and not there when their turn came: most often they had expired meanwhile."""

    def and_also(self, picture: bytes | None) -> "Kept":
        """With one more, or with one more that is missing."""
        if picture is None:
            return Kept(count=self.count, size_bytes=self.size_bytes, missing=self.missing + 1)
        return Kept(count=self.count + 1, size_bytes=self.size_bytes + len(picture), missing=self.missing)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says about itself."""

    format: int
    seedgate: str
    """Version of the program that made it."""
    schema: int
    taken_at: datetime
    installation: UUID | None
    epoch: int
    rows: dict[str, int]
    open_tasks: int
    database: Part
    files: Part
    results: Kept
    results_url: str
    """Where results are, if they are in object storage and so not in the backup."""
    references: Kept
    secrets: list[str]
    """Files of the data folder that are secret, and included."""

    def encode(self) -> bytes:
        """As it stands in the backup."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


class _Form(msgspec.Struct):
    format: int


def decode(text: bytes, *, schema: int) -> Manifest:
    """The manifest, if a program whose last migration is `schema` can restore it. Raises OperatorError."""
    try:
        form = msgspec.json.decode(text, type=_Form).format
        if form > FORMAT:
            raise OperatorError(
                f"The backup has format {form}, and this program knows {FORMAT}",
                hint="Restore it with the version of Seedgate that made it, or a newer one.",
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError:
        raise OperatorError("The backup's manifest cannot be read", hint=DAMAGED) from None
    if manifest.schema > schema:
        raise NewerSchema(
            f"The backup was made by a newer Seedgate (schema {manifest.schema}, this program knows {schema})",
            hint=f"Restore it with Seedgate {manifest.seedgate} or newer. Nothing was changed.",
        )
    return manifest
