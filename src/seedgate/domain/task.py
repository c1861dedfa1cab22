"""A task's public states, and what a dialect needs to render one."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from seedgate.domain.reason import Reason

TERMINAL = 10
"""States from this number on are final."""


class TaskState(IntEnum):
    """As stored; numbers from `TERMINAL` on are final."""

    PENDING = 0
    PROCESSING = 1
    SUCCESS = 10
    FAILED = 11
    CANCELLED = 12

    @property
    def terminal(self) -> bool:
        """Whether the task has ended."""
        return self >= TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """What anybody may know of a task. Times are aware, in UTC."""

    id: UUID
    account_id: UUID
    listing_id: str
    listing_version: int
    state: TaskState
    pictures: int
    created_at: datetime
    completed_at: datetime | None = None
    files: tuple[str, ...] = ()
    """Names of the delivered pictures, in order."""
    reason: Reason | None = None
    message: str | None = None
    """A sentence for the caller where the reason alone says too little."""
    held_micros: int = 0
    charged_micros: int | None = None
    """None until the task has ended."""
