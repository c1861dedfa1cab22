"""The races, run by several connections against T1 as it is, and against T1 as somebody would write it in a hurry."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
from faults import definition
from races import RACES, Ask, Told, Who
from world import PRICE, World

from seedgate.domain.admission import Code, Memory
from seedgate.domain.errors import SeedgateError
from seedgate.store.accept import NewTask
from seedgate.store.database import Database

CONNECTIONS = 4
BATCH = 4
PAUSE = "    PERFORM pg_sleep(0.003);\n"
"""Between reading and deciding, in the true function and in each of its mutants, so that they all meet there."""
DECIDE = "    FOR i IN 1 .. cardinality(ids) LOOP\n"
ROUNDS = 10
"""How often a mutant may have luck."""

_LOCK = "ORDER BY id FOR UPDATE) s;"
_KEYS = "    -- Statements of their own, so that each sees what was committed while the lock was awaited.\n"
_LATE_LOCK = "    PERFORM 1 FROM account WHERE id = ANY (accounts) ORDER BY id FOR UPDATE;\n"
_IDEM_FROM, _IDEM_TO = "    moment := seedgate_now();\n", "    hit_index := array_fill"

Edits = Sequence[tuple[str, str]]

# What somebody forgot: where it is in the function, what stands there then, and the races that must notice.
MUTANTS: dict[str, tuple[Edits, Sequence[str]]] = {
    "no lock": (
        [(_LOCK, "ORDER BY id) s;")],
        ["last_credits", "slots_of_a_key", "slots_of_an_account", "budget", "rate_of_a_key", "unmarked_retries"],
    ),
    "everything is read before the lock": (
        [(_LOCK, "ORDER BY id) s;"), (DECIDE, _LATE_LOCK + DECIDE)],
        ["last_credits", "slots_of_a_key", "slots_of_an_account", "budget", "rate_of_an_account"],
    ),
    "the account is read before the lock": (
        [(_LOCK, "ORDER BY id) s;"), (_KEYS, PAUSE + _LATE_LOCK + _KEYS)],
        ["last_credits", "slots_of_an_account", "rate_of_an_account"],
    ),
    "balance is not looked at": ([("IF avail[a] - spent[a] < amount THEN", "IF false THEN")], ["last_credits"]),
    "balance is not spent within a batch": (
        [("spent[a] := spent[a] + amount;", "NULL;")],
        ["last_credits"],
    ),
    "the account's tasks are not counted": (
        [("acc_open[a] + acc_new[a] >= acc_limit[a] OR", "")],
        ["slots_of_an_account"],
    ),
    "the key's tasks are not counted within a batch": (
        [("key_open[k] + key_new[k] >= key_limit[k] THEN", "key_open[k] >= key_limit[k] THEN")],
        ["slots_of_a_key"],
    ),
    "the key's tasks are not kept": (
        [("open_holds = open_holds + key_new[array_position(keys, key_id)],", "")],
        ["slots_of_a_key"],
    ),
    "budget is ignored": ([("IF budget[k] - key_spent[k] < amount THEN", "IF false THEN")], ["budget"]),
    "budget is not spent": (
        [("spent_micros = spent_micros + key_spent[array_position(keys, key_id)],", "")],
        ["budget"],
    ),
    "the key's rate is not written": (
        [(",\n                         tat_us = tat[array_position(keys, key_id)]", "")],
        ["rate_of_a_key"],
    ),
    "the account's rate is not written": (
        [(",\n                       tat_us = acc_tat[array_position(accounts, id)]", "")],
        ["rate_of_an_account"],
    ),
    "idempotency is looked up before the lock": ([], ["unmarked_retries"]),
    "a name within a batch is not seen": (
        [("IF o IS NOT NULL THEN", "IF false THEN")],
        ["one_name", "unmarked_retries"],
    ),
    "the body under a name is not compared": (
        [
            ("CASE WHEN fingerprints[o] = fingerprints[i] THEN 1 ELSE 2 END", "1"),
            ("CASE WHEN hit_fingerprints[h] = fingerprints[i] THEN 1 ELSE 2 END", "1"),
        ],
        ["one_name_and_many_bodies"],
    ),
    "a retry is a submit of its own": ([("IF memories[i] <> 1 THEN", "IF memories[i] = 0 THEN")], ["unmarked_retries"]),
    "what is no retry is taken for one": (
        [("IF memories[i] <> 1 THEN", "IF true THEN"), ("AND u.m <> 1;", ";")],
        ["retries_beside_new_ones"],
    ),
}


@dataclass
class Lanes:
    """See `races.Arena`: small batches, over several connections at once, as the combiners of several processes."""

    world: World
    connections: Sequence[World]
    price: int = PRICE

    async def key(self, account_id: UUID, **limits: int) -> Who:
        key_id = await self.world.key(account_id, **limits)
        return Who(account_id=account_id, key_id=key_id, key="")

    async def rush(self, asks: Sequence[Ask]) -> list[Told]:
        told: dict[int, Told] = {}

        async def run(at: int, through: World) -> None:
            mine = range(at, len(asks), CONNECTIONS)
            for first in range(0, len(mine), BATCH):
                positions = mine[first : first + BATCH]
                verdicts = await through.accept(*(self._task(asks[position]) for position in positions))
                for position, verdict in zip(positions, verdicts, strict=True):
                    refusal = () if verdict.answer else (verdict.code,)
                    told[position] = Told(
                        refusal=refusal, answer=verdict.answer or b"", replayed=verdict.code is Code.REPLAY
                    )

        await asyncio.gather(*(run(at, through) for at, through in enumerate(self.connections)))
        return [told[position] for position in range(len(asks))]

    def _task(self, ask: Ask) -> NewTask:
        task_id = self.world.ids.new()
        content = ask.content.to_bytes(32, "big")
        return self.world.task(
            ask.who.account_id,
            ask.who.key_id,
            id=task_id,
            answer=task_id.bytes,
            idempotency_key=f"a\n{ask.name}" if ask.name else f"a\t{content.hex()}",
            memory=Memory.NAMED if ask.name else Memory.RETRY if ask.retry else Memory.FRESH,
            fingerprint=content,
        )


@pytest.fixture
async def lanes(world: World) -> AsyncIterator[Lanes]:
    databases = [Database(world.database._dsn) for _ in range(CONNECTIONS)]
    yield Lanes(world, [World(database) for database in databases])
    for database in databases:
        await database.close()


def _edited(whole: str, edits: Edits) -> str:
    for old, new in edits:
        assert whole.count(old) >= 1, old
        whole = whole.replace(old, new)
    return whole


def _hasty(name: str, whole: str) -> str:
    """The function as a mutant, slowed down like the true one."""
    whole = _edited(whole, [(DECIDE, PAUSE + DECIDE)])
    if name == "idempotency is looked up before the lock":
        start, end = whole.index(_IDEM_FROM), whole.index(_IDEM_TO)
        looked_up, whole = whole[start:end], whole[:start] + whole[end:]
        return whole.replace("\nBEGIN\n", "\nBEGIN\n" + looked_up, 1)
    return _edited(whole, MUTANTS[name][0]) if name else whole


async def _become(world: World, text: str) -> None:
    async with world.database.write() as tx:
        await tx.execute(text)


# If this failed, the races would find fault with what is right, and prove nothing.
@pytest.mark.parametrize("race", RACES)
async def test_the_true_function_wins_every_race(race: str, lanes: Lanes) -> None:
    await _become(lanes.world, _hasty("", await definition(lanes.world.database, "accept_tasks")))
    for _ in range(2):
        await RACES[race](lanes)


# If this failed, the races would be won by luck: somebody could take a lock or a limit away and nobody would notice.
@pytest.mark.parametrize("name", MUTANTS)
async def test_every_naive_variant_loses_its_races(name: str, lanes: Lanes) -> None:
    await _become(lanes.world, _hasty(name, await definition(lanes.world.database, "accept_tasks")))
    # Alone, it does what it should: what it loses by is the race, and no slip of the pen.
    account = await lanes.world.account(concurrent=1, per_minute=1)
    alone = await lanes.key(account, budget=PRICE)
    assert [told.refusal for told in await lanes.rush([Ask(who=alone)])] == [()]
    lucky = [race for race in MUTANTS[name][1] if not await _loses(lanes, race)]
    assert lucky == []


async def _loses(lanes: Lanes, race: str) -> bool:
    for _ in range(ROUNDS):
        try:
            await RACES[race](lanes)
        except (AssertionError, SeedgateError, asyncpg.IntegrityConstraintViolationError):
            return True
    return False
