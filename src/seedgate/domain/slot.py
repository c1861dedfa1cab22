"""A slot: the part of a task that is attempted, leased, retried and settled as one.

    blocked ──unblock──▶ waiting ──claim──▶ claimed ──handle──▶ submitted ──┐
       ▲                    ▲                  │  └───lose (intent sent)──▶ in doubt
       └──────delay─────────┴───────lose───────┴──────────lose (keeps its handle)
    every state but settled ──settle──▶ settled

A sequential series is one slot with several pictures; independent pictures are one slot each. The database guards the
same table: each statement names the states it may leave.
"""

from enum import IntEnum, StrEnum, auto
from typing import assert_never

from seedgate.domain.errors import IllegalTransition

MAX_CRASHES = 3
"""Engine crashes under a living worker after which a slot is given up as poison."""
MAX_LOSSES = 20
"""Leases lost together with their worker after which a slot is given up."""


class SlotState(IntEnum):
    """As stored."""

    BLOCKED = 0
    """Waits for the task's references, or for the end of a delay."""
    WAITING = 1
    CLAIMED = 2
    SUBMITTED = 3
    IN_DOUBT = 4
    SETTLED = 10


class SlotEvent(StrEnum):
    """What can happen to a slot."""

    UNBLOCK = auto()
    CLAIM = auto()
    HANDLE = auto()
    DELAY = auto()
    LOSE = auto()
    DOUBT = auto()
    RESOLVE = auto()
    SETTLE = auto()


_NEXT: dict[tuple[SlotState, SlotEvent], SlotState] = {
    (SlotState.BLOCKED, SlotEvent.UNBLOCK): SlotState.WAITING,
    (SlotState.WAITING, SlotEvent.CLAIM): SlotState.CLAIMED,
    (SlotState.CLAIMED, SlotEvent.HANDLE): SlotState.SUBMITTED,
    (SlotState.CLAIMED, SlotEvent.DELAY): SlotState.BLOCKED,
    (SlotState.SUBMITTED, SlotEvent.DELAY): SlotState.BLOCKED,
    (SlotState.CLAIMED, SlotEvent.LOSE): SlotState.WAITING,
    (SlotState.SUBMITTED, SlotEvent.LOSE): SlotState.WAITING,
    (SlotState.CLAIMED, SlotEvent.DOUBT): SlotState.IN_DOUBT,
    (SlotState.IN_DOUBT, SlotEvent.RESOLVE): SlotState.WAITING,
}


def cancel(state: SlotState, *, resumes: bool) -> SlotState:
    """The state right after its task's cancellation was asked for: what nobody works on is settled.

    The rest stays with whoever has it: a worker is told to stop, and a doubt has to be resolved. `resumes` says that
    the slot waits with a handle: it was submitted, and goes on. Whatever comes back to the queue later is judged anew.
    """
    match state:
        case SlotState.BLOCKED | SlotState.WAITING:
            return state if resumes else transition(state, SlotEvent.SETTLE)
        case SlotState.CLAIMED | SlotState.SUBMITTED | SlotState.IN_DOUBT | SlotState.SETTLED:
            return state
        case _:
            assert_never(state)


def transition(state: SlotState, event: SlotEvent) -> SlotState:
    """The state after the event. Raises IllegalTransition where the table has none."""
    if event is SlotEvent.SETTLE and state is not SlotState.SETTLED:
        return SlotState.SETTLED
    try:
        return _NEXT[state, event]
    except KeyError:
        raise IllegalTransition(f"a slot that is {state.name.lower()} cannot {event.value}") from None
