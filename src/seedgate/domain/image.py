"""What is asked for, whatever dialect it was said in."""

from dataclasses import dataclass
from enum import StrEnum


class OutputFormat(StrEnum):
    """The format a picture is delivered in."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"

    @property
    def extension(self) -> str:
        """Extension of a file of this format, without the dot."""
        return "jpg" if self is OutputFormat.JPEG else self.value

    @property
    def media_type(self) -> str:
        """Value of a Content-Type header."""
        return f"image/{self.value}"


class Route(StrEnum):
    """Which class of upstream the caller wants."""

    AUTO = "auto"
    VALUE = "value"
    OFFICIAL = "official"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A picture's width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Area."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One task's request: canonical, validated, independent of the dialect that carried it."""

    prompt: str
    model: str
    """Id of the model in the catalogue."""
    pictures: int
    """How many pictures were asked for, at least 1."""
    tier: str
    """Resolution tier, for example `2K`."""
    size: Size | None = None
    """Exact size; None leaves the ratio to whoever draws, within the tier."""
    references: tuple[str, ...] = ()
    """Addresses of reference pictures, or `sha256:<hex>` for one that came inside the request."""
    sequential: bool = False
    """True: one connected series, drawn by one slot. False: independent pictures, a slot each."""
    output_format: OutputFormat = OutputFormat.JPEG
    web_search: bool = False
    prompt_rewriting: str | None = None
    seed: int | None = None
    watermark: bool = False
    route: Route = Route.AUTO

    @property
    def slots(self) -> int:
        """How many slots the task has."""
        return 1 if self.sequential else self.pictures
