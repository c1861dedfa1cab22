"""A running gateway as a caller sees it: where it is, and its submit and status in APIXO's format."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from seedgate.cli import http
from seedgate.cli.output import Stop
from seedgate.domain.errors import InsufficientBalance

UP_HINT = "Start one with `seedgate up`, or name another with --url."
SUBMIT_TRIES = 4
PATIENCE_S = 30.0
"""How long a gateway that has a task may be away, for example while it is restarted."""
FIRST_POLL_S, LAST_POLL_S, POLL_GROWTH = 0.2, 2.0, 1.3
_TASK_ID = re.compile("[0-9A-Za-z_-]{1,64}")
_KEY = re.compile("[!-~]{0,4096}")
AWAY = frozenset({429, 500, 502, 503, 504})

# Codes of a failed task on both models' pages: https://apixo.ai/docs/models/image/seedream-5-0 and …/seedream-4-5,
# November 2026.
CONTENT_REFUSED = frozenset({"CONTENT_VIOLATION", "SensitiveContentDetected", "InputOutputSensitiveContentDetected"})
TOO_SLOW = frozenset({"PROCESSING_TIMEOUT", "Timeout"})
NOT_AUTHENTICATED, NO_CREDIT, REFUSED, TOOK_TOO_LONG = 3, 4, 5, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One model at one gateway."""

    url: str
    key: str
    model: str

    @property
    def submit_url(self) -> str:
        """Where tasks are made."""
        return f"{self.url}/api/v1/generateTask/{quote(self.model, safe='')}"

    def status_url(self, task_id: str) -> str:
        """Where a task's state is told."""
        return f"{self.url}/api/v1/statusTask/{quote(self.model, safe='')}?taskId={quote(task_id, safe='')}"

    def submit(self, body: Mapping[str, Any]) -> str:
        """Make a task and give its id. Tried again under one Idempotency-Key, so that it is never made twice."""
        content, key = json.dumps(body).encode(), uuid4().hex
        for left in reversed(range(SUBMIT_TRIES)):
            try:
                answer = http.call("POST", self.submit_url, key=self.key, body=content, idempotency_key=key)
            except http.Unanswered as error:
                if not left:
                    raise self.silent(error) from None
            else:
                if answer.status != HTTPStatus.SERVICE_UNAVAILABLE or not left:
                    task_id = self._granted(answer).get("taskId")
                    well_formed = isinstance(task_id, str) and _TASK_ID.fullmatch(task_id)
                    return str(task_id) if well_formed else self._stranger()
            time.sleep(FIRST_POLL_S)
        raise AssertionError

    def wait(self, task_id: str, *, limit_s: float, show: Callable[[str], None]) -> Mapping[str, Any]:
        """A task's last status. Raises Stop with exit code 6 after `limit_s`; the task goes on."""
        pause_s, started, heard = FIRST_POLL_S, time.monotonic(), time.monotonic()
        while True:
            status, why = self._status(task_id)
            if status is not None:
                heard = time.monotonic()
                state = http.sentence(status.get("state"))
                show(state)
                if state in {"success", "failed"}:
                    return status
            elif time.monotonic() - heard > PATIENCE_S:
                raise _left(task_id, f"The gateway does not answer any more ({why})", code="unreachable", exit_code=1)
            if time.monotonic() + pause_s - started > limit_s:
                raise _left(task_id, f"Not done after {limit_s:g} s", code="timed_out", exit_code=TOOK_TOO_LONG)
            time.sleep(pause_s)
            pause_s = min(pause_s * POLL_GROWTH, LAST_POLL_S)

    def silent(self, error: http.Unanswered) -> Stop:
        """Nobody is there."""
        return Stop(f"No gateway answers at {self.url} ({error})", hint=UP_HINT, code="unreachable")

    def _status(self, task_id: str) -> tuple[Mapping[str, Any] | None, str]:
        """The status; or None and why, where it is worth asking again."""
        try:
            answer = http.call("GET", self.status_url(task_id), key=self.key)
        except http.Unanswered as error:
            return None, str(error)
        if answer.status in AWAY:
            return None, answer.message
        return self._granted(answer), ""

    def _granted(self, answer: http.Answer) -> Mapping[str, Any]:
        if answer.status == HTTPStatus.OK and answer.data:
            return answer.data
        if "code" not in answer.body and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._stranger()
        raise _refusal(answer)

    def _stranger(self) -> str:
        raise Stop(f"What answers at {self.url} is no Seedgate", hint=UP_HINT, code="unreachable")


