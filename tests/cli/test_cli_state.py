"""The commands that read and write a gateway's state, beside that gateway."""

import io
import json
import os
import pwd
import urllib.request
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from PIL import Image
from shell import run, run_here
from typer.testing import CliRunner
from world import World

from seedgate.cli import app
from seedgate.ids import well_formed_key
from seedgate.store.accept import NewTask
from seedgate.store.database import Database, Dsn
from seedgate.store.embedded import EmbeddedServer


# If lists and stories were wrong, nobody could be helped; if a story leaked, support would see prompts and could fetch
# strangers' pictures.
def test_tasks_are_listed_and_told_without_secrets(shell):
    first, second = (
        shell.run("generate", "a very secret fox", "-o", shell.data / f"{name}.jpg", "--json").document["task_id"]
        for name in "ab"
    )
    page = shell.run("tasks", "list", "--limit", "1", "--account", "development", "--json").document
    assert [row["id"] for row in page["tasks"]] == [second] == [page["next"]]
    (row,) = shell.run("tasks", "list", "--limit", "1", "--before", second, "--json").document["tasks"]
    assert (row["id"], row["state"], row["delivered"], row["charged_micros"]) == (first, "success", 1, 35_000)
    told = shell.run("tasks", "show", first, "--json")
    story = told.document
    assert (story["id"], story["state"], story["account"]) == (first, "success", "development")
    assert [moment["what"] for moment in story["timeline"]][:2] == ["accepted", "started"]
    assert story["timeline"][-1]["what"] == "finished"
    assert [(slot["state"], slot["pictures"]) for slot in story["slots"]] == [("settled", 1)]
    assert [attempt["state"] for attempt in story["attempts"]] == ["done"]
    assert [(image["format"], image["width"]) for image in story["images"]] == [("jpeg", 2048)]
    assert [(p["entry"], p["side"], p["amount_micros"]) for p in story["receipt"]["postings"]] == [
        ("hold", "from", -35_000),
        ("hold", "to", 35_000),
        ("charge", "from", -35_000),
        ("charge", "to", 35_000),
    ]
    assert "input.resolution" in {change["field"] for change in story["changes"]}
    names = {path.name for path in (shell.data / "results").rglob("*.jpg")}
    assert names
    assert not any(name in told.out for name in names)
    assert "secret fox" not in told.out
    plain = shell.run("tasks", "show", first, "--prompt").out
    assert "secret fox" in plain
    assert "charged       $0.035" in plain


# If an unknown id were no error, a script would take silence for an answer.
def test_an_unknown_task_is_one_sentence_and_one_document(shell):
    done = shell.run("tasks", "show", UUID(int=1).hex, "--json")
    assert done.code == 1
    assert done.document["error"]["code"] == "not_found"
    assert "hint: " in done.err


# If this failed, what must be forgotten would not be, a slip of the tongue would forget it, or a running task would break.
async def test_tasks_are_erased_on_purpose_and_only_after_their_end(shell):
    key = shell.run("keys", "create", "--account", "gone", "--submits-per-minute", "unlimited", "--json").document[
        "key"
    ]
    shell.run("credits", "grant", "gone", "1", "--reason", "test")
    drawn = shell.run("generate", "a mauve otter", "--key", key, "-o", shell.data / "otter.png", "--json").document
    first = drawn["task_id"]
    waiting = await _task_that_waits(shell.data)
    refused = shell.run("tasks", "erase", first, waiting.id.hex, "--yes", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "still_open")
    assert refused.document["task_id"] == waiting.id.hex
    whose = ("--account", waiting.account_id.hex, "--before", "2999-01-01")
    left = shell.run("tasks", "erase", *whose, "--yes", "--json").document
    nothing = {"tasks": 0, "pictures": 0, "uploads": 0, "references": 0, "references_later": 0, "open": 0}
    assert left == nothing | {"open": 1}
    unsure = shell.run("tasks", "erase", first)
    assert (unsure.code, "--yes" in unsure.err) == (1, True)
    status, url = shell.status(first, key)
    assert shell.get(url)[0] == 200
    erased = shell.run("tasks", "erase", first, first, "--reason", "asked for by mail", "--yes", "--json")
    assert erased.document == nothing | {"tasks": 1, "pictures": 1}
    assert shell.get(url)[0] == 410
    assert shell.status(first, key) == (status, url)
    told = shell.run("tasks", "show", first, "--prompt")
    assert f"erased: by {pwd.getpwuid(os.getuid()).pw_name}: asked for by mail" in told.out
    assert "otter" not in told.out
    assert "charged       $0.035" in told.out
    assert shell.run("tasks", "erase", first, "--yes").out == "Nothing was left to erase.\n"


