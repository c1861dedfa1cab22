"""Makes `dist/`: the wheel, the source archive, requirements with hashes, a bill of materials, checksums.

`./dev build` runs it. The same commit gives the same bytes: the bill's time is the commit's, its serial number follows
from its content. All is made elsewhere first, so that a build that fails leaves the last one as it was.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKED = ("export", "--locked", "--no-dev", "--quiet")
REQUIREMENTS, BILL, SUMS = "requirements.txt", "sbom.cdx.json", "SHA256SUMS"
MADE = ("seedgate-*.whl", "seedgate-*.tar.gz", REQUIREMENTS, BILL, SUMS)
"""What a build before this one may have left; nothing else in the folder is touched."""
MAX_LICENCE_NAME = 100
"""Characters; some packages put the whole text where its name belongs."""


def main() -> None:
    """Make everything in a draft, then put it in its place."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "dist").absolute()
    with tempfile.TemporaryDirectory(prefix="seedgate-build-") as folder:
        draft = Path(folder)
        (draft / REQUIREMENTS).write_text(uv(*LOCKED, "--no-emit-project"), encoding="utf-8")
        uv("build", "--quiet", "--no-create-gitignore", "--out-dir", folder)
        (draft / BILL).write_text(json.dumps(bill(draft), indent=2) + "\n", encoding="utf-8")
        sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(draft.iterdir())]
        (draft / SUMS).write_text("".join(sums), encoding="utf-8")
        for old in [path for pattern in MADE for path in target.glob(pattern)]:
            old.unlink()
        target.mkdir(parents=True, exist_ok=True)
        for path in draft.iterdir():
            shutil.copy(path, target)
    for name in sorted(path.name for pattern in MADE for path in target.glob(pattern)):
        print(target / name, flush=True)
    if git("status", "--porcelain"):
        print("The working tree differs from its commit: this is no release.", file=sys.stderr)


def bill(draft: Path) -> dict[str, Any]:
    """CycloneDX 1.5 of what is locked to run, with the licences that the installed packages name."""
    made = json.loads(uv(*LOCKED, "--format", "cyclonedx1.5"))
    product = made["metadata"]["component"]
    product |= {"type": "application", "purl": f"pkg:pypi/{product['name']}@{product['version']}"}
    product["externalReferences"] = [
        {"type": "distribution", "url": path.name, "hashes": [{"alg": "SHA-256", "content": sha256(path)}]}
        for path in sorted(draft.glob("seedgate-*"))
    ]
    for component in (product, *made["components"]):
        if found := licences(component["name"]):
            component["licenses"] = found
    del made["metadata"]["timestamp"], made["serialNumber"]
    if time := os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"):
        made["metadata"]["timestamp"] = datetime.fromtimestamp(int(time), UTC).isoformat()
    made["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(made)).urn
    return made


def licences(package: str) -> list[dict[str, Any]]:
    """As the package names them; none for one that is locked for another system and not installed here."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return []
    if expression := about.get("License-Expression"):
        return [{"expression": expression}]
    name = about.get("License", "").strip()
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License")]
    names = [name] if 0 < len(name) <= MAX_LICENCE_NAME and "\n" not in name else classified
    return [{"license": {"name": each}} for each in names]


def sha256(path: Path) -> str:
    """As hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uv(*arguments: str) -> str:
    """What the uv that runs this says; the program ends where uv fails, which has then said why."""
    command = [os.environ.get("UV", "uv"), *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"make_release: `uv {arguments[0]}` failed, and nothing was changed.")
    return done.stdout


def git(*arguments: str) -> str:
    """What git says of this checkout; nothing where there is none."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    main()
