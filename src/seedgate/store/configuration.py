"""Configuration rows, and the columns of accounts, keys and lanes that some of them set."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from seedgate.domain.configuration import Row, Target, Value
from seedgate.store.database import Connection, Database, Tx

CHANNEL = "seedgate_configuration"
_LOCK = 0x5EEDC0F1
# Names come from `domain.configuration.KNOBS`, never from a caller; the value is a parameter.
_COLUMNS = {
    ("account", "submits_per_minute"): "UPDATE account SET submits_per_minute = $2 WHERE name = $1",
    ("account", "concurrent_tasks"): "UPDATE account SET concurrent_tasks = $2 WHERE name = $1",
    ("account", "polls_per_minute"): "UPDATE account SET polls_per_minute = $2 WHERE name = $1",
    ("account", "max_waiting"): "UPDATE account SET max_waiting = $2 WHERE name = $1",
    ("account", "frozen"): "UPDATE account SET frozen = coalesce($2, false) WHERE name = $1",
    ("key", "submits_per_minute"): "UPDATE key_state SET submits_per_minute = $2 WHERE key_id = $1",
    ("key", "concurrent_tasks"): "UPDATE key_state SET concurrent_tasks = $2 WHERE key_id = $1",
    ("key", "polls_per_minute"): "UPDATE api_key SET polls_per_minute = $2 WHERE id = $1",
    ("key", "budget"): "UPDATE key_state SET budget_micros = $2 WHERE key_id = $1",
    ("key", "models"): "UPDATE api_key SET models = $2 WHERE id = $1",
    ("key", "route"): "UPDATE api_key SET route = coalesce($2, 'auto') WHERE id = $1",
    ("key", "manages_keys"): "UPDATE api_key SET manages_keys = coalesce($2, false) WHERE id = $1",
    ("lane", "capacity"): "INSERT INTO lane (name, capacity) VALUES ($1, $2)"
    " ON CONFLICT (name) DO UPDATE SET capacity = excluded.capacity",
    ("lane", "max_waiting"): "INSERT INTO lane (name, max_waiting) VALUES ($1, $2)"
    " ON CONFLICT (name) DO UPDATE SET max_waiting = excluded.max_waiting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of the history."""

    version: int
    name: str
    value: str | None
    actor: str
    reason: str
    at: datetime


async def lock(tx: Tx) -> None:
    """One change at a time, so that versions are committed in their order."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def add_row(tx: Tx, *, name: str, value: str | None, actor: str, reason: str) -> int:
    """Write a row, under the lock, and tell every process; returns its version."""
    rows = await tx.fetch(
        "INSERT INTO configuration (version, name, value, actor, reason)"
        " SELECT coalesce(max(version), 0) + 1, $1, $2, $3, $4 FROM configuration RETURNING version",
        name,
        value,
        actor,
        reason,
    )
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)
    return int(rows[0]["version"])


async def apply(tx: Tx, about: Target, subject: str | UUID, value: Value | None) -> None:
    """Set the column that the target stands for, where it stands for one; None is the default."""
    sql = _COLUMNS.get((about.kind, about.knob))
    if sql is not None:
        await tx.execute(sql, subject, list(value) if isinstance(value, tuple) else value)


async def read_rows(lane: Connection) -> list[Row]:
    """The newest row of every name that concerns the whole installation."""
    rows = await lane.fetch_repeatable(
        "SELECT DISTINCT ON (name) name, value, version FROM configuration"
        " WHERE name NOT LIKE 'account.%' AND name NOT LIKE 'key.%' ORDER BY name, version DESC"
    )
    return [Row(**row) for row in rows]


async def read_set(database: Database) -> list[Change]:
    """The newest row of every name that is not at its default."""
    rows = await database.fetch(
        "SELECT * FROM (SELECT DISTINCT ON (name) version, name, value, actor, reason, at FROM configuration"
        " ORDER BY name, version DESC) newest WHERE value IS NOT NULL"
    )
    return [Change(**row) for row in rows]


async def read_history(database: Database, *, name: str | None, most: int) -> list[Change]:
    """The rows of a name, or of all, newest first."""
    rows = await database.fetch(
        "SELECT version, name, value, actor, reason, at FROM configuration WHERE $1::text IS NULL OR name = $1"
        " ORDER BY version DESC LIMIT $2",
        name,
        most,
    )
    return [Change(**row) for row in rows]
