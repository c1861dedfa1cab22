"""`generate`: a picture from a running gateway into a file."""

from pathlib import Path
from typing import Annotated

import typer

from seedgate.cli import numbers, texts
from seedgate.cli.output import Json
from seedgate.cli.run import Config, Data
from seedgate.domain.image import OutputFormat

TIMEOUT_S = 600.0
MAX_TIMEOUT_S = 86_400

Prompt = Annotated[str, typer.Argument(help="What to draw.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="File, or a folder. Several are numbered.", **texts.PATH)
]
Count = Annotated[int, typer.Option("-n", "--n", help="How many pictures.", **numbers.whole(1, 10))]
SizeText = Annotated[str | None, typer.Option("--size", help="Pixels such as 2048x2048, or 2K, 3K, 4K.")]
Ratio = Annotated[str | None, typer.Option("--aspect-ratio", help="Such as 16:9.")]
Model = Annotated[str, typer.Option("-m", "--model", help="seedream-4-5 or seedream-5-0.")]
Format = Annotated[OutputFormat | None, typer.Option("--format", help="What -o's name says, if not given.")]
Images = Annotated[list[str] | None, typer.Option("--image", help="Reference: a file or an address. Repeatable.")]
Url = Annotated[
    str | None, typer.Option("--url", envvar="SEEDGATE_URL", help="The gateway; else the one of --data.", **texts.TEXT)
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="SEEDGATE_API_KEY", help="API key; else the one of --data.", **texts.TEXT)
]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for the task.", **numbers.decimal(1, MAX_TIMEOUT_S))
]
Curl = Annotated[bool, typer.Option("--curl", help="Print the equivalent curl instead.")]


def generate(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    prompt: Prompt,
    output_path: Output = None,
    n: Count = 1,
    size: SizeText = None,
    aspect_ratio: Ratio = None,
    model: Model = "seedream-5-0",
    output_format: Format = None,
    image: Images = None,
    timeout_s: Timeout = TIMEOUT_S,
    curl: Curl = False,
    url: Url = None,
    key: Key = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Draw pictures with a running gateway, and save them."""
    from seedgate.cli import draw, gateway

    body = draw.body(
        prompt,
        count=n,
        size=size,
        aspect_ratio=aspect_ratio,
        output_format=draw.wanted_format(model, output_format, output_path),
        images=image or (),
    )
    found = gateway.find(url=url or "", key=key or "", data=lambda: _folder(config, data), model=model)
    if curl:
        draw.print_curl(found, body, as_json=as_json)
    else:
        draw.draw(found, body, output_path, timeout_s=timeout_s, as_json=as_json)


def _folder(config: Path | None, data: Path | None) -> Path:
    from seedgate.cli.ground import settings_for

    return settings_for(config, data).data
