"""Errors in APIXO's envelope."""

import json

import pytest
from apixo_samples import APIXO, question, samples
from hypothesis import example, given
from hypothesis import strategies as st

from seedgate.dialect import Intent
from seedgate.domain import errors
from seedgate.domain.errors import SeedgateError


def tree(kind=SeedgateError):
    """The class and everything below it, in a stable order."""
    return [
        kind,
        *(each for child in kind.__subclasses__() if child.__module__ == errors.__name__ for each in tree(child)),
    ]


STATUSES = {
    "CallerError": 400, "InvalidRequest": 400, "Unauthenticated": 401, "Forbidden": 403, "ContentRefused": 403,
    "UnknownModel": 404, "NotFound": 404, "WrongMethod": 405, "TooLarge": 413, "KeyReused": 422, "RateLimited": 429,
    "ConcurrencyExceeded": 429, "InsufficientBalance": 402, "Maintenance": 503, "ShuttingDown": 503,
    "Unavailable": 503, "Refused": 503, "UpstreamError": 502, "TimedOut": 504, "OperatorError": 500, "Bug": 500,
    "SeedgateError": 500,
}  # fmt: skip
SECRET = "postgres://user:password@10.0.0.1/"


def body(answer):
    assert (b"content-type", b"application/json") in answer.headers
    value = json.loads(answer.body)
    assert set(value) == {"code", "message", "data"}
    assert value["code"] == answer.status
    assert value["data"] is None
    return value


# A new error would be answered with a stack trace, or with nothing.
@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("asked", ["submit", "status", "balance", "none"])
def test_every_error_is_rendered(kind, asked):
    request = None if asked == "none" else question("", "" if asked == "balance" else "seedream-4-5", Intent(asked))
    answer = APIXO.render_error(kind(), request)
    expected = next(STATUSES[each.__name__] for each in kind.__mro__ if each.__name__ in STATUSES)
    assert answer.status == expected
    assert body(answer)["message"]


# What went wrong inside would be told to strangers.
@pytest.mark.parametrize(
    "kind",
    [kind for kind in tree() if issubclass(kind, errors.UpstreamError | errors.OperatorError | errors.Bug) or kind is SeedgateError],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_inner_troubles_are_told_in_neutral_words(kind):
    neutral = {"Internal server error", "Upstream provider error", "Upstream timeout"}
    assert body(APIXO.render_error(kind(SECRET), None))["message"] in neutral


# The two models' pages differ: a caller of 5.0 looks for 400, one of 4.5 for 402.
def test_insufficient_balance():
    error = errors.InsufficientBalance("The hold of 0.35 exceeds 0.10")
    [printed] = {json.dumps(sample["body"]) for _, sample in samples("answer") if sample["body"]["data"] is None}
    assert body(APIXO.render_error(error, question("", "seedream-5-0", Intent.SUBMIT))) == json.loads(printed)
    answer = APIXO.render_error(error, question("", "seedream-4-5", Intent.SUBMIT))
    assert body(answer) == {"code": 402, "message": "Insufficient credits", "data": None}
    assert APIXO.render_error(error, None).status == 402


# The budget of a key is no matter of the vendor's pages: one status, whatever the model.
def test_a_spent_budget_is_402_everywhere():
    for listing in ("seedream-5-0", "seedream-4-5"):
        assert APIXO.render_error(errors.BudgetExceeded(), question("", listing, Intent.SUBMIT)).status == 402


# Unknown tasks, foreign tasks and tasks of another model could be told apart.
def test_all_missing_tasks_look_alike():
    answers = {APIXO.render_error(errors.NotFound(message), question("taskId=1")).body for message in (None, "a", "b")}
    assert len(answers) == 1


# The authentication page prints this sentence.
def test_unauthenticated():
    assert body(APIXO.render_error(errors.Unauthenticated(), None))["message"] == "Invalid or missing API key"


# The caller's own mistake would be hidden from it.
def test_a_callers_error_keeps_its_message():
    error = errors.InvalidRequest("input.mode is required", param="input.mode")
    assert body(APIXO.render_error(error, None))["message"] == "input.mode is required"


# Some message would break the answer's JSON.
@given(message=st.text())
@example(message="\ud800")
def test_any_message(message):
    body(APIXO.render_error(errors.InvalidRequest(message), None))
