"""What goes wrong at a terminal is one sentence, a hint and one document; no traceback, and nothing of a secret."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from shell import COMMAND, LIMIT_S, Done, Shell, environment, run_here

from seedgate import cli
from seedgate.accounts import secret
from seedgate.cli import http, pictures
from seedgate.cli.output import Stop
from seedgate.domain.errors import BadSettings
from seedgate.settings import load, unknown_variables
from seedgate.store.database import Dsn

SECRET = "SEC12RET"
LABEL = "a" * 64
KEY = "sg_live_" + SECRET


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)


def _told(done: Done, code: str, exit_code: int = 1) -> dict[str, Any]:
    """The error of the one document, which says the same as standard error, in one sentence with a hint."""
    assert (done.code, "Traceback" in done.err) == (exit_code, False), done.err
    error: dict[str, Any] = done.document["error"]
    assert error["code"] == code
    assert error["hint"]
    assert SECRET not in done.out + done.err
    return error


# If this failed, a slip in an address would print the password in it, or a traceback.
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}/PW@h/db",
        f"postgresql://u:{SECRET}@h:bad/db",
        f"postgresql://u:{SECRET}@h:99999/db",
        f"postgresql://u:{SECRET}@h:0/db",
        f"postgresql://u:{SECRET}@[::1",
        f"postgresql://u:{SECRET}@{LABEL}.example/db",
        f"postgresql://u:{SECRET}@a,,b/db",
        f"postgresql://u:{SECRET}@h/db?sslmode={SECRET}",
        f"postgresql://u@h/db?password={SECRET}&sslmode=verify-full&sslrootcert=/none/{SECRET}",
        f"mysql://u:{SECRET}@h/db",
        SECRET,
    ],
)
def test_an_address_of_a_database_is_never_quoted(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    _told(run_here("keys", "list", "--data", str(tmp_path), "--json"), "bad_settings")
    with pytest.raises(BadSettings):
        Dsn.from_url(url)


# If this failed, a wrong address would keep the doctor from saying so.
def test_the_doctor_outlives_a_wrong_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{SECRET}@[::1")
    monkeypatch.setenv("SEEDGATE_WORK__ENGINE", "blank")
    monkeypatch.setenv("SEEDGATE_TYPO", SECRET)
    done = run_here("doctor", "--data", str(tmp_path), "--json")
    checks = {check["name"]: check for check in done.document["checks"]}
    assert (done.code, checks["database"]["status"], checks["environment"]["status"]) == (1, "fail", "warn")
    assert "SEEDGATE_TYPO" in checks["environment"]["sentence"]
    assert "SEEDGATE_TYPO" in done.err
    assert SECRET not in done.out + done.err


# If this failed, addresses that work would be refused.
@pytest.mark.parametrize("url", ["postgresql://", "postgres://u:p%2F%40@h1:1,h2:2/db", "postgresql:///db?host=/tmp"])
def test_an_address_of_a_database_is_taken(url: str) -> None:
    assert Dsn.from_url(url).arguments == {"dsn": url}


# If this failed, a mistyped variable would be a traceback, or a default that nobody wanted.
@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("LIMITS", "{bad", "limits"),
        ("TRUSTED_PROXIES", "[bad", "trusted_proxies"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,x", "trusted_proxies.1"),
        ("DEVELOPMENT__CREDIT", "abc", "development.credit"),
        ("DEVELOPMENT__CREDIT", "-5", "development.credit"),
        ("MODE", "x", "mode"),
        ("HOST", "", "host"),
        ("DATA", "", "data"),
        *(
            ("PUBLIC_URL", url, "public_url")
            for url in (
                *("foo", "javascript:alert(1)", f"https://u:{SECRET}@h/", "https://h/?x=1#y", "https://h?", "http://["),
                *(
                    "http://",
                    "https://h:bad",
                    "https://h:0",
                    f"https://{LABEL}.example",
                    "https://h/a b",
                    "https://h/\n",
                ),
            )
        ),
        ("FILES_URL", "ftp://h", "files_url"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"SEEDGATE_{name}", value)
    said = _told(run_here("keys", "list", "--json"), "bad_settings")["message"]
    assert said.startswith(f"The setting '{setting}' is wrong: ")


# If this failed, settings in their usual form would be refused, or believed to be others.
def test_settings_in_their_usual_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDGATE_PUBLIC_URL", "https://images.example:8443/base/")
    for form in ("10.0.0.0/8, ::1/128", '["10.0.0.0/8","::1/128"]'):
        monkeypatch.setenv("SEEDGATE_TRUSTED_PROXIES", form)
        assert [str(network) for network in load().trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    monkeypatch.setenv("SEEDGATE_TRUSTED_PROXIES", "")
    assert load().trusted_proxies == []
    known = ("SEEDGATE_PORT", "seedgate_port", "SEEDGATE_LIMITS__X", "SEEDGATE_URL", "SEEDGATE_CONFIG", "DATABASE_URL")
    unknown = ("SEEDGATE_PORT__X", "SEEDGATE_TYPO", "Seedgate_Limit")
    assert unknown_variables(dict.fromkeys((*known, *unknown), "")) == sorted(unknown)


# If this failed, a folder in the place of the secret would be a traceback.
def test_a_secret_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read"):
        secret.load(tmp_path, given="", file=str(tmp_path))


# If this failed, a host that cannot be one would be a traceback.
def test_a_host_has_short_labels(tmp_path: Path) -> None:
    done = run_here("up", "--host", f"{LABEL}.example", "--data", str(tmp_path / "data"), "--json")
    assert done.code == 2  # `up` has no --json
    done = run_here("up", "--host", f"{LABEL}.example", "--data", str(tmp_path / "data"))
    assert (done.code, "Cannot listen on" in done.err, "Traceback" in done.err) == (1, True, False)


# If this failed, a key with a line's end in it would be printed whole.
@pytest.mark.parametrize("tail", ["\x01", " x", "é", "\rX: 1"])
def test_a_key_is_never_quoted(tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDGATE_API_KEY", KEY + tail)
    _told(run_here("generate", "x", "--url", "http://127.0.0.1:9", "--json"), "unauthenticated", 3)
    with pytest.raises(http.Unanswered) as unanswered:
        http.call("GET", "http://127.0.0.1:9", key=f"{KEY}\r")
    assert SECRET not in str(unanswered.value)


# If this failed, a key as an editor saves it would be refused.
def test_white_space_around_a_key_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDGATE_API_KEY", f" {KEY}\r\n")
    shown = run_here("generate", "x", "--url", "http://127.0.0.1:9", "--curl", "--json").document["submit"]
    assert f"Bearer {KEY}'" in shown


# If this failed, a shell's variable that is not set would be somebody else, or the current folder.
@pytest.mark.parametrize(
    "order",
    [
        ("keys", "create", "--account", ""),
        ("keys", "create", "--name", ""),
        ("keys", "create", "--model", ""),
        ("keys", "list", "--data", ""),
        ("tasks", "list", "--account", ""),
        ("tasks", "erase", "--account", "", "--before", "2026-01-01"),
        ("generate", "x", "--url", ""),
        ("generate", "x", "--key", ""),
        ("db", "restore", "x", "--data", ""),
    ],
)
def test_an_empty_option_is_refused(order: tuple[str, ...]) -> None:
    said = _told(run_here(*order, "--json"), "usage", 2)["message"]
    assert order[order.index("") - 1] in said
    assert "empty" in said


# If this failed, a program could not read why its order was not understood.
@pytest.mark.parametrize("order", [("nope",), ("keys", "nope"), ("keys", "list", "--typo"), ("generate",)])
def test_a_mistyped_command_is_one_document(order: tuple[str, ...]) -> None:
    done = run_here(*order, "--json")
    _told(done, "usage", 2)
    assert "Usage: " in done.err


# If this failed, a bug would show a stranger's data in a traceback, or be no document.
def test_a_bug_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise KeyError(SECRET)

    monkeypatch.setattr(cli, "_version", broken)
    assert "KeyError in broken" in _told(run_here("version", "--json"), "bug")["message"]
    monkeypatch.setenv("SEEDGATE_LOG_LEVEL", "debug")
    assert "Traceback" in run_here("version", "--json").err


# If this failed, an answer that went nowhere would be a traceback, or success.
@pytest.mark.parametrize(
    ("to", "why"), [(">/dev/full", "No space left on device"), (">&-", "Standard output is closed")]
)
@pytest.mark.parametrize("order", ["version --json", "--help"])
def test_an_answer_that_cannot_be_written(to: str, why: str, order: str) -> None:
    line = ["sh", "-c", f'exec "$@" {order} {to}', "sh", *COMMAND]
    done = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, env=environment())
    assert (done.returncode, "Traceback" in done.stderr, "Exception ignored" in done.stderr) == (1, False, False)
    assert why in done.stderr


# If this failed, a reference without an end would be read until the memory is full.
def test_a_reference_is_a_file_of_a_known_size(tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(pictures.MAX_REFERENCE_BYTES + 1)
    for path, why in (("/dev/zero", "is no file"), (tmp_path, "is no file"), (large, "is too large")):
        with pytest.raises(Stop, match=why):
            pictures.reference(str(path))


# If this failed, keys could not be rotated as the manual says, or a wrong one would be a traceback.
def test_keys_are_rotated_and_revoked(shell: Shell) -> None:
    def keys(*order: str) -> Done:
        return run_here("keys", *order, "--data", str(shell.data), "--json")

    made = keys("create", "--name", "to rotate").document
    rotated = keys("rotate", made["id"]).document
    assert (rotated["id"], rotated["overlap_s"]) == (made["id"], 86_400)
    assert rotated["key"] != made["key"]
    assert [keys("revoke", made["id"]).document["revoked"] for _ in range(2)] == [True, False]
    for account in ("one", "two"):
        keys("create", "--account", account, "--name", "shared")
    keys("create", "--name", "over", "--expires", "0s")
    for wanted, code, said in (
        ("nobody's", "not_found", "There is no such key"),
        ("shared", "invalid_request", "Several keys are called that"),
        (made["id"], "invalid_request", "is revoked"),
        ("over", "invalid_request", "is expired"),
    ):
        assert said in _told(keys("rotate", wanted), code)["message"]
    assert "There is no such key" in _told(keys("revoke", "nobody's"), "not_found")["message"]
    assert "Several" in _told(keys("revoke", "shared"), "invalid_request")["message"]
    assert keys("revoke", "over").document["revoked"]
    assert json.dumps(keys("list").document).count("to rotate") == 1
