"""Configuration: what an operator changes while the gateway runs. Every name and the form of its value stand here.

    maintenance                            off, on, or the sentence that callers are told
    limits.submits_per_minute …            what holds for keys and lanes that have no limits of their own
    listing.VENDOR/NAME.price | enabled    an offer
    account.NAME.concurrent_tasks …        one account
    key.ID.budget …                        one key
    lane.NAME.capacity | max_waiting       one queue

A value is kept as the text that reads back as itself; a name without a value is back at its default.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from seedgate.domain.errors import InvalidRequest, Maintenance
from seedgate.domain.image import Route
from seedgate.domain.limits import Defaults
from seedgate.domain.listing import Listing
from seedgate.domain.money import dollars, micros

Value = str | int | bool | tuple[str, ...]

MAX_NAME = 400
MAX_SENTENCE = 200
MAX_RATE = 60_000_000
"""A minute has that many microseconds, in which rates are counted."""
MAX_COUNT = 1_000_000_000
MAX_MODELS = 100
_MODEL = re.compile(r"[\w./-]{1,200}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,10}")
_WORDS = {"on": True, "true": True, "off": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds where nothing else is said; 0 is no limit."""

    submits_per_minute: int = 0
    concurrent_tasks: int = 0
    polls_per_minute: int = 0
    """Per key and process."""
    refusals_per_second: int = 0
    """Per key or, of callers without a valid one, per address; in each process."""
    max_waiting: int = 0
    """Slots that wait in a lane."""
    max_waiting_per_account: int = 0

    @property
    def defaults(self) -> Defaults:
        """Those that the accept transaction asks for."""
        return Defaults(submits_per_minute=self.submits_per_minute, concurrent_tasks=self.concurrent_tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A unit price and the configuration row that it comes from; 0 is the listing's own."""

    micros: int
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The newest row of a name."""

    name: str
    value: str | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What holds now, for the whole installation; limits of accounts and keys stand in their own rows."""

    limits: Limits = field(default_factory=Limits)
    maintenance: str | None = None
    """The sentence that callers are told; None while there is none."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By listing id."""
    switches: Mapping[str, bool] = field(default_factory=dict)
    """By listing id."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """By lane."""
    version: int = 0

    def price(self, listing: Listing) -> Price:
        """What a picture of this listing costs now."""
        return self.prices.get(listing.id) or Price(micros=listing.unit_price_micros)

    def offers(self, listing: Listing) -> bool:
        """Whether the listing takes submits now."""
        return self.switches.get(listing.id, listing.enabled)

    def max_waiting(self, lane: str) -> int:
        """How many slots may wait in a lane; 0 is any number."""
        return self.waiting.get(lane, self.limits.max_waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a name is about: `listing`, its id, and `price`; the subject of what concerns everything is empty."""

    kind: str
    subject: str
    knob: str

    @property
    def name(self) -> str:
        """As it is written."""
        return ".".join(part for part in (self.kind, self.subject, self.knob) if part)


def _number(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text == "unlimited":
            return 0
        if _NUMBER.fullmatch(text) is None or int(text) > most:
            raise ValueError(f"a number from 0 (no limit) to {most}, or unlimited")
        return int(text)

    return read


def _capacity(text: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_COUNT:
        raise ValueError(f"a number from 0 (the lane stops) to {MAX_COUNT}; reset it for no bound")
    return int(text)


def _amount(text: str) -> int:
    try:
        return micros(text)
    except ValueError:
        raise ValueError("an amount in dollars with at most six decimals, such as 0.035") from None


def _switch(text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ValueError("on or off")
    return _WORDS[text.lower()]


def may_be_models(names: Collection[str]) -> bool:
    """Whether these can name models or listings; whether there are such is the catalogue's business."""
    return 0 < len(names) <= MAX_MODELS and all(_MODEL.fullmatch(name) for name in names)


def _models(text: str) -> tuple[str, ...]:
    models = tuple(part.strip() for part in text.split(","))
    if not may_be_models(models):
        raise ValueError("ids of models or listings, separated by commas")
    return models


def _route(text: str) -> str:
    try:
        return Route(text).value
    except ValueError:
        raise ValueError("auto, value or official") from None


def _sentence(text: str) -> str:
    if text.lower() in _WORDS:
        return "on" if _WORDS[text.lower()] else "off"
    if not 0 < len(text) <= MAX_SENTENCE or not text.isprintable():
        raise ValueError(f"on, off, or a printable sentence of at most {MAX_SENTENCE} characters")
    return text


_RATE = _number(MAX_RATE)
_COUNT = _number(MAX_COUNT)

KNOBS: Mapping[str, Mapping[str, Callable[[str], Value]]] = {
    "": {"maintenance": _sentence},
    "limits": {
        "submits_per_minute": _RATE,
        "concurrent_tasks": _COUNT,
        "polls_per_minute": _RATE,
        "refusals_per_second": _RATE,
        "max_waiting": _COUNT,
        "max_waiting_per_account": _COUNT,
    },
    "listing": {"price": _amount, "enabled": _switch},
    "account": {
        "submits_per_minute": _RATE,
        "concurrent_tasks": _COUNT,
        "polls_per_minute": _RATE,
        "max_waiting": _COUNT,
        "frozen": _switch,
    },
    "key": {
        "submits_per_minute": _RATE,
        "concurrent_tasks": _COUNT,
        "polls_per_minute": _RATE,
        "budget": _amount,
        "models": _models,
        "route": _route,
        "manages_keys": _switch,
    },
    "lane": {"capacity": _capacity, "max_waiting": _COUNT},
}
"""By kind and knob: what reads a value, and raises ValueError with the form that it must have."""


def target(name: str) -> Target:
    """Take a name apart. Raises InvalidRequest that says which names there are."""
    if len(name) <= MAX_NAME and name.isprintable():
        kind, dot, rest = name.partition(".")
        if not dot and name in KNOBS[""]:
            return Target(kind="", subject="", knob=name)
        if kind == "limits" and rest in KNOBS[kind]:
            return Target(kind=kind, subject="", knob=rest)
        subject, _, knob = rest.rpartition(".")
        if kind not in {"", "limits"} and subject and knob in KNOBS.get(kind, {}):
            return Target(kind=kind, subject=subject, knob=knob)
    known = ", ".join(_shape(kind, knob) for kind, knobs in KNOBS.items() for knob in knobs)
    raise InvalidRequest(f"There is no setting called {name[:80]!r}; there are {known}", param="name")


def read(about: Target, text: str) -> Value:
    """The value that a text means. Raises InvalidRequest that says the form it must have."""
    try:
        return KNOBS[about.kind][about.knob](text)
    except ValueError as error:
        raise InvalidRequest(f"{about.name} is {error}", param="value") from None


def write(about: Target, value: Value) -> str:
    """The text that reads back as the value."""
    match value:
        case int() if KNOBS[about.kind][about.knob] is _amount:
            return dollars(value)
        case bool():
            return "on" if value else "off"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


def configure(limits: Limits, rows: Iterable[Row]) -> Configuration:
    """What holds: the settings' limits, and above them the newest row of every name. Unknown names are left alone."""
    said: dict[str, int] = {}
    maintenance: str | None = None
    prices, switches, waiting, newest = dict[str, Price](), dict[str, bool](), dict[str, int](), 0
    for row in rows:
        newest = max(newest, row.version)
        found = _read_row(row)
        match found:
            case (Target(kind="", knob="maintenance"), str(sentence)):
                maintenance = {"off": None, "on": (Maintenance.__doc__ or "").strip()}.get(sentence, sentence)
            case (Target(kind="limits", knob=knob), int(number)):
                said[knob] = number
            case (Target(kind="listing", subject=listing, knob="enabled"), bool(on)):
                switches[listing] = on
            case (Target(kind="listing", subject=listing, knob="price"), int(amount)):
                prices[listing] = Price(micros=amount, version=row.version)
            case (Target(kind="lane", subject=lane, knob="max_waiting"), int(number)):
                waiting[lane] = number
    return Configuration(
        limits=replace(limits, **said),
        maintenance=maintenance,
        prices=prices,
        switches=switches,
        waiting=waiting,
        version=newest,
    )


def _read_row(row: Row) -> tuple[Target, Value] | None:
    if row.value is None:
        return None
    try:
        about = target(row.name)
        return about, read(about, row.value)
    except InvalidRequest:
        return None


def _shape(kind: str, knob: str) -> str:
    subject = {"listing": "VENDOR/NAME", "account": "NAME", "key": "ID", "lane": "NAME"}.get(kind, "")
    return ".".join(part for part in (kind, subject, knob) if part)
