"""From measurements to ratios, a table and one JSON object."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.wrk import Load

HEADLINE = 64
"""Connections whose ratio is the headline: few enough for a laptop, enough to fill batches."""
TARGETS = {"submit": 0.45, "submit_one": 0.3, "submit_many": 0.3, "poll": 0.8}
"""Least ratios: at the headline's connections, or at whichever is worst where those are not measured."""
BASELINE = "echo"
GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One side of one round."""

    kind: str
    """submit, poll, or a submit of one account alone (submit_one) or of very many (submit_many)."""
    side: str
    """echo or gateway."""
    connections: int
    load: Load
    app_s: float
    """CPU time of the process that answered."""
    postgres_s: float

    def us(self, seconds: float) -> float:
        """Microseconds of that time for each request."""
        return seconds * 1e6 / max(1, self.load.requests)


def ratios(measured: Sequence[Measured], kind: str, connections: int) -> list[float]:
    """Gateway by echo, round by round: both sides of a round ran one after the other, in the same mood."""
    sides = [_of(measured, kind, side, connections) for side in (BASELINE, GATEWAY)]
    return [mine.load.per_s / theirs.load.per_s for theirs, mine in zip(*sides, strict=True)]


def summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """Headline ratios, and per number of connections ratios and the gateway's p99."""
    said: dict[str, Any] = {}
    kinds = [kind for kind in TARGETS if any(each.kind == kind for each in measured)]
    for kind in kinds:
        counts = sorted({each.connections for each in measured if each.kind == kind})
        each = {count: median(ratios(measured, kind, count)) for count in counts}
        said[f"{kind}_ratio"] = round(each.get(HEADLINE, min(each.values())), 3)
        said[f"{kind}_ratios"] = {f"{count}": round(ratio, 3) for count, ratio in each.items()}
        p99s = {count: median(m.load.p99_ms for m in _of(measured, kind, GATEWAY, count)) for count in counts}
        said[f"{kind}_p99_ms"] = {f"{count}": round(p99, 2) for count, p99 in p99s.items()}
    said["targets_reached"] = all(said[f"{kind}_ratio"] >= TARGETS[kind] for kind in kinds)
    said["cases"] = [row for kind in kinds for row in _rows(measured, kind)]
    return said


def table(cases: Iterable[Mapping[str, Any]]) -> str:
    """The cases for people."""
    form = "{:<20}{:>6}  {:<28}{:>7}{:>9}{:>9}{:>9}{:>9}{:>9}"
    heads = ("case", "conns", "req/s median (min-max)", "ratio", "app us", "pg us", "p50 ms", "p99 ms", "mean ms")
    lines = [form.format(*heads)]
    for row in cases:
        speed = f"{row['per_s']:,.0f} ({row['per_s_min']:,.0f}-{row['per_s_max']:,.0f})"
        figures = (f"{row[name]:.1f}" for name in ("app_us", "postgres_us", "p50_ms", "p99_ms", "mean_ms"))
        name = f"{row['kind']} {row['side']}"
        lines.append(form.format(name, row["connections"], speed, f"{row['ratio']:.2f}", *figures))
    return "\n".join(lines)


def _rows(measured: Sequence[Measured], kind: str) -> list[dict[str, Any]]:
    rows = []
    for count in sorted({each.connections for each in measured if each.kind == kind}):
        ratio = median(ratios(measured, kind, count))
        rows += [
            _row(_of(measured, kind, side, count), 1.0 if side == BASELINE else ratio) for side in (BASELINE, GATEWAY)
        ]
    return rows


def _row(rounds: Sequence[Measured], ratio: float) -> dict[str, Any]:
    speeds = [each.load.per_s for each in rounds]
    return {
        "kind": rounds[0].kind,
        "side": rounds[0].side,
        "connections": rounds[0].connections,
        "rounds": len(rounds),
        "per_s": round(median(speeds)),
        "per_s_min": round(min(speeds)),
        "per_s_max": round(max(speeds)),
        "ratio": round(ratio, 3),
        "app_us": round(median(each.us(each.app_s) for each in rounds), 1),
        "postgres_us": round(median(each.us(each.postgres_s) for each in rounds), 1),
        "p50_ms": round(median(each.load.p50_ms for each in rounds), 2),
        "p99_ms": round(median(each.load.p99_ms for each in rounds), 2),
        "mean_ms": round(median(each.load.mean_ms for each in rounds), 2),
        "wrong": sum(each.load.wrong for each in rounds),
    }


def _of(measured: Iterable[Measured], kind: str, side: str, connections: int) -> list[Measured]:
    return [m for m in measured if (m.kind, m.side, m.connections) == (kind, side, connections)]
