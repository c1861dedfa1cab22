"""Entries balance, settlements add up, endings say why."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.errors import UnbalancedEntry
from seedgate.domain.ledger import Entry, Side, entry, settle
from seedgate.domain.outcome import SettledSlot, end
from seedgate.domain.reason import Reason
from seedgate.domain.task import TaskState

ANY = UUID(int=7)


# If this failed, money would be made or lost by an entry.
@given(kind=st.sampled_from(Entry), amount=st.integers(0, 10**15))
def test_every_entry_sums_to_zero(kind: Entry, amount: int) -> None:
    source, target = entry(kind, subject_id=ANY, account_id=ANY, amount_micros=amount)
    assert source.amount_micros + target.amount_micros == 0
    assert (source.side, target.side) == (Side.FROM, Side.TO)
    assert source.book != target.book
    assert source.amount_micros <= 0 <= target.amount_micros


# If this failed, a grant of a negative amount would take money away.
def test_negative_amounts_are_no_entry() -> None:
    with pytest.raises(UnbalancedEntry):
        entry(Entry.GRANT, subject_id=ANY, account_id=ANY, amount_micros=-1)


# If this failed, a customer could be charged more than was held, or the rest would stay held.
@given(price=st.integers(0, 10**9), pictures=st.integers(1, 15), delivered=st.integers(0, 30))
def test_charge_and_release_make_up_the_hold(price: int, pictures: int, delivered: int) -> None:
    held = price * pictures
    settlement = settle(held_micros=held, unit_price_micros=price, delivered=delivered)
    assert settlement.charge_micros + settlement.release_micros == held
    assert settlement.charge_micros >= 0
    assert settlement.release_micros >= 0
    if delivered <= pictures:
        assert settlement.charge_micros == price * delivered


# If this failed, a failed task would cost something, or one good picture would be called a failure.
@given(
    reasons=st.lists(st.none() | st.sampled_from(Reason), min_size=1, max_size=10),
    delivered=st.integers(0, 10),
    price=st.integers(0, 10**6),
)
def test_one_picture_makes_a_success_and_none_costs_nothing(
    reasons: list[Reason | None], delivered: int, price: int
) -> None:
    slots = [SettledSlot(reason=reason) for reason in reasons]
    ending = end(slots=slots, delivered=delivered, held_micros=10 * price, unit_price_micros=price)
    assert (ending.state is TaskState.SUCCESS) == (delivered > 0)
    assert (ending.reason is None) == (delivered > 0)
    if delivered == 0:
        assert ending.settlement.charge_micros == 0
        spoken = next((reason for reason in reasons if reason), Reason.INTERNAL)
        assert ending.reason is spoken
        assert (ending.state is TaskState.CANCELLED) == (spoken is Reason.CANCELLED)
    assert ending.state.terminal


# If this failed, an open task would be taken for one that has ended.
def test_open_states_are_not_terminal() -> None:
    assert [state for state in TaskState if not state.terminal] == [TaskState.PENDING, TaskState.PROCESSING]
