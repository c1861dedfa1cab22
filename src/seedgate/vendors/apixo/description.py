"""What our document says of APIXO's format: the answers as types, and each route in a few words.

The samples are those of https://apixo.ai/docs/models/image/seedream-5-0 and …/seedream-4-5 (November 2026).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from seedgate.domain.money import dollars
from seedgate.interface import Interface, Operation, Parameter, Reply
from seedgate.vendors.apixo import wire
from seedgate.vendors.apixo.parameters import Offer

Milliseconds = Annotated[int, msgspec.Meta(description="Unix time in milliseconds.", ge=0)]


class Accepted(msgspec.Struct):
    """A task that is there now."""

    taskId: str  # noqa: N815 - as it travels


class Pending(msgspec.Struct, tag_field="state", tag="pending"):
    """A task that nobody works on yet."""

    taskId: str  # noqa: N815
    createTime: Milliseconds  # noqa: N815


class Processing(Pending, tag_field="state", tag="processing"):
    """A task that is worked on."""


class Success(Pending, tag_field="state", tag="success"):
    """A task whose pictures are there."""

    resultJson: Annotated[str, msgspec.Meta(description='JSON within a string: `{"resultUrls": ["…"]}`.')]  # noqa: N815
    completeTime: Milliseconds  # noqa: N815
    costTime: Annotated[int, msgspec.Meta(description="Milliseconds.", ge=0)]  # noqa: N815


class Failed(Pending, tag_field="state", tag="failed"):
    """A task that ended without a picture; nothing was charged."""

    failCode: str  # noqa: N815
    failMsg: str  # noqa: N815
    completeTime: Milliseconds  # noqa: N815
    costTime: int | msgspec.UnsetType = msgspec.UNSET  # noqa: N815


class AcceptedAnswer(msgspec.Struct):
    """The envelope of a submit's answer."""

    code: Literal[200]
    message: str
    data: Accepted


class StatusAnswer(msgspec.Struct):
    """The envelope of a status."""

    code: Literal[200]
    message: str
    data: Pending | Processing | Success | Failed


class BalanceAnswer(msgspec.Struct):
    """The envelope of a balance."""

    code: Literal[200]
    message: str
    data: Annotated[float, msgspec.Meta(description="Dollars, with at least four decimals.")]


class ErrorAnswer(msgspec.Struct):
    """The envelope of everything that was refused or went wrong; `code` is the HTTP status."""

    code: Annotated[int, msgspec.Meta(ge=400, le=599)]
    message: Annotated[str, msgspec.Meta(min_length=1)]
    data: None


# The parsing types leave out what is required, because null means absent and the messages are ours.
Submit = Annotated[
    wire.Submit,
    msgspec.Meta(
        extra_json_schema={
            "required": ["input"],
            "properties": {"input": {"type": "object", "required": ["mode", "prompt"]}},
        }
    ),
]

_TEXT_TO_IMAGE = {
    "input": {
        "mode": "text-to-image",
        "prompt": "a cozy cyberpunk cafe with neon lights, ultra detailed",
        "max_images": 4,
        "resolution": "2K",
        "aspect_ratio": "16:9",
        "sequential_image_generation": "disabled",
    }
}
_IMAGE_TO_IMAGE = {
    "request_type": "async",
    "input": {
        "mode": "image-to-image",
        "prompt": "make this scene look like sunrise with warm colors",
        "max_images": 3,
        "resolution": "2K",
        "aspect_ratio": "3:4",
        "sequential_image_generation": "auto",
        "image_urls": ["https://example.com/ref1.jpg", "https://example.com/ref2.jpg"],
    },
}
_CREATED = {"taskId": "0192f3c84e1b7d0a9c55e2b4a6f81d37", "createTime": 1767965610929}
_ENDED = _CREATED | {"completeTime": 1767965652317, "costTime": 41388}
_STATES = {
    "pending": {"state": "pending"} | _CREATED,
    "processing": {"state": "processing"} | _CREATED,
    "success": {"state": "success", "resultJson": '{"resultUrls":["https://r2.apixo.ai/img1.png"]}'} | _ENDED,
    "failed": {
        "state": "failed",
        "failCode": "CONTENT_VIOLATION",
        "failMsg": "Content does not meet safety guidelines",
    }
    | _ENDED,
}
_RETRY_AFTER = {"Retry-After": "Seconds to wait before asking again; while the task is not done."}


