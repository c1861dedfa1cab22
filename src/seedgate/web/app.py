"""The application behind the fast path: files, health, our own interface. Whatever else is asked for is not found."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from seedgate.domain.errors import NotFound, Refused, SeedgateError
from seedgate.web.files import Files
from seedgate.web.health import Health


def build(files: Files, health: Health, *more: Sequence[Route]) -> Starlette:
    """The routes that are no dialect's."""
    app = Starlette(
        routes=[
            Route("/files/{name}", files.serve, methods=["GET", "HEAD"]),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/metrics", health.metrics),
            *(route for routes in more for route in routes),
        ],
        exception_handlers={HTTPException: _plain, SeedgateError: _ours},
    )
    app.router.redirect_slashes = False  # its redirects are built from the Host header, which anybody can write
    return app


async def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail.lower()}, error.status_code, error.headers)


async def _ours(_: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        return JSONResponse({"error": "not found"}, 404)
    if isinstance(error, Refused):
        return JSONResponse({"error": "temporarily unavailable"}, 503, {"retry-after": "1"})
    return JSONResponse({"error": "internal error"}, 500)
