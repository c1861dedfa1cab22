"""The application behind the fast path: files, documents, health, our own interface. Whatever else is asked for is
refused."""

from collections.abc import Iterable, Iterator, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from seedgate.dialect import Dialect
from seedgate.domain.errors import NotFound, Refused, SeedgateError, WrongMethod
from seedgate.web.files import Files
from seedgate.web.health import Health
from seedgate.web.openapi import Documents


def build(
    dialects: Sequence[Dialect], files: Files, documents: Documents, health: Health, *more: Sequence[Route]
) -> Starlette:
    """The routes that are no dialect's, and what a dialect's routes answer to other methods than theirs."""
    app = Starlette(
        routes=[
            Route("/files/{name}", files.serve, methods=["GET", "HEAD"]),
            Route("/openapi.json", documents.index),
            Route("/openapi/{name}.json", documents.serve),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/metrics", health.metrics),
            *(route for routes in more for route in routes),
            *(Route(path, wrong) for dialect in dialects for path, wrong in _wrong_methods(dialect)),
        ],
        exception_handlers={HTTPException: _plain, SeedgateError: _ours},
    )
    app.router.redirect_slashes = False  # its redirects are built from the Host header, which anybody can write
    return app


def _wrong_methods(dialect: Dialect) -> Iterator[tuple[str, "_WrongMethod"]]:
    """For each address of a dialect. The fast path has taken the methods that it knows."""
    for path in dict.fromkeys(route.path for route in dialect.routes):
        yield path, _WrongMethod(dialect, {route.method for route in dialect.routes if route.path == path})


class _WrongMethod:
    """Any request is answered with the methods that would do (RFC 9110, 15.5.6)."""

    def __init__(self, dialect: Dialect, allowed: Iterable[str]) -> None:
        answer = dialect.render_error(WrongMethod(), None)
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        self._response = Response(answer.body, answer.status, headers | {"allow": ", ".join(sorted(allowed))})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._response(scope, receive, send)


async def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail.lower()}, error.status_code, error.headers)


async def _ours(_: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        return JSONResponse({"error": "not found"}, 404)
    if isinstance(error, Refused):
        return JSONResponse({"error": "temporarily unavailable"}, 503, {"retry-after": "1"})
    return JSONResponse({"error": "internal error"}, 500)