# If this failed, an upload that must go could not be found, would stay readable, or would take another along.
def test_uploads_are_listed_and_deleted(shell, tmp_path):
    key = shell.run("keys", "create", "--account", "shelf", "--json").document["key"]
    picture = io.BytesIO()
    Image.new("RGB", (30, 20)).save(picture, "PNG")
    made = [_uploaded(shell, key, picture.getvalue()) for _ in range(3)]
    where = ("--data", str(shell.data), "--json")
    listed = run_here("files", "list", "--account", "shelf", *where)
    assert [file["id"] for file in listed.document["files"]] == [file["id"] for file in reversed(made)]
    assert not any(file["url"].rsplit("/", 1)[1] in listed.out for file in made)
    page = run_here("files", "list", "--limit", "1", "--before", made[2]["id"], *where).document
    assert ([file["account"] for file in page["files"]], page["next"]) == (["shelf"], made[1]["id"])
    deleted = run_here("files", "delete", made[0]["id"], UUID(int=1).hex, "--yes", *where)
    assert (deleted.code, deleted.document) == (1, {"deleted": [made[0]["id"]], "unknown": [UUID(int=1).hex]})
    assert [shell.get(file["url"])[0] for file in made] == [404, 200, 200]
    erased = run_here("tasks", "erase", "--account", "shelf", "--before", "2999-01-01", "--yes", *where).document
    assert (erased["uploads"], erased["tasks"], erased["references_later"]) == (2, 0, 1)
    assert [shell.get(file["url"])[0] for file in made] == [404, 404, 404]
    assert run_here("files", "list", "--account", "shelf", *where).document == {"files": [], "next": None}


def _uploaded(shell, key: str, picture: bytes) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/png"}
    request = urllib.request.Request(f"{shell.gateway.url}/seedgate/v1/files", data=picture, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


async def _task_that_waits(data: Path) -> NewTask:
    """For an engine that nobody runs."""
    with EmbeddedServer.open(data) as server:
        database = Database(Dsn(server.dsn_kwargs))
        world = World(database)
        account = await world.account()
        task = world.task(account, await world.key(account), lane="engine:nobody")
        await world.accept(task)
        await database.close()
    return task


# If this failed, half a question would be taken for a whole one.
@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("--account", "gone"),
        ("--before", "2999-01-01"),
        (UUID(int=1).hex, "--account", "gone", "--before", "2999-01-01"),
        ("--account", "gone", "--before", "soon"),
        ("--account", "gone", "--before", "0001-01-01T00:00:00+23:59"),
        ("--account", "gone", "--before", "9999-12-31T23:59:59-23:59"),
        ("x",),
        (UUID(int=1).hex, "--reason", "x" * 1001),
    ],
)
def test_an_erasure_is_of_tasks_or_of_an_account(wrong):
    assert CliRunner().invoke(app, ["tasks", "erase", *wrong, "--yes"]).exit_code == 2


# If a limit were dropped, or a key shown twice, keys would be worthless.
def test_a_key_is_made_with_its_limits_and_shown_once(shell):
    made = shell.run("keys", "create", "--name", "mine", "--concurrent", "unlimited", "--json").document
    assert well_formed_key(made["key"])
    assert (made["kind"], made["submits_per_minute"], made["concurrent_tasks"]) == ("test", 60, None)
    listed = shell.run("keys", "list", "--json")
    (row,) = [key for key in listed.document["keys"] if key["name"] == "mine"]
    assert (row["account"], row["submits_per_minute"], row["concurrent_tasks"]) == ("development", 60, None)
    assert made["key"] not in listed.out
    again = shell.run("keys", "create", "--name", "mine")
    assert (again.code, again.out) == (1, "")
    assert "has a key called 'mine'" in again.err


# If a key of an empty account spent, credit would mean nothing; a grant must count once and name who gave it.
async def test_credit_is_granted_once_and_then_spent(shell):
    key = shell.run("keys", "create", "--account", "poor", "--json").document["key"]
    refused = shell.run("generate", "fox", "--key", key, "--json")
    assert (refused.code, refused.document["error"]["code"]) == (4, "insufficient_balance")
    assert "seedgate credits grant" in refused.err
    order = ("credits", "grant", "poor", "0.07", "--reason", "a present", "--idempotency-key", "once", "--json")
    granted = {"granted": True, "account": "poor", "amount_micros": 70_000, "balance_micros": 70_000}
    first = shell.run(*order).document
    assert first.items() >= granted.items()
    assert shell.run(*order).document == first | {"granted": False}
    reused = shell.run(*[part.replace("0.07", "7") for part in order])
    assert (reused.code, reused.document["error"]["code"]) == (1, "idempotency_key_reused")
    unset = shell.run(*[part.replace("once", "") for part in order])
    assert (unset.code, unset.document["error"]["code"]) == (1, "invalid_request")
    assert shell.run("generate", "fox", "--key", key, "-o", shell.data / "p.jpg").code == 0
    with EmbeddedServer.open(shell.data) as server:
        connection = await asyncpg.connect(**server.dsn_kwargs)
        actor = await connection.fetchval("SELECT actor FROM adjustment WHERE reason = 'a present'")
        await connection.close()
    assert actor == pwd.getpwuid(os.getuid()).pw_name


