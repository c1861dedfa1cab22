"""The gateway's own OpenAPI documents, read by tests that must cover a new dialect by themselves."""

import copy
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from gateway import Gateway

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of one document."""

    interface: str
    base: str
    path: str
    method: str
    described: dict[str, Any]
    document: dict[str, Any]

    def parameters(self, where: str) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.described["parameters"] if each["in"] == where}

    @property
    def request(self) -> dict[str, Any] | None:
        """The JSON body's schema and examples."""
        body = self.described.get("requestBody")
        return body and body["content"].get("application/json")

    def urls(self) -> list[str]:
        """Its address with every value that a path parameter may have, or with its example."""
        named = self.parameters("path")
        choices = [each["schema"].get("enum") or [each["example"]] for each in named.values()]
        return [
            self.base + self.path.format(**dict(zip(named, map(quote, chosen), strict=True)))
            for chosen in itertools.product(*choices)
        ]

    def bodies(self) -> list[dict[str, Any]]:
        """Copies of the examples of a body."""
        return [copy.deepcopy(each["value"]) for each in self.request["examples"].values()] if self.request else []

    def fields(self, *types: str) -> set[Path]:
        """Where the body may have values of these JSON types."""
        if self.request is None:
            return set()
        return {path for path, kind in _leaves(self.document, self.request["schema"], ()) if kind in types}

    def headers(self, *statuses: int) -> set[str]:
        """What the document lists for an answer, or for any."""
        replies = self.described["responses"]
        told = [replies[str(status)] for status in statuses] or replies.values()
        return {name.lower() for reply in told for name in reply.get("headers", {})}


async def operations(gateway: Gateway, session: aiohttp.ClientSession) -> list[Operation]:
    """Every operation of every document that a gateway lists."""
    found = []
    async with session.get(f"{gateway.url}/openapi.json") as response:
        listed = (await response.json())["documents"]
    for each in listed:
        async with session.get(each["url"]) as response:
            document = await response.json()
        base = document["servers"][0]["url"]
        for path, methods in document["paths"].items():
            for method, described in methods.items():
                found.append(Operation(each["name"], base, path, method.upper(), described, document))
    return found


def _leaves(document: dict[str, Any], schema: dict[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    if "$ref" in schema:
        target = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        yield from _leaves(document, target, path)
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _leaves(document, choice, path)
    for name, below in schema.get("properties", {}).items():
        yield from _leaves(document, below, (*path, name))
    if isinstance(schema.get("items"), dict):
        yield from _leaves(document, schema["items"], (*path, 0))
    kinds = schema.get("type", "string" if "enum" in schema else ())
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in {"object", "array", "null"}:
            yield path, kind


def written(path: Path) -> str:
    """A path as messages write it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def with_literal(body: Any, path: Path, literal: str) -> bytes:
    """The body as JSON with any text at all in place of one value."""
    mark = "\x01mark\x01"
    changed = copy.deepcopy(body)
    place = changed
    for step, following in zip(path[:-1], path[1:], strict=True):
        if isinstance(place, dict) and step not in place:
            place[step] = [] if isinstance(following, int) else {}
        place = place[step]
    if isinstance(place, list):
        place[path[-1] :] = [mark]
    else:
        place[path[-1]] = mark
    return json.dumps(changed).replace(json.dumps(mark), literal).encode()
