"""Everything that we answer as APIXO, as bytes.

One envelope for all: `{"code", "message", "data"}`, with the HTTP status equal to `code`. Keys that do not apply are
absent, `resultJson` is a string that holds JSON, times are Unix milliseconds: so the samples of
https://apixo.ai/docs/models/image/seedream-5-0 and …/seedream-4-5 (November 2026).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never
from uuid import UUID

import msgspec

from seedgate.dialect import Answer
from seedgate.domain.errors import (
    BudgetExceeded,
    CallerError,
    ConcurrencyExceeded,
    ContentRefused,
    Forbidden,
    InsufficientBalance,
    KeyReused,
    NotFound,
    RateLimited,
    Refused,
    SeedgateError,
    TimedOut,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UpstreamError,
    WrongMethod,
)
from seedgate.domain.money import MICROS_PER_DOLLAR
from seedgate.domain.reason import Reason
from seedgate.domain.task import TaskState, TaskView
from seedgate.vendors.apixo import wire

JSON = (b"content-type", b"application/json")
_HEAD = b'{"code":200,"message":"success","data":{"taskId":"'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# HTTP status, and the message where the error's own must not be shown or the vendor prints one: the tables of
# https://apixo.ai/docs/models/image/seedream-4-5 and https://apixo.ai/docs/api-reference/errors (November 2026).
# An error takes the line of its nearest ancestor.
_STATUS: Mapping[type[SeedgateError], tuple[int, str | None]] = {
    CallerError: (400, None),
    Unauthenticated: (401, None),
    Forbidden: (403, None),
    ContentRefused: (403, None),
    UnknownModel: (404, None),
    # One message for all: a task of somebody else and one that never was must look alike.
    NotFound: (404, "Task not found"),
    WrongMethod: (405, None),
    TooLarge: (413, None),
    KeyReused: (422, None),
    RateLimited: (429, None),
    ConcurrencyExceeded: (429, None),
    InsufficientBalance: (402, "Insufficient credits"),
    BudgetExceeded: (402, None),
    Refused: (503, None),
    UpstreamError: (502, "Upstream provider error"),
    TimedOut: (504, "Upstream timeout"),
    SeedgateError: (500, "Internal server error"),
}

# For reasons without a message in the listing and in the task.
_OURS = {
    Reason.PROMPT_REFUSED: "The prompt was refused",
    Reason.CONTENT_REFUSED: "A reference image or a result was refused",
    Reason.PROMPT_INVALID: "The prompt is invalid",
    Reason.PROMPT_TOO_LONG: "The prompt is too long",
    Reason.PARAMETERS_MISSING: "A parameter is missing",
    Reason.PARAMETERS_REFUSED: "The parameters were refused",
    Reason.REFERENCE_ADDRESS: "A reference image could not be reached",
    Reason.REFERENCE_ANSWER: "A reference image could not be downloaded",
    Reason.REFERENCE_FORMAT: "A reference image has an unsupported format",
    Reason.REFERENCE_DIMENSIONS: "A reference image has unsupported dimensions",
    Reason.REFERENCE_BYTES: "A reference image is too large",
    Reason.UPSTREAM_RATE_LIMIT: "The model is overloaded; please try again later",
    Reason.DEADLINE: "The task took too long",
    Reason.STREAM_BROKEN: "The connection to the model broke",
    Reason.FINALIZE: "The result could not be stored",
    Reason.NO_ROUTE: "No provider is available for the model",
    Reason.INTERNAL: "The generation failed",
    Reason.CANCELLED: "The task was cancelled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One listing's version, prepared for rendering its tasks."""

    failures: Mapping[Reason, tuple[bytes, bytes | None]]
    """Code and message as JSON strings; no message where the task's own is shown."""
    cost_time_on_failure: bool
    running_headers: tuple[tuple[bytes, bytes], ...]


def prepare(terms: wire.Terms) -> Words:
    """Everything about the answers that does not depend on the task."""
    interval_s = min(advice.interval_s for advice in terms.polling.values())
    return Words(
        failures={
            reason: (_text(failure.code), None if failure.message is None else _text(failure.message))
            for reason, failure in terms.failures.items()
        },
        cost_time_on_failure=terms.cost_time_on_failure,
        running_headers=(JSON, (b"retry-after", b"%d" % interval_s)),
    )


def accepted(task_id: UUID) -> Answer:
    """The answer to a submit."""
    return Answer(status=200, body=b'%b%032x"}}' % (_HEAD, task_id.int))


def status(words: Words, view: TaskView, result_urls: Sequence[str]) -> Answer:
    """A task's status: always 200, also of a failed task."""
    match view.state:
        case TaskState.SUCCESS:
            results = msgspec.json.encode({"resultUrls": result_urls}).decode()
            return _ended(view, b'success","resultJson":%b' % msgspec.json.encode(results), with_cost_time=True)
        case TaskState.FAILED | TaskState.CANCELLED:
            return _ended(view, b'failed",%b' % _failure(words, view), with_cost_time=words.cost_time_on_failure)
        case TaskState.PENDING:
            return Answer(status=200, body=_running(view, b"pending"), headers=words.running_headers)
        case TaskState.PROCESSING:
            return Answer(status=200, body=_running(view, b"processing"), headers=words.running_headers)
        case _:
            assert_never(view.state)


def _running(view: TaskView, state: bytes) -> bytes:
    return b'%b%032x","state":"%b","createTime":%d}}' % (_HEAD, view.id.int, state, _ms(view.created_at))


def _ended(view: TaskView, state: bytes, *, with_cost_time: bool) -> Answer:
    """`state` goes on to the members that only this state has."""
    created, completed = _ms(view.created_at), _ms(view.completed_at or view.created_at)
    cost_time = b',"costTime":%d' % (completed - created) if with_cost_time else b""
    body = b'%b%032x","state":"%b,"createTime":%d,"completeTime":%d%b}}'
    return Answer(status=200, body=body % (_HEAD, view.id.int, state, created, completed, cost_time))


def _failure(words: Words, view: TaskView) -> bytes:
    reason = view.reason or (Reason.CANCELLED if view.state is TaskState.CANCELLED else Reason.INTERNAL)
    code, message = words.failures[reason]
    return b'"failCode":%b,"failMsg":%b' % (code, message or _text(view.message or _OURS[reason]))


def _ms(time: datetime) -> int:
    return (time - _EPOCH) // _MILLISECOND


def _text(text: str) -> bytes:
    """A JSON string of any text, also of one that is not Unicode."""
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        return msgspec.json.encode(text.encode(errors="backslashreplace").decode())


def balance(available_micros: int) -> Answer:
    """A bare number of dollars with at least four decimals, exact.

    https://apixo.ai/docs/api-reference/system (November 2026) prints 74.8700.
    """
    sign = "-" if available_micros < 0 else ""
    whole, part = divmod(abs(available_micros), MICROS_PER_DOLLAR)
    decimals = f"{part:06d}".rstrip("0").ljust(4, "0")
    return Answer(status=200, body=f'{{"code":200,"message":"success","data":{sign}{whole}.{decimals}}}'.encode())


def failed(error: SeedgateError, *, insufficient_balance: int | None) -> Answer:
    """Any error. `data` is null: some pages print it so, others leave it out."""
    code, fixed = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    if insufficient_balance is not None and type(error) is InsufficientBalance:
        code = insufficient_balance
    return Answer(status=code, body=b'{"code":%d,"message":%s,"data":null}' % (code, _text(fixed or error.message)))
