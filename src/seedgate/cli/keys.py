"""`keys`: who may call."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedgate.cli import output, texts
from seedgate.cli.ground import on_ground, settings_for
from seedgate.cli.output import Json
from seedgate.cli.run import Config, Data
from seedgate.domain.configuration import MAX_RATE
from seedgate.domain.image import Route
from seedgate.domain.money import dollars, micros
from seedgate.ids import KeyKind

if TYPE_CHECKING:
    from seedgate.accounts.issue import Issued
    from seedgate.compose.ground import Ground
    from seedgate.domain.configuration import Limits
    from seedgate.domain.key import KeyLimits

keys = typer.Typer(help="API keys.", no_args_is_help=True)

_NUMBER = re.compile("[0-9]{1,8}")
_SPAN = re.compile("([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _limit(text: str) -> int:
    """0 is no limit."""
    if text == "unlimited":
        return 0
    if not _NUMBER.fullmatch(text) or not 0 < int(text) <= MAX_RATE:
        raise typer.BadParameter(f"a number from 1 to {MAX_RATE}, or unlimited")
    return int(text)


def _dollars(text: str) -> int:
    try:
        return micros(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _span(text: str | timedelta) -> timedelta:
    if isinstance(text, timedelta):  # a default is read like what is typed
        return text
    match = _SPAN.fullmatch(text)
    if match is None:
        raise typer.BadParameter("a number and s, m, h or d, such as 90d or 24h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


AccountName = Annotated[
    str | None, typer.Option("--account", help="Whose; made if there is none. [development]", **texts.TEXT)
]
Name = Annotated[str | None, typer.Option("--name", help="What to call it.", **texts.TEXT)]
Kind = Annotated[KeyKind | None, typer.Option("--kind", help="Default: live in production, else test.")]
_LIMIT: Any = {"parser": _limit, "metavar": "N|unlimited"}
Rate = Annotated[int | None, typer.Option("--submits-per-minute", **_LIMIT)]
Concurrent = Annotated[int | None, typer.Option("--concurrent", **_LIMIT, help="Tasks open at once.")]
Polls = Annotated[int | None, typer.Option("--polls-per-minute", **_LIMIT)]
Budget = Annotated[int | None, typer.Option("--budget", parser=_dollars, metavar="DOLLARS", help="All it may spend.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="Only this model or listing; may be repeated.", **texts.TEXT)
]
Tier = Annotated[Route, typer.Option("--route", help="Class of upstream where a submit names none.")]
Manages = Annotated[bool, typer.Option("--manages-keys", help="May make and revoke its account's other keys.")]
Expires = Annotated[timedelta | None, typer.Option("--expires", parser=_span, metavar="SPAN", help="Such as 90d.")]
Overlap = Annotated[
    timedelta, typer.Option("--overlap", parser=_span, metavar="SPAN", help="How long the old one works on.")
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Its id, its shown beginning, or its name.")]


@keys.command("create")
def create(  # noqa: PLR0913, PLR0917 - a key has that many properties
    account: AccountName = None,
    name: Name = None,
    kind: Kind = None,
    submits_per_minute: Rate = None,
    concurrent: Concurrent = None,
    polls_per_minute: Polls = None,
    budget: Budget = None,
    model: Models = None,
    route: Tier = Route.AUTO,
    manages_keys: Manages = False,
    expires: Expires = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once, here."""
    from seedgate.domain.key import KeyLimits

    if kind is None:
        kind = KeyKind.LIVE if settings_for(config, data).production else KeyKind.TEST
    if account is None:
        account = "default" if kind is KeyKind.LIVE else "development"
    wanted = {"account": account, "name": name, "kind": kind}
    limits = KeyLimits(
        submits_per_minute=submits_per_minute,
        concurrent_tasks=concurrent,
        polls_per_minute=polls_per_minute,
        budget_micros=budget,
        models=tuple(model) if model else None,
        route=route,
        manages_keys=manages_keys,
        expires_at=None if expires is None else datetime.now(UTC) + expires,
    )
    document = on_ground(config, data, lambda ground: _create(ground, wanted, limits))
    if as_json:
        output.document(document)
        return
    output.line(str(document["key"]))
    whose = output.clean(document["account"])
    output.say(f"A {kind} key of the account {whose}. It is shown once: keep it now.")


