"""How a task ends, decided from how its slots ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from seedgate.domain.ledger import Settlement, settle
from seedgate.domain.reason import Reason
from seedgate.domain.task import TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledSlot:
    """A settled slot; `reason` is None when everything it was asked for was delivered."""

    reason: Reason | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is written when a task ends. `reason` is None on success, also on a partial one."""

    state: TaskState
    settlement: Settlement
    reason: Reason | None = None
    message: str | None = None


def end(*, slots: Sequence[SettledSlot], delivered: int, held_micros: int, unit_price_micros: int) -> Ending:
    """One delivered picture makes a success; else the first slot with a reason speaks for the task.

    A task none of whose pictures arrived is cancelled only when the reason that speaks for it is the cancellation.
    """
    settlement = settle(held_micros=held_micros, unit_price_micros=unit_price_micros, delivered=delivered)
    if delivered > 0:
        return Ending(state=TaskState.SUCCESS, settlement=settlement)
    spoken = next((slot for slot in slots if slot.reason is not None), SettledSlot(reason=Reason.INTERNAL))
    state = TaskState.CANCELLED if spoken.reason is Reason.CANCELLED else TaskState.FAILED
    return Ending(state=state, settlement=settlement, reason=spoken.reason, message=spoken.message)
