"""The papers say what is there: modules, tests, links, commands, settings; and nothing that was meant for later."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from seedgate.cli import app
from seedgate.settings import Settings

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "seedgate"
PAPERS = [ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG")]
PAPERS += sorted((ROOT / "docs").rglob("*.md"))
DEFAULTS = SOURCE / "settings.default.toml"
ADR_SECTIONS = ["Context", "Decision", "Consequences", "Options rejected", "References"]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OWN_PATH = re.compile(r"(?:src|tests|docs|bench|tools)/[\w./-]*\w/?|pyproject\.toml")
# Written apart, so that this file does not find itself.
_LATER = re.compile("|".join((r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b")))
_HERE = re.compile(r"(?<![\w.~/-])/(?:work|root|home|Users)(?![\w-])")


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def section(paper: Path, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text(paper), re.MULTILINE | re.DOTALL)
    assert found, f"{paper.name} has no section {title!r}"
    return found[1]


def names(paper: Path) -> str:
    return str(paper.relative_to(ROOT))


# If this failed, a reader would look for a module that is not there, or never hear of one that is.
def test_the_code_map_names_every_module():
    rows = [line for line in section(ROOT / "ARCHITECTURE.md", "Code map").splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in _CODE.findall(row.split("|")[1])]
    assert len(listed) == len(set(listed)), "a file stands in the map twice"
    there = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.suffix in {".py", ".sql", ".toml"} and "__pycache__" not in path.parts
    }
    assert sorted(set(listed) - there) == [], "named, but not there"
    assert sorted(there - set(listed)) == [], "there, but not named"


# If this failed, a contract would be said to be guarded by a test that nobody runs.
def test_the_test_map_names_tests_that_exist():
    named = _CODE.findall(section(ROOT / "ARCHITECTURE.md", "Test map"))
    assert len(named) > 20
    for name in named:
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), name
        assert not function or re.search(rf"^\s*(async )?def {function}\(", text(ROOT / path), re.MULTILINE), name


@pytest.mark.parametrize("paper", PAPERS, ids=names)
class TestPaper:
    # If this failed, the papers would lead nowhere.
    def test_links_resolve(self, paper: Path):
        for target in _LINK.findall(_FENCE.sub("", text(paper))):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            found = (paper.parent / path).resolve() if path else paper
            assert found.is_relative_to(ROOT), target
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target

    # If this failed, a file that the text speaks of would have been moved or never been there.
    def test_files_that_are_named_exist(self, paper: Path):
        for name in _CODE.findall(_FENCE.sub("", text(paper))):
            if _OWN_PATH.fullmatch(name):
                assert (ROOT / name).exists(), name

    # If this failed, lines would run out of the window of whoever reads them.
    def test_lines_are_short(self, paper: Path):
        assert [line for line in text(paper).splitlines() if len(line) > 120 or line != line.rstrip()] == []


def anchors(paper: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", _FENCE.sub("", text(paper)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


# If this failed, a decision would stand without its reasons, its price, or its place in the index.
def test_decisions_have_their_form_and_their_line():
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04d}" for number in range(1, len(pages) + 1)]
    index = text(ROOT / "docs" / "decisions" / "README.md")
    for page in pages:
        head = re.match(rf"# {page.name[:4]}: (.+)\n", text(page))
        assert head, page.name
        assert f"| [{page.name[:4]}]({page.name}) | {head[1]} |" in index, page.name
        assert re.findall(r"^## (.+)$", text(page), re.MULTILINE) == ADR_SECTIONS, page.name
        items = re.findall(r"^- (\w+): ", section(page, "Consequences"), re.MULTILINE)
        assert set(items) == {"Good", "Bad"}, page.name
        assert len(items) == section(page, "Consequences").count("\n- "), page.name


# If this failed, the first thing that somebody types would not work.
def test_commands_that_are_named_exist():
    named = [command for paper in PAPERS for command in commands(text(paper))]
    assert len(named) > 30
    for command in named:
        words = shlex.split(command, comments=True)
        if words[0] == "./dev":
            words = words[1:]
            assert words, command
            if words[0] in dev_commands():
                words = ["seedgate", *words] if words[0] == "up" else []
            elif words[0] not in {"seedgate", "COMMAND"}:
                assert (ROOT / ".venv" / "bin" / words[0]).exists(), command
        if words and words[0] == "seedgate":
            check_command(words[1:], command)


def commands(paper: str) -> Iterator[str]:
    """What begins with `./dev` or `seedgate` and something behind it, in blocks and in lines, up to a pipe or comment."""
    blocks = (line for language, block in _FENCE.findall(paper) if language == "sh" for line in block.splitlines())
    for code in (*blocks, *_CODE.findall(_FENCE.sub("", paper))):
        if re.match(r"(\./dev|seedgate) +\S", code):
            yield code.partition(" | ")[0]


@cache
def dev_commands() -> set[str]:
    labels = re.findall(r"^  ([a-z|*-]+)\) ", text(ROOT / "dev"), re.MULTILINE)
    return {name for label in labels for name in label.split("|")} - {"*"}


def check_command(words: list[str], said: str) -> None:
    """The words lead to a command of the command line, and the options are that command's."""
    found: Any = typer.main.get_command(app)
    while words and hasattr(found, "commands") and words[0] in found.commands:
        found, words = found.commands[words[0]], words[1:]
    known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known.add("--help")
    assert not (words and hasattr(found, "commands") and not words[0].startswith("-")), f"no such command: {said}"
    for word in words:
        assert not word.startswith("-") or word.partition("=")[0] in known, f"no such option: {said}"


