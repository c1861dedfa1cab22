"""Statements: exact for any history, any window, any page; and what is sent of them can be read again."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from world import PRICE, World, model_database

from seedgate.accounts import statement as forms
from seedgate.accounts.credits import debit, grant
from seedgate.accounts.statement import Scope, as_csv, as_json, open_statement
from seedgate.domain.errors import InsufficientBalance, InvalidRequest, OperatorError
from seedgate.domain.ledger import Entry
from seedgate.domain.money import micros
from seedgate.domain.reason import Reason
from seedgate.domain.statement import Balance, Line
from seedgate.store.database import Database
from seedgate.store.finish import SlotEnding, finish_slots

_STEPS = st.lists(
    st.tuples(st.just("grant"), st.integers(1, 5 * PRICE))
    | st.tuples(st.just("debit"), st.integers(1, 3 * PRICE))
    | st.tuples(st.just("submit"), st.integers(1, 3))
    | st.tuples(st.just("end"), st.integers(0, 3)),
    max_size=14,
)


class History:
    """An account's life, by the functions that the product uses."""

    def __init__(self, world: World, account: UUID, key: UUID) -> None:
        self.world, self.account, self.key = world, account, key
        self.open: list[tuple[UUID, int]] = []

    async def step(self, what: str, number: int) -> None:
        match what:
            case "grant":
                await self.adjust(grant, number)
            case "debit":
                try:
                    await self.adjust(debit, number)
                except InsufficientBalance:
                    pass
            case "submit":
                # Two of one batch have one time, so that their order is that of their ids.
                tasks = [self.world.task(self.account, self.key, pictures=number) for _ in range(2)]
                verdicts = await self.world.accept(*tasks)
                self.open += [(t.id, number) for t, v in zip(tasks, verdicts, strict=True) if v.answer]
            case "end" if self.open:
                await self.end(*self.open.pop(0), delivered=number)

    async def adjust(self, move: Any, amount: int, reason: str = "test") -> None:
        await move(
            self.world.database,
            self.world.ids,
            account=self.account.hex,
            amount_micros=amount,
            reason=reason,
            actor="test",
        )

    async def end(self, task_id: UUID, pictures: int, *, delivered: int) -> None:
        delivered = min(delivered, pictures)
        async with self.world.database.write() as tx:
            for ordinal in range(delivered):
                await tx.execute(
                    "INSERT INTO image (task_id, ordinal, slot, epoch, name, format, width, height, size_bytes, sha256,"
                    " at) VALUES ($1, $2, 0, 1, $3, 'jpeg', 8, 8, 1, $4, seedgate_now())",
                    task_id,
                    ordinal,
                    f"{self.world.ids.token()}.jpg",
                    b"s" * 32,
                )
        ending = SlotEnding(
            task_id=task_id, ordinal=0, epoch=None, reason=None if delivered else Reason.CONTENT_REFUSED
        )
        assert await finish_slots(self.world.database.work_lane, [ending]) == [True]


async def begin(world: World, *, credit: int = 0) -> History:
    account = await world.account(credit=credit)
    return History(world, account, await world.key(account))


async def read(history: History, scope: Scope) -> tuple[forms.Statement, list[Line]]:
    async with open_statement(history.world.database, history.account, scope) as statement:
        return statement, [made async for made in statement.lines()]


async def whole(pieces: AsyncIterator[str]) -> str:
    return "".join([piece async for piece in pieces])


async def booked(history: History, condition: str, *moments: datetime) -> Balance:
    """What the postings themselves say, asked without any of the code under test."""
    (row,) = await history.world.database.fetch(
        "SELECT coalesce(sum(amount_micros) FILTER (WHERE book = 1), 0)::bigint AS available,"
        f" coalesce(sum(amount_micros) FILTER (WHERE book = 2), 0)::bigint AS held FROM posting"
        f" WHERE account_id = $1 AND {condition}",
        history.account,
        *moments,
    )
    return Balance(available_micros=row["available"], held_micros=row["held"])


# If this failed, a customer's accountant would add up a statement and find us wrong.
@given(steps=_STEPS, cuts=st.tuples(st.integers(0, 40), st.integers(0, 40)), page=st.integers(1, 7))
@example(steps=[("grant", 9 * PRICE), ("submit", 3), ("end", 2), ("debit", PRICE), ("end", 0)], cuts=(1, 3), page=2)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_window_of_any_history_adds_up(steps: Any, cuts: tuple[int, int], page: int, server) -> None:
    asyncio.run(_any_window(steps, cuts, page, server))


