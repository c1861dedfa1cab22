"""Figures about open work, for metrics and the doctor; everything is read from partial indexes over open rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from seedgate.domain.slot import SlotState
from seedgate.store.database import Connection, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What is open at this moment."""

    slots: Mapping[tuple[str, str], int]
    """By lane and state; waiting and leased ones."""
    oldest_open_task_s: float
    workers: int
    deliveries_due: int


async def read_statistics(database: Database) -> Statistics:
    """Read all figures in one statement."""
    rows = await database.fetch(
        "SELECT 'slot' AS what, lane, state, count(*)::float8 AS n FROM slot WHERE state = 1 GROUP BY lane, state"
        " UNION ALL SELECT 'slot', lane, state, count(*) FROM slot WHERE worker_id IS NOT NULL GROUP BY lane, state"
        " UNION ALL SELECT 'oldest', NULL, NULL, coalesce(extract(epoch FROM seedgate_now()"
        "  - (SELECT created_at FROM task WHERE state < 10 ORDER BY deadline_at LIMIT 1)), 0)"
        " UNION ALL SELECT 'workers', NULL, NULL, count(*) FROM worker WHERE lease_until > seedgate_now()"
        " UNION ALL SELECT 'due', NULL, NULL, count(*) FROM delivery WHERE state = 'due'"
    )
    single = {row["what"]: row["n"] for row in rows if row["what"] != "slot"}
    return Statistics(
        slots={(r["lane"], SlotState(r["state"]).name.lower()): int(r["n"]) for r in rows if r["what"] == "slot"},
        oldest_open_task_s=max(0.0, single["oldest"]),
        workers=int(single["workers"]),
        deliveries_due=int(single["due"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits to be claimed."""

    lanes: Mapping[str, int]
    full_accounts: frozenset[UUID]
    """Those with as much waiting as they may have."""


async def read_waiting(lane: Connection, *, most_per_account: int) -> Waiting:
    """Count waiting slots by lane, and find the accounts that have as many as they may: their own limit, or the given.

    One pass over the partial index of waiting slots, which `max_waiting` bounds.
    """
    rows = await lane.fetch_repeatable(
        "WITH waiting AS (SELECT lane, account_id, count(*) AS n FROM slot WHERE state = 1 GROUP BY lane, account_id)"
        " SELECT lane, sum(n)::bigint AS n, NULL::uuid AS account_id FROM waiting GROUP BY lane"
        " UNION ALL SELECT NULL, w.n, w.account_id"
        " FROM (SELECT account_id, sum(n)::bigint AS n FROM waiting GROUP BY account_id) w"
        " JOIN account a ON a.id = w.account_id WHERE w.n >= nullif(coalesce(a.max_waiting, $1), 0)",
        most_per_account,
    )
    return Waiting(
        lanes={row["lane"]: row["n"] for row in rows if row["lane"] is not None},
        full_accounts=frozenset(row["account_id"] for row in rows if row["account_id"] is not None),
    )