# If the check could not fail, it would prove nothing: the books are bent by hand, seen bent, and bent back.
async def test_the_books_are_proved_and_a_difference_is_found(shell):
    right = shell.run("ledger", "check", "--json")
    assert (right.code, right.document["ok"], right.document["findings"]) == (0, True, [])
    assert "I1" in right.document["checked"]
    bend = "UPDATE account SET avail_micros = avail_micros + $1 WHERE name = 'development'"
    with EmbeddedServer.open(shell.data) as server:
        connection = await asyncpg.connect(**server.dsn_kwargs)
        await connection.execute(bend, 1)
        wrong = shell.run("check", "--json")
        await connection.execute(bend, -1)
        await connection.close()
    assert (wrong.code, wrong.document["ok"]) == (1, False)
    assert {finding["invariant"] for finding in wrong.document["findings"]} == {"I1"}


# If DATABASE_URL were not read, several machines could not share a database.
def test_a_database_is_found_by_its_address(shell, tmp_path):
    with EmbeddedServer.open(shell.data) as server:
        socket = server.dsn_kwargs
    url = f"postgresql://{socket['user']}@/{socket['database']}?host={socket['host']}&port={socket['port']}"
    status = run("db", "status", "--json", cwd=tmp_path, DATABASE_URL=url).document
    assert (status["embedded"], status["up_to_date"], status["missing"]) == (False, True, [])
    assert [row["number"] for row in status["applied"]][:2] == [1, 2]
    assert run("db", "migrate", "--json", cwd=tmp_path, DATABASE_URL=url).document == {"applied": []}
    with_secret = {"DATABASE_URL": url, "SEEDGATE_SECRET_KEY_FILE": str(shell.data / "secret.key")}
    assert run("keys", "list", "--json", cwd=tmp_path, **with_secret).document["keys"]


# If a wrong address or folder were a traceback, or made an installation, nobody could mend it.
def test_what_is_not_there_is_told_and_not_made(tmp_path):
    nowhere = run("tasks", "list", "--json", cwd=tmp_path)
    assert (nowhere.code, nowhere.document["error"]["code"]) == (1, "no_data")
    dead = run("db", "status", cwd=tmp_path, DATABASE_URL="postgresql://u:hush@127.0.0.1:1/x")
    assert (dead.code, dead.out) == (1, "")
    assert "does not answer" in dead.err
    assert "hush" not in dead.err
    assert not list(tmp_path.iterdir())


# If the doctor found a healthy gateway ill, nobody would believe it.
def test_the_doctor_finds_a_running_gateway_well(shell):
    done = shell.run("doctor", "--json", SEEDGATE_WORK__ENGINE="blank")
    statuses = {check["name"]: check["status"] for check in done.document["checks"]}
    assert (done.code, done.document["ok"]) == (0, True), done.out
    well = ("database", "schema", "clock", "secret", "engine", "results", "port", "gateway", "workers")
    assert {statuses[name] for name in well} == {"ok"}


# If this failed, a slip of the tongue would delete money, or a data folder could not be thrown away.
def test_a_database_is_discarded_only_on_purpose(tmp_path):
    made = run("db", "migrate", "--data", tmp_path / "data", "--json")
    assert made.document["applied"]
    unsure = run("db", "discard", "--data", tmp_path / "data")
    assert (unsure.code, "--yes" in unsure.err) == (1, True)
    assert run("db", "status", "--data", tmp_path / "data", "--json").document["up_to_date"]
    gone = run("db", "discard", "--data", tmp_path / "data", "--yes", "--json")
    assert (gone.code, gone.document) == (0, {"discarded": str(tmp_path / "data")})
    assert run("db", "discard", "--data", tmp_path / "nowhere", "--yes").code == 1
    again = run("db", "migrate", "--data", tmp_path / "data", "--json")
    assert again.document["applied"] == made.document["applied"]
    assert run("db", "discard", "--data", tmp_path / "data", "--yes").code == 0
