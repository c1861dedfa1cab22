"""The table of our own interface, and the routes that are made of it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from starlette.routing import Route

from seedgate.domain.errors import (
    AlreadyExists,
    Bug,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    SeedgateError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    WrongMediaType,
)
from seedgate.web.own import account, files, keys, ledger, tasks, wire
from seedgate.web.own.door import DEFAULT_PAGE, MAX_PAGE, Door, Entry, Operation, Parameter

PREFIX = "/seedgate/v1"

EVERYWHERE: tuple[type[SeedgateError], ...] = (InvalidRequest, Unauthenticated, RateLimited, Unavailable, Bug)
"""What any operation may answer."""

_BODY: tuple[type[SeedgateError], ...] = (TooLarge, WrongMediaType)
_PAGE = (
    Parameter(
        name="limit",
        description=f"How many, from 1 to {MAX_PAGE}; {DEFAULT_PAGE} if left out.",
        kind=Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)],
        example=DEFAULT_PAGE,
    ),
    Parameter(name="cursor", description="The `next_cursor` of the page before.", example="AZLzyE4bfQqcVeK0pvgdNw"),
)
_STATE = Parameter(
    name="state",
    description="Only tasks in these states, with commas: pending, processing, success, failed, cancelled.",
    example="success,failed",
)
_LEDGER = (
    Parameter(
        name="since",
        description="From this moment on: a date or a time, of ISO 8601; in UTC if no offset is said.",
        example="2026-11-01",
    ),
    Parameter(name="until", description="Before this moment.", example="2026-12-01T00:00:00Z"),
    Parameter(
        name="limit",
        description=f"How many, from 1 to {ledger.MAX_LINES:,}; {ledger.DEFAULT_LINES:,} if left out.",
        kind=Annotated[int, msgspec.Meta(ge=1, le=ledger.MAX_LINES)],
        example=1000,
    ),
    Parameter(
        name="cursor",
        description="The `next_cursor`, or `X-Next-Cursor`, of the part before.",
        example="2026-11-20T16:46:36.612854Z_0192f3c84e1b7d0a9c55e2b4a6f81d37_hold",
    ),
    Parameter(
        name="format",
        description="If left out, what the `Accept` header names, or JSON.",
        kind=Literal["json", "csv"],
        example="csv",
    ),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_tasks",
        method="GET",
        path="/tasks",
        summary="The account's tasks, newest first.",
        answer=tasks.list_tasks,
        gives=wire.TaskPage,
        query=(*_PAGE, _STATE),
    ),
    Operation(
        name="show_task",
        method="GET",
        path="/tasks/{id}",
        summary="A task: its state, results, receipt, attempts, changed parameters, and what it waits for.",
        answer=tasks.show_task,
        gives=wire.Task,
        errors=(NotFound,),
    ),
    Operation(
        name="cancel_task",
        method="DELETE",
        path="/tasks/{id}",
        summary="Cancel a task: what is not begun is released, what was delivered is kept and paid for.",
        answer=tasks.cancel_task,
        gives=wire.Task,
        errors=(NotFound,),
    ),
    Operation(
        name="cancel_task_by_post",
        method="POST",
        path="/tasks/{id}/cancel",
        summary="Cancel a task: what is not begun is released, what was delivered is kept and paid for.",
        answer=tasks.cancel_task,
        gives=wire.Task,
        errors=(NotFound,),
    ),
    Operation(
        name="show_balance",
        method="GET",
        path="/balance",
        summary="What the account can spend, and what its open tasks hold.",
        answer=account.show_balance,
        gives=wire.Balance,
    ),
    Operation(
        name="show_ledger",
        method="GET",
        path="/ledger",
        summary="The account's entries, oldest first, between its balances at both ends; as JSON or CSV.",
        answer=ledger.show_ledger,
        gives=wire.Statement,
        also_gives=("text/csv",),
        query=_LEDGER,
    ),
    Operation(
        name="list_models",
        method="GET",
        path="/models",
        summary="What is offered in which dialect: prices, sizes, limits, usual times.",
        answer=account.list_models,
        gives=wire.Models,
    ),
    Operation(
        name="list_keys",
        method="GET",
        path="/keys",
        summary="The account's keys, newest first, with limits, budget and state; never a secret.",
        answer=keys.list_keys,
        gives=wire.KeyPage,
        query=_PAGE,
    ),
    Operation(
        name="make_key",
        method="POST",
        path="/keys",
        summary="Make a key that may do no more than this one; its secret is shown once.",
        answer=keys.make_key,
        gives=wire.ShownKey,
        status=201,
        takes=wire.KeyWish,
        writes=True,
        errors=(*_BODY, Forbidden, AlreadyExists, QuotaExceeded),
    ),
    Operation(
        name="rotate_key",
        method="POST",
        path="/keys/{id}/rotate",
        summary="Give a key another secret, shown once; the ones that it has work on for a while.",
        answer=keys.rotate_key,
        gives=wire.ShownKey,
        takes=wire.Rotation,
        may_be_empty=True,
        writes=True,
        errors=(*_BODY, Forbidden, NotFound),
    ),
    Operation(
        name="revoke_key",
        method="DELETE",
        path="/keys/{id}",
        summary="End a key: within five seconds nothing lets it in. What it has submitted goes on.",
        answer=keys.revoke_key,
        gives=wire.KeyLine,
        writes=True,
        errors=(Forbidden, NotFound),
    ),
    Operation(
        name="upload_file",
        method="POST",
        path="/files",
        summary="Upload one reference picture of at most 10 MB: as the body, or as the one file of a form.",
        answer=files.upload,
        gives=wire.File,
        status=201,
        takes=("image/*", files.FORM),
        writes=True,
        errors=(TooLarge, WrongMediaType, QuotaExceeded),
    ),
    Operation(
        name="list_files",
        method="GET",
        path="/files",
        summary="The account's uploads, newest first, and how full its quota is.",
        answer=files.list_files,
        gives=wire.FilePage,
        query=_PAGE,
    ),
    Operation(
        name="show_file",
        method="GET",
        path="/files/{id}",
        summary="An upload.",
        answer=files.show_file,
        gives=wire.File,
        errors=(NotFound,),
    ),
    Operation(
        name="delete_file",
        method="DELETE",
        path="/files/{id}",
        summary="Delete an upload: its address leads nowhere at once.",
        answer=files.delete_file,
        gives=wire.Deleted,
        writes=True,
        errors=(NotFound,),
    ),
)


def routes(door: Door, operations: Sequence[Operation] = OPERATIONS) -> list[Route]:
    """A route for each address, with and without a slash at its end, and one for all that is none."""
    by_path: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_path[operation.path].append(operation)
    found = [Route(PREFIX + path + slash, Entry(door, there)) for path, there in by_path.items() for slash in ("", "/")]
    nothing = Entry(door, ())
    return [*found, Route(PREFIX, nothing), Route(PREFIX + "/{rest:path}", nothing)]
