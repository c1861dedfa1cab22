"""The one tree of errors, by who must act.

    SeedgateError        code, message, param
    ├─ CallerError       change the request
    │  ├─ InvalidRequest · UnknownModel (ListingOff) · Unauthenticated · Forbidden · NotFound
    │  ├─ AlreadyExists · KeyReused · TooLarge · ContentRefused · AddressRefused · ReferenceRefused (in `reference.py`)
    │  └─ WrongMediaType · WrongMethod
    ├─ Refused           wait or pay; retry_after_s
    │  ├─ RateLimited · ConcurrencyExceeded · InsufficientBalance (BudgetExceeded)
    │  └─ QueueFull · QuotaExceeded · Maintenance · ShuttingDown · Unavailable
    ├─ UpstreamError     ours to retry, reroute or report; retryable
    │  ├─ Unreachable · TimedOut · InDoubt · Overloaded · Rejected · ProtocolBroken · BadAnswer · AnswerTooLarge
    │  └─ EngineCrashed · EngineRefused
    ├─ OperatorError     a person must change the installation; carries a hint
    │  └─ NewerSchema · NoSpace · NoPermission · ServerBroken · BadSettings
    └─ Bug               an invariant failed
       └─ IllegalTransition · UnbalancedEntry · StaleWrite

A class's docstring is its default message. There are no HTTP statuses here: a status is a dialect's word.
"""

from seedgate.domain.limits import Room


class SeedgateError(Exception):
    """Something went wrong."""

    code = "error"

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.param = param
        super().__init__(self.message)


class CallerError(SeedgateError):
    """The request cannot be served as it is."""

    code = "caller_error"


class InvalidRequest(CallerError):
    """The request is invalid."""

    code = "invalid_request"


class UnknownModel(CallerError):
    """The model does not exist."""

    code = "unknown_model"


class ListingOff(UnknownModel):
    """The model is switched off."""

    code = "listing_off"


class Unauthenticated(CallerError):
    """Invalid or missing API key"""

    code = "unauthenticated"


class Forbidden(CallerError):
    """This API key may not do that."""

    code = "forbidden"


class NotFound(CallerError):
    """Not found"""

    code = "not_found"


class WrongMethod(CallerError):
    """This address does not take the request's method."""

    code = "wrong_method"


class AlreadyExists(CallerError):
    """There is one of that name already."""

    code = "already_exists"


class KeyReused(CallerError):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"


class TooLarge(CallerError):
    """The request body is too large."""

    code = "too_large"


class WrongMediaType(CallerError):
    """The Content-Type is none that is taken here."""

    code = "unsupported_media_type"


class ContentRefused(CallerError):
    """The content violates the usage policy."""

    code = "content_refused"


class AddressRefused(CallerError):
    """host not allowed or not reachable"""

    # One sentence for both, as `net` gives it to `Unreachable` too: who asks must not learn which hosts exist in here.
    code = "address_refused"


class Refused(SeedgateError):
    """The request cannot be served now."""

    code = "refused"

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        room: Room | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s
        self.room = room
        """What is left of the limits, where one of them is the reason."""


class RateLimited(Refused):
    """Rate limit exceeded"""

    code = "rate_limited"


class ConcurrencyExceeded(Refused):
    """Too many concurrent tasks"""

    code = "concurrency_exceeded"


class InsufficientBalance(Refused):
    """Insufficient credits"""

    code = "insufficient_balance"


class BudgetExceeded(InsufficientBalance):
    """The budget of this API key is spent"""

    code = "budget_exceeded"


class QueueFull(Refused):
    """Too many tasks are waiting."""

    code = "queue_full"


class QuotaExceeded(Refused):
    """The account keeps as much as it may."""

    code = "quota_exceeded"


class Maintenance(Refused):
    """The service is under maintenance."""

    code = "maintenance"


class ShuttingDown(Refused):
    """The service is restarting."""

    code = "shutting_down"


class Unavailable(Refused):
    """The service is temporarily unavailable."""

    code = "unavailable"


class UpstreamError(SeedgateError):
    """The upstream did not deliver."""

    code = "upstream_error"
    retryable = False


class Unreachable(UpstreamError):
    """The address could not be reached."""

    code = "unreachable"
    retryable = True


class TimedOut(UpstreamError):
    """The upstream took too long."""

    code = "timed_out"


class InDoubt(UpstreamError):
    """The upstream may or may not have accepted the task."""

    code = "in_doubt"


class Overloaded(UpstreamError):
    """The upstream is overloaded."""

    code = "overloaded"
    retryable = True


class Rejected(UpstreamError):
    """The upstream rejected the request."""

    code = "rejected"


class ProtocolBroken(UpstreamError):
    """The upstream answered with something that cannot be understood."""

    code = "protocol_broken"


class BadAnswer(UpstreamError):
    """The host did not answer with the file."""

    code = "bad_answer"

    def __init__(self, message: str | None = None, *, param: str | None = None, status: int | None = None) -> None:
        super().__init__(message, param=param)
        self.status = status


class AnswerTooLarge(UpstreamError):
    """The answer is larger than allowed."""

    code = "answer_too_large"


class EngineCrashed(UpstreamError):
    """The engine died, hung or failed while it was drawing."""

    code = "engine_crashed"
    retryable = True


class EngineRefused(UpstreamError):
    """The engine cannot draw this job."""

    code = "engine_refused"


class OperatorError(SeedgateError):
    """The installation needs attention."""

    code = "operator_error"

    def __init__(self, message: str | None = None, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NewerSchema(OperatorError):
    """The data was written by a newer version of Seedgate."""

    code = "newer_schema"


class NoSpace(OperatorError):
    """There is no space left on the device."""

    code = "no_space"


class NoPermission(OperatorError):
    """A file or folder may not be read or written."""

    code = "no_permission"


class ServerBroken(OperatorError):
    """The database server cannot be started."""

    code = "server_broken"


class BadSettings(OperatorError):
    """A setting is wrong."""

    code = "bad_settings"


class Bug(SeedgateError):
    """An invariant failed."""

    code = "bug"


class IllegalTransition(Bug):
    """That change of state does not exist."""

    code = "illegal_transition"


class UnbalancedEntry(Bug):
    """The postings of an entry do not sum to zero."""

    code = "unbalanced_entry"


class StaleWrite(Bug):
    """The write was decided on a state that has passed."""

    code = "stale_write"
