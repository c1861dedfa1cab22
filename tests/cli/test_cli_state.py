"""The commands that read and write a gateway's state, beside that gateway."""

import os
import pwd
from uuid import UUID

import pytest
from conftest import run

from seedgate.ids import well_formed_key
from seedgate.store.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def task(gateway):
    """A task that is done, submitted with everything that must not be shown."""
    done = gateway.run("generate", "a very secret fox", "-o", gateway.data / "fox.jpg", "--json")
    assert done.code == 0, done.err
    return done.document["task_id"]


# If the list were wrong, an operator could not find a caller's task.
def test_tasks_are_listed_newest_first_and_page_by_page(gateway):
    first = gateway.run("generate", "one", "-o", gateway.data / "a.jpg", "--json").document["task_id"]
    second = gateway.run("generate", "another", "-o", gateway.data / "b.jpg", "--json").document["task_id"]
    found = gateway.run("tasks", "list", "--limit", "1", "--account", "development", "--json").document
    assert [row["id"] for row in found["tasks"]] == [second] == [found["next"]]
    (row,) = gateway.run("tasks", "list", "--limit", "1", "--before", second, "--json").document["tasks"]
    assert (row["id"], row["state"], row["delivered"], row["charged_micros"]) == (first, "success", 1, 35_000)
    assert row["account"] == "development"
    assert first in gateway.run("tasks", "list").out


# If a story leaked, support would see prompts and could fetch strangers' pictures.
def test_a_task_is_told_whole_and_without_secrets(gateway, task):
    done = gateway.run("tasks", "show", task, "--json")
    story = done.document
    assert (story["id"], story["state"], story["account"]) == (task, "success", "development")
    assert [moment["what"] for moment in story["timeline"]][:2] == ["accepted", "started"]
    assert story["timeline"][-1]["what"] == "finished"
    assert [(slot["state"], slot["pictures"]) for slot in story["slots"]] == [("settled", 1)]
    assert [attempt["state"] for attempt in story["attempts"]] == ["done"]
    assert [(image["format"], image["width"]) for image in story["images"]] == [("jpeg", 2048)]
    postings = story["receipt"]["postings"]
    assert [(p["entry"], p["side"], p["amount_micros"]) for p in postings] == [
        ("hold", "from", -35_000),
        ("hold", "to", 35_000),
        ("charge", "from", -35_000),
        ("charge", "to", 35_000),
    ]
    assert "input.resolution" in {change["field"] for change in story["changes"]}
    names = {path.name for path in (gateway.data / "results").rglob("*.jpg")}
    assert names
    assert not any(name in done.out for name in names)
    assert "secret fox" not in done.out + gateway.run("tasks", "show", task).out
    assert "secret fox" in gateway.run("tasks", "show", task, "--prompt").out


# If an unknown id were no error, a script would take silence for an answer.
def test_an_unknown_task_is_one_sentence_and_one_document(gateway):
    done = gateway.run("tasks", "show", UUID(int=1).hex, "--json")
    assert done.code == 1
    assert done.document["error"]["code"] == "not_found"
    assert "hint: " in done.err
    assert gateway.run("tasks", "show", "fox").code == 2


# If a made key did not open, or a limit were dropped, keys would be worthless.
def test_a_key_is_made_with_its_limits_and_opens(gateway):
    made = gateway.run("keys", "create", "--name", "mine", "--concurrent", "unlimited", "--json").document
    assert well_formed_key(made["key"])
    assert (made["kind"], made["submits_per_minute"], made["concurrent_tasks"]) == ("test", 60, None)
    listed = gateway.run("keys", "list", "--json")
    (row,) = [key for key in listed.document["keys"] if key["name"] == "mine"]
    assert (row["account"], row["submits_per_minute"], row["concurrent_tasks"]) == ("development", 60, None)
    assert made["key"] not in listed.out
    picture = gateway.run("generate", "fox", "-o", gateway.data / "k.jpg", "--key", made["key"])
    assert picture.code == 0, picture.err
    again = gateway.run("keys", "create", "--name", "mine")
    assert again.code == 1
    assert "has a key called 'mine'" in again.err


