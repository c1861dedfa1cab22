"""The pure model of who is let in; the database is held against it elsewhere."""

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.admission import RETRY_US, AccountState, Books, Code, KeyState, Memory, Request, admit
from seedgate.domain.limits import MINUTE_US, gcra

ACCOUNT, KEY = UUID(int=1), UUID(int=2)


def _books(**key: object) -> Books:
    return Books(
        accounts={ACCOUNT: AccountState(avail_micros=100)},
        keys={KEY: KeyState(account_id=ACCOUNT, **key)},  # type: ignore[arg-type]
        idempotency={},
    )


def _request(number: int, amount: int, **rest: object) -> Request:
    return Request(task_id=UUID(int=number), key_id=KEY, amount_micros=amount, **rest)  # type: ignore[arg-type]


# If this failed, a big request would block the small ones behind it, or arrival order would not count.
def test_decisions_are_greedy_in_arrival_order() -> None:
    decisions, books = admit(_books(), [_request(1, 90), _request(2, 20), _request(3, 10)], now_us=0)
    assert [d.code for d in decisions] == [Code.ACCEPTED, Code.BALANCE, Code.ACCEPTED]
    assert books.accounts[ACCOUNT].avail_micros == 0


# If this failed, a frozen account could still spend.
def test_a_frozen_account_gets_nothing() -> None:
    books = _books()
    books = replace(books, accounts={ACCOUNT: replace(books.accounts[ACCOUNT], frozen=True)})
    decisions, _ = admit(books, [_request(1, 1)], now_us=0)
    assert [d.code for d in decisions] == [Code.FROZEN]


# If this failed, a key could spend more than its budget, or be refused what is left of it.
def test_a_budget_is_spent_exactly() -> None:
    decisions, books = admit(
        _books(budget_micros=50), [_request(n, a) for n, a in enumerate((40, 20, 10, 1))], now_us=0
    )
    assert [d.code for d in decisions] == [Code.ACCEPTED, Code.BUDGET, Code.ACCEPTED, Code.BUDGET]
    assert books.keys[KEY].spent_micros == 50


# If this failed, somebody who means to submit twice would get one picture, or one who retries would pay twice.
def test_without_a_key_only_a_young_retry_is_a_replay() -> None:
    def submit(number: int, memory: Memory) -> Request:
        return _request(number, 1, idempotency_key="=f", memory=memory)

    first = [submit(1, Memory.FRESH), submit(2, Memory.FRESH), submit(3, Memory.RETRY)]
    start = 10 * RETRY_US
    decisions, books = admit(_books(), first, now_us=start)
    assert [(d.code, d.task_id and d.task_id.int) for d in decisions] == [
        (Code.ACCEPTED, 1),
        (Code.ACCEPTED, 2),
        (Code.REPLAY, 2),
    ]
    # What was refused has no answer: its retry is a submit of its own, and not given the earlier one's.
    broke = replace(books, accounts={ACCOUNT: replace(books.accounts[ACCOUNT], frozen=True)})
    _, spoilt = admit(broke, [submit(5, Memory.FRESH)], now_us=start + 1)
    (own,), _ = admit(replace(spoilt, accounts=books.accounts), [submit(6, Memory.RETRY)], now_us=start + 2)
    assert (own.code, own.task_id) == (Code.ACCEPTED, UUID(int=6))
    (young,), _ = admit(books, [submit(4, Memory.RETRY)], now_us=start + RETRY_US - 1)
    (old,), _ = admit(books, [submit(4, Memory.RETRY)], now_us=start + RETRY_US)
    assert (young.code, old.code) == (Code.REPLAY, Code.ACCEPTED)


# If this failed, money could appear or vanish while submits are decided.
@given(
    amounts=st.lists(st.integers(0, 60), max_size=20),
    per_minute=st.none() | st.integers(1, 5),
    concurrent=st.none() | st.integers(1, 5),
    names=st.lists(st.none() | st.sampled_from("ab"), min_size=20, max_size=20),
)
def test_what_is_available_and_held_stays_the_same(
    amounts: list[int], per_minute: int | None, concurrent: int | None, names: list[str | None]
) -> None:
    start = _books(submits_per_minute=per_minute, concurrent_tasks=concurrent)
    batch = [_request(n, a, idempotency_key=name) for n, (a, name) in enumerate(zip(amounts, names, strict=False))]
    decisions, books = admit(start, batch, now_us=10)
    account, key = books.accounts[ACCOUNT], books.keys[KEY]
    taken = [r for r, d in zip(batch, decisions, strict=True) if d.code is Code.ACCEPTED]
    assert account.avail_micros + account.held_micros == 100
    assert account.avail_micros >= 0
    assert account.held_micros == sum(r.amount_micros for r in taken)
    assert account.open_holds == key.open_holds == len(taken)
    assert concurrent is None or len(taken) <= concurrent
    assert per_minute is None or len(taken) <= per_minute
    assert len({r.idempotency_key for r in taken if r.idempotency_key}) == sum(bool(r.idempotency_key) for r in taken)


# If this failed, a clock that is set back would lock everybody out for as long as it was wrong.
def test_a_clock_that_is_set_back_costs_a_minute_at_most() -> None:
    verdict = gcra(tat_us=10 * MINUTE_US, now_us=0, per_minute=60)
    assert 0 < verdict.wait_us <= MINUTE_US
    assert gcra(tat_us=10 * MINUTE_US, now_us=verdict.wait_us + MINUTE_US, per_minute=60).allowed is False
    assert gcra(tat_us=MINUTE_US, now_us=MINUTE_US, per_minute=60).allowed


# If this failed, a key could submit more in some minute than it may.
@given(per_minute=st.integers(1, 100_000), gaps=st.lists(st.integers(0, 5_000_000), max_size=80))
def test_no_window_of_a_minute_has_more_than_twice_the_rate(per_minute: int, gaps: list[int]) -> None:
    tat, now, allowed = 0, 0, []
    for gap in gaps:
        now += gap
        verdict = gcra(tat_us=tat, now_us=now, per_minute=per_minute)
        if verdict.allowed:
            tat = verdict.tat_us
            allowed.append(now)
        else:
            # Whoever waits as long as it is told gets in.
            assert gcra(tat_us=tat, now_us=now + verdict.wait_us, per_minute=per_minute).allowed
            assert not gcra(tat_us=tat, now_us=now + verdict.wait_us - 1, per_minute=per_minute).allowed
    for start in allowed:
        window = [at for at in allowed if start <= at < start + MINUTE_US]
        assert len(window) <= 2 * per_minute
