"""Every number that a dialect's body may have, under values that broke other gateways."""

import io
import json
from typing import Any

import pytest
from documents import Operation, operations, with_literal, written
from gateway import Caller, Gateway

# What stands in the body, and the integer that it is; None for what is no integer.
LITERALS: dict[str, int | None] = {
    **{str(number): number for number in (*range(-3, 13), 100, -100)},
    **{
        str(sign * (2**power + near)): sign * (2**power + near)
        for power in (7, 8, 15, 16, 31, 32, 53, 63, 64, 65)
        for near in (-1, 0, 1)
        for sign in (1, -1)
    },
    str(10**18): 10**18,
    "9" * 40: int("9" * 40),
    "18446744073686646784": 18446744073686646784,
    "-0": 0,
    # Numbers that are not written as integers, or are none.
    **dict.fromkeys(("1.0", "2.0", "-0.0", "0.5", "1.5", "10.0000001", "0.1e1", "1e0", "1E+0", "10e-1", "1e3", "1e18")),
    **dict.fromkeys(("1e308", "1e-400", "1e400", "-1e400", "1e999999999", "9" * 4_301, "-" + "9" * 5_000)),
    "0." + "0" * 5_000 + "1": None,
    # Other types.
    **dict.fromkeys(("true", "false", '""', '"1"', '" 1"', '"1 "', '"01"', '"1.0"', '"0x1"', '"one"', '"NaN"', '"١"')),
    **dict.fromkeys(('"1e0"', '"-1"', '"1_0"', '"\\u0031"', "[]", "[1]", "[[1]]", "{}", '{"a":1}', '{"$gt":0}')),
    # No JSON at all.
    **dict.fromkeys(("NaN", "Infinity", "-Infinity", "nan", "inf", "+1", "01", "-01", "00", ".5", "1.", "1e", "0x1")),
    **dict.fromkeys(
        ("0b1", "0o1", "1_0", "1,000", "--1", "- 1", "1 1", "1n", "1L", "١", "２", "½", "undefined", "None")
    ),
}
# What may stand there, by interface and field. A new dialect adds its line, or this test fails.
LEGAL = {
    ("apixo", "input.max_images"): {str(number) for number in range(1, 11)},
    **{
        ("seedgate", field): {
            literal for literal, value in LITERALS.items() if value is not None and 0 <= value <= most
        }
        for field, most in (
            ("submits_per_minute", 60_000_000),
            ("concurrent_tasks", 1_000_000_000),
            ("polls_per_minute", 60_000_000),
            ("overlap_s", 30 * 86_400),
        )
    },
}


def test_the_table_is_large():
    assert len(LITERALS) >= 60


async def _rows(gateway: Gateway) -> tuple[int, int]:
    """How many tasks there are, and how many holds."""
    (row,) = await gateway.fetch(
        "SELECT (SELECT count(*) FROM task) AS tasks,"
        " (SELECT count(*) FROM posting WHERE entry = 1 AND side = 1) AS holds"
    )
    return row["tasks"], row["holds"]


async def _post(caller: Caller, url: str, body: bytes) -> tuple[int, dict[str, Any]]:
    sent = caller.headers | {"Content-Type": "application/json"}
    async with caller.session.post(url, data=io.BytesIO(body), headers=sent) as response:
        return response.status, await response.json()


async def _check(caller: Caller, url: str, operation: Operation, body: bytes, field: str, literal: str) -> None:
    """A value that is refused: its field is named, in the envelope that the document promises."""
    status, answer = await _post(caller, url, body)
    assert status == 400, (field, literal, answer)
    refusal = operation.described["responses"]["400"]["content"]["application/json"]["examples"]["invalid_request"]
    assert answer.keys() == refusal["value"].keys(), (field, literal)
    try:
        json.loads(literal, parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        if len(literal) < 4_300:
            return  # no JSON: the message says where the text is broken
    assert field in json.dumps(answer), (field, literal, answer)


# If this failed, somebody would be charged for -1 pictures, or for 2^64 of them, or would be told of a bug of ours.
async def test_only_the_legal_numbers_are_taken(gateway: Gateway, caller: Caller) -> None:
    seen = set()
    accepted = 0
    before = await _rows(gateway)
    for operation in await operations(gateway, caller.session):
        for path in sorted(operation.fields("integer", "number")):
            field = written(path)
            seen.add((operation.interface, field))
            assert (operation.interface, field) in LEGAL, "say which values of the field are legal"
            legal = LEGAL[operation.interface, field]
            assert legal <= {literal for literal, value in LITERALS.items() if value is not None}
            for url in operation.urls():
                for literal in LITERALS:
                    body = with_literal(operation.bodies()[0], path, literal)
                    if literal in legal:
                        status, answer = await _post(caller, url, body)
                        # Our own interface takes the number, and then finds the name taken or no such key.
                        assert status == 200 or (operation.interface == "seedgate" and status in {201, 404, 409}), (
                            answer
                        )
                        accepted += operation.interface != "seedgate"
                    else:
                        await _check(caller, url, operation, body, field, literal)
    assert seen == LEGAL.keys()
    assert await _rows(gateway) == (before[0] + accepted, before[1] + accepted)


# If this failed, null would be zero pictures, or another number than the page's default.
@pytest.mark.parametrize(("model", "status", "pictures"), [("seedream-5-0", 200, 1), ("seedream-4-5", 400, None)])
async def test_null_is_absent(gateway: Gateway, caller: Caller, model: str, status: int, pictures: int | None) -> None:
    body = {"input": {"mode": "text-to-image", "prompt": "null is absent", "max_images": None}}
    answered, answer = await caller.submit(body, model)
    assert answered == status
    assert pictures is None or len(json.loads((await caller.end(answer["data"]["taskId"], model))["resultJson"])["resultUrls"]) == pictures  # fmt: skip