async def _any_window(steps: Any, cuts: tuple[int, int], page: int, server) -> None:
    database = Database(server.dsn(await model_database(server)))
    try:
        history = await begin(World(database))
        for step in steps:
            await history.step(*step)
        statement, lines = await read(history, Scope())
        available, held, _ = await history.world.balance(history.account)
        assert (statement.opening, statement.closing) == (
            Balance(),
            Balance(available_micros=available, held_micros=held),
        )
        assert statement.closing == await booked(history, "true")
        assert len({made.movement.position for made in lines}) * 2 == await _postings(history)
        _check_sum(statement, lines)
        # Cuts at the entries' own times, where one that is included or left out by mistake shows.
        moments = sorted({made.movement.at for made in lines})
        if moments:
            await _check_windows(history, lines, sorted(moments[cut % len(moments)] for cut in cuts))
        for newest_first in (False, True):
            await _check_pages(history, lines[::-1] if newest_first else lines, newest_first, page)
    finally:
        await database.close()


async def _postings(history: History) -> int:
    rows = await history.world.database.fetch("SELECT 1 FROM posting WHERE account_id = $1", history.account)
    return len(rows)


def _check_sum(statement: forms.Statement, lines: list[Line]) -> None:
    assert statement.opening + sum((made.change for made in lines), Balance()) == statement.closing
    moved = dict.fromkeys(Entry, 0)
    for made in lines:
        moved[made.movement.entry] += made.movement.amount_micros
    assert {kind: statement.moved[kind] for kind in Entry} == moved


async def _check_windows(history: History, lines: list[Line], cuts: list[datetime]) -> None:
    since, until = cuts
    for newest_first in (False, True):
        _, older = await read(history, Scope(until=since, newest_first=newest_first))
        parts = older
        if since < until:
            statement, within = await read(history, Scope(since=since, until=until, newest_first=newest_first))
            assert statement.opening == await booked(history, "at < $2", since)
            assert statement.closing == await booked(history, "at < $2", until)
            _check_sum(statement, within)
            parts = within + older if newest_first else older + within
        statement, newer = await read(history, Scope(since=until, newest_first=newest_first))
        assert statement.opening == await booked(history, "at < $2", until)
        parts = newer + parts if newest_first else parts + newer
        assert parts == (lines[::-1] if newest_first else lines)


async def _check_pages(history: History, lines: list[Line], newest_first: bool, page: int) -> None:
    shown: list[Line] = []
    scope = Scope(newest_first=newest_first, limit=page)
    for _ in range(len(lines) + 1):
        statement, part = await read(history, scope)
        _check_sum(statement, part)
        shown += part
        if statement.next is None:
            break
        assert len(part) == page
        scope = Scope(newest_first=newest_first, limit=page, after=statement.next)
    assert shown == lines


# If this failed, what happened days after a submit would be missing from the statement of its own days.
async def test_a_task_that_ends_late_stands_where_it_ended(world: World) -> None:
    history = await begin(world, credit=10 * PRICE)
    await history.step("submit", 2)
    async with world.database.write() as tx:
        await tx.execute("UPDATE clock SET shift = '3 days'")
    await history.step("end", 1)
    (row,) = await world.database.fetch("SELECT seedgate_now() AS now")
    statement, lines = await read(history, Scope(since=row["now"] - timedelta(days=2)))
    assert [made.movement.entry for made in lines] == [Entry.CHARGE, Entry.RELEASE]
    assert statement.opening == Balance(available_micros=6 * PRICE, held_micros=4 * PRICE)
    assert statement.closing == Balance(available_micros=7 * PRICE, held_micros=2 * PRICE)


# If this failed, what happens while a long statement is read would bring it out of balance.
async def test_a_statement_is_of_one_moment(world: World) -> None:
    history = await begin(world, credit=PRICE)
    for newest_first in (False, True):
        async with open_statement(world.database, history.account, Scope(newest_first=newest_first)) as statement:
            await history.step("grant", 1)
            lines = [made async for made in statement.lines()]
        assert len(lines) == 1 + newest_first
        assert statement.opening == Balance()
        assert statement.closing == statement.now.balance


