"""No secret, no prompt and no row of the database ever reaches a log."""

import io
import json
import logging

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


# If this failed, a library's warning would be a line that no log reader understands, with a traceback on many more.
def test_what_libraries_say_is_one_event_each(lines: io.StringIO) -> None:
    key = Ids().api_key(KeyKind.LIVE)
    try:
        raise ValueError(f"{key}\nforged")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in %s\n", "application")
    log._Libraries().emit(logging.makeLogRecord({"msg": "%d", "args": ("no number",), "levelno": logging.WARNING}))
    logging.getLogger("asyncio").info("chatter")
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert (first["event"], first["part"], first["level"]) == ("library", "uvicorn.error", "error")
    assert "forged" in first["exception"]
    assert (second["said"], second["level"]) == ("%d", "warning")
    assert key not in lines.getvalue()


# If this failed, a stranger's text could clear an operator's screen, or forge a line.
def test_texts_move_no_terminal() -> None:
    stream = io.StringIO()
    log.configure(json_lines=False, stream=stream)
    log.get("test").warning("event", name="a\x1b[2Jb\r\nforged\x9b")
    structlog.reset_defaults()
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in stream.getvalue()
    assert "\\x1b[2Jb\\r\\nforged\\x9b" in stream.getvalue()
