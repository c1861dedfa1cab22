"""No secret, no prompt and no row of the database ever reaches a log."""

import io
import json

import pytest
import structlog

from seedgate import log
from seedgate.ids import Ids, KeyKind


@pytest.fixture
def lines():
    stream = io.StringIO()
    log.configure(json_lines=True, stream=stream)
    yield stream
    structlog.reset_defaults()


# If this failed, whoever reads the logs could spend a customer's money or look at a customer's pictures.
@pytest.mark.parametrize("wrap", ["{}", "Bearer {} was refused", "{}/more", '"{}"'])
def test_keys_and_result_addresses_are_masked(lines: io.StringIO, wrap: str) -> None:
    ids = Ids()
    key, token = ids.api_key(KeyKind.LIVE), ids.token()
    log.get("test").info("event", key=wrap.format(key), url=wrap.format(f"https://x.example/files/{token}.png"))
    written = lines.getvalue()
    assert key[8:] not in written
    assert token not in written
    assert json.loads(written)["event"] == "event"


# If this failed, a constraint that fails would write a customer's prompt into the log.
def test_rows_in_database_errors_are_masked(lines: io.StringIO) -> None:
    try:
        raise ValueError("new row violates check\nDETAIL:  Failing row contains (a secret prompt, 1).")
    except ValueError:
        log.get("test").exception("failed")
    written = lines.getvalue()
    assert "secret prompt" not in written
    assert "new row violates check" in written


# If this failed, a database address in an error would give its password away.
def test_passwords_in_addresses_are_masked(lines: io.StringIO) -> None:
    log.get("test").warning("event", why="cannot reach postgresql://user:hush@db.example/seedgate")
    assert "hush" not in lines.getvalue()
    assert "db.example" in lines.getvalue()
