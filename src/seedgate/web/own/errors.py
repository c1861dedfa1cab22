"""Errors as our own interface says them: a status each, one shape, and nothing of what goes on inside."""

from collections.abc import Set as AbstractSet

from seedgate.domain import errors
from seedgate.domain.errors import CallerError, SeedgateError
from seedgate.web import refusals
from seedgate.web.own import wire


class WrongMethod(CallerError):
    """The address does not take this method."""

    code = "method_not_allowed"

    def __init__(self, *, allowed: AbstractSet[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"Allowed here: {self.allowed}")


_STATUSES: dict[type[SeedgateError], int] = {
    errors.SeedgateError: 500,
    errors.CallerError: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.ContentRefused: 403,
    errors.UnknownModel: 404,
    errors.NotFound: 404,
    WrongMethod: 405,
    errors.AlreadyExists: 409,
    errors.KeyReused: 409,
    errors.TooLarge: 413,
    errors.WrongMediaType: 415,
    errors.Refused: 503,
    errors.RateLimited: 429,
    errors.ConcurrencyExceeded: 429,
    errors.InsufficientBalance: 402,
    # Waiting does not help, so it is no 429, which clients repeat by themselves.
    errors.QuotaExceeded: 413,
    errors.UpstreamError: 502,
    errors.OperatorError: 500,
    errors.Bug: 500,
}
_INNER = (errors.UpstreamError, errors.OperatorError, errors.Bug)


def status(error: SeedgateError) -> int:
    """Of its class, or of the nearest one above it."""
    return next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)


def render(error: SeedgateError, request_id: str) -> tuple[int, wire.Failure, dict[str, str]]:
    """Status, body and headers of any error. What is ours to repair is told in neutral words."""
    code, message, param = error.code, error.message, error.param
    if type(error) is SeedgateError or isinstance(error, _INNER):
        code, message, param = "internal_error", "Internal error", None
    failure = wire.Failure(error=wire.Error(code=code, message=_text(message), param=param, request_id=request_id))
    number = status(error)
    headers = {name.decode(): value.decode() for name, value in refusals.headers(error)}
    if isinstance(error, WrongMethod):
        headers["allow"] = error.allowed
    if number == 401:
        headers["www-authenticate"] = 'Bearer realm="seedgate"'
    return number, failure, headers


def _text(message: str) -> str:
    """As it can be written in UTF-8."""
    return message.encode(errors="replace").decode()
