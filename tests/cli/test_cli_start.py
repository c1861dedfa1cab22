"""Before anything runs: help, version, the doctor's single checks."""

import importlib.metadata
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from shell import environment, run

from seedgate.cli import checkup, draw, http, keys, output, pictures, story
from seedgate.cli.checkup import CHECKS, Patient, look
from seedgate.cli.output import Stop
from seedgate.domain.errors import BadSettings
from seedgate.domain.image import OutputFormat
from seedgate.settings import load
from seedgate.store.operations import Server

HEAVY = (
    "aiohttp asyncpg PIL pyvips starlette msgspec pydantic pydantic_settings uvicorn uvloop obstore structlog"
    " prometheus_client asyncio urllib.request http.client rich.console rich.progress"
)
COMMANDS = "up serve work generate check doctor version tasks keys credits ledger db".split()


# If help imported what the server needs, every mistyped command would take half a second.
def test_help_imports_nothing_heavy():
    program = (
        "import sys; from seedgate.cli import app\n"
        "try: app(['--help'])\n"
        f"finally: sys.stderr.write(' '.join(m for m in {HEAVY!r}.split() if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


# If a subcommand's options were declared wrongly, its help would be the first to break.
def test_version():
    version = importlib.metadata.version("seedgate")
    assert run("version", "--json").document == {"version": version}
    assert run("--version").out == f"seedgate {version}\n"


# If a stranger's text reached a terminal raw, it could rewrite what the operator reads.
def test_a_terminal_obeys_no_text():
    assert output.clean("\x1b[2Jfox\n\u202e") == "\\x1b[2Jfox\\n\\u202e"


# If an argument that is no text went on, the database's driver would answer with a traceback.
@pytest.mark.parametrize(
    "order", [("tasks", "list", "--account"), ("generate",), ("credits", "grant", "a", "1", "--reason")]
)
def test_an_argument_is_text(tmp_path, order):
    done = run(*order, "\udcff", "--json", cwd=tmp_path)
    assert (done.code, done.document["error"]["code"]) == (2, "invalid_request")
    assert done.err == f"seedgate: Argument {len(order) + 1} is not text\n  hint: Arguments are text in UTF-8.\n"


# If a limit of any length or script were read as a number, it would be a traceback, or another limit than is seen.
@pytest.mark.parametrize("given", ["9" * 5000, "٣", "0", "-1", "+1", "1_0", " 1", "60000001", ""])
def test_a_limit_is_a_plain_number(given):
    with pytest.raises(typer.BadParameter):
        keys._limit(given, 10, "--submits-per-minute")
    assert [keys._limit(good, 10, "") for good in ("60000000", "unlimited", None)] == [60_000_000, None, 10]


# If an address that cannot be read ended the story, the task that needs a look could not be looked at.
def test_an_unreadable_address_is_told_as_such():
    assert story._shown("http://[:::::]/x") == "(an address that cannot be read)"
    assert story._shown("https://u:p@a.example/x?key=1") == "https://a.example/x?…"


# If the doctor needed an installation, it could not be asked before the first start.
def test_the_doctor_is_of_use_before_the_first_start(tmp_path):
    done = run("doctor", "--json", cwd=tmp_path, SEEDGATE_WORK__ENGINE="blank", SEEDGATE_PORT="0")
    statuses = {check["name"]: check["status"] for check in done.document["checks"]}
    assert (done.code, list(statuses)) == (0, list(CHECKS))
    assert {name for name, status in statuses.items() if status == "ok"} >= {"database", "engine", "results", "port"}
    assert not list(tmp_path.iterdir())


@pytest.fixture
def patient(tmp_path):
    return Patient(settings=load(data=tmp_path, port=0), database=None)


def away(_url: str) -> http.Answer:
    raise http.Unanswered("Connection refused")


# If a check could not fail, it would be decoration.
@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        ("python", {"python": (3, 10)}, "fail"),
        ("data folder", {"free_bytes": lambda _: 1 << 20}, "fail"),
        ("data folder", {"free_bytes": lambda _: 1 << 30}, "warn"),
        ("gateway", {"running": "http://127.0.0.1:1", "ask": away}, "fail"),
        ("gateway", {"running": "u", "ask": lambda _: http.Answer(status=503, body={"reason": "gone"})}, "fail"),
        ("gateway", {"running": "u", "ask": lambda _: http.Answer(status=200)}, "ok"),
        ("gateway", {}, "warn"),
        ("workers", {}, "warn"),
        ("open files", {"open_files": lambda: 1024}, "warn"),
    ],
)
async def test_a_check_tells_what_it_sees(patient, name, change, status):
    finding = await look(name, CHECKS[name], replace(patient, **change))
    assert finding.status == status, finding
    assert bool(finding.hint) == (status != "ok")


