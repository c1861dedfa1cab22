"""What a key may do, and what it may give to a key that it makes: never more than it has itself.

Limits bind each key for itself, so a key with limits may make several with the same; what all of them do together is
bounded by their account. Money is different: a key with a budget gives from it, and has that much less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from seedgate.domain.configuration import Limits
from seedgate.domain.errors import Forbidden
from seedgate.domain.image import Route

RATES = ("submits_per_minute", "concurrent_tasks", "polls_per_minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What a key may do. A limit of None is the default, 0 is no limit; no budget is any, no models are all."""

    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None
    polls_per_minute: int | None = None
    budget_micros: int | None = None
    models: tuple[str, ...] | None = None
    route: Route = Route.AUTO
    manages_keys: bool = False
    expires_at: datetime | None = None
    """Aware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a key is to have that another one makes. What is None is as its maker has it, but for the budget."""

    submits_per_minute: int | None = None
    concurrent_tasks: int | None = None
    polls_per_minute: int | None = None
    budget_micros: int | None = None
    models: tuple[str, ...] | None = None
    route: Route | None = None
    manages_keys: bool = False
    expires_at: datetime | None = None


def holds(limit: int | None, default: int) -> int | None:
    """What a limit that stands in a key's row comes to; None is no limit."""
    return (default if limit is None else limit) or None


def holding(row: Mapping[str, int | None], defaults: Limits) -> dict[str, int | None]:
    """All three limits that are counted, by name; None is no limit."""
    return {name: holds(row[name], getattr(defaults, name)) for name in RATES}


def give(wish: Wish, maker: KeyLimits, *, left_micros: int | None, defaults: Limits) -> KeyLimits:
    """The limits of the key that `maker` makes; `left_micros` is what is left of its budget, if it has one.

    Raises Forbidden, with the name of what the maker does not have itself.
    """
    if not maker.manages_keys:
        raise Forbidden("This key may not manage keys")
    said = {name: getattr(wish if getattr(wish, name) is not None else maker, name) for name in RATES}
    made = KeyLimits(
        **said,
        budget_micros=wish.budget_micros,
        models=maker.models if wish.models is None else wish.models,
        route=maker.route if wish.route is None else wish.route,
        manages_keys=wish.manages_keys,
        expires_at=maker.expires_at if wish.expires_at is None else wish.expires_at,
    )
    name = excess(made, maker, defaults=defaults)
    if name is not None:
        raise Forbidden(f"A key gives no more than it has: {name} is beyond this one's own", param=name)
    if left_micros is not None and (made.budget_micros is None or made.budget_micros > left_micros):
        raise Forbidden(
            "This key has a budget: it gives part of what is left of it, and must say how much", param="budget"
        )
    return made


def excess(key: KeyLimits, maker: KeyLimits, *, defaults: Limits) -> str | None:
    """The name of something, other than money, that `key` may and `maker` may not; None where there is nothing."""
    for name in RATES:
        most = holds(getattr(maker, name), getattr(defaults, name))
        own = holds(getattr(key, name), getattr(defaults, name))
        if most is not None and (own is None or own > most):
            return name
    if maker.models is not None and (key.models is None or not set(key.models) <= set(maker.models)):
        return "models"
    if maker.expires_at is not None and (key.expires_at is None or key.expires_at > maker.expires_at):
        return "expires_at"
    return "manages_keys" if key.manages_keys and not maker.manages_keys else None


def check_rotation(key: KeyLimits, by: KeyLimits, *, defaults: Limits) -> None:
    """Raise Forbidden unless `by` may be shown another secret of `key`: whoever has that may do what the key may."""
    if not by.manages_keys:
        raise Forbidden("This key may not manage keys")
    name = excess(key, by, defaults=defaults)
    if name is not None:
        raise Forbidden(f"That key may do what this one may not: {name}", param=name)
    if by.budget_micros is not None:
        raise Forbidden(
            "A key with a budget rotates none but itself: another one's budget would be added", param="budget"
        )
