"""Who asks too often is told to wait before it costs anything; and what every refusal says beside the dialect's words.

The buckets are this process's alone: they protect it, and a limit that must be exact stands in the database instead.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from typing import Any

from seedgate.clock import Clock
from seedgate.domain.caller import Caller
from seedgate.domain.configuration import Limits
from seedgate.domain.errors import (
    CallerError,
    ContentRefused,
    InsufficientBalance,
    QuotaExceeded,
    RateLimited,
    Refused,
    SeedgateError,
)
from seedgate.domain.limits import Room
from seedgate.store.database import OutcomeUnknown

Headers = tuple[tuple[bytes, bytes], ...]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_BUCKETS = 50_000
"""The one that was used longest ago is forgotten, and is full again."""
RETRY_AFTER_MAX_S = 59
"""Several clients fall back to a schedule of their own from a minute on."""
RETRY_AFTER_S = 1.0
CHARGED = b"x-seedgate-charged"
NOTHING_CHARGED = (CHARGED, b"0")


class Buckets:
    """Token buckets by name, each a moment at which it is full again (see `domain.limits`)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._full_at)

    def wait_s(self, name: Hashable, *, per_s: float, burst: float) -> float:
        """Seconds until one more would be in it; 0.0 when it is there now."""
        full_at = self._full_at.get(name)
        return 0.0 if full_at is None else max(0.0, full_at - self._clock.monotonic() - (burst - 1) / per_s)

    def spend(self, name: Hashable, *, per_s: float, burst: float) -> None:
        """Take one out; an empty bucket owes nothing."""
        now = self._clock.monotonic()
        self._full_at[name] = min(max(self._full_at.get(name, now), now) + 1 / per_s, now + burst / per_s)
        self._full_at.move_to_end(name)
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)


class Addresses:
    """Where a request comes from, as far as that can be believed."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def of(self, scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> str | None:
        """The caller's address; None for one of this machine or of a trusted proxy, which may stand for anybody.

        An IPv6 caller is its /64: that is what one subscriber has.
        """
        hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        try:
            found = _address(scope["client"][0])
            while hops and self._believed(found):
                found = _address(hops.pop())
        except (ValueError, TypeError, KeyError):
            return None
        if found.is_loopback or self._believed(found):
            return None
        return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))

    def _believed(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


def _address(text: str) -> Address:
    """As peers and proxies write it: with a port, in brackets, or an IPv4 one in the clothes of IPv6."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    found = ipaddress.ip_address(text)
    return getattr(found, "ipv4_mapped", None) or found


class Throttle:
    """Who asks, or is refused, too often. One per process, for all interfaces together."""

    def __init__(self, limits: Callable[[], Limits], addresses: Addresses, clock: Clock) -> None:
        self._limits = limits
        self._addresses = addresses
        self._polls = Buckets(clock)
        self._refused = Buckets(clock)

    def __bool__(self) -> bool:
        """Whether anything was refused to any address yet."""
        return bool(self._refused)

    def count_poll(self, caller: Caller) -> None:
        """Every question but a submit. Raises RateLimited beyond the polls of the key or its account."""
        own = caller.polls_per_minute
        key_most = self._limits().polls_per_minute if own is None else own
        limits = ((caller.key_id, key_most), (caller.account_id, caller.account_polls_per_minute))
        for name, most in limits:
            wait_s = self._polls.wait_s(name, per_s=most / 60, burst=most) if most else 0.0
            if wait_s > 0:
                raise RateLimited(retry_after_s=wait_s, room=Room(submits_per_minute=most, submits_left=0))
        for name, most in limits:
            if most:
                self._polls.spend(name, per_s=most / 60, burst=most)

    def count_refusal(
        self, scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes], error: SeedgateError
    ) -> None:
        """Count an error against the address it goes to, where the caller brought it about."""
        most = self._limits().refusals_per_second
        if most and counts(error):
            address = self._addresses.of(scope, headers)
            if address is not None:
                self._refused.spend(address, per_s=most, burst=most)

    def refuse_address(self, scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> None:
        """Raise RateLimited when too much was refused to the caller's address lately."""
        most = self._limits().refusals_per_second
        address = self._addresses.of(scope, headers)
        if most and address is not None:
            wait_s = self._refused.wait_s(address, per_s=most, burst=most)
            if wait_s > 0:
                raise RateLimited("Too many refused requests from this address", retry_after_s=wait_s)


def counts(error: SeedgateError) -> bool:
    """Whether an error is one that its caller brought about and can leave be: those count against its address.

    Who has too little credit or asks too fast is known, and told so; its neighbours are not to wait for it.
    """
    return isinstance(error, CallerError)


def headers(error: SeedgateError, *, submits: bool = False) -> Headers:
    """What clients look for at an error, whatever its body says; `submits` tells that a task was to be written."""
    # Where nobody knows whether it was, nobody may say that it cost nothing.
    lines = [] if submits and isinstance(error, OutcomeUnknown) else [NOTHING_CHARGED]
    if not isinstance(error, Refused):
        return (*lines, (b"x-should-retry", b"false")) if isinstance(error, ContentRefused) else tuple(lines)
    if isinstance(error, InsufficientBalance | QuotaExceeded):
        return (*lines, (b"x-should-retry", b"false"))
    told = error.retry_after_s
    wait_s = min(told, RETRY_AFTER_MAX_S) if told is not None and told > 0 else RETRY_AFTER_S
    lines += [(b"retry-after", b"%d" % math.ceil(wait_s)), (b"retry-after-ms", b"%d" % math.ceil(wait_s * 1000))]
    lines.append((b"x-should-retry", b"true"))
    if error.room is not None:
        lines += _room(error.room, math.ceil(wait_s))
    return tuple(lines)


def _room(room: Room, wait_s: int) -> Headers:
    """The names that the OpenAI and Stainless clients show, and those of the IETF's draft for people."""
    lines: list[tuple[bytes, bytes]] = []
    if room.submits_per_minute is not None and room.submits_left is not None:
        reset = wait_s if room.submits_left == 0 else 0
        lines += [
            (b"x-ratelimit-limit-requests", b"%d" % room.submits_per_minute),
            (b"x-ratelimit-remaining-requests", b"%d" % room.submits_left),
            (b"x-ratelimit-reset-requests", b"%ds" % reset),
            (b"ratelimit-policy", b'"submits";q=%d;w=60' % room.submits_per_minute),
            (b"ratelimit", b'"submits";r=%d;t=%d' % (room.submits_left, reset)),
        ]
    if room.concurrent_tasks is not None and room.tasks_left is not None:
        lines += [
            (b"x-ratelimit-limit-tasks", b"%d" % room.concurrent_tasks),
            (b"x-ratelimit-remaining-tasks", b"%d" % room.tasks_left),
        ]
    return tuple(lines)