# If others could read the secret, they could forge every key.
async def test_an_open_secret_fails(patient):
    secret = Path(patient.data, "secret.key")
    assert (await look("secret", CHECKS["secret"], patient)).status == "ok"
    secret.write_bytes(b"x" * 44)
    secret.chmod(0o644)
    assert (await look("secret", CHECKS["secret"], patient)).hint == f"chmod 600 {secret}"
    secret.chmod(0o600)
    assert (await look("secret", CHECKS["secret"], patient)).status == "ok"
    secret.write_bytes(b"short")
    assert (await look("secret", CHECKS["secret"], patient)).status == "fail"


# If skew were not seen, keys would expire early and task ids would sort wrongly.
async def test_a_clock_that_is_off(patient, monkeypatch):
    async def read(_database):
        return Server(version=140_000, now=datetime(2026, 11, 20, tzinfo=UTC))

    monkeypatch.setattr(checkup, "read_server", read)
    for day, second, status in ((20, 0, "ok"), (20, 10, "warn"), (21, 0, "fail")):
        at = datetime(2026, 11, day, 0, 0, second, tzinfo=UTC)
        seen = replace(patient, database=object(), now=lambda at=at: at)
        assert (await look("clock", CHECKS["clock"], seen)).status == status
    old = await look("database", CHECKS["database"], replace(patient, database=object()))
    assert (old.status, old.sentence) == ("fail", "PostgreSQL 14.0 answers, embedded.")


# If one broken check ended the visit, the others would never be heard.
async def test_a_check_that_raises_is_a_finding(patient):
    async def broken(_patient):
        raise RuntimeError("bang")

    finding = await look("broken", broken, patient)
    assert (finding.status, finding.sentence) == ("fail", "bang")


# If a wrong order reached the gateway, it could be paid for and not kept.
def test_what_cannot_be_kept_or_had_is_refused_before_it_is_asked_for(tmp_path):
    with pytest.raises(Stop):
        pictures.check_writable(tmp_path / "missing" / "fox.png")
    (tmp_path / "note.png").write_text("no picture")
    for reference in ("note.png", "missing.png"):
        with pytest.raises(Stop):
            pictures.reference(str(tmp_path / reference))
    with pytest.raises(typer.BadParameter):
        draw.wanted_format("seedream-4-5", OutputFormat.PNG, None)
    asked = [draw.wanted_format("seedream-5-0", None, Path(name)) for name in ("a.png", "a.JPEG", "a.webp", "a.txt")]
    assert asked == ["png", "jpeg", None, None]
    assert draw.wanted_format("seedream-4-5", None, Path("a.png")) is None


# If the usual names were not read, a platform's own variables would do nothing.
def test_the_usual_names_in_the_environment(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://usual")
    monkeypatch.setenv("BLOBS_URL", "s3://usual")
    settings = load()
    assert (settings.database_url.get_secret_value(), settings.blobs_url) == ("postgresql://usual", "s3://usual")
    monkeypatch.setenv("SEEDGATE_DATABASE_URL", "postgresql://ours")
    assert load().database_url.get_secret_value() == "postgresql://ours"


# If this failed, a task would be gone while its pictures or its prompt are still there, or before a repeated submit.
@pytest.mark.parametrize(
    ("task_days", "prompt_days", "right"),
    [("15", "0", True), ("14", "0", False), ("30", "30", True), ("30", "31", False), ("6", "0", False)],
)
def test_tasks_are_kept_longest(task_days, prompt_days, right, monkeypatch):
    monkeypatch.setenv("SEEDGATE_RETENTION__TASK_DAYS", task_days)
    monkeypatch.setenv("SEEDGATE_RETENTION__PROMPT_DAYS", prompt_days)
    if right:
        assert load().prompt_days == (int(prompt_days) or 15)
        return
    with pytest.raises(BadSettings, match="retention"):
        load()
