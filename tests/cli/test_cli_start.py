"""Before anything runs: help, version, the doctor before the first start."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from shell import environment, run

from seedgate.cli import draw, keys, output, pictures, story
from seedgate.cli.checkup import CHECKS
from seedgate.cli.output import Stop
from seedgate.domain.errors import BadSettings
from seedgate.domain.image import OutputFormat
from seedgate.settings import load

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
        keys._limit(given)
    assert [keys._limit(good) for good in ("60000000", "unlimited")] == [60_000_000, 0]


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
