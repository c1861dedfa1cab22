"""One gateway for all tests of a worker, and the commands as a shell would run them."""

import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seedgate.store.embedded import EmbeddedServer

COMMAND = [sys.executable, "-W", "error", "-m", "seedgate"]
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
OURS = ("SEEDGATE_", "DATABASE_URL", "BLOBS_URL")


def environment(**more: str) -> dict[str, str]:
    """This environment without anybody's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | more


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as exactly one JSON document in one line."""
        assert self.out.endswith("\n") and self.out.count("\n") == 1, self.out + self.err
        return json.loads(self.out)


def run(*arguments: str | Path, cwd: Path | None = None, **env: str) -> Done:
    """Run a command to its end."""
    ended = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=cwd, env=environment(**env)
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return Done(code=ended.returncode, out=ended.stdout, err=ended.stderr)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running gateway."""

    url: str
    key: str
    data: Path

    def run(self, *arguments: str | Path, **env: str) -> Done:
        """A command on its data folder."""
        return run(*arguments, "--data", self.data, **env)


@pytest.fixture(scope="session")
def gateway():
    with tempfile.TemporaryDirectory(prefix="seedgate-cli-") as place:
        data, log = Path(place, "data"), Path(place, "log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [*COMMAND, "up", "--port", "0", "--data", data],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(SEEDGATE_WORK__ENGINE="blank", SEEDGATE_WORK__ENGINE_PROCESSES="1"),
            )
        try:
            assert select.select([process.stdout], [], [], START_LIMIT_S)[0], log.read_text()
            line = process.stdout.readline()
            assert line, f"exit code {process.wait(STOP_LIMIT_S)}: {log.read_text()}"
            ready = json.loads(line)
            yield Running(url=ready["url"], key=ready["api_key"], data=data)
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
                EmbeddedServer.discard(data)
        assert process.returncode == 0, log.read_text()
