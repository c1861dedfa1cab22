"""What the gateway is held against: a bare Starlette application on stock uvicorn that reads and writes the same JSON.

No credential, no database, no limits: it decodes the body of a submit into a struct and encodes an answer of the
gateway's shape and size; a question about a task is answered with one of the two shapes that the gateway gives.
"""

import itertools

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Input(msgspec.Struct):
    """As the gateway's callers send it."""

    mode: str
    prompt: str
    resolution: str
    aspect_ratio: str
    max_images: int


class Submit(msgspec.Struct):
    """The body of a submit."""

    request_type: str
    input: Input


class Data(msgspec.Struct, omit_defaults=True):
    """What an answer says."""

    taskId: str  # noqa: N815 - the wire's name
    state: str = ""
    resultJson: str = ""  # noqa: N815
    createTime: int = 0  # noqa: N815
    completeTime: int = 0  # noqa: N815
    costTime: int = 0  # noqa: N815


class Answer(msgspec.Struct):
    """The envelope of every answer."""

    code: int
    message: str
    data: Data


CREATED_MS = 1_764_000_000_000
RESULT = '{"resultUrls":["http://127.0.0.1:54321/files/0123456789ABCDEFGHIJKL.jpg"]}'
_numbers = itertools.count()
_decoder = msgspec.json.Decoder(Submit)
_encoder = msgspec.json.Encoder()


async def submit(request: Request) -> Response:
    """Decode the body, encode an answer."""
    _decoder.decode(await request.body())
    return _json(Data(taskId=f"{next(_numbers):032x}"))


async def status(request: Request) -> Response:
    """Encode a status; every other one is a finished task's, as among the tasks that the gateway is asked about."""
    task_id = request.query_params["taskId"]
    if next(_numbers) % 2:
        return _json(Data(taskId=task_id, state="pending", createTime=CREATED_MS))
    ended = Data(
        taskId=task_id,
        state="success",
        resultJson=RESULT,
        createTime=CREATED_MS,
        completeTime=CREATED_MS + 12_345,
        costTime=12_345,
    )
    return _json(ended)


def _json(data: Data) -> Response:
    answer = Answer(code=200, message="success", data=data)
    return Response(_encoder.encode(answer), media_type="application/json")


app = Starlette(routes=[Route("/submit", submit, methods=["POST"]), Route("/status", status)])
