"""Hostile texts as names: kept as they are or refused in a sentence, and harmless on a terminal."""

from hostile import TEXTS
from shell import run_here

# An argument cannot hold a NUL, and one of each sort is enough beside the fuzz over HTTP.
NAMES = [text for text in TEXTS if "\0" not in text][::3]


# If this failed, a name would be another one when it comes back, run as SQL, or clear the screen of whoever lists it.
def test_names_are_kept_or_refused(shell):
    kept = {}
    for name in NAMES:
        made = run_here("keys", "create", "--account", name, "--name", name, "--data", str(shell.data), "--json")
        assert made.code in {0, 1, 2}, (name, made.err)
        assert "Traceback" not in made.err
        if made.code == 0:
            kept[name] = made.document["key"]
            assert (made.document["account"], made.document["name"]) == (name, name)
        else:
            assert made.document["error"]["hint"], name
            said = made.err.removesuffix("\n").replace("\n  hint: ", "").replace("\n    ", "")
            assert said.isprintable(), (name, made.err)
    assert len(kept) > len(NAMES) / 2
    listed = run_here("keys", "list", "--data", str(shell.data), "--json").document["keys"]
    assert kept.keys() <= {key["name"] for key in listed if key["name"] == key["account"]}
    table = run_here("keys", "list", "--data", str(shell.data)).out
    assert all(line.isprintable() for line in table.removesuffix("\n").split("\n"))
    assert len(table.splitlines()) == len(listed) + 1


# If this failed, the story of a task would not be the one that was told to it.
def test_a_prompt_comes_back_as_it_was(shell, tmp_path):
    for prompt in ("{{7*7}} \x1b[31m'; DROP TABLE task; --\r\nX-Evil: 1", "%s{0}${1}\u202e"):
        drawn = run_here("generate", prompt, "-o", str(tmp_path / "a.jpg"), "--data", str(shell.data), "--json")
        assert drawn.code == 0, drawn.err
        task = drawn.document["task_id"]
        shown = run_here("tasks", "show", task, "--prompt", "--data", str(shell.data), "--json")
        assert shown.document["request"]["prompt"] == prompt
        plain = run_here("tasks", "show", task, "--prompt", "--data", str(shell.data)).out
        assert all(line.isprintable() for line in plain.removesuffix("\n").split("\n"))
