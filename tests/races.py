"""What must hold however many submit at the same time: written once, for callers over HTTP and for the bare store."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from world import World

from seedgate.domain.admission import Code

CALLERS = 64


@dataclass(frozen=True, kw_only=True)
class Who:
    """A key of an account, as the contestants use it."""

    account_id: UUID
    key_id: UUID
    key: str


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One submit of one picture. Equal `content` is an equal body; `name` is an idempotency key."""

    who: Who
    content: int = 0
    name: str | None = None
    retry: bool = False


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a caller was told. `refusal` is what the answer may stand for; empty when it is a task's."""

    refusal: Collection[Code] = ()
    answer: bytes = b""
    replayed: bool = False


class Arena(Protocol):
    """Where the contestants meet."""

    world: World
    price: int

    async def key(self, account_id: UUID, **limits: int) -> Who:
        """A new key, with limits as `World.key` takes them."""
        ...

    async def rush(self, asks: Sequence[Ask]) -> list[Told]:
        """All of them at once, over several processes or connections. Raises what is no answer at all."""
        ...


Race = Callable[[Arena], Awaitable[None]]


async def last_credits(arena: Arena) -> None:
    price = arena.price
    account = await arena.world.account(credit=10 * price + price // 2)
    whos = [await arena.key(account) for _ in range(2)]
    told = await arena.rush(_each(whos))
    assert _accepted(told, Code.BALANCE) == 10
    available, _, _ = await arena.world.balance(account)
    assert available == price // 2
    await _agree(arena, account, told)


async def slots_of_a_key(arena: Arena) -> None:
    account = await arena.world.account()
    limited, free = await arena.key(account, concurrent=7), await arena.key(account)
    told = await arena.rush(_each([limited, free]))
    assert _accepted(told[::2], Code.CONCURRENCY) == 7
    assert _accepted(told[1::2], Code.CONCURRENCY) == CALLERS // 2
    await _agree(arena, account, told)


async def slots_of_an_account(arena: Arena) -> None:
    account = await arena.world.account(concurrent=9)
    told = await arena.rush(_each([await arena.key(account) for _ in range(3)]))
    assert _accepted(told, Code.CONCURRENCY) == 9
    await _agree(arena, account, told)


async def budget(arena: Arena) -> None:
    account = await arena.world.account()
    told = await arena.rush(_each([await arena.key(account, budget=5 * arena.price + 1)]))
    assert _accepted(told, Code.BUDGET) == 5
    await _agree(arena, account, told)


async def rate_of_a_key(arena: Arena) -> None:
    account = await arena.world.account()
    await _rate(arena, [await arena.key(account, per_minute=6)])


async def rate_of_an_account(arena: Arena) -> None:
    account = await arena.world.account(per_minute=6)
    await _rate(arena, [await arena.key(account) for _ in range(3)])


async def _rate(arena: Arena, whos: Sequence[Who]) -> None:
    """A burst of six, then one every ten seconds; the time is the database's, so that nobody waits."""
    told = []
    for pause_s, expected in ((0, 6), (25, 2), (600, 6)):
        async with arena.world.database.write() as tx:
            await tx.execute("UPDATE clock SET shift = shift + make_interval(secs => $1)", float(pause_s))
        burst = await arena.rush(_each(whos))
        assert _accepted(burst, Code.RATE) == expected
        told += burst
    await _agree(arena, whos[0].account_id, told)


async def one_name(arena: Arena) -> None:
    account = await arena.world.account(credit=arena.price)
    told = await arena.rush([Ask(who=await arena.key(account), name="once")] * CALLERS)
    assert _accepted(told, Code.KEY_REUSED) == CALLERS
    assert len({each.answer for each in told}) == 1
    assert sum(not each.replayed for each in told) == 1
    await _agree(arena, account, told)


async def one_name_and_many_bodies(arena: Arena) -> None:
    account = await arena.world.account(credit=2 * arena.price)
    who = await arena.key(account)
    asks = [Ask(who=who, content=number % 8, name="once") for number in range(CALLERS)]
    told = await arena.rush(asks)
    assert _accepted(told, Code.KEY_REUSED) == CALLERS // 8
    assert len({ask.content for ask, each in zip(asks, told, strict=True) if not each.refusal}) == 1
    assert sum(not each.refusal and not each.replayed for each in told) == 1
    await _agree(arena, account, told)


async def unmarked_retries(arena: Arena) -> None:
    account = await arena.world.account(credit=arena.price)
    told = await arena.rush([Ask(who=await arena.key(account), retry=True)] * CALLERS)
    assert _accepted(told, Code.BALANCE) == CALLERS
    assert sum(not each.replayed for each in told) == 1
    await _agree(arena, account, told)


async def retries_beside_new_ones(arena: Arena) -> None:
    """Whoever does not say that it retries means another task; whoever does gets one of theirs."""
    account = await arena.world.account(credit=9 * arena.price)
    who = await arena.key(account)
    first = await arena.rush([Ask(who=who)])
    told = await arena.rush([Ask(who=who, retry=number % 8 != 0) for number in range(CALLERS)])
    assert _accepted(told, Code.BALANCE) == CALLERS
    assert [each.replayed for each in told] == [number % 8 != 0 for number in range(CALLERS)]
    assert {each.answer for each in told} <= {each.answer for each in first + told if not each.replayed}
    await _agree(arena, account, first + told)


RACES: dict[str, Race] = {
    race.__name__: race
    for race in (
        last_credits,
        slots_of_a_key,
        slots_of_an_account,
        budget,
        rate_of_a_key,
        rate_of_an_account,
        one_name,
        one_name_and_many_bodies,
        unmarked_retries,
        retries_beside_new_ones,
    )
}


def _each(whos: Sequence[Who]) -> list[Ask]:
    """All callers over these keys in turn, each with a body of its own."""
    return [Ask(who=whos[number % len(whos)], content=number) for number in range(CALLERS)]


def _accepted(told: Sequence[Told], refusal: Code) -> int:
    """How many were let in, those that were answered with an earlier task included; the rest had this one reason."""
    others = Counter(tuple(each.refusal) for each in told if each.refusal and refusal not in each.refusal)
    assert not others, others
    return sum(not each.refusal for each in told)


async def _agree(arena: Arena, account: UUID, told: Sequence[Told]) -> None:
    """As many tasks as answers that are not somebody else's, and books that prove."""
    rows = await arena.world.database.fetch("SELECT count(*) AS n FROM task WHERE account_id = $1", account)
    assert rows[0]["n"] == len({each.answer for each in told if not each.refusal})
    assert min(await arena.world.balance(account)) >= 0
    assert await arena.world.findings() == []
