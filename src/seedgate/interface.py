"""Contract: what an interface over HTTP says of itself, so that a document can be made of it.

Types are what msgspec parses and writes; a request's is the very one that reads it. Texts are CommonMark.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One value outside of the body."""

    name: str
    where: Literal["path", "query", "header"]
    summary: str
    type: Any = str
    required: bool = True
    example: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is answered under one status."""

    status: int
    summary: str
    type: Any = None
    """None for an answer without a body."""
    media_type: str = "application/json"
    examples: Mapping[str, Any] = field(default_factory=dict)
    """By a name of letters, digits, points, dashes and underscores."""
    also: tuple[str, ...] = ()
    """Other media types that the same may come in, as text."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Name and summary of those that the answer may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What can be asked under one method and path."""

    method: str
    path: str
    """Below the interface's bases; `{name}` stands for a parameter."""
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    request: Any = None
    """The body's type; None where there is no body."""
    request_examples: Mapping[str, Any] = field(default_factory=dict)
    request_required: bool = True
    request_media: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Schemas of bodies that are no JSON, by media type."""
    replies: tuple[Reply, ...] = ()
    open: bool = False
    """Whether anybody may ask, without a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A set of operations that share an address and a credential."""

    title: str
    version: str
    description: str
    security: Mapping[str, Mapping[str, str]]
    """Security schemes of OpenAPI by name, each of which will do."""
    operations: tuple[Operation, ...]
    bases: tuple[str, ...] = ("",)
    """What the paths may stand below; where there are several, all operations are below each."""
    error: Any = None
    """The type of a dialect's refusals, whose statuses and examples come from its `render_error`."""
