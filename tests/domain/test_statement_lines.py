"""A line leads from one balance to the next, whichever way it is read."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.ledger import Book, Entry, entry
from seedgate.domain.statement import Balance, Movement, Position, effect, line

_MOVEMENTS = st.lists(
    st.builds(
        Movement,
        at=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
        subject_id=st.uuids(),
        entry=st.sampled_from(Entry),
        amount_micros=st.integers(0, 10**15),
    ),
    max_size=20,
)


# If this failed, a statement would show another change than the postings booked.
@given(kind=st.sampled_from(Entry), amount=st.integers(0, 10**15))
def test_an_effect_is_that_of_its_postings(kind: Entry, amount: int) -> None:
    booked = dict.fromkeys(Book, 0)
    for posting in entry(kind, subject_id=UUID(int=1), account_id=UUID(int=2), amount_micros=amount):
        booked[posting.book] += posting.amount_micros
    change = effect(kind, amount)
    assert (change.available_micros, change.held_micros) == (booked[Book.AVAILABLE], booked[Book.HELD])
    assert change.micros == -booked[Book.REVENUE] - booked[Book.FUNDING]


# If this failed, opening and changes would not make up closing, or the order would change the balances.
@given(movements=_MOVEMENTS, available=st.integers(0, 10**15), held=st.integers(0, 10**15))
def test_both_ways_give_the_same_lines(movements: list[Movement], available: int, held: int) -> None:
    opening = reached = Balance(available_micros=available, held_micros=held)
    lines = []
    for movement in movements:
        made, reached = line(movement, reached, newest_first=False)
        lines.append(made)
    assert reached == sum((made.change for made in lines), opening)
    back = []
    for movement in reversed(movements):
        made, reached = line(movement, reached, newest_first=True)
        back.append(made)
    assert (reached, back[::-1]) == (opening, lines)


# If this failed, a page would go on at another line than where the last one ended.
@given(movements=_MOVEMENTS)
def test_a_position_is_read_back(movements: list[Movement]) -> None:
    for movement in movements:
        assert Position.parse(str(movement.position)) == movement.position


# If this failed, a position that somebody made up would be a bug of ours instead of a mistake of his.
@pytest.mark.parametrize(
    "text",
    ["", "_", "__", "2026-01-01_1_hold", f"x_{UUID(int=1)}_hold",
     f"0001-01-01T00:00:00+14:00_{UUID(int=1)}_hold", f"2026-01-01T00:00:00+00:00_{UUID(int=1)}_theft", f"2026-01-01T00:00:00+00:00_{UUID(int=1)}_hold_"],
)  # fmt: skip
def test_what_is_no_position(text: str) -> None:
    with pytest.raises(ValueError):
        Position.parse(text)


# If this failed, entries of one moment would stand in another order here than in the database.
@given(ids=st.lists(st.uuids(), min_size=2, max_size=2))
def test_positions_are_ordered_like_the_database_orders_them(ids: list[UUID]) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    first, second = (Position(at, subject_id, 1) for subject_id in ids)
    assert (first < second) == (ids[0].bytes < ids[1].bytes)
    assert Position(at, ids[0], 3) < Position(at + timedelta(microseconds=1), ids[1], 1)