# If this failed, a customer would be sent a statement from books that are wrong.
async def test_books_that_do_not_add_up_give_no_statement(world: World) -> None:
    history = await begin(world, credit=PRICE)
    async with world.database.write() as tx:
        await tx.execute("UPDATE account SET avail_micros = avail_micros + 1")
    for newest_first in (False, True):
        with pytest.raises(OperatorError) as raised:
            await read(history, Scope(newest_first=newest_first))
        assert "ledger check" in raised.value.hint


# If this failed, a statement of nothing would be an error, or one that cannot be would be empty.
async def test_what_a_statement_can_be_about(world: World) -> None:
    history = await begin(world)
    statement, lines = await read(history, Scope())
    assert (lines, statement.opening, statement.closing) == ([], Balance(), Balance())
    at = statement.now.at
    for wrong in ({"since": at, "until": at}, {"since": at, "until": at - timedelta(1)}, {"limit": 0}):
        with pytest.raises(InvalidRequest):
            Scope(**wrong)


HOSTILE = [
    "=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", " =1", "\t=1", "\r=1", "\n=1", "＝1", "'", "'=1", "''", "a\r\nb",
    'say "hi", then go', ",", '"', "plain", "ü – 🦊", "-", "a=1",
]  # fmt: skip


# If this failed, a reason could run a formula in the accountant's spreadsheet, or come out as another one.
async def test_csv_is_read_back_with_hostile_reasons(world: World) -> None:
    history = await begin(world)
    for number, reason in enumerate(HOSTILE, 1):
        await history.adjust(grant, number * 1_000_000 + 1, reason)
    await history.step("submit", 1)
    async with open_statement(world.database, history.account, Scope()) as statement:
        text = await whole(as_csv(statement))
    assert text.count("\r\n") == len(HOSTILE) + 5 + sum(reason.count("\r\n") for reason in HOSTILE)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    opening, *lines, closing = rows
    assert (opening["entry"], closing["entry"]) == ("opening", "closing")
    assert [_unquoted(row["reason"]) for row in lines[: len(HOSTILE)]] == HOSTILE
    assert not any(row["reason"].lstrip().startswith(tuple("=+-@＝\t\r\n")) for row in lines)
    assert [row["reason"] for row in lines][-4:-2] == ["'-", "a=1"]
    for name in ("available", "held"):
        changes = sum(_signed(row[f"{name}_change"]) for row in lines)
        assert _signed(opening[name]) + changes == _signed(closing[name])
    assert [bool(row["task_id"]) for row in lines] == [False] * len(HOSTILE) + [True] * 2
    assert all(bool(row["task_id"]) != bool(row["adjustment_id"]) for row in lines)
    assert all(datetime.fromisoformat(row["at"]).utcoffset() == timedelta(0) for row in lines)


# If this failed, one spelling of a formula would be forgotten, or two texts would become one.
@given(st.text() | st.tuples(st.sampled_from(HOSTILE), st.text()).map("".join))
def test_harmless_text_is_told_apart(text: str) -> None:
    shown = forms._harmless(text)
    assert _unquoted(shown) == text
    assert not shown.lstrip().startswith(forms._FORMULA)


def _unquoted(cell: str) -> str:
    return cell.removeprefix("'")


def _signed(text: str) -> int:
    return -micros(text[1:]) if text.startswith("-") else micros(text)


# If this failed, a program would read other amounts than a person, or an unfinished document.
async def test_json_says_the_same_as_the_lines(world: World) -> None:
    history = await begin(world, credit=10 * PRICE)
    await history.step("submit", 2)
    await history.step("end", 1)
    async with open_statement(world.database, history.account, Scope(newest_first=True, limit=3)) as statement:
        document = json.loads(await whole(as_json(statement)))
    assert [entry["entry"] for entry in document["entries"]] == ["release", "charge", "hold"]
    assert [entry["after"]["available_micros"] // PRICE for entry in document["entries"]] == [7, 6, 6]
    assert document["closing"].items() >= {"available_micros": 7 * PRICE, "held_micros": 2 * PRICE}.items()
    assert document["opening"].items() >= {"available_micros": 8 * PRICE, "balance_micros": 10 * PRICE}.items()
    assert document["totals"] == {
        "hold_micros": 2 * PRICE, "charge_micros": PRICE, "release_micros": PRICE, "grant_micros": 0, "debit_micros": 0
    }  # fmt: skip
    assert document["next_cursor"] == str(statement.next) != "None"
    assert (document["account"], document["mode"], document["since"]) == (history.account.hex, "test", None)