def find(*, url: str, key: str, data: Callable[[], Path], model: str) -> Gateway:
    """The gateway at `url`, else the one that runs on the data folder; with `key`, else the folder's development key.

    The folder's key goes only to the folder's own gateway or to this machine, wherever `url` points.
    """
    key = _sendable(key)
    folder = None if url and key else data()
    address = url or _running(folder)
    try:
        host = urlsplit(address)
    except ValueError:
        host = urlsplit("")
    if host.scheme not in {"http", "https"} or not host.hostname:
        raise Stop(f"{address!r} is no address of a gateway", hint="It looks like http://127.0.0.1:8787.", exit_code=2)
    if not key and folder is not None and (not url or host.hostname in http.LOOPBACK):
        key = _kept_key(folder)
    if not key:
        raise Stop(
            "There is no API key",
            hint="Make one with `seedgate keys create`, and pass it with --key or SEEDGATE_API_KEY.",
            code="unauthenticated",
            exit_code=NOT_AUTHENTICATED,
        )
    return Gateway(url=address.rstrip("/"), key=key, model=model)


def _sendable(key: str) -> str:
    """A key without white space around it. Other vendors' keys have other forms, so only what no header can carry is
    refused, without a word of it. Raises Stop."""
    key = key.strip()
    if not _KEY.fullmatch(key):
        hint = "It is one word of letters, digits and signs, such as sg_live_…; look at --key or SEEDGATE_API_KEY."
        raise Stop("The API key cannot be sent", hint=hint, code="unauthenticated", exit_code=NOT_AUTHENTICATED)
    return key


def failure(task_id: str, status: Mapping[str, Any]) -> Stop:
    """A failed task; nothing was charged for it."""
    code = http.sentence(status.get("failCode")) or "no code"
    message = http.sentence(status.get("failMsg")) or "The task failed"
    hint = f"Nothing was charged. `seedgate tasks show {task_id}` tells more."
    exit_code = 1
    if code in CONTENT_REFUSED:
        hint, exit_code = "Nothing was charged. Change the prompt or the reference images.", REFUSED
    elif code in TOO_SLOW:
        hint, exit_code = "Nothing was charged. Try again.", TOOK_TOO_LONG
    return Stop(f"{message} ({code})", hint=hint, code=code, exit_code=exit_code, task_id=task_id)


def result_urls(task_id: str, status: Mapping[str, Any]) -> list[str]:
    """Where the pictures of a finished task are. Raises Stop where they are not told."""
    try:
        urls = json.loads(status["resultJson"])["resultUrls"]
    except (KeyError, TypeError, ValueError, RecursionError):
        urls = None
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        hint = f"`seedgate tasks show {task_id}` tells more."
        raise Stop("The task succeeded, but its results are not told", hint=hint, task_id=task_id)
    return urls


def interrupted(task_id: str | None) -> Stop:
    """Ctrl-C ends the waiting, not the task."""
    if task_id is None:
        hint = "`seedgate tasks list` shows whether it was accepted."
        return Stop("Stopped while the task was submitted", hint=hint, code="interrupted", exit_code=130)
    return _left(task_id, "Stopped waiting", code="interrupted", exit_code=130)


def _left(task_id: str, message: str, *, code: str, exit_code: int) -> Stop:
    return Stop(
        f"{message}; the task {task_id} goes on",
        hint=f"See how it ends with `seedgate tasks show {task_id}`, or call it off: seedgate tasks cancel {task_id}",
        code=code,
        exit_code=exit_code,
        task_id=task_id,
    )


def _running(folder: Path | None) -> str:
    from seedgate.cli.run import RUNNING_FILE

    assert folder is not None
    try:
        return str(json.loads((folder / RUNNING_FILE).read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Stop(f"No gateway runs on {folder.absolute()}", hint=UP_HINT, code="unreachable") from None


def _kept_key(folder: Path) -> str:
    from seedgate.accounts.issue import DEVELOPMENT_KEY_FILE

    try:
        return (folder / DEVELOPMENT_KEY_FILE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _refusal(answer: http.Answer) -> Stop:
    """What a status means; the pages of 4.5 and 5.0 disagree on the one of an empty account."""
    if answer.status == HTTPStatus.PAYMENT_REQUIRED or answer.message == InsufficientBalance().message:
        hint = "An operator adds credit with `seedgate credits grant`."
        return Stop(answer.message, hint=hint, code="insufficient_balance", exit_code=NO_CREDIT)
    match answer.status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            hint = "Check --key; `seedgate keys list` shows the keys there are."
            return Stop(answer.message, hint=hint, code="unauthenticated", exit_code=NOT_AUTHENTICATED)
        case HTTPStatus.TOO_MANY_REQUESTS:
            hint = f"Try again in {answer.retry_after or 'a few'} s; `seedgate keys list` shows the key's limits."
            return Stop(answer.message, hint=hint, code="rate_limited")
        case HTTPStatus.NOT_FOUND:
            return Stop(answer.message, hint="There are seedream-4-5 and seedream-5-0.", code="not_found")
        case HTTPStatus.BAD_REQUEST | HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            hint = "`seedgate generate --help` says what it takes."
            return Stop(answer.message, hint=hint, code="invalid_request", exit_code=2)
        case _:
            return Stop(answer.message, hint="Try again; `seedgate doctor` says what is wrong.", code="unavailable")