@keys.command("rotate")
def rotate(
    key: Key,
    overlap: Overlap = timedelta(hours=24),
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give a key another secret, shown once, here; limits, budget and id stay."""

    async def give(ground: "Ground") -> "Issued":
        from seedgate.accounts.issue import rotate_key

        return await rotate_key(ground.database, ground.ids, ground.secret, key, overlap=overlap)

    issued = on_ground(config, data, give)
    if as_json:
        output.document({"id": issued.key_id, "key": issued.key, "overlap_s": int(overlap.total_seconds())})
        return
    output.line(issued.key)
    until = f"The old one works for {overlap} more." if overlap else "The old one stops within five seconds."
    output.say(f"{until} This one is shown once: keep it now.")


@keys.command("revoke")
def revoke(key: Key, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """End a key: within five seconds nothing lets it in. What it has submitted goes on."""

    async def end(ground: "Ground") -> dict[str, Any]:
        from seedgate.accounts.issue import revoke_key

        match = await revoke_key(ground.database, key)
        return {"id": match.key_id, "name": match.name, "revoked": match.revoked_at is None}

    document = on_ground(config, data, end)
    if as_json:
        output.document(document)
    else:
        when = "is revoked" if document["revoked"] else "was revoked before"
        output.line(f"The key {output.clean(document['name'])} {when}.")


@keys.command("list")
def list_(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Every key with its account and limits."""

    async def read(ground: "Ground") -> list[dict[str, Any]]:
        from seedgate.domain.key import holding
        from seedgate.store.access import list_keys

        limits = await _limits(ground)
        return [key | holding(key, limits) for key in await list_keys(ground.database)]

    found = on_ground(config, data, read)
    if as_json:
        output.document({"keys": found})
        return
    output.table(
        ("KEY", "KIND", "ACCOUNT", "NAME", "PER MINUTE", "AT ONCE", "OPEN", "SPENT", "MODELS", "STATE"),
        [
            (
                f"{key['prefix']}…",
                key["kind"],
                key["account"],
                key["name"],
                key["submits_per_minute"] or "unlimited",
                key["concurrent_tasks"] or "unlimited",
                key["open_holds"],
                _spent(key),
                ", ".join(key["models"]) if key["models"] else "all",
                key["state"],
            )
            for key in found
        ],
        nothing="There are no keys. Make one with `seedgate keys create`.",
    )


async def _create(ground: "Ground", wanted: dict[str, Any], limits: "KeyLimits") -> dict[str, Any]:
    from seedgate.accounts.issue import create_key
    from seedgate.domain.key import holding

    if wanted["name"] is None:
        wanted = wanted | {"name": f"key {ground.ids.token()[:6]}"}
    issued = await create_key(
        ground.database,
        ground.ids,
        ground.secret,
        account=wanted["account"],
        name=wanted["name"],
        kind=wanted["kind"],
        limits=limits,
    )
    said = {
        "submits_per_minute": limits.submits_per_minute,
        "concurrent_tasks": limits.concurrent_tasks,
        "polls_per_minute": limits.polls_per_minute,
    }
    rest = {
        "budget_micros": limits.budget_micros,
        "models": limits.models,
        "route": limits.route,
        "manages_keys": limits.manages_keys,
        "expires_at": limits.expires_at,
    }
    return {"id": issued.key_id, "key": issued.key} | wanted | holding(said, await _limits(ground)) | rest


async def _limits(ground: "Ground") -> "Limits":
    """What holds for keys without limits of their own."""
    from seedgate.compose.offer import read_configuration

    return (await read_configuration(ground)).limits


def _spent(key: dict[str, Any]) -> str:
    spent = f"${dollars(key['spent_micros'])}"
    return spent if key["budget_micros"] is None else f"{spent} of ${dollars(key['budget_micros'])}"
