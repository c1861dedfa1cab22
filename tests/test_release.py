"""What `./dev build` makes: is it whole, the same every time, and does it run where there is nothing else?"""

import contextlib
import email
import hashlib
import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "seedgate"
FONTS = "src/seedgate/engines/sketch/fonts"
LIMIT_S = 60.0
HOOKS = ("*.pth", "sitecustomize.py", "usercustomize.py")
"""What an interpreter runs or reads at every start, wherever it is imported from."""


def build(target: Path, **env: str) -> Path:
    """Without network: what a build needs is here once the tests run."""
    done = subprocess.run(
        [ROOT / "dev", "build", target],
        cwd=target.parent,
        env=os.environ | {"UV_OFFLINE": "1"} | env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("release") / "dist")


@pytest.fixture(scope="module")
def wheel(release) -> Path:
    (found,) = release.glob("*.whl")
    return found


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bill(release: Path) -> dict:
    return json.loads((release / "sbom.cdx.json").read_text())


# If a file of data were left out, the installed program would not start; if a stray one came along, it would be public.
def test_the_wheel_is_the_package_and_nothing_else(wheel):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", SOURCE], cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        there = {name.removeprefix("src/") for name in listed.stdout.decode().split()}
    else:
        there = {f"{path.relative_to(SOURCE.parent)}" for path in SOURCE.rglob("*") if path.is_file()}
        there = {name for name in there if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if not name.endswith("/")}
        assert {name for name in names if ".dist-info/" not in name} == there
        assert all(packed.read(name) == (SOURCE.parent / name).read_bytes() for name in there)
    about = {name.partition(".dist-info/")[2] for name in names - there}
    licences = {
        f"licenses/{name}" for name in ("LICENSE", "NOTICE", f"{FONTS}/LICENSE.droid", f"{FONTS}/LICENSE.rubik")
    }
    assert about == {"METADATA", "RECORD", "WHEEL", "entry_points.txt"} | licences
    data = "settings.default.toml py.typed store/schema.sql store/invariants.sql store/migrations/0001_tables.sql"
    assert {f"seedgate/{name}" for name in data.split()} <= names
    assert any(name.endswith("/listings.toml") for name in names)
    assert any(name.endswith(".ttf") for name in names)


# If metadata were missing, an index would show an empty page, and nobody could tell under which licence this is.
def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        about = email.message_from_string(packed.read(name).decode())
    told = project()
    assert (about["Name"], about["Version"], about["Summary"]) == ("seedgate", told["version"], told["description"])
    assert (about["Requires-Python"], about["License-Expression"]) == (">=3.11", "Apache-2.0 AND OFL-1.1")
    assert about.get_payload() == (ROOT / "README.md").read_text()
    assert about["Description-Content-Type"] == "text/markdown"
    assert set(about["Keywords"].split(",")) == set(told["keywords"])
    assert set(about.get_all("Classifier")) == set(told["classifiers"])
    assert set(about.get_all("Requires-Dist")) == set(told["dependencies"])


