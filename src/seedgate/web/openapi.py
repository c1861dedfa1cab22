"""OpenAPI 3.1 documents of interfaces: made of the types that parse, so that they cannot tell another story."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seedgate.dialect import Dialect, Intent
from seedgate.domain.errors import (
    BudgetExceeded,
    Bug,
    ConcurrencyExceeded,
    Forbidden,
    InsufficientBalance,
    InvalidRequest,
    KeyReused,
    Maintenance,
    NotFound,
    QueueFull,
    RateLimited,
    SeedgateError,
    ShuttingDown,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
)
from seedgate.interface import Interface, Operation, Parameter, Reply
from seedgate.web import refusals
from seedgate.web.dispatch import MAX_IDEMPOTENCY_KEY

_REFERENCE = "#/components/schemas/{name}"
REQUEST_ID = {"X-Request-Id": "Names this answer; quote it when you ask about it."}
_REPLAYED = {"Idempotency-Replayed": "`true` where the answer is an earlier submit's, under the same key."}
_HEADERS = {
    "retry-after": "Seconds to wait before it is worth asking again, from 1 to 59.",
    "retry-after-ms": "The same in milliseconds.",
    "x-should-retry": "`false` where the same request will be refused again.",
    "x-seedgate-charged": "Micro-dollars that were charged: 0.",
    "www-authenticate": "The scheme of the credential.",
}
"""Of refusals, beside the request id."""
CHARGED = {"X-Seedgate-Charged": "Micro-dollars that the task was charged, once it has ended."}
_DRY_RUN = (
    "\n\nWith `X-Seedgate-Dry-Run: 1` the answer is what the submit would cost and become, in a form of our own: price,"
    " who would serve it, the request as it is understood and every change to it. Nothing is held, stored or started."
)
_IDEMPOTENCY = Parameter(
    name="Idempotency-Key",
    where="header",
    summary="A submit with the key and content of an earlier one gets that one's answer, and nothing is paid twice.",
    type=Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_IDEMPOTENCY_KEY)],
    required=False,
    example="order-1f0c",
)

# What the fast path answers whatever the dialect, one of each kind.
_ALWAYS: Sequence[SeedgateError] = (
    Unauthenticated(),
    RateLimited(retry_after_s=1),
    Unavailable(retry_after_s=1),
    Bug(),
)
_LOOKED_UP: Sequence[SeedgateError] = (InvalidRequest(), UnknownModel(), NotFound())
_ERRORS: Mapping[Intent, Sequence[SeedgateError]] = {
    Intent.SUBMIT: (
        InvalidRequest(),
        UnknownModel(),
        TooLarge(),
        KeyReused(),
        Forbidden(),
        InsufficientBalance(),
        BudgetExceeded(),
        ConcurrencyExceeded(retry_after_s=1),
        QueueFull(retry_after_s=1),
        Maintenance(retry_after_s=1),
        ShuttingDown(retry_after_s=1),
    ),
    Intent.STATUS: _LOOKED_UP,
    Intent.CANCEL: _LOOKED_UP,
    Intent.BALANCE: (),
}


class Documents:
    """Serves the documents of some interfaces, and a list of them."""

    def __init__(self, interfaces: Mapping[str, Interface], *, server: str) -> None:
        """`server` is where callers reach this gateway; a request's Host is nobody's word."""
        self._documents = {name: document(interface, server=server) for name, interface in interfaces.items()}
        self._index = [
            {"name": name, "title": interface.title, "url": f"{server.rstrip('/')}/openapi/{name}.json"}
            for name, interface in sorted(interfaces.items())
        ]

    async def index(self, _: Request) -> Response:
        """/openapi.json: which documents there are."""
        return JSONResponse({"documents": self._index})

    async def serve(self, request: Request) -> Response:
        """/openapi/NAME.json. Raises NotFound."""
        found = self._documents.get(request.path_params["name"])
        if found is None:
            raise NotFound
        return Response(found, media_type="application/json")


def describe(dialect: Dialect) -> Interface:
    """A dialect's interface with what the fast path adds: idempotency keys, request ids and every error."""
    given = dialect.describe()
    intents = {(route.method, route.path): route.intent for route in dialect.routes}
    operations = (
        _complete(dialect, given, operation, intents[operation.method, given.bases[0] + operation.path])
        for operation in given.operations
    )
    return replace(given, operations=tuple(operations))


