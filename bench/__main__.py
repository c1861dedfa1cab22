"""Command line of the bench."""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import run, wrk
from bench.gateway import ENVIRONMENT


def main() -> int:
    """Measure, print, clean up. 1 when an answer, a task or the books were wrong; missed targets are only printed."""
    parser = argparse.ArgumentParser(prog="bench", description="The gateway against a bare Starlette echo.")
    parser.add_argument("--quick", action="store_true", help="less than 100 seconds in all")
    parser.add_argument("--crowds", action="store_true", help="submits only: of one account, and of 10,000")
    parser.add_argument(
        "--json", action="store_true", help="the last line is one JSON object; the table goes to stderr"
    )
    asked = parser.parse_args()
    wrk.provide()
    _only_ours()
    with tempfile.TemporaryDirectory(prefix="seedgate-bench-") as folder:
        try:
            plan = run.CROWDS if asked.crowds else run.QUICK if asked.quick else run.FULL
            said = asyncio.run(_until_told(plan, Path(folder)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            return 130
    print(run.report(said), file=sys.stderr if asked.json else sys.stdout, flush=True)
    if asked.json:
        print(json.dumps(said), flush=True)
    return 0 if said["ok"] else 1


def _only_ours() -> None:
    """Nothing that this machine is configured with gets in: neither settings nor a database of somebody's."""
    for name in [name for name in os.environ if name.startswith("SEEDGATE_") or name in {"DATABASE_URL", "BLOBS_URL"}]:
        del os.environ[name]
    os.environ.update(ENVIRONMENT)


async def _until_told(plan: run.Plan, folder: Path) -> dict[str, Any]:
    """The run, which Ctrl-C and SIGTERM end early: everything is stopped and removed then too."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await run.run(plan, folder)


if __name__ == "__main__":
    sys.exit(main())