# If two builds of one commit differed, nobody could check that a release is what its source says.
def test_the_same_commit_gives_the_same_bytes(release, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    (again / "seedgate-0.0.0-py3-none-any.whl").write_text("of an earlier version")
    (again / "mine.txt").write_text("not made by a build")
    mask = os.umask(0o077)
    try:
        build(again)
    finally:
        os.umask(mask)
    sums = (release / "SHA256SUMS").read_text()
    assert (again / "SHA256SUMS").read_text() == sums
    told = {name: digest for digest, name in (line.split("  ") for line in sums.splitlines())}
    for folder, more in ((release, set()), (again, {"mine.txt"})):
        made = {path.name: path for path in folder.iterdir()}
        assert set(made) - more == {*told, "SHA256SUMS"}
        assert {name: hashlib.sha256(made[name].read_bytes()).hexdigest() for name in told} == told


# If a build that cannot be made took the last one with it, a release could be lost by a slip.
def test_a_failed_build_leaves_the_last_one(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("the last one")
    program = [sys.executable, ROOT / "tools" / "make_release.py", tmp_path]
    done = subprocess.run(program, env=os.environ | {"UV": "false"}, capture_output=True, text=True)
    assert (done.returncode, "nothing was changed" in done.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["SHA256SUMS"]


def locked() -> dict[str, tuple[str, set[str]]]:
    """Every package that `uv.lock` locks for running, with its version and its files' digests."""
    packages = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    found, waiting = {}, [("seedgate", ())]
    while waiting:
        name, extras = waiting.pop()
        package = packages[name]
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        found[name] = (package["version"], {file["hash"].removeprefix("sha256:") for file in files})
        needs = [*package.get("dependencies", ())]
        needs += [need for extra in extras for need in package.get("optional-dependencies", {}).get(extra, ())]
        waiting += [(need["name"], need.get("extra", ())) for need in needs if need["name"] not in found]
    del found["seedgate"]
    return found


# If a package were missing here, an advisory about it would pass unnoticed; without hashes, so would a replaced file.
def test_the_bill_and_the_requirements_are_what_is_locked(release):
    told = bill(release)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.5")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", told["serialNumber"])
    components = {component["name"]: component for component in told["components"]}
    assert len(components) == len(told["components"])
    assert {name: (component["version"], digests(component)) for name, component in components.items()} == locked()
    for name, component in components.items():
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"
        elsewhere = any(each["name"] == "uv:package:marker" for each in component.get("properties", ()))
        assert component.get("licenses") or elsewhere, f"{name} is under no known licence"
    refs = {component["bom-ref"] for component in (told["metadata"]["component"], *components.values())}
    assert {entry["ref"] for entry in told["dependencies"]} == refs
    assert {ref for entry in told["dependencies"] for ref in entry.get("dependsOn", ())} <= refs
    asked = re.findall(r"^(\S+)==(\S+)((?: ; .+)? \\\n(?:    --hash=.*\n)+)", read_requirements(release), re.MULTILINE)
    assert {name: (version, set(re.findall("sha256:([0-9a-f]+)", rest))) for name, version, rest in asked} == locked()


def read_requirements(release: Path) -> str:
    return (release / "requirements.txt").read_text()


def digests(component: dict) -> set[str]:
    references = [each for each in component["externalReferences"] if each["type"] == "distribution"]
    assert all(each["url"] for each in references)
    return {hash_["content"] for each in references for hash_ in each["hashes"] if hash_["alg"] == "SHA-256"}


# If the bill did not say whose it is, it could be laid beside any other file.
def test_the_bill_names_the_files_that_it_is_about(release):
    product = bill(release)["metadata"]["component"]
    assert (product["purl"], product["type"]) == (f"pkg:pypi/seedgate@{project()['version']}", "application")
    assert product["licenses"] == [{"expression": "Apache-2.0 AND OFL-1.1"}]
    built = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in release.glob("seedgate-*")}
    assert len(built) == 2
    assert {each["url"]: each["hashes"][0]["content"] for each in product["externalReferences"]} == built


# If a tool's package brought a hook along, it would run with everybody's rights at every start of Python.
def test_no_package_of_this_environment_brings_a_hook():
    known = {"seedgate.pth", "a1_coverage.pth", "_virtualenv.pth"}
    found = {path.name for folder in site.getsitepackages() for hook in HOOKS for path in Path(folder).glob(hook)}
    assert found <= known


@pytest.fixture(scope="module")
def installed(release, wheel, tmp_path_factory) -> Path:
    """The programs of an environment that holds the wheel and what is locked for it, and nothing else."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=LIMIT_S)
    install(place, "--require-hashes", "-r", release / "requirements.txt")
    install(place, wheel)
    return place / "bin"


def install(place: Path, *what: object) -> None:
    """From what uv has kept; where that is not enough, from the index."""
    uv = os.environ.get("UV") or shutil.which("uv") or ROOT / ".uv" / "bin" / "uv"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", place / "bin" / "python", *what]
    for more in (["--offline"], []):
        done = subprocess.run([*command, *more], cwd=place, capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode == 0:
            return
    raise AssertionError(done.stderr)


# If a locked dependency ran code at every start, whoever publishes it could read every key of every installation.
def test_nothing_that_is_installed_brings_a_hook(installed):
    (packages,) = (installed.parent / "lib").glob("python*/site-packages")
    assert (packages / "seedgate" / "settings.default.toml").exists()
    assert [path.name for hook in HOOKS for path in packages.glob(hook)] == []


@contextlib.contextmanager
def up(program: Path, data: Path, place: Path, env: dict[str, str]):
    """`seedgate up` in a foreign folder; gives its first line, and ends it as a supervisor would."""
    with (place / "log").open("wb") as log:
        command = [program, "up", "--port", "0", "--data", data]
        process = subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=log)
    try:
        line = process.stdout.readline()
        assert line, (place / "log").read_text()
        yield json.loads(line)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert "Traceback" not in (place / "log").read_text()


# If the wheel leant on the checkout, or on anybody's settings, it would work here and nowhere else.
def test_the_installed_program_draws_in_an_empty_world(installed, tmp_path):
    program, data, place, home = installed / "seedgate", tmp_path / "data", tmp_path / "elsewhere", tmp_path / "home"
    place.mkdir()
    home.mkdir()
    env = {"PATH": "/usr/bin:/bin", "HOME": f"{home}"}

    def run(*arguments: object) -> str:
        done = subprocess.run(
            [program, *arguments, "--data", data], cwd=place, env=env, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    try:
        with up(program, data, place, env) as ready:
            assert ready["data_dir"] == f"{data}"
            assert run("generate", "a fox in watercolor", "-o", "x.png") == "x.png\n"
            with Image.open(place / "x.png") as picture:
                picture.load()
                assert picture.format == "PNG"
                assert len(picture.getcolors(1 << 24)) > 1000
    finally:
        run("db", "discard", "--yes")
    assert {path.name for path in place.iterdir()} == {"log", "x.png"}
    assert list(home.iterdir()) == []
