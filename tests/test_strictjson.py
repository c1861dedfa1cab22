"""JSON from strangers."""

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seedgate.domain.errors import InvalidRequest
from seedgate.strictjson import MAX_DEPTH, decode

COLONS = st.text(st.sampled_from([":", '"', "\\", "a", "é", "\u2028", "{", "[", "u", "0", "3"]), max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | COLONS | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(COLONS, inner, max_size=4),
    max_leaves=20,
)


def pairs(value, *, again):
    """Write objects with one member twice: the first one, once more, with another value."""
    if isinstance(value, dict):
        members = [f"{json.dumps(name)}:{pairs(part, again=again)}" for name, part in value.items()]
        if again and members:
            members.insert(len(members) // 2, f'{json.dumps(next(iter(value)))} : {{"x:":[]}}')
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(pairs(part, again=again) for part in value) + "]"
    return json.dumps(value)


# A valid request would be refused, or read differently from what was sent.
@settings(max_examples=300, deadline=None)
@given(value=VALUES, indent=st.sampled_from([None, 1]), ascii_=st.booleans())
@example(value={"a:": "\\u003a", "b": "\\u0000"}, indent=None, ascii_=True)
@example(value={":": {":": ":"}, '":"': [":"]}, indent=1, ascii_=False)
def test_agrees_with_the_standard_reader(value, indent, ascii_):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_)
    assert decode(text.encode()) == json.loads(text)
    assert decode(memoryview(text.encode())) == json.loads(text)


# Two members of one name would be two different requests to two readers.
@settings(max_examples=300, deadline=None)
@given(value=st.dictionaries(COLONS, VALUES, min_size=1, max_size=4))
@example(value={":": 1, "a": ":"})
def test_refuses_every_duplicate(value):
    with pytest.raises(InvalidRequest, match="appears twice"):
        decode(pairs(value, again=True).encode())
    assert decode(pairs(value, again=False).encode()) == value


# A duplicate hidden behind an escape or beside strings full of colons would slip through.
@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a" :1,"a":2}',
        '{"\\u0061":1,"a":2}',
        '{"a":1,"a":"\\u003a"}',
        '{"a":1,"a":2,"b":"\\u003A"}',
        '{"a":"\\u003A\\u003A","b":[{"c":1,"c":2,"c":3}]}',
        '{"\\u003a":1,":":2}',
        '{"":1,"":2}',
        '{"a":{"b":{"c":1}},"a":{}}',
        '[":",{"a:":1,"a:":2}]',
    ],
)
def test_hidden_duplicates(text):
    with pytest.raises(InvalidRequest, match="appears twice"):
        decode(text.encode())


# Names with as many copies as a body holds would take quadratic time.
def test_many_duplicates_are_refused_quickly():
    many = ",".join(f'"{number}":1' for number in range(100_000))
    with pytest.raises(InvalidRequest, match="'99999' appears twice"):
        decode(f'{{{many},"99999":2}}'.encode())


# PostgreSQL stores no NUL, so the insert would fail after everything was accepted.
@pytest.mark.parametrize("text", ['"\\u0000"', '["a",{"b":"c\\u0000"}]', '{"a\\u0000":1}'])
def test_refuses_nul(text):
    with pytest.raises(InvalidRequest, match="NUL"):
        decode(text.encode())


# A caller would have to search a body of many members for what is wrong with it.
@pytest.mark.parametrize(
    ("text", "subject", "param"),
    [
        ('{"input":{"prompt":"a\\u0000b"}}', "member input.prompt", "input.prompt"),
        ('{"input":{"image_urls":["a","\\u0000"]}}', "member input.image_urls[1]", "input.image_urls[1]"),
        ('{"a":{"b\\u0000":1}}', "member a.b\\u0000", "a.b\\u0000"),
        ('"\\u0000"', "request body", None),
    ],
)
def test_a_nul_is_told_by_its_field(text, subject, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(text.encode())
    assert (caught.value.message, caught.value.param) == (f"The {subject} contains a NUL character", param)


# A long name over many parts would be copied for each of them: hours for one body.
def test_a_nul_under_long_names_is_told_quickly_and_in_short():
    body = {"x" * 2_000_000: [0] * 200_000 + ["\x00"]}
    with pytest.raises(InvalidRequest, match="NUL") as caught:
        decode(json.dumps(body).encode())
    assert len(caught.value.message) < 120
    assert len(caught.value.param) <= 64


# A caller would be told that some number is wrong, and look for it.
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"x":[true,1.5,-0,12],"a":{"b":[1,1e999]}}', "a.b[1]"),
        ('{"a":-1e999}', "a"),
        ('{"a":' + "9" * 4_300 + ',"b":-' + "9" * 4_301 + "}", "b"),
        ('{"a":' + "9" * 5_000 + ".5}", "a"),
        ('{"' + "x" * 200 + '":1e999}', "x" * 64),
    ],
)
def test_a_number_out_of_range_is_named(text, field):
    with pytest.raises(InvalidRequest) as caught:
        decode(text.encode())
    assert (caught.value.message, caught.value.param) == (f"The member {field} has a number out of range", field)


# The search for a name would fail where there is none, or where the text is broken or deep behind the number.
@pytest.mark.parametrize("text", ["1e999", "[1e999", '{"a":1e999,', "[" * 900 + "1e999" + "]" * 900])
def test_a_number_out_of_range_without_a_name(text):
    with pytest.raises(InvalidRequest) as caught:
        decode(text.encode())
    assert len(caught.value.message) < 120


# A text about NUL is not one.
def test_an_escaped_backslash_is_no_nul():
    assert decode(b'{"a":"\\\\u0000"}') == {"a": "\\u0000"}


# Deep nesting would exhaust the stack of whatever walks the value later.
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"])
def test_nesting(opening, closing):
    def nested(levels):
        return (opening * levels + "1" + closing * levels).encode()

    decode(nested(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 900, 100_000):
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            decode(nested(levels))
    with pytest.raises(InvalidRequest):
        decode(b'{"a":' + nested(500) + b',"a":1}')


# Many brackets side by side are no depth.
def test_breadth_is_not_depth():
    assert len(decode(b"[" + b"[]," * 10_000 + b"{}]")) == 10_001


# What is not JSON would be accepted, or answered with a 500.
@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"nul", b"NaN", b"-Infinity", b"1e999", b"9" * 5_000, b"01", b"+1", b".5", b"1.", b"'a'", b'"\n"', b'"\\x41"', b'"\\ud800"', b'"\\udc00\\ud800"', b"\xef\xbb\xbf1", b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b"1 2", b"[1,]", b'{"a":1,}', b"{a:1}", b"/**/1", "1".encode("utf-16"), "1".encode("utf-32"), b"\x00"],
    ids=lambda body: ascii(body[:24]),
)  # fmt: skip
def test_refuses_what_is_not_json(body):
    with pytest.raises(InvalidRequest):
        decode(body)


# Some bytes would raise something else than InvalidRequest, or a value that no JSON has.
@settings(max_examples=500, deadline=None)
@given(body=st.binary(max_size=60) | st.text(st.sampled_from('{}[]",:\\u0039ae1.- \n'), max_size=60).map(str.encode))
def test_any_bytes(body):
    try:
        value = decode(body)
    except InvalidRequest:
        return
    assert not isinstance(value, float) or math.isfinite(value)
    assert json.loads(body) == value
