"""`keys` and `credits`: who may call, and what they may spend."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedgate.cli import output
from seedgate.cli.ground import on_ground, operator, settings_for
from seedgate.cli.output import Json
from seedgate.cli.run import Config, Data
from seedgate.domain.money import dollars, micros
from seedgate.ids import KeyKind

if TYPE_CHECKING:
    from seedgate.compose.ground import Ground

keys = typer.Typer(help="API keys.", no_args_is_help=True)
credit = typer.Typer(help="Accounts' money.", no_args_is_help=True)

AccountName = Annotated[str | None, typer.Option("--account", help="Whose; made if there is none. [development]")]
Name = Annotated[str | None, typer.Option("--name", help="What to call it.")]
Kind = Annotated[KeyKind | None, typer.Option("--kind", help="Default: live in production, else test.")]
Rate = Annotated[str | None, typer.Option("--submits-per-minute", metavar="N|unlimited")]
Concurrent = Annotated[str | None, typer.Option("--concurrent", metavar="N|unlimited", help="Tasks open at once.")]
Account = Annotated[str, typer.Argument(help="The account's name.")]
Amount = Annotated[str, typer.Argument(help="Dollars, such as 10 or 0.035.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept with the grant.")]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", help="The same grant with it again does nothing.")
]

MAX_LIMIT = 60_000_000
_NUMBER = re.compile("[0-9]{1,8}")


@keys.command("create")
def create(
    account: AccountName = None,
    name: Name = None,
    kind: Kind = None,
    submits_per_minute: Rate = None,
    concurrent: Concurrent = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once, here."""
    settings = settings_for(config, data)
    kind = kind or (KeyKind.LIVE if settings.production else KeyKind.TEST)
    limits = settings.limits
    document = {
        "account": account or ("default" if kind is KeyKind.LIVE else "development"),
        "name": name,
        "kind": kind.value,
        "submits_per_minute": _limit(submits_per_minute, limits.submits_per_minute, "--submits-per-minute"),
        "concurrent_tasks": _limit(concurrent, limits.concurrent_tasks, "--concurrent"),
    }
    document = on_ground(config, data, lambda ground: _create(ground, document))
    if as_json:
        output.document(document)
        return
    output.line(str(document["key"]))
    output.say(f"A {kind} key of the account {document['account']}. It is shown once: keep it now.")


@keys.command("list")
def list_(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Every key with its account and limits."""

    async def read(ground: "Ground") -> list[dict[str, Any]]:
        from seedgate.store.access import list_keys

        return await list_keys(ground.database)

    found = on_ground(config, data, read)
    if as_json:
        output.document({"keys": found})
        return
    output.table(
        ("KEY", "KIND", "ACCOUNT", "NAME", "PER MINUTE", "AT ONCE", "OPEN", "STATE"),
        [
            (
                f"{key['prefix']}…",
                key["kind"],
                key["account"],
                key["name"],
                key["submits_per_minute"] or "unlimited",
                key["concurrent_tasks"] or "unlimited",
                key["open_holds"],
                "revoked" if key["revoked_at"] else "active",
            )
            for key in found
        ],
        nothing="There are no keys. Make one with `seedgate keys create`.",
    )


@credit.command("grant")
def grant(
    account: Account,
    amount: Amount,
    reason: Reason,
    idempotency_key: IdempotencyKey = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give an account credit."""
    try:
        amount_micros = micros(amount)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="AMOUNT") from None

    async def give(ground: "Ground") -> dict[str, Any]:
        from seedgate.accounts.credits import grant
        from seedgate.store.access import find_account, read_balances

        granted = await grant(
            ground.database,
            ground.ids,
            account=account,
            amount_micros=amount_micros,
            reason=reason,
            actor=operator(),
            idempotency_key=idempotency_key,
        )
        found = await find_account(ground.database, account)
        assert found is not None
        (balance,) = await read_balances(ground.database.access_lane, [found[0]])
        return {"granted": granted, "account": account, "amount_micros": amount_micros, "balance_micros": balance}

    document = on_ground(config, data, give)
    if as_json:
        output.document(document)
        return
    what = f"Granted ${dollars(amount_micros)}" if document["granted"] else "Granted before under this key, not again"
    output.line(f"{what}. {output.clean(account)} has ${dollars(document['balance_micros'])}.")


async def _create(ground: "Ground", wanted: dict[str, Any]) -> dict[str, Any]:
    from seedgate.accounts.issue import KeyLimits, create_key

    wanted = wanted | {"name": wanted["name"] or f"key {ground.ids.token()[:6]}"}
    key = await create_key(
        ground.database,
        ground.ids,
        ground.secret,
        account=wanted["account"],
        name=wanted["name"],
        kind=KeyKind(wanted["kind"]),
        limits=KeyLimits(submits_per_minute=wanted["submits_per_minute"], concurrent_tasks=wanted["concurrent_tasks"]),
    )
    return {"key": key} | wanted


def _limit(given: str | None, default: int, option: str) -> int | None:
    """None is no limit, as 0 is in the settings."""
    if given is None:
        return default or None
    if given == "unlimited":
        return None
    if not _NUMBER.fullmatch(given) or not 0 < int(given) <= MAX_LIMIT:
        raise typer.BadParameter(f"a number from 1 to {MAX_LIMIT}, or unlimited", param_hint=option)
    return int(given)