# If a key of an empty account spent, credit would mean nothing; and a grant must count once.
def test_credit_is_granted_once_and_then_spent(gateway):
    key = gateway.run("keys", "create", "--account", "poor", "--json").document["key"]
    refused = gateway.run("generate", "fox", "--key", key, "--json")
    assert (refused.code, refused.document["error"]["code"]) == (4, "insufficient_balance")
    assert "seedgate credits grant" in refused.err
    order = ("credits", "grant", "poor", "0.07", "--reason", "a present", "--idempotency-key", "once", "--json")
    assert gateway.run(*order).document == {
        "granted": True,
        "account": "poor",
        "amount_micros": 70_000,
        "balance_micros": 70_000,
    }
    assert gateway.run(*order).document["granted"] is False
    assert gateway.run("generate", "fox", "--key", key, "-o", gateway.data / "p.jpg").code == 0
    assert gateway.run("credits", "grant", "nobody", "1", "--reason", "x").code == 1
    assert gateway.run("credits", "grant", "poor", "1e5", "--reason", "x").code == 2


# If the check could not fail, it would prove nothing: the books are bent by hand, seen bent, and bent back.
async def test_the_books_are_proved_and_a_difference_is_found(gateway, task):
    import asyncpg

    right = gateway.run("ledger", "check", "--json")
    assert (right.code, right.document["ok"], right.document["findings"]) == (0, True, [])
    assert "I1" in right.document["checked"]
    bend = "UPDATE account SET avail_micros = avail_micros + $1 WHERE name = 'development'"
    with EmbeddedServer.open(gateway.data) as server:
        connection = await asyncpg.connect(**server.dsn_kwargs)
        await connection.execute(bend, 1)
        wrong = gateway.run("check", "--json")
        await connection.execute(bend, -1)
        await connection.close()
    assert (wrong.code, wrong.document["ok"]) == (1, False)
    assert {finding["invariant"] for finding in wrong.document["findings"]} == {"I1"}


# If DATABASE_URL were not read, several machines could not share a database.
def test_a_database_is_found_by_its_address(gateway, tmp_path):
    with EmbeddedServer.open(gateway.data) as server:
        socket = server.dsn_kwargs
        url = f"postgresql://{socket['user']}@/{socket['database']}?host={socket['host']}&port={socket['port']}"
    status = run("db", "status", "--json", cwd=tmp_path, DATABASE_URL=url)
    assert status.code == 0, status.err
    assert (status.document["embedded"], status.document["up_to_date"]) == (False, True)
    assert [row["number"] for row in status.document["applied"]][:2] == [1, 2]
    both = {"DATABASE_URL": url, "SEEDGATE_SECRET_KEY_FILE": str(gateway.data / "secret.key")}
    assert run("keys", "list", "--json", cwd=tmp_path, **both).document["keys"]
    assert run("db", "migrate", "--json", "--data", tmp_path, DATABASE_URL=url).document == {"applied": []}


# If a wrong address or folder were a traceback, or made an installation, nobody could mend it.
def test_what_is_not_there_is_told_and_not_made(gateway, tmp_path):
    nowhere = run("tasks", "list", "--json", cwd=tmp_path)
    assert (nowhere.code, nowhere.document["error"]["code"]) == (1, "no_data")
    assert not list(tmp_path.iterdir())
    dead = run("keys", "list", cwd=tmp_path, DATABASE_URL="postgresql://u:hush@127.0.0.1:1/x")
    assert dead.code == 1
    assert "does not answer" in dead.err
    assert "hush" not in dead.err
    ours_wins = gateway.run("keys", "list", DATABASE_URL="postgresql://u@127.0.0.1:1/x", SEEDGATE_DATABASE_URL="")
    assert ours_wins.code == 0, ours_wins.err


# If the doctor found a healthy gateway ill, nobody would believe it.
def test_the_doctor_finds_a_running_gateway_well(gateway):
    done = gateway.run("doctor", "--json", SEEDGATE_WORK__ENGINE="blank")
    checks = {check["name"]: check for check in done.document["checks"]}
    assert not [check for check in checks.values() if check["status"] == "fail"]
    assert (done.code, done.document["ok"]) == (0, True)
    assert {checks[name]["status"] for name in ("database", "schema", "engine", "results", "gateway", "workers")} == {
        "ok"
    }


# If the operator were not written down, a grant could not be traced.
async def test_a_grant_names_its_operator(gateway):
    import asyncpg

    assert gateway.run("credits", "grant", "development", "1", "--reason", "traced").code == 0
    with EmbeddedServer.open(gateway.data) as server:
        connection = await asyncpg.connect(**server.dsn_kwargs)
        actor = await connection.fetchval("SELECT actor FROM adjustment WHERE reason = 'traced'")
        await connection.close()
    assert actor == pwd.getpwuid(os.getuid()).pw_name