def _complete(dialect: Dialect, interface: Interface, operation: Operation, intent: Intent) -> Operation:
    submits = intent is Intent.SUBMIT
    added = REQUEST_ID | (_REPLAYED if submits else {} if intent is Intent.BALANCE else CHARGED)
    replies = [replace(reply, headers={**reply.headers, **added}) for reply in operation.replies]
    return replace(
        operation,
        parameters=(*operation.parameters, _IDEMPOTENCY) if submits else operation.parameters,
        description=operation.description + (_DRY_RUN if submits else ""),
        replies=(*replies, *refused(_teller(dialect), interface.error, (*_ERRORS[intent], *_ALWAYS))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An error as an interface says it."""

    status: int
    example: Any
    headers: tuple[str, ...]


def refused(tell: Callable[[SeedgateError], Told], kind: Any, errors: Iterable[SeedgateError]) -> Iterator[Reply]:
    """One reply for each status, with the interface's own rendering of each error as its example."""
    by_status: dict[int, Reply] = {}
    for error in errors:
        told = tell(error)
        known = by_status.get(told.status)
        headers = {name.title(): _HEADERS[name] for name in told.headers if name in _HEADERS}
        by_status[told.status] = Reply(
            status=told.status,
            summary=f"{known.summary} · {_sentence(error)}" if known else _sentence(error),
            type=kind,
            examples={**(known.examples if known else {}), error.code: told.example},
            headers={**(known.headers if known else REQUEST_ID), **headers},
        )
    yield from (by_status[status] for status in sorted(by_status))


def _teller(dialect: Dialect) -> Callable[[SeedgateError], Told]:
    def tell(error: SeedgateError) -> Told:
        answer = dialect.render_error(error, None)
        headers = tuple(name.decode() for name, _ in refusals.headers(error))
        return Told(status=answer.status, example=msgspec.json.decode(answer.body), headers=headers)

    return tell


def _sentence(error: SeedgateError) -> str:
    return error.message.rstrip(".")


def document(interface: Interface, *, server: str) -> bytes:
    """The OpenAPI 3.1 document of an interface that is reached at `server`, as JSON."""
    schemas = _Schemas(interface)
    paths: dict[str, dict[str, Any]] = {}
    for operation in interface.operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": interface.title,
                "version": interface.version,
                "description": interface.description,
            },
            "servers": [{"url": server.rstrip("/") + base} for base in interface.bases],
            "security": [{name: []} for name in interface.security],
            "paths": paths,
            "components": {"schemas": schemas.components, "securitySchemes": interface.security},
        }
    )


class _Schemas:
    """The schema of every type that an interface names; structs are components."""

    def __init__(self, interface: Interface) -> None:
        types = list(_types(interface))
        schemas, self.components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
        # By identity, because annotated types need not be hashable; the interface keeps them alive.
        self._found = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}

    def of(self, kind: Any) -> dict[str, Any]:
        """A type's schema, or a reference to it."""
        return self._found[id(kind)]


def _types(interface: Interface) -> Iterator[Any]:
    for operation in interface.operations:
        yield from (parameter.type for parameter in operation.parameters)
        yield from (kind for kind in (operation.request, *(reply.type for reply in operation.replies)) if kind)


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(operation),
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [_parameter(parameter, schemas) for parameter in operation.parameters],
        "responses": {str(reply.status): _reply(reply, schemas) for reply in operation.replies},
    }
    content = {kind: {"schema": dict(schema)} for kind, schema in operation.request_media.items()}
    if operation.request is not None:
        content |= _content(operation.request, "application/json", operation.request_examples, schemas)
    if content:
        described["requestBody"] = {"required": operation.request_required, "content": content}
    if operation.open:
        described["security"] = []
    return described


def _name(operation: Operation) -> str:
    """`get_tasks_id`: unique, because method and path are."""
    words = "".join(char if char.isalnum() else " " for char in operation.path).split()
    return "_".join((operation.method.lower(), *words))


def _parameter(parameter: Parameter, schemas: _Schemas) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.summary,
        "schema": schemas.of(parameter.type),
    }
    return described if parameter.example is None else described | {"example": parameter.example}


def _reply(reply: Reply, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": reply.summary}
    if reply.headers:
        described["headers"] = {
            name: {"description": summary, "schema": {"type": "string"}} for name, summary in reply.headers.items()
        }
    if reply.type is not None:
        described["content"] = _content(reply.type, reply.media_type, reply.examples, schemas)
        described["content"] |= {kind: {"schema": {"type": "string"}} for kind in reply.also}
    return described


def _content(kind: Any, media_type: str, examples: Mapping[str, Any], schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schemas.of(kind)}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {media_type: content}
