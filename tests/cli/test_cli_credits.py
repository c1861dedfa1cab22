"""What an operator sees of accounts' money."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
import typer
from typer.testing import CliRunner

from seedgate.cli import app
from seedgate.cli import credits as money

FORMULA = '=HYPERLINK("x")'


# If a slip were read as an amount, an account would have another sum than the operator meant.
@pytest.mark.parametrize(
    "given",
    ["0", "0.00", "0.000000", "-5", "+5", "1e3", "1E3", "NaN", "Infinity", "1,5", "1_000", "", " ", " 1", "1 ", "$1", ".5",
     "5.", "0x10", "٣", "0.0000001", "0.0350000", "1000000000.000001", "9" * 5000, "true"],
    ids=lambda text: ascii(text[:24]),
)  # fmt: skip
def test_an_amount_is_plain_dollars(given):
    with pytest.raises(typer.BadParameter):
        money._amount(given)
    assert [money._amount(good) for good in ("0.000001", "1000000000")] == [1, 10**15]


# If -5 were taken for an option, the answer would be about options.
def test_a_negative_amount_is_refused_as_an_amount():
    done = CliRunner().invoke(app, ["credits", "debit", "somebody", "-5", "--reason", "slip"])
    assert (done.exit_code, "at most six decimals" in done.output) == (2, True)


# If a date were read in the zone of the machine, or half of one as a whole, a month would begin at another moment.
def test_a_date_is_utc():
    for good in ("2026-11-01", "2026-11-01T00:00:00", "2026-11-01T00:00:00Z", "2026-11-01 03:00:00+03:00"):
        assert money._moment(good) == datetime(2026, 11, 1, tzinfo=UTC)
    for wrong in ("", "2026", "2026-13-01", "2026-02-30", "tomorrow", "0001-01-01T00:00:00+14:00", "9" * 5000):
        with pytest.raises(typer.BadParameter):
            money._moment(wrong)


# If amounts did not stand under each other, the largest would not be seen.
def test_amounts_stand_with_their_points_in_one_column():
    assert money._column([35_000, None, -1_500_000, 12_000_000]) == [" 0.035", "      ", "-1.50 ", "12.00 "]
    assert money._column([]) == []


# If a command took what is held, gave twice, or did not say why it will not, an operator could not be let near money.
def test_credit_is_taken_and_told(shell):
    shell.run("keys", "create", "--account", "taken")
    shell.run("credits", "grant", "taken", "3", "--reason", "first")
    order = ("credits", "debit", "taken", "2.5", "--reason", "a mistake", "--idempotency-key", "taken once")
    assert shell.run(*order).out == "Debited $2.50. taken can spend $0.50.\n"
    assert shell.run(*order).out == "Debited $2.50 before under this key, and not again. taken can spend $0.50.\n"
    more = shell.run("credits", "debit", "taken", "0.500001", "--reason", "greed", "--json")
    assert (more.code, more.document["error"]["code"]) == (4, "insufficient_balance")
    assert more.document["error"]["message"] == "The account 'taken' can spend $0.50; that is less than $0.500001"
    told = shell.run("credits", "balance", "taken", "--json").document
    assert told == {
        "accounts": [
            {"account": "taken", "mode": "test", "available_micros": 500_000, "held_micros": 0, "open_tasks": 0}
        ]
    }


# If the three forms said different things, or one were cut short in silence, nobody could prove an invoice with them.
def test_a_statement_says_the_same_in_every_form(shell):
    key = shell.run("keys", "create", "--account", "told", "--json").document["key"]
    shell.run("credits", "grant", "told", "1", "--reason", FORMULA)
    assert shell.run("generate", "fox", "--key", key, "-o", shell.data / "told.jpg").code == 0
    table = shell.run("credits", "ledger", "told").out.splitlines()
    assert [line[21:28].strip() for line in table[1:-1]] == ["closing", "charge", "hold", "grant", "opening"]
    assert table[-1].startswith("Opening $0.00 + granted $1.00 − charged $0.035 = closing $0.965")
    yesterday = str(datetime.now(UTC).date() - timedelta(days=1))
    sent = shell.run("credits", "ledger", "told", "--since", yesterday, "--csv")
    rows = list(csv.DictReader(io.StringIO(sent.out)))
    assert [row["entry"] for row in rows] == ["opening", "grant", "hold", "charge", "closing"]
    assert (rows[1]["reason"], rows[-1]["balance"], sent.err) == ("'" + FORMULA, "0.965", "")
    cut = shell.run("credits", "ledger", "told", "--limit", "1", "--json")
    assert [entry["entry"] for entry in cut.document["entries"]] == ["charge"]
    assert (cut.document["closing"]["balance_micros"], cut.document["opening"]["held_micros"]) == (965_000, 35_000)
    assert "There are more entries" in cut.err
