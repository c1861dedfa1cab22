"""`configuration`: what an operator changes while the gateway runs, and who changed it, when and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedgate.cli import numbers, output
from seedgate.cli.ground import on_ground, operator
from seedgate.cli.output import Json
from seedgate.cli.run import Config, Data

if TYPE_CHECKING:
    from seedgate.compose.ground import Ground
    from seedgate.domain.configuration import Configuration

configuration = typer.Typer(help="What holds now, and who changed it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Such as maintenance, or listing.apixo/seedream-4-5.price")]
Prefix = Annotated[str, typer.Argument(metavar="[BEGINNING]", help="Only names that begin so.")]
OnlyName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only of this name.")]
Text = Annotated[str, typer.Argument(metavar="VALUE", help="on, off, a number, an amount …")]
Reason = Annotated[str, typer.Option("--reason", help="Kept with the change.")]
Limit = Annotated[int, typer.Option("--limit", help="How many, newest first.", **numbers.whole(1, 1000))]


@configuration.command("show")
def show(beginning: Prefix = "", config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """What holds now: every setting of the installation, and those of accounts, keys and lanes that are set."""
    rows = [row for row in on_ground(config, data, _show) if row["name"].startswith(beginning)]
    if as_json:
        output.document({"configuration": rows})
        return
    output.table(
        ("NAME", "VALUE", "VERSION", "BY", "REASON"),
        [(row["name"], row["value"], row["version"], row["actor"] or "default", row["reason"]) for row in rows],
        nothing=f"Nothing is called {output.clean(beginning)}…",
    )


@configuration.command("set")
def set_(
    name: Name, value: Text, reason: Reason, config: Config = None, data: Data = None, as_json: Json = False
) -> None:
    """Change a setting; every process follows within five seconds. Tasks that are accepted keep what held then."""
    _change(name, value, reason, config, data, as_json)


@configuration.command("reset")
def reset(name: Name, reason: Reason, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Put a setting back to its default."""
    _change(name, None, reason, config, data, as_json)


@configuration.command("history")
def history(
    name: OnlyName = None, limit: Limit = 50, config: Config = None, data: Data = None, as_json: Json = False
) -> None:
    """Every change, newest first."""

    async def read(ground: "Ground") -> list[dict[str, Any]]:
        from dataclasses import asdict

        from seedgate.store.configuration import read_history

        return [asdict(change) for change in await read_history(ground.database, name=name, most=limit)]

    changes = on_ground(config, data, read)
    if as_json:
        output.document({"changes": changes})
        return
    output.table(
        ("VERSION", "AT", "NAME", "VALUE", "BY", "REASON"),
        [
            (c["version"], c["at"], c["name"], "default" if c["value"] is None else c["value"], c["actor"], c["reason"])
            for c in changes
        ],
        nothing="Nothing was changed yet.",
    )


def _change(name: str, value: str | None, reason: str, config: Config, data: Data, as_json: Json) -> None:
    async def write(ground: "Ground") -> dict[str, Any]:
        from dataclasses import asdict

        from seedgate.accounts.configuration import change
        from seedgate.compose.offer import listing_ids

        changed = await change(
            ground.database, name=name, value=value, actor=operator(), reason=reason, listings=listing_ids()
        )
        return asdict(changed)

    document = on_ground(config, data, write)
    if as_json:
        output.document(document)
        return
    now = "back at its default" if document["value"] is None else output.clean(document["value"])
    output.line(f"{output.clean(document['name'])} is {now} (version {document['version']}).")


async def _show(ground: "Ground") -> list[dict[str, Any]]:
    from seedgate.compose.offer import read_configuration
    from seedgate.store.configuration import read_set

    changes = {change.name: change for change in await read_set(ground.database)}
    shown = _defaults(await read_configuration(ground)) | {name: change.value for name, change in changes.items()}
    return [
        {
            "name": name,
            "value": value,
            "version": changes[name].version if name in changes else 0,
            "actor": changes[name].actor if name in changes else None,
            "reason": changes[name].reason if name in changes else None,
        }
        for name, value in sorted(shown.items())
    ]


def _defaults(now: "Configuration") -> dict[str, str | None]:
    """Everything that concerns the whole installation, as it holds now."""
    from dataclasses import asdict

    from seedgate.compose.offer import listings
    from seedgate.domain.money import dollars

    values: dict[str, str | None] = {"maintenance": "off"}
    values |= {f"limits.{name}": str(number) for name, number in asdict(now.limits).items()}
    for listing in listings():
        values[f"listing.{listing.id}.price"] = dollars(now.price(listing).micros)
        values[f"listing.{listing.id}.enabled"] = "on" if now.offers(listing) else "off"
    return values
