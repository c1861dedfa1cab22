"""Why a task is not done yet, told from its slots."""

from collections.abc import Sequence
from enum import StrEnum

from seedgate.domain.slot import SlotState


class Wait(StrEnum):
    """What an open task waits for."""

    QUEUED = "queued"
    """For a worker."""
    FETCHING_REFERENCES = "fetching_references"
    DRAWING = "drawing"
    DELAYED = "delayed"
    """An attempt failed, or found no room; the next one comes in a moment."""
    IN_DOUBT = "in_doubt"
    """Nobody knows whether a paid upstream has taken it; it is not sent again."""


_LEASED = {SlotState.CLAIMED, SlotState.SUBMITTED}


def why(slots: Sequence[tuple[SlotState, bool]], *, unprepared: bool) -> Wait | None:
    """What the task waits for, by its most advanced slot; None when all are settled.

    A slot is its state and whether it is delayed. `unprepared`: the task has references that are not stored yet.
    """
    states = {state for state, _ in slots}
    if states & _LEASED:
        return Wait.FETCHING_REFERENCES if unprepared else Wait.DRAWING
    if SlotState.IN_DOUBT in states:
        return Wait.IN_DOUBT
    if SlotState.WAITING in states:
        return Wait.QUEUED
    if SlotState.BLOCKED in states:
        return Wait.DELAYED if any(delayed for _, delayed in slots) else Wait.FETCHING_REFERENCES
    return None