_TASK_ID = Parameter(name="taskId", where="query", summary="The task's id.", example=_CREATED["taskId"])


def describe(offers: Mapping[str, Offer], *, bases: tuple[str, ...]) -> Interface:
    """The routes, for the offers by name. A listing that is switched off takes no submits, and so has no line."""
    names = tuple(name for name, offer in offers.items() if offer.listing.enabled)
    return Interface(
        title="Seedgate in APIXO's format",
        version="2026-11",
        description="Submit a task, then ask for its status until it has ended.",
        security={"bearer": {"type": "http", "scheme": "bearer"}},
        bases=bases,
        error=ErrorAnswer,
        operations=(_submit(names, offers), _status(tuple(offers)), _cancel(tuple(offers)), _balance()),
    )


def _submit(names: Sequence[str], offers: Mapping[str, Offer]) -> Operation:
    paragraphs = ["Fields that a model has not are ignored.", *(_terms(offers[name]) for name in names)]
    return Operation(
        method="POST",
        path="/generateTask/{model}",
        summary="Submit a task",
        description="\n\n".join(paragraphs),
        parameters=(_model(names),),
        request=Submit,
        request_examples={"text-to-image": _TEXT_TO_IMAGE, "image-to-image": _IMAGE_TO_IMAGE},
        replies=(_ok("The task was accepted", AcceptedAnswer, {"accepted": {"taskId": _CREATED["taskId"]}}),),
    )


def _terms(offer: Offer) -> str:
    """What a model's own page says, in a paragraph."""
    required = "is required" if offer.terms.max_images_required else "is 1 if not given"
    return (
        f"**{offer.listing.name}**: ${dollars(offer.listing.unit_price_micros)} a picture."
        f" `input.max_images` {required}."
        f" `input.resolution`: {', '.join(offer.tiers)}; {offer.terms.default_resolution} if not given."
        f" `input.aspect_ratio`: {', '.join(offer.ratios)}. Pictures: {' or '.join(offer.formats)}."
        f" References: at most {offer.listing.model.max_references}."
    )


def _status(names: Sequence[str]) -> Operation:
    return Operation(
        method="GET",
        path="/statusTask/{model}",
        summary="Ask for a task's status",
        parameters=(_model(names), _TASK_ID),
        replies=(_ok("The task as it is now", StatusAnswer, _STATES, headers=_RETRY_AFTER),),
    )


def _cancel(names: Sequence[str]) -> Operation:
    return Operation(
        method="DELETE",
        path="/statusTask/{model}",
        summary="Cancel a task",
        description="An extension. What nobody works on is released at once; what was delivered is kept and paid for.",
        parameters=(_model(names), _TASK_ID),
        replies=(_ok("The task as it is afterwards", StatusAnswer, _STATES, headers=_RETRY_AFTER),),
    )


def _balance() -> Operation:
    return Operation(
        method="GET",
        path="/apikeys/current-balance",
        summary="Ask for the balance",
        replies=(_ok("What can be spent", BalanceAnswer, {"balance": 74.87}),),
    )


def _model(names: Sequence[str]) -> Parameter:
    kind = Annotated[str, msgspec.Meta(extra_json_schema={"enum": sorted(names)})]
    return Parameter(name="model", where="path", summary="The model.", type=kind, example=min(names, default=None))


def _ok(
    summary: str, kind: type, data: Mapping[str, object], *, headers: Mapping[str, str] = MappingProxyType({})
) -> Reply:
    examples = {name: {"code": 200, "message": "success", "data": value} for name, value in data.items()}
    return Reply(status=200, summary=summary, type=kind, examples=examples, headers=headers)
