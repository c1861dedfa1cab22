"""The commands as a shell would run them."""

import contextlib
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from gateway import Gateway

from seedgate.cli import main

COMMAND = [sys.executable, "-W", "error", "-m", "seedgate"]
LIMIT_S = 60.0


def environment(**more: str) -> dict[str, str]:
    """This environment without anybody's settings."""
    ours = ("SEEDGATE_", "DATABASE_URL", "BLOBS_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as exactly one JSON document in one line."""
        assert self.out.endswith("\n"), self.err
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


def run(*arguments: str | Path, cwd: Path | None = None, **env: str) -> Done:
    """Run a command to its end."""
    ended = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=cwd,
        env=environment(**env),
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return Done(code=ended.returncode, out=ended.stdout, err=ended.stderr)


def run_here(*arguments: str) -> Done:
    """Run a command in this process, which is quicker where there are many."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["seedgate", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code: Any = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before
        structlog.reset_defaults()
    return Done(code=int(code), out=out.getvalue(), err=err.getvalue())


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A shell whose commands are about one gateway's data folder."""

    gateway: Gateway

    @property
    def data(self) -> Path:
        """The folder."""
        return self.gateway.data

    def run(self, *arguments: str | Path, **env: str) -> Done:
        """A command on it."""
        return run(*arguments, "--data", self.data, **env)

    def status(self, task_id: str, key: str) -> tuple[dict[str, Any], str]:
        """A task as its caller sees it, and the address of its first picture."""
        path = f"/api/v1/statusTask/seedream-5-0?taskId={task_id}"
        code, body = self.get(self.gateway.url + path, Authorization=f"Bearer {key}")
        assert code == 200, body
        data = json.loads(body)["data"]
        return data, json.loads(data["resultJson"])["resultUrls"][0]

    def get(self, url: str, **headers: str) -> tuple[int, bytes]:
        """What an address answers."""
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=LIMIT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
