"""What a key gives to another one: whatever the new key may do, its maker may."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.configuration import Limits
from seedgate.domain.errors import Forbidden
from seedgate.domain.image import Route
from seedgate.domain.key import KeyLimits, Wish, check_rotation, give

START = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ("a", "b", "c")
limits = st.none() | st.integers(0, 4)
moments = st.none() | st.integers(0, 4).map(lambda days: START + timedelta(days=days))
models = st.none() | st.sets(st.sampled_from(MODELS), min_size=1).map(lambda found: tuple(sorted(found)))
money = st.none() | st.integers(0, 5)
KEY = {
    "submits_per_minute": limits,
    "concurrent_tasks": limits,
    "polls_per_minute": limits,
    "budget_micros": money,
    "models": models,
    "expires_at": moments,
}
keys = st.builds(KeyLimits, **KEY, manages_keys=st.booleans())
wishes = st.builds(Wish, **KEY, route=st.none() | st.sampled_from(Route), manages_keys=st.booleans())
defaults = st.builds(
    Limits,
    submits_per_minute=st.integers(0, 4),
    concurrent_tasks=st.integers(0, 4),
    polls_per_minute=st.integers(0, 4),
)


def may(key: KeyLimits, default: Limits) -> set[tuple[str, object]]:
    """Everything that a key may do in a small world, one by one."""
    found: set[tuple[str, object]] = set()
    for name in ("submits_per_minute", "concurrent_tasks", "polls_per_minute"):
        own = getattr(key, name)
        most = getattr(default, name) if own is None else own
        found |= {(name, number) for number in range(1, 9) if not most or number <= most}
    found |= {("model", model) for model in MODELS if key.models is None or model in key.models}
    found |= {("day", day) for day in range(9) if key.expires_at is None or START + timedelta(day) < key.expires_at}
    return found | ({("manages", True)} if key.manages_keys else set())


# If this failed, whoever has a small key could make itself a larger one.
@given(keys, wishes, defaults, st.integers(0, 6))
def test_a_key_gives_no_more_than_it_has(maker: KeyLimits, wish: Wish, default: Limits, spent: int) -> None:
    left = None if maker.budget_micros is None else max(0, maker.budget_micros - spent)
    try:
        made = give(wish, maker, left_micros=left, defaults=default)
    except Forbidden:
        return
    assert maker.manages_keys
    assert may(made, default) <= may(maker, default)
    if left is not None:
        assert made.budget_micros is not None
        assert made.budget_micros <= left


# If this failed, a key that stays within its own would be refused, or get another one than it asked for.
@given(keys, defaults, st.integers(0, 5))
def test_what_is_asked_for_within_ones_own_is_given(maker: KeyLimits, default: Limits, amount: int) -> None:
    if not maker.manages_keys:
        with pytest.raises(Forbidden):
            give(Wish(), maker, left_micros=None, defaults=default)
        return
    left = None if maker.budget_micros is None else amount
    made = give(Wish(budget_micros=amount), maker, left_micros=left, defaults=default)
    assert may(made, default) == may(maker, default) - {("manages", True)}
    assert (made.budget_micros, made.route) == (amount, maker.route)


# If this failed, a key would follow a default that its maker does not follow.
@given(keys, wishes, defaults, defaults)
def test_a_default_that_changes_changes_nothing_of_that(
    maker: KeyLimits, wish: Wish, default: Limits, later: Limits
) -> None:
    try:
        made = give(wish, maker, left_micros=maker.budget_micros, defaults=default)
    except Forbidden:
        return
    for name in ("submits_per_minute", "concurrent_tasks", "polls_per_minute"):
        if getattr(made, name) is None:
            assert getattr(maker, name) is None
    if wish == Wish(budget_micros=wish.budget_micros):
        assert may(made, later) <= may(maker, later)


# If this failed, a small key could have itself shown a larger key's secret, or another key's money.
@given(keys, keys, defaults)
def test_a_key_is_shown_only_what_it_may_do_itself(key: KeyLimits, by: KeyLimits, default: Limits) -> None:
    try:
        check_rotation(key, by, defaults=default)
    except Forbidden:
        return
    assert by.manages_keys
    assert by.budget_micros is None
    assert may(key, default) <= may(by, default)