# If this failed, the two commands of the README could not be found, or the README would be no short one.
def test_the_readme_shows_the_two_commands():
    blocks = [block.strip() for language, block in _FENCE.findall(text(ROOT / "README.md")) if language == "sh"]
    assert "./dev up" in blocks
    assert "./dev test" in blocks
    assert len(text(ROOT / "README.md").splitlines()) <= 150


# If this failed, a command of the command line would be one that nobody hears of.
def test_the_operators_page_names_every_command():
    readme = text(ROOT / "docs" / "operating.md")
    group: Any = typer.main.get_command(app)
    for name, found in group.commands.items():
        for path in (f"{name} {below}" for below in found.commands) if hasattr(found, "commands") else (name,):
            assert re.search(rf"`\./dev (seedgate )?{path}`", readme), path


# If this failed, a setting could be used only by somebody who reads the code.
def test_every_setting_is_documented_and_has_its_default():
    defaults = tomllib.loads(text(DEFAULTS))
    assert leaves(defaults) == fields(Settings), "the default file and the schema differ"
    documented, part = set(), ""
    # A comment speaks for the settings below it, up to the next empty line: neighbours may share a sentence.
    spoken = False
    for line in text(DEFAULTS).splitlines():
        if line.startswith("["):
            part, spoken = f"{line.strip('[]')}.", False
        elif line.startswith("#"):
            spoken = True
        elif not line.strip():
            spoken = False
        elif spoken:
            documented.add(part + line.partition("=")[0].strip())
    assert sorted(leaves(defaults) - documented) == []


def leaves(values: dict[str, Any], above: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        found |= leaves(value, f"{above}{name}.") if isinstance(value, dict) else {above + name}
    return found


def fields(schema: type[BaseModel], above: str = "") -> set[str]:
    found = set()
    for name, field in schema.model_fields.items():
        kind = field.annotation
        below = isinstance(kind, type) and issubclass(kind, BaseModel)
        found |= fields(kind, f"{above}{name}.") if below else {above + name}
        assert field.is_required(), f"{above}{name} has a second default, in the schema"
    return found


# If this failed, somebody's note to himself, or his machine, would be published.
def test_nothing_is_left_for_later_or_from_a_machine():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    suffixes = {".py", ".sql", ".toml", ".md", ".lua", ""}
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in suffixes and path.is_file() and "fixtures" not in path.parts:
            for number, line in enumerate(text(path).splitlines(), 1):
                assert not _LATER.search(line), f"{name}:{number}"
                assert not _HERE.search(line), f"{name}:{number}"
