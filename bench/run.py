"""One run: submits, then half of the accepted tasks done, polls, then all of them done and the books proved.

The two sides take turns, echo and gateway, round after round, and each ratio is of one round.
"""

import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import figures, machine, wrk
from bench.figures import BASELINE, GATEWAY, HEADLINE, Measured
from bench.gateway import Gateway, open_gateway
from bench.wrk import Target

POLLED = 10_000
WARM = "5eed5eed-0000-4000-8000"
"""All warm-ups submit the same: from the second one on they are mostly replays, and leave few tasks to finish."""
SUBMIT_PATH = "/api/v1/generateTask/seedream-4-5"
STATUS_PATH = "/api/v1/statusTask/seedream-4-5"
BALANCE_PATH = "/api/v1/apikeys/current-balance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How one kind of request is measured."""

    rounds: Mapping[int, int]
    """By number of connections."""
    seconds: float
    """Of each side in each round."""
    warm_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long everything takes."""

    submits: Phase
    polls: Phase
    crowds: Phase
    """Submits of one account alone, and of very many."""
    whole_s: float
    """Tasks that are not finished by then stay unfinished, and are counted."""


# Every accepted task is drawn, checked, stored and charged at the end, which takes many times as long as accepting it:
# so quick submits are short, and most of them are spent on the headline.
NOT = Phase(rounds={}, seconds=0.0, warm_s=0.0)
QUICK = Plan(
    submits=Phase(rounds={32: 1, 64: 5, 256: 1}, seconds=0.2, warm_s=0.3),
    polls=Phase(rounds={32: 2, 64: 5, 256: 2}, seconds=0.5, warm_s=0.5),
    crowds=NOT,
    whole_s=90.0,
)
FULL = Plan(
    submits=Phase(rounds={32: 5, 64: 5, 256: 5}, seconds=2.0, warm_s=1.0),
    polls=Phase(rounds={32: 5, 64: 5, 256: 5}, seconds=3.0, warm_s=1.0),
    crowds=Phase(rounds={32: 5, 256: 5}, seconds=1.0, warm_s=1.5),
    whole_s=1800.0,
)
CROWDS = Plan(
    submits=NOT,
    polls=NOT,
    crowds=Phase(rounds={32: 5, 256: 5}, seconds=0.2, warm_s=1.5),
    whole_s=300.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    name: str
    pids: list[int]
    port: int


async def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """The whole run; everything is in `folder`, which must be empty."""
    started, load_before = time.monotonic(), os.getloadavg()
    end = started + plan.whole_s
    async with (
        open_gateway(folder, many=bool(plan.crowds.rounds)) as gateway,
        gateway.serve() as (pid, port),
        _echo(folder) as echo,
    ):
        sides = [echo, _Side(name=GATEWAY, pids=[pid], port=port)]
        measured = await _submits("submit", plan.submits, gateway, sides, list(gateway.keys.values()))
        if plan.crowds.rounds:
            one = [next(iter(gateway.keys.values()))]
            measured += await _submits("submit_one", plan.crowds, gateway, sides, one)
            measured += await _submits("submit_many", plan.crowds, gateway, sides, gateway.many)
        memory = {"app": machine.memory_mb([pid]), "postgres": machine.memory_mb(gateway.postgres)}
        accepted, _ = await gateway.count()
        answered = sum(each.load.requests for each in measured if each.side == GATEWAY)
        _say(f"{accepted:,} tasks accepted; the first ones are being done")
        await gateway.drain(until=min(POLLED, accepted) // 2, end=end)
        measured += await _polls(plan.polls, gateway, sides)
        accepted, finished = await gateway.count()
        _say(f"{accepted - finished:,} tasks are left to do")
        drain_per_s = await gateway.drain(until=accepted, end=end)
        accepted, finished = await gateway.count()
        findings = await gateway.findings()
        failed = await gateway.failed()
    said = figures.summary(measured)
    wrong = sum(row["wrong"] for row in said["cases"])
    return said | {
        "wrong_answers": wrong,
        "memory": memory,
        "accepted": accepted,
        "lost": max(0, answered - accepted),
        "unfinished": accepted - finished,
        "failed": failed,
        "drain_per_s": round(drain_per_s),
        "ledger_ok": not findings,
        "ledger_findings": findings[:10],
        "ok": not (wrong or findings or failed or answered > accepted),
        "load_average": {"before": load_before[0], "after": os.getloadavg()[0]},
        "seconds": round(time.monotonic() - started, 1),
    }


async def _submits(
    kind: str, phase: Phase, gateway: Gateway, sides: list[_Side], keys: Sequence[str]
) -> list[Measured]:
    if not phase.rounds:
        return []
    lines = gateway.folder / f"{kind}.txt"
    lines.write_text("\n".join(keys) + "\n")
    # Every key is known before its submits are counted, and knowing it costs no task.
    known = Target(kind="balance", port=sides[-1].port, path=BALANCE_PATH, lines=lines)
    await wrk.run(known, connections=HEADLINE, seconds=phase.warm_s)
    return await _measure(kind, phase, gateway, sides, {BASELINE: "/submit", GATEWAY: SUBMIT_PATH}, lines)


async def _polls(phase: Phase, gateway: Gateway, sides: list[_Side]) -> list[Measured]:
    if not phase.rounds:
        return []
    lines = gateway.folder / "tasks.txt"
    lines.write_text("\n".join(await gateway.pick(POLLED)) + "\n")
    return await _measure("poll", phase, gateway, sides, {BASELINE: "/status", GATEWAY: STATUS_PATH}, lines)


async def _measure(
    kind: str, phase: Phase, gateway: Gateway, sides: list[_Side], paths: Mapping[str, str], lines: Path
) -> list[Measured]:
    measured = []
    for connections, rounds in phase.rounds.items():
        _say(f"{kind} over {connections} connections")
        sent = kind.partition("_")[0]
        targets = [(side, Target(kind=sent, port=side.port, path=paths[side.name], lines=lines)) for side in sides]
        for _, target in targets:
            await wrk.run(target, connections=connections, seconds=phase.warm_s, name=WARM)
        for _ in range(rounds):
            for side, target in targets:
                measured.append(await _round(kind, target, side, connections, phase.seconds, gateway))
    return measured


async def _round(
    kind: str, target: Target, side: _Side, connections: int, seconds: float, gateway: Gateway
) -> Measured:
    postgres = gateway.postgres if side.name == GATEWAY else []
    before = machine.cpu_s(side.pids), machine.cpu_s(postgres)
    load = await wrk.run(target, connections=connections, seconds=seconds)
    return Measured(
        kind=kind,
        side=side.name,
        connections=connections,
        load=load,
        app_s=machine.cpu_s(side.pids) - before[0],
        postgres_s=machine.cpu_s(postgres) - before[1],
    )


@asynccontextmanager
async def _echo(folder: Path) -> AsyncIterator[_Side]:
    port = machine.free_port()
    server = [sys.executable, "-m", "uvicorn", "bench.echo:app", "--loop", "uvloop", "--http", "httptools"]
    quiet = ["--no-access-log", "--log-level", "warning", "--port", f"{port}"]
    async with machine.child([*server, *quiet], log=folder / "echo.log") as process:
        await machine.listening(port)
        yield _Side(name=BASELINE, pids=[process.pid], port=port)


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


def report(said: Mapping[str, Any]) -> str:
    """The run for people."""
    memory, targets = said["memory"], figures.TARGETS
    lines = [figures.table(said["cases"]), ""]
    for kind in (kind for kind in targets if f"{kind}_ratio" in said):
        where = f"at {HEADLINE} connections" if f"{HEADLINE}" in said[f"{kind}_ratios"] else "at worst"
        lines.append(f"{kind} {where}: {said[f'{kind}_ratio']:.2f} of the echo (at least {targets[kind]})")
    books = "the books are right" if said["ledger_ok"] else f"THE BOOKS ARE WRONG: {said['ledger_findings']}"
    load = said["load_average"]
    lines += [f"memory of {name}: RSS {each['rss_mb']} MB, PSS {each['pss_mb']} MB" for name, each in memory.items()]
    lines.append(
        f"tasks: {said['accepted']:,} accepted, {said['unfinished']:,} unfinished when time was up,"
        f" {said['failed']:,} failed, {said['lost']:,} lost; {said['drain_per_s']:,} finished in a second"
    )
    lines.append(f"{said['wrong_answers']:,} wrong answers; {books}")
    lines.append(f"load average {load['before']:.1f} before, {load['after']:.1f} after; {said['seconds']} s in all")
    return "\n".join(lines)
