"""Buckets, believed addresses, and the headers that every refusal has."""

from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from seedgate.clock import Clock
from seedgate.domain import errors
from seedgate.domain.limits import Room
from seedgate.store.database import OutcomeUnknown
from seedgate.web import refusals
from seedgate.web.refusals import Addresses, Buckets


@dataclass
class Hand:
    """A clock that a test turns."""

    now: float = 100.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(monotonic=lambda: self.now)


# If this failed, a caller could ask faster than it may, or be kept out longer than it is told.
def test_a_bucket_holds_its_burst_and_fills_at_its_rate():
    hand = Hand()
    buckets = Buckets(hand.clock)
    for _ in range(5):
        assert buckets.wait_s("a", per_s=2, burst=5) == 0
        buckets.spend("a", per_s=2, burst=5)
    wait_s = buckets.wait_s("a", per_s=2, burst=5)
    assert wait_s == pytest.approx(0.5)
    assert buckets.wait_s("b", per_s=2, burst=5) == 0
    hand.now += wait_s
    assert buckets.wait_s("a", per_s=2, burst=5) == pytest.approx(0)
    buckets.spend("a", per_s=2, burst=5)
    assert buckets.wait_s("a", per_s=2, burst=5) == pytest.approx(0.5)


# If this failed, a caller that was impatient for a second would be kept out for hours.
def test_an_empty_bucket_owes_nothing():
    hand = Hand()
    buckets = Buckets(hand.clock)
    for _ in range(10_000):
        buckets.spend("a", per_s=20, burst=20)
    assert buckets.wait_s("a", per_s=20, burst=20) == pytest.approx(1 / 20)


# If this failed, names that strangers choose would fill the memory.
def test_buckets_are_bounded(monkeypatch):
    monkeypatch.setattr(refusals, "MAX_BUCKETS", 3)
    buckets = Buckets(Hand().clock)
    for name in "abcd":
        buckets.spend(name, per_s=1, burst=1)
    assert buckets.wait_s("a", per_s=1, burst=1) == 0
    assert buckets.wait_s("d", per_s=1, burst=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "", None),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", None),
        ("10.0.0.1", "nonsense", None),
        ("127.0.0.1", "198.51.100.1", None),
        ("::1", "", None),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("::ffff:10.0.0.1", "198.51.100.1:5678", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::/64"),
        ("::ffff:127.0.0.1", "", None),
    ],
)
# If this failed, anybody could name the address that is kept out, or a proxy would be taken for all its callers.
def test_only_trusted_proxies_are_believed(peer, forwarded, found):
    addresses = Addresses([ip_network("10.0.0.0/8")])
    headers = {b"x-forwarded-for": forwarded.encode()} if forwarded else {}
    assert addresses.of({"client": (peer, 1)}, headers) == found


# A caller that must wait would not learn how long, or would fall back to a schedule of its own.
@pytest.mark.parametrize(
    ("told", "after", "after_ms"),
    [(None, b"1", b"1000"), (0, b"1", b"1000"), (0.2, b"1", b"200"), (1.01, b"2", b"1010"), (-5, b"1", b"1000"),
     (59.5, b"59", b"59000"), (10**9, b"59", b"59000"), (float("inf"), b"59", b"59000"), (float("nan"), b"1", b"1000")],
)  # fmt: skip
def test_every_wait_is_between_1_and_59_seconds(told, after, after_ms):
    said = dict(refusals.headers(errors.Unavailable(retry_after_s=told)))
    assert (said[b"retry-after"], said[b"retry-after-ms"], said[b"x-should-retry"]) == (after, after_ms, b"true")
    assert said[b"x-seedgate-charged"] == b"0"


# If this failed, a caller would be told that a task which may stand has cost nothing.
def test_nobody_says_what_nobody_knows():
    assert b"x-seedgate-charged" not in dict(refusals.headers(OutcomeUnknown(), submits=True))
    assert dict(refusals.headers(OutcomeUnknown()))[b"x-seedgate-charged"] == b"0"


# If this failed, clients would hammer a gateway that they must pay first.
@pytest.mark.parametrize("error", [errors.InsufficientBalance(), errors.BudgetExceeded(), errors.ContentRefused()])
def test_what_no_waiting_helps_is_not_to_be_retried(error):
    said = dict(refusals.headers(error))
    assert said[b"x-should-retry"] == b"false"
    assert b"retry-after" not in said


# If this failed, a refused caller would not see what it has left.
def test_what_is_left_is_told():
    room = Room(submits_per_minute=60, submits_left=7, concurrent_tasks=10, tasks_left=0)
    said = dict(refusals.headers(errors.ConcurrencyExceeded(retry_after_s=5, room=room)))
    assert said[b"x-ratelimit-remaining-requests"] == b"7"
    assert said[b"x-ratelimit-limit-tasks"] == b"10"
    assert said[b"x-ratelimit-remaining-tasks"] == b"0"
    assert said[b"ratelimit"] == b'"submits";r=7;t=0'
