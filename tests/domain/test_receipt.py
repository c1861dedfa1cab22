"""Receipts add up, or there is none."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.errors import QuotaExceeded, UnbalancedEntry
from seedgate.domain.ledger import Entry, entry, settle
from seedgate.domain.quota import Quota, Usage
from seedgate.domain.receipt import Delivered, Posted, Share, receipt
from seedgate.domain.slot import SlotState
from seedgate.domain.waiting import Wait, why

SOMEBODY = UUID(int=1)
prices = st.integers(0, 10**9)


def posted(kind: Entry, amount: int) -> list[Posted]:
    both = entry(kind, subject_id=SOMEBODY, account_id=SOMEBODY, amount_micros=amount)
    return [Posted(entry=p.entry, side=p.side, amount_micros=p.amount_micros) for p in both]


def books(*, price: int, pictures: int, delivered: int | None) -> list[Posted]:
    """What T1 and T4 post; nothing is charged or released where nothing is."""
    postings = posted(Entry.HOLD, price * pictures)
    if delivered is not None:
        done = settle(held_micros=price * pictures, unit_price_micros=price, delivered=delivered)
        for kind, amount in ((Entry.CHARGE, done.charge_micros), (Entry.RELEASE, done.release_micros)):
            postings += posted(kind, amount) if amount else []
    return postings


@st.composite
def tasks(draw):
    """Price, slots and which pictures came."""
    price, sizes = draw(prices), draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    shares = [
        Share(slot=at, first_picture=start, pictures=size, reason=draw(st.sampled_from([None, "deadline"])))
        for at, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]
    came = draw(st.sets(st.integers(0, sum(sizes) - 1)))
    slots = {picture: share.slot for share in shares for picture in range(share.first_picture, share.first_picture + share.pictures)}  # fmt: skip
    delivered = [Delivered(picture=p, slot=slots[p], epoch=draw(st.integers(1, 9))) for p in sorted(came)]
    return price, draw(st.permutations(shares)), draw(st.permutations(delivered)), sum(sizes)


# If this failed, a caller would be shown another bill than the ledger's.
@given(task=tasks())
def test_a_receipt_is_the_ledger_picture_by_picture(task):
    price, shares, delivered, pictures = task
    postings = books(price=price, pictures=pictures, delivered=len(delivered))
    made = receipt(unit_price_micros=price, ended=True, postings=postings, shares=shares, delivered=delivered)
    assert made.charged_micros + made.released_micros == made.held_micros == price * pictures
    assert sum(line.charged_micros for line in made.lines) == made.charged_micros
    assert sum(line.released_micros for line in made.lines) == made.released_micros
    assert [line.picture for line in made.lines] == list(range(pictures))
    assert {line.picture: line.epoch for line in made.lines if line.epoch is not None} == {
        each.picture: each.epoch for each in delivered
    }
    assert all(line.reason or line.message for line in made.lines if line.epoch is None)


# If this failed, an open task would look paid, or its hold be hidden.
@given(task=tasks())
def test_an_open_task_has_only_its_hold(task):
    price, shares, delivered, pictures = task
    postings = books(price=price, pictures=pictures, delivered=None)
    made = receipt(unit_price_micros=price, ended=False, postings=postings, shares=shares, delivered=delivered)
    assert (made.held_micros, made.charged_micros, made.released_micros) == (price * pictures, None, None)
    assert {(line.charged_micros, line.released_micros) for line in made.lines} == {(None, None)}


# If this failed, wrong books would be printed as a receipt.
@given(task=tasks(), data=st.data())
def test_books_that_do_not_add_up_give_no_receipt(task, data):
    price, shares, delivered, pictures = task
    price += 1
    postings = books(price=price, pictures=pictures, delivered=len(delivered))
    at = data.draw(st.integers(0, len(postings) - 1))
    broken = data.draw(
        st.sampled_from(
            [
                postings[:at] + postings[at + 1 :],
                [*postings, postings[at]],
                [Posted(entry=p.entry, side=p.side, amount_micros=p.amount_micros + (at == i)) for i, p in enumerate(postings)],
            ]
        )
    )  # fmt: skip
    with pytest.raises(UnbalancedEntry):
        receipt(unit_price_micros=price, ended=True, postings=broken, shares=shares, delivered=delivered)


# If this failed, a picture could be charged twice, or one that nobody asked for, or an open task.
def test_pictures_that_contradict_the_books_give_no_receipt():
    share = Share(slot=0, first_picture=0, pictures=1)
    paid = books(price=5, pictures=1, delivered=1)
    for ended, postings, delivered in (
        (True, paid, [0, 0]),
        (True, paid, [1]),
        (True, paid, []),
        (False, paid, [0]),
    ):
        with pytest.raises(UnbalancedEntry):
            receipt(
                unit_price_micros=5,
                ended=ended,
                postings=postings,
                shares=[share],
                delivered=[Delivered(picture=p, slot=0, epoch=1) for p in delivered],
            )


# If this failed, an account could keep more than it may, or be refused what fits.
@given(
    quota=st.tuples(st.integers(0, 5), st.integers(0, 50)),
    used=st.tuples(st.integers(0, 6), st.integers(0, 60)),
    more=st.integers(1, 50),
)
def test_a_file_fits_exactly_within_the_quota(quota, used, more):
    in_number, in_bytes = quota[0] in {0, *range(used[0] + 1, 9)}, quota[1] == 0 or used[1] + more <= quota[1]
    fits = in_number and in_bytes
    limits, usage = Quota(files=quota[0], size_bytes=quota[1]), Usage(files=used[0], size_bytes=used[1])
    if fits:
        limits.check(usage, more_bytes=more)
        return
    with pytest.raises(QuotaExceeded) as caught:
        limits.check(usage, more_bytes=more)
    assert caught.value.param == ("file_bytes_per_account" if in_number else "files_per_account")


# If this failed, a caller would be told to wait for something else than what its task waits for.
@pytest.mark.parametrize(
    ("slots", "unprepared", "wait"),
    [
        ([(SlotState.WAITING, False)], False, Wait.QUEUED),
        ([(SlotState.WAITING, False), (SlotState.BLOCKED, False)], True, Wait.QUEUED),
        ([(SlotState.CLAIMED, False), (SlotState.BLOCKED, False)], True, Wait.FETCHING_REFERENCES),
        ([(SlotState.SUBMITTED, False), (SlotState.WAITING, False)], False, Wait.DRAWING),
        ([(SlotState.BLOCKED, True), (SlotState.SETTLED, False)], False, Wait.DELAYED),
        ([(SlotState.BLOCKED, False), (SlotState.SETTLED, False)], True, Wait.FETCHING_REFERENCES),
        ([(SlotState.IN_DOUBT, False), (SlotState.WAITING, False)], False, Wait.IN_DOUBT),
        ([(SlotState.SETTLED, False)], False, None),
    ],
)
def test_what_a_task_waits_for(slots, unprepared, wait):
    assert why(slots, unprepared=unprepared) == wait
