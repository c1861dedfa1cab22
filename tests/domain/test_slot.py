"""The table of a slot's states."""

import pytest

from seedgate.domain.errors import IllegalTransition
from seedgate.domain.slot import SlotEvent, SlotState, cancel, transition

B, W, C, S, D, X = (
    SlotState.BLOCKED,
    SlotState.WAITING,
    SlotState.CLAIMED,
    SlotState.SUBMITTED,
    SlotState.IN_DOUBT,
    SlotState.SETTLED,
)
ALLOWED = {
    (B, SlotEvent.UNBLOCK): W,
    (W, SlotEvent.CLAIM): C,
    (C, SlotEvent.HANDLE): S,
    (C, SlotEvent.DELAY): B,
    (S, SlotEvent.DELAY): B,
    (C, SlotEvent.LOSE): W,
    (S, SlotEvent.LOSE): W,
    (C, SlotEvent.DOUBT): D,
    (D, SlotEvent.RESOLVE): W,
    **{(state, SlotEvent.SETTLE): X for state in (B, W, C, S, D)},
}
EVERY = [(state, event) for state in SlotState for event in SlotEvent]


# A slot would be drawn twice, paid twice, or stay where nobody looks for it.
@pytest.mark.parametrize(("state", "event"), EVERY, ids=[f"{state.name}-{event.value}" for state, event in EVERY])
def test_the_whole_table(state, event):
    if (state, event) in ALLOWED:
        assert transition(state, event) is ALLOWED[state, event]
    else:
        with pytest.raises(IllegalTransition, match=f"{state.name.lower()} cannot {event.value}"):
            transition(state, event)


# A slot that has ended would come back to life.
def test_settled_is_final():
    assert not any(state is X for state, _ in ALLOWED)


# An in-doubt slot would be submitted again blindly: only a resolution leads out of doubt.
def test_doubt_is_only_left_by_a_decision():
    assert {event for state, event in ALLOWED if state is D} == {SlotEvent.RESOLVE, SlotEvent.SETTLE}


# A cancelled task would keep money for what nobody does, or lose what somebody has in his hands.
@pytest.mark.parametrize("state", SlotState)
@pytest.mark.parametrize("resumes", [False, True])
def test_a_cancellation_settles_what_nobody_works_on(state, resumes):
    expected = X if state in {B, W} and not resumes else state
    assert cancel(state, resumes=resumes) is expected
