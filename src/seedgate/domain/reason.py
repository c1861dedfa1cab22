"""Why a picture was not delivered, in our own words. A dialect turns a reason into its vendor's code and message."""

from enum import StrEnum


class Reason(StrEnum):
    """One reason per row of the vendors' tables; `INTERNAL` is what nobody foresaw."""

    PROMPT_REFUSED = "prompt_refused"
    CONTENT_REFUSED = "content_refused"
    """A reference or a finished picture was refused."""
    PROMPT_INVALID = "prompt_invalid"
    PROMPT_TOO_LONG = "prompt_too_long"
    PARAMETERS_MISSING = "parameters_missing"
    PARAMETERS_REFUSED = "parameters_refused"
    REFERENCE_ADDRESS = "reference_address"
    """The address is refused or cannot be reached."""
    REFERENCE_ANSWER = "reference_answer"
    """The host answered badly."""
    REFERENCE_FORMAT = "reference_format"
    REFERENCE_DIMENSIONS = "reference_dimensions"
    REFERENCE_BYTES = "reference_bytes"
    UPSTREAM_RATE_LIMIT = "upstream_rate_limit"
    DEADLINE = "deadline"
    """The task's time ran out, or an attempt in doubt was waited out."""
    STREAM_BROKEN = "stream_broken"
    FINALIZE = "finalize"
    """A finished picture could not be checked or stored."""
    NO_ROUTE = "no_route"
    """No upstream or engine serves the asked tier."""
    INTERNAL = "internal"
    CANCELLED = "cancelled"
