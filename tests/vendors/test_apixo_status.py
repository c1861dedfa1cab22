"""Answers and status questions as APIXO's callers know them."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from apixo_samples import APIXO, LISTINGS, MODELS, question, samples, submit, text_to_image
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.errors import Bug, CallerError, InvalidRequest, NotFound, UnknownModel
from seedgate.domain.reason import Reason
from seedgate.domain.task import TaskState, TaskView

TASK = UUID("dff8afd3-4c4e-4771-9b85-ad6651daa3f0")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CREATED = EPOCH + timedelta(milliseconds=1767965610929)
COMPLETED = EPOCH + timedelta(milliseconds=1767965652317)
ANSWERS = [(name, sample) for name, sample in samples("answer") if sample["body"]["data"] is not None]
ENVELOPE = {"code": 200, "message": "success"}


def view(model="seedream-5-0", state=TaskState.SUCCESS, **changed):
    listing = LISTINGS.newest[model]
    given = {
        "id": TASK,
        "account_id": TASK,
        "listing_id": listing.id,
        "listing_version": listing.version,
        "state": state,
        "pictures": 2,
        "created_at": CREATED,
        "completed_at": COMPLETED if state.terminal else None,
    }
    return TaskView(**(given | changed))


def rendered(task, urls=()):
    answer = APIXO.render(task, urls)
    assert answer.status == 200
    assert (b"content-type", b"application/json") in answer.headers
    return json.loads(answer.body)


# A caller's parser, written after the printed answers, would miss a key or trip over one.
@pytest.mark.parametrize(("name", "sample"), ANSWERS, ids=[name for name, _ in ANSWERS])
def test_every_printed_answer_is_reproduced(name, sample):
    printed = sample["body"]
    data = printed["data"] | {"taskId": TASK.hex}
    match data.get("state"):
        case None:
            ours = json.loads(APIXO.render_accepted(TASK, submit(text_to_image())).body)
        case "processing":
            ours = rendered(view(sample["model"], TaskState.PROCESSING))
        case "success":
            ours = rendered(view(sample["model"]), json.loads(data["resultJson"])["resultUrls"])
        case "failed":
            completed = EPOCH + timedelta(milliseconds=data["completeTime"])
            failed = view(sample["model"], TaskState.FAILED, reason=Reason.PROMPT_REFUSED, completed_at=completed)
            ours = rendered(failed)
    assert ours == printed | {"data": data}
    assert list(ours["data"]) == list(data) or set(ours["data"]) == set(data)


# A caller that waits for one of the four documented states would wait for ever.
@pytest.mark.parametrize(
    ("state", "word"),
    [("PENDING", "pending"), ("PROCESSING", "processing"), ("SUCCESS", "success"), ("FAILED", "failed"), ("CANCELLED", "failed")],
)  # fmt: skip
@pytest.mark.parametrize("model", MODELS)
def test_states(model, state, word):
    assert rendered(view(model, TaskState[state]))["data"]["state"] == word


# Keys that do not apply would be there as null, which no printed answer has.
def test_absent_keys():
    assert set(rendered(view(state=TaskState.PENDING))["data"]) == {"taskId", "state", "createTime"}
    assert set(rendered(view())["data"]) == {"taskId", "state", "resultJson", "createTime", "completeTime", "costTime"}
    failed = {"taskId", "state", "failCode", "failMsg", "createTime", "completeTime"}
    assert set(rendered(view("seedream-4-5", TaskState.FAILED))["data"]) == failed
    assert set(rendered(view("seedream-5-0", TaskState.FAILED))["data"]) == failed | {"costTime"}


# JSON.parse(data.resultJson) is what the page tells callers to write.
@pytest.mark.parametrize("urls", [[], ["https://a.example/ü.png"], ['https://a.example/"\\\u2028.png', "x" * 5_000]], ids=["none", "umlaut", "quotes"])  # fmt: skip
def test_results_are_json_in_a_string(urls):
    result = rendered(view(), urls)["data"]["resultJson"]
    assert isinstance(result, str)
    assert json.loads(result) == {"resultUrls": urls}


FIVE = {
    "prompt_refused": "CONTENT_VIOLATION", "content_refused": "CONTENT_VIOLATION", "prompt_invalid": "INVALID_PROMPT",
    "prompt_too_long": "PROMPT_TOO_LONG", "parameters_missing": "GENERATION_FAILED",
    "parameters_refused": "GENERATION_FAILED", "reference_address": "INVALID_IMAGE_URL",
    "reference_answer": "IMAGE_DOWNLOAD_FAILED", "reference_format": "UNSUPPORTED_FORMAT",
    "reference_dimensions": "UNSUPPORTED_FORMAT", "reference_bytes": "IMAGE_TOO_LARGE",
    "upstream_rate_limit": "MODEL_UNAVAILABLE", "deadline": "PROCESSING_TIMEOUT", "stream_broken": "GENERATION_FAILED",
    "finalize": "GENERATION_FAILED", "no_route": "MODEL_UNAVAILABLE", "internal": "GENERATION_FAILED",
    "cancelled": "CANCELLED",
}  # fmt: skip
FOUR = {
    "prompt_refused": "SensitiveContentDetected", "content_refused": "InputOutputSensitiveContentDetected",
    "prompt_invalid": "PromptInvalid", "prompt_too_long": "PromptInvalid", "parameters_missing": "BadRequest",
    "parameters_refused": "Validation error", "reference_address": "BadRequest", "reference_answer": "BadRequest",
    "reference_format": "ImageFormatIncorrect", "reference_dimensions": "InvalidImageSize",
    "reference_bytes": "Upload error", "upstream_rate_limit": "RateLimitExceeded", "deadline": "Timeout",
    "stream_broken": "StreamError", "finalize": "FinalizeError", "no_route": "UpstreamError",
    "internal": "UpstreamError", "cancelled": "Cancelled",
}  # fmt: skip


# A caller that branches on the page's codes would take the wrong branch.
@pytest.mark.parametrize("reason", [reason.value for reason in Reason])
@pytest.mark.parametrize(("model", "codes"), [("seedream-5-0", FIVE), ("seedream-4-5", FOUR)], ids=MODELS[::1])
def test_fail_codes(model, codes, reason):
    data = rendered(view(model, TaskState.FAILED, reason=Reason(reason)))["data"]
    assert data["failCode"] == codes[reason]
    assert data["failMsg"]


# The vendor's printed sentence would be replaced, or the only useful sentence lost.
def test_fail_messages():
    def message(model, reason, own):
        return rendered(view(model, TaskState.FAILED, reason=reason, message=own))["data"]["failMsg"]

    printed = "The input or output was flagged as sensitive. Please try again with different inputs."
    assert message("seedream-4-5", Reason.PROMPT_REFUSED, "ours") == printed
    assert message("seedream-5-0", Reason.REFERENCE_ADDRESS, "ours") == "Cannot access provided image URL"
    assert message("seedream-5-0", Reason.DEADLINE, 'it took 180 s "so long"') == 'it took 180 s "so long"'
    assert message("seedream-5-0", Reason.DEADLINE, None) == "The task took too long"


# A task without a reason would be answered with a 500 for ever.
def test_a_failure_without_a_reason_is_told_too():
    assert rendered(view(state=TaskState.FAILED))["data"]["failCode"] == "GENERATION_FAILED"
    assert rendered(view(state=TaskState.CANCELLED))["data"]["failCode"] == "CANCELLED"


# Times would be off by a millisecond, as floats make them, or by hours, as zones do.
@given(
    created=st.datetimes(datetime(2024, 1, 1), datetime(2100, 1, 1)),
    took=st.timedeltas(timedelta(0), timedelta(days=400)),
    hours=st.integers(-12, 12),
)
def test_times_are_exact(created, took, hours):
    zone = timezone(timedelta(hours=hours))
    start = created.replace(tzinfo=UTC)
    data = rendered(view(created_at=start.astimezone(zone), completed_at=start + took))["data"]
    assert data["createTime"] == (start - EPOCH) // timedelta(milliseconds=1)
    assert data["completeTime"] == (start + took - EPOCH) // timedelta(milliseconds=1)
    assert data["costTime"] == data["completeTime"] - data["createTime"]


# The page's advice on polling would reach nobody.
def test_a_running_task_says_when_to_ask_again():
    assert (b"retry-after", b"3") in APIXO.render(view(state=TaskState.PENDING), ()).headers
    assert b"retry-after" not in dict(APIXO.render(view(), ()).headers)


# Old tasks would be rendered in the words of a version that they were not sold under.
def test_a_task_of_an_unknown_version_is_a_bug():
    with pytest.raises(Bug):
        APIXO.render(view(listing_version=99), ())


# A task id that was given out would not be found again.
@pytest.mark.parametrize(
    "query",
    [f"taskId={TASK.hex}", f"taskId={TASK}", f"x=1&taskId={TASK.hex}&taskId=other", f"task%49d={TASK.hex}", f"taskId=%64{TASK.hex[1:]}"],
)  # fmt: skip
@pytest.mark.parametrize("model", MODELS)
def test_lookups(model, query):
    lookup = APIXO.parse_lookup(question(query, model))
    assert (lookup.task_id, lookup.listing) == (TASK, LISTINGS.newest[model])
    assert json.loads(APIXO.render_accepted(lookup.task_id, submit(text_to_image())).body)["data"]["taskId"] == TASK.hex


# An id that cannot be one of ours would be answered with a 500, or with somebody's task.
@pytest.mark.parametrize(
    "value",
    ["task_12345678", TASK.hex.upper(), str(TASK).upper(), "{" + str(TASK) + "}", f"urn:uuid:{TASK}", TASK.hex[:-1], TASK.hex + "0", TASK.hex + "%0A", "%00", "%ff", "..", "x" * 100_000, "１" * 32],
    ids=lambda value: ascii(value[:24]),
)  # fmt: skip
def test_ids_that_cannot_be_ours(value):
    with pytest.raises(NotFound):
        APIXO.parse_lookup(question(f"taskId={value}"))


# A forgotten parameter would look like a lost task.
@pytest.mark.parametrize("query", ["", "taskId", "taskId=", "taskid=1", "&&", "=", "taskId=&x=1"])
def test_a_missing_task_id(query):
    with pytest.raises(InvalidRequest) as caught:
        APIXO.parse_lookup(question(query))
    assert caught.value.param == "taskId"


# Some query would be answered with a 500.
@given(query=st.text(max_size=80), model=st.sampled_from([*MODELS, "other"]))
def test_any_query(query, model):
    with suppress(CallerError):
        APIXO.parse_lookup(question(query, model))


# A status question for an unknown model would be answered for another one.
def test_lookups_of_unknown_models():
    with pytest.raises(UnknownModel):
        APIXO.parse_lookup(question(f"taskId={TASK.hex}", "seedream-6-0"))


# A balance would be rounded, or written as a text that arithmetic breaks on.
@pytest.mark.parametrize(
    ("micros", "number"),
    [(74_870_000, "74.8700"), (0, "0.0000"), (35, "0.000035"), (1_000_000_000, "1000.0000"), (35_500, "0.0355"), (-35_000, "-0.0350"), (10**15, "1000000000.0000"), (123_456_789, "123.456789")],
    ids=str,
)  # fmt: skip
def test_balance(micros, number):
    answer = APIXO.render_balance(micros)
    assert answer.status == 200
    assert answer.body.decode() == f'{{"code":200,"message":"success","data":{number}}}'
    json.loads(answer.body)
