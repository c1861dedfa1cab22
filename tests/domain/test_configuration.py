"""Names and values of the configuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.configuration import KNOBS, Limits, Row, configure, read, target, write
from seedgate.domain.errors import InvalidRequest

SAMPLES = {
    "maintenance": "Back at noon.",
    "price": "0.035",
    "budget": "12.50",
    "enabled": "off",
    "frozen": "on",
    "manages_keys": "on",
    "models": "apixo/seedream-4-5,seedream-5-0",
    "route": "value",
}
TARGETS = [(kind, knob) for kind, knobs in KNOBS.items() for knob in knobs]


def _name(kind: str, knob: str) -> str:
    subject = {"listing": "apixo/seedream-4-5", "account": "a.b c", "key": "0" * 32, "lane": "engine:sketch"}.get(
        kind, ""
    )
    return ".".join(part for part in (kind, subject, knob) if part)


# If this failed, a value could not be read back from the history that it stands in.
@pytest.mark.parametrize(("kind", "knob"), TARGETS)
def test_every_value_reads_back_as_itself(kind, knob):
    about = target(_name(kind, knob))
    assert (about.kind, about.knob, about.name) == (kind, knob, _name(kind, knob))
    value = read(about, SAMPLES.get(knob, "7"))
    assert read(about, write(about, value)) == value


BAD = [
    "",
    " ",
    "-1",
    "1.5",
    "1e3",
    "NaN",
    "inf",
    "0x1",
    "１",
    "true false",
    "9" * 11,
    "+1",
    "1,",
    "null",
    "\x00",
    "on\n",
]


# If this failed, a wrong value would hold somewhere, or its message would not say what is right.
@pytest.mark.parametrize(("kind", "knob"), [(k, n) for k, n in TARGETS if n not in {"maintenance", "models"}])
@pytest.mark.parametrize("text", BAD, ids=repr)
def test_bad_values_are_refused_by_name(kind, knob, text):
    about = target(_name(kind, knob))
    if knob in {"price", "budget"} and text == "1.5":
        return
    with pytest.raises(InvalidRequest) as refused:
        read(about, text)
    assert about.name in refused.value.message


@pytest.mark.parametrize("name", ["", "maintenanc", "limits", "limits.", "limits.x", "listing.price", "key..budget", "a" * 500, "account.x.price", "limits.a.max_waiting"])  # fmt: skip
def test_unknown_names_are_told_what_there_is(name):
    with pytest.raises(InvalidRequest, match=r"maintenance, limits\.submits_per_minute"):
        target(name)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_the_reader(name, value):
    try:
        read(target(name), value)
    except InvalidRequest:
        pass


# If this failed, what an operator set would not hold, or would hold for something else.
def test_the_newest_rows_hold():
    rows = [
        Row(name="limits.concurrent_tasks", value="3", version=4),
        Row(name="listing.apixo/x.price", value="0.05", version=7),
        Row(name="listing.apixo/x.enabled", value="off", version=2),
        Row(name="lane.engine:blank.max_waiting", value="9", version=3),
        Row(name="maintenance", value="on", version=9),
        Row(name="limits.submits_per_minute", value=None, version=8),
        Row(name="of.a.newer.program", value="?", version=1),
    ]
    now = configure(Limits(submits_per_minute=60, concurrent_tasks=10, max_waiting=100), rows)
    assert (now.limits.submits_per_minute, now.limits.concurrent_tasks) == (60, 3)
    assert (now.prices["apixo/x"].micros, now.prices["apixo/x"].version) == (50_000, 7)
    assert now.switches == {"apixo/x": False}
    assert (now.max_waiting("engine:blank"), now.max_waiting("other")) == (9, 100)
    assert now.maintenance == "The service is under maintenance."
    assert now.version == 9
    assert configure(Limits(), [Row(name="maintenance", value="off", version=1)]).maintenance is None
