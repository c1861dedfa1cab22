"""The documents: valid, complete, and with examples that are what they say."""

import json
from typing import Annotated, Any

import msgspec
import pytest
import schemathesis

from seedgate.catalogue.load import load
from seedgate.compose.offer import dialects, interfaces
from seedgate.dialect import Dialect
from seedgate.interface import Interface, Operation, Parameter, Reply
from seedgate.web.openapi import describe, document
from seedgate.web.own.errors import status
from seedgate.web.own.operations import EVERYWHERE, OPERATIONS

DIALECTS = dialects(load())
INTERFACES = interfaces(DIALECTS)
every = pytest.mark.parametrize("interface", INTERFACES.values(), ids=INTERFACES)
each = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def made(interface: Interface) -> dict[str, Any]:
    return json.loads(document(interface, server="https://api.example/"))


# If this failed, no tool could read the document.
@every
def test_the_document_is_valid_openapi(interface: Interface):
    schemathesis.openapi.from_dict(made(interface)).validate()


# If this failed, an invalid document would pass the test above.
def test_an_invalid_document_is_found():
    broken = made(describe(DIALECTS[0]))
    next(iter(broken["paths"].values()))["post"]["parameters"][0]["in"] = "nowhere"
    with pytest.raises(ValueError, match="nowhere"):
        schemathesis.openapi.from_dict(broken).validate()


# If this failed, a caller would never hear of a route, or hear of one that is not there.
@each
def test_every_route_is_described(dialect: Dialect):
    described = made(describe(dialect))
    below = [server["url"].removeprefix("https://api.example") for server in described["servers"]]
    told = {
        (method.upper(), base + path)
        for base in below
        for path, operations in described["paths"].items()
        for method in operations
    }
    assert told == {(route.method, route.path) for route in dialect.routes}


# If this failed, somebody would copy a request that is refused, or write a parser for an answer that never comes.
@every
def test_examples_are_of_their_types(interface: Interface):
    for operation in interface.operations:
        assert operation.request is None or operation.request_examples
        for example in operation.request_examples.values():
            msgspec.convert(example, operation.request)
        for parameter in operation.parameters:
            msgspec.convert(parameter.example, parameter.type)
        for reply in operation.replies:
            assert reply.examples or interface is INTERFACES["seedgate"] and reply.status < 400, operation.path
            for example in reply.examples.values():
                msgspec.convert(example, reply.type)


# If this failed, callers would meet answers that no document prepared them for.
@each
def test_every_operation_tells_its_errors(dialect: Dialect):
    for operation in describe(dialect).operations:
        statuses = [reply.status for reply in operation.replies]
        assert len(statuses) == len(set(statuses))
        assert {200, 401, 500, 503} <= set(statuses)
        if operation.request is not None:
            assert {400, 404, 413, 422, 429} <= set(statuses)
            assert "Idempotency-Key" in {parameter.name for parameter in operation.parameters}
        for reply in operation.replies:
            assert "X-Request-Id" in reply.headers
            assert reply.status not in {429, 503} or "Retry-After" in reply.headers


# If this failed, our own document would leave an endpoint out, or an answer that it gives.
def test_our_own_document_is_the_table():
    described = made(INTERFACES["seedgate"])
    told = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert told == {(operation.method, operation.path) for operation in OPERATIONS}
    for operation in OPERATIONS:
        replies = described["paths"][operation.path][operation.method.lower()]["responses"]
        errors = {status(kind()) for kind in (*EVERYWHERE, *operation.errors)}
        assert {int(each) for each in replies} == {operation.status} | errors
        assert all("X-Request-Id" in reply["headers"] for reply in replies.values())
    upload = described["paths"]["/files"]["post"]["requestBody"]["content"]
    assert set(upload) == {"image/*", "multipart/form-data"}
    ledger = described["paths"]["/ledger"]["get"]["responses"]["200"]["content"]
    assert set(ledger) == {"application/json", "text/csv"}


class Note(msgspec.Struct):
    text: str


# If this failed, an interface that is no dialect could not be described.
def test_any_interface_can_be_described():
    interface = Interface(
        title="Notes",
        version="1",
        description="",
        security={"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
        operations=(
            Operation(
                method="GET",
                path="/notes/{id}",
                summary="Read one",
                parameters=(
                    Parameter(name="id", where="path", summary="Which.", type=Annotated[int, msgspec.Meta(ge=1)]),
                ),
                replies=(
                    Reply(status=200, summary="The note", type=Note),
                    Reply(status=206, summary="The picture", type=bytes, media_type="image/png"),
                    Reply(status=404, summary="There is none"),
                ),
            ),
            Operation(
                method="GET", path="/health", summary="Alive", open=True, replies=(Reply(status=204, summary=""),)
            ),
        ),
    )
    found = made(interface)
    schemathesis.openapi.from_dict(found).validate()
    assert found["servers"] == [{"url": "https://api.example"}]
    assert found["paths"]["/notes/{id}"]["get"]["parameters"][0]["schema"] == {"type": "integer", "minimum": 1}
    assert found["paths"]["/health"]["get"]["security"] == []
    assert set(found["components"]["schemas"]) == {"Note"}
