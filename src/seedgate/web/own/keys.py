"""Keys: those of the account, and what a key that manages them does with the others."""

from datetime import UTC, datetime, timedelta
from typing import Any

from seedgate.domain.errors import InvalidRequest
from seedgate.domain.image import Route
from seedgate.domain.key import RATES, Wish, holding
from seedgate.domain.money import micros
from seedgate.store.keyring import Listed
from seedgate.web.own import wire
from seedgate.web.own.door import Asked, House, cursor


async def list_keys(house: House, asked: Asked) -> wire.KeyPage:
    """A page of the account's keys."""
    most, before = asked.page()
    account_id, keyring = asked.caller.account_id, house.keyring
    found = await keyring.page(account_id, before=before, most=most + 1)
    return wire.KeyPage(
        keys=[wire.KeyLine(**_line(house, asked, key)) for key in found[:most]],
        usage=wire.KeyUsage(active=await keyring.active(account_id), max_active=keyring.most),
        next_cursor=cursor(found[most - 1].id) if len(found) > most else None,
    )


async def make_key(house: House, asked: Asked) -> wire.ShownKey:
    """Make a key that may do no more than the caller's."""
    wish = await asked.json(wire.KeyWish, house.bodies)
    if not wish.name.isprintable() or wish.name != wish.name.strip():
        raise InvalidRequest("A name is printable, and has no space at its ends", param="name")
    made, secret = await house.keyring.make(
        asked.caller,
        wish.name,
        Wish(
            **{name: getattr(wish, name) for name in RATES},
            budget_micros=None if wish.budget is None else _budget(wish.budget),
            models=None if wish.models is None else _models(house, wish.models),
            route=None if wish.route is None else Route(wish.route),
            manages_keys=wish.manages_keys,
            expires_at=None if wish.expires_at is None else _utc(wish.expires_at),
        ),
    )
    return wire.ShownKey(**_line(house, asked, made), key=secret)


async def rotate_key(house: House, asked: Asked) -> wire.ShownKey:
    """Another secret for a key."""
    wish = await asked.json(wire.Rotation, house.bodies, empty=wire.Rotation())
    key, secret = await house.keyring.rotate(asked.caller, asked.uuid(), overlap=timedelta(seconds=wish.overlap_s))
    return wire.ShownKey(**_line(house, asked, key), key=secret)


async def revoke_key(house: House, asked: Asked) -> wire.KeyLine:
    """End a key; the key as it is afterwards."""
    return wire.KeyLine(**_line(house, asked, await house.keyring.revoke(asked.caller, asked.uuid())))


def _line(house: House, asked: Asked, key: Listed) -> dict[str, Any]:
    limits = key.limits
    return holding({name: getattr(limits, name) for name in RATES}, house.keyring.limits()) | {
        "id": key.id.hex,
        "name": key.name,
        "kind": key.kind,
        "prefix": key.prefix,
        "state": key.state,
        "is_caller": key.id == asked.caller.key_id,
        "budget": None if limits.budget_micros is None else wire.Money.of(limits.budget_micros),
        "spent": wire.Money.of(key.spent_micros),
        "open_tasks": key.open_holds,
        "models": None if limits.models is None else list(limits.models),
        "route": limits.route.value,
        "manages_keys": limits.manages_keys,
        "older_secrets": key.older_secrets,
        "created_at": key.created_at,
        "expires_at": limits.expires_at,
        "revoked_at": key.revoked_at,
    }


def _budget(text: str) -> int:
    try:
        return micros(text)
    except ValueError:
        raise InvalidRequest("budget is an amount in dollars with at most six decimals: 2.50", param="budget") from None


def _models(house: House, names: list[str]) -> tuple[str, ...]:
    offered = {
        name
        for offers in house.listings.values()
        for listing in offers.newest.values()
        for name in (listing.name, listing.model.id, listing.id)
    }
    if not offered.issuperset(names):
        raise InvalidRequest("models are models or listings of /seedgate/v1/models", param="models")
    return tuple(dict.fromkeys(names))


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest("expires_at is too far away", param="expires_at") from None
