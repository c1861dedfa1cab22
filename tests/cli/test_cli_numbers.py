"""Every number of every command: a plain one within its bounds is taken, anything else is one sentence and exit code 2."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from shell import run_here

from seedgate.cli import app

VALUES = (
    *("0", "1", "2", "10", "11", "20", "100", "999", "1000", "1001", "8787", "65535", "65536", "60000000", "60000001"),
    *("-0", "-1", "-10", "+1", "01", "007", "1.0", "0.5", "0.0", "1.5", "2.0", "10.0", "0.035", "0.000001", "0.0000001"),
    *("1e0", "1e3", "1E1", "1e-3", "1e400", "-1e400", "1e999999999", ".5", "1.", "1,000", "1_000", "1 000", "1 1"),
    *("2147483647", "2147483648", "4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "18446744073686646784", "1000000000", "1000000000.000001"),
    *("9999999999", "10000000000", "9" * 100, "9" * 4_301, "9" * 5_000, "0." + "0" * 5_000 + "1", "0" * 5_000 + "1"),
    *("nan", "NaN", "-nan", "inf", "Infinity", "-inf", "-Infinity", "1e", "e1", "0x1", "0X10", "0b1", "0o7", "1L", "1n"),
    *("", " ", " 1", "1 ", "\t1", "1\n", "\n", "--1", "+-1", "- 1", "1-", "true", "True", "None", "null", "one", "[]"),
    *("[1]", "{}", "$1", "1$", "1%", "%d", "{0}", "${1}", "1;2", "'1'", '"1"', "١", "٣", "２", "½", "Ⅳ", "1\u200b", "−1"),
    *("\u00a01", "unlimited", "Unlimited", "unlimited "),
)  # fmt: skip
PLAIN = {"0", "1", "2", "10", "11", "20", "100", "999", "1000", "1001", "8787", "65535", "65536", "01", "007"}
MILLIONS = {"60000000", "60000001", "2147483647", "1000000000"}
SECONDS = PLAIN - {"0", "65536"} | {"65536", "1.0", "1.5", "2.0", "10.0"}
MONEY = PLAIN | MILLIONS - {"2147483647"} | {"0.5", "0.0", "1.0", "1.5", "2.0", "10.0", "0.035", "0.000001"}
KEY_LIMIT = PLAIN - {"0"} | {"60000000", "unlimited"}
# What is taken, by command and option or argument. A new number needs its line, or a test below fails. Zero dollars
# are an amount; that they are no grant is said by who grants.
LEGAL: dict[tuple[str, str], set[str]] = {
    ("up", "--port"): PLAIN - {"65536"},
    ("serve", "--port"): PLAIN - {"65536"},
    ("generate", "--n"): {"1", "2", "10", "01", "007"},
    ("generate", "--timeout"): SECONDS,
    ("tasks list", "--limit"): PLAIN - {"0", "1001", "8787", "65535", "65536"},
    ("keys create", "--submits-per-minute"): KEY_LIMIT,
    ("keys create", "--concurrent"): KEY_LIMIT,
    ("keys create", "--polls-per-minute"): KEY_LIMIT,
    ("keys create", "--budget"): MONEY,
    ("files list", "--limit"): PLAIN - {"0", "1001", "8787", "65535", "65536"},
    ("configuration history", "--limit"): PLAIN - {"0", "1001", "8787", "65535", "65536"},
    ("credits grant", "amount"): MONEY - {"0", "0.0"},
    ("credits debit", "amount"): MONEY - {"0", "0.0"},
    ("credits ledger", "--limit"): PLAIN - {"0"} | MILLIONS,
}
_WHY = ("somebody", "--reason", "because")
NEEDED = {"generate": ("a fox",), "credits grant": _WHY, "credits debit": _WHY, "credits ledger": ("somebody",)}


def parameters(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command's words with each of its options and arguments."""
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from parameters(found, (*path, name))
        else:
            yield from ((" ".join((*path, name)), parameter) for parameter in found.params)


def is_number(parameter: Any) -> bool:
    """By its type; or by its name, where a word may stand for it or it must be exact."""
    typed = parameter.type_descriptor.annotation in {int, float}
    return typed or parameter.name in {"amount", "budget"} or "N|" in (parameter.metavar or "")


# If this failed, a new number would be read by nobody knows which rules.
def test_every_number_of_the_command_line_is_here():
    every = parameters(typer.main.get_command(app))
    assert {(command, parameter.opts[-1]) for command, parameter in every if is_number(parameter)} == LEGAL.keys()
    assert len(VALUES) >= 60
    assert all(legal <= set(VALUES) for legal in LEGAL.values())


# If this failed, a slip of the pen would be another number, a traceback, or money.
@pytest.mark.parametrize(("path", "name"), LEGAL)
def test_only_legal_numbers_are_taken(path: str, name: str, tmp_path: Path):
    # What is read comes as far as looking for data or settings, which are not there.
    nowhere = ("--config", "settings.toml") if name == "--port" else ("--data", ".")
    with contextlib.chdir(tmp_path):
        for value in VALUES:
            given = (name, value) if name.startswith("-") else ("--", value)
            fixed = NEEDED.get(path, ())
            done = run_here(*path.split(), *fixed[:1], *nowhere, *fixed[1:], *given)
            code, said = done.code, done.err
            assert "Traceback" not in said
            if value in LEGAL[path, name]:
                assert code == 1, (value, said)
                assert "hint: " in said, (value, said)
            else:
                assert code == 2, (value, said)
                assert name in said.lower(), (value, said)
                assert len(said) < 400, (value, said)
                assert sum(line.startswith("Error: ") for line in said.splitlines()) == 1, (value, said)
        assert list(tmp_path.iterdir()) == []


# If this failed, a negative amount would be taken for something else than a mistake.
def test_a_negative_amount_is_no_option(tmp_path: Path):
    done = run_here("credits", "grant", "somebody", "-5", "--reason", "x", "--data", str(tmp_path))
    assert done.code == 2
    assert "-5" in done.err
