"""A slot: the part of a task that is attempted, leased, retried and settled as one.

    blocked ──unblock──▶ waiting ──claim──▶ claimed ──handle──▶ submitted ──┐
       ▲                    ▲                  │  └───lose (intent sent)──▶ in doubt
       └──────delay─────────┴───────lose───────┴──────────lose (keeps its handle)
    every state but settled ──settle──▶ settled

A sequential series is one slot with several pictures; independent pictures are one slot each. The database guards the
same table: each statement names the states it may leave.
"""

from enum import IntEnum, StrEnum, auto

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


def transition(state: SlotState, event: SlotEvent) -> SlotState:
    """The state after the event. Raises IllegalTransition where the table has none."""
    if event is SlotEvent.SETTLE and state is not SlotState.SETTLED:
        return SlotState.SETTLED
    try:
        return _NEXT[state, event]
    except KeyError:
        raise IllegalTransition(f"a slot that is {state.name.lower()} cannot {event.value}") from None
