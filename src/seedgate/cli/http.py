"""HTTP for a person at a terminal: one request after the other, with the standard library."""

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 1 << 20
MAX_PICTURE_BYTES = 200 << 20
CHUNK_BYTES = 1 << 18
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - what a gateway on all addresses calls itself

_SECONDS = re.compile("[0-9]{1,6}")


class Unanswered(Exception):
    """No answer came: the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer whatever its status; `body` is empty where it was no JSON object."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    retry_after: str = ""
    """Whole seconds; empty where none were told."""

    @property
    def message(self) -> str:
        """The sentence that came with it."""
        return sentence(self.body.get("message")) or f"HTTP status {self.status}"

    @property
    def data(self) -> Mapping[str, Any]:
        """What the envelope holds."""
        data = self.body.get("data")
        return data if isinstance(data, dict) else {}


def sentence(value: object) -> str:
    """A stranger's text as one line; empty where it is no text."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def call(method: str, url: str, *, key: str = "", body: bytes | None = None, idempotency_key: str = "") -> Answer:
    """One request of an API. Raises Unanswered."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310 - http(s) alone is opened
    if key:
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    try:
        with _opener(url).open(request, timeout=TIMEOUT_S) as answer:
            return _answer(answer.status, answer.headers, answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error.headers, error.read(MAX_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unanswered(error) from None


def download(url: str, draft: Path) -> None:
    """The file at an address into `draft`, durably. Raises Unanswered; OSError about the file passes."""
    try:
        answer = _opener(url).open(url, timeout=TIMEOUT_S)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unanswered(error) from None
    with answer, draft.open("wb") as file:
        size = 0
        while chunk := _read(answer):
            size += len(chunk)
            if size > MAX_PICTURE_BYTES:
                raise Unanswered(f"it is larger than {MAX_PICTURE_BYTES >> 20} MiB")
            file.write(chunk)
        if answer.length:
            raise Unanswered("the connection ended before the file did")
        file.flush()
        os.fsync(file.fileno())


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _unanswered(error) from None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Opens http and https and nothing else. What runs on this machine is never asked through a proxy."""
    local = urlsplit(url).hostname in LOOPBACK
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({} if local else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _answer(status: int, headers: Message, content: bytes) -> Answer:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    told = headers.get("Retry-After") or ""
    retry_after = told if _SECONDS.fullmatch(told) else ""
    return Answer(status=status, body=body if isinstance(body, dict) else {}, retry_after=retry_after)


def _unanswered(error: Exception) -> Unanswered:
    """Why no answer came. The library's own text is shown of the system's errors only: others quote headers, and with
    them the key, or what a stranger sent."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, OSError):
        return Unanswered(sentence(reason.strerror or str(reason)) or type(reason).__name__)
    if isinstance(reason, http.client.HTTPException):
        return Unanswered("the answer is not HTTP")
    return Unanswered("the request cannot be sent to that address")
