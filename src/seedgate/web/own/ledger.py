"""The ledger: a statement of the calling account, made whole before the first byte of it goes out."""

import asyncio
import tempfile
from contextlib import ExitStack
from datetime import datetime
from typing import IO
from uuid import UUID

from seedgate.accounts.statement import Scope, as_csv, as_json, open_statement
from seedgate.domain.errors import InvalidRequest
from seedgate.domain.statement import Position, moment
from seedgate.web.own.door import Asked, House, Sent

DEFAULT_LINES, MAX_LINES = 10_000, 100_000
MEMORY_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_TYPES = {"json": "application/json", "csv": "text/csv"}
NEXT = "x-next-cursor"


async def show_ledger(house: House, asked: Asked) -> Sent:
    """Entries of the account, oldest first, with the balance behind each."""
    scope, form = _scope(asked), _form(asked)
    account_id = asked.caller.account_id
    with ExitStack() as stack:
        stack.enter_context(house.statements.account(account_id))
        file = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES, dir=str(house.bodies.spool)))
        following = await _write(house, account_id, scope, form, file)
        if following is not None:
            asked.headers[NEXT] = str(following)
        asked.headers["vary"] = "Accept"
        if form == "csv":
            asked.headers["content-disposition"] = 'attachment; filename="ledger.csv"'
        size_bytes = file.tell()
        file.seek(0)
        return Sent(file=file, size_bytes=size_bytes, media_type=_TYPES[form], close=stack.pop_all().close)


async def _write(house: House, account_id: UUID, scope: Scope, form: str, file: IO[bytes]) -> Position | None:
    """Where the next part begins."""
    with house.statements.read():
        async with open_statement(house.database, account_id, scope) as statement:
            pending, size = list[str](), 0
            async for text in as_csv(statement) if form == "csv" else as_json(statement):
                pending.append(text)
                size += len(text)
                if size >= _PIECE_BYTES:
                    await asyncio.to_thread(file.write, "".join(pending).encode())
                    pending, size = [], 0
            await asyncio.to_thread(file.write, "".join(pending).encode())
            return statement.next


def _scope(asked: Asked) -> Scope:
    return Scope(
        since=_moment(asked, "since"),
        until=_moment(asked, "until"),
        limit=asked.count(default=DEFAULT_LINES, most=MAX_LINES),
        after=_position(asked.query.get("cursor")),
        actors=False,
    )


def _moment(asked: Asked, name: str) -> datetime | None:
    text = asked.query.get(name)
    try:
        return None if text is None else moment(text)
    except ValueError:
        raise InvalidRequest(f"{name} is written as 2026-11-01 or 2026-11-01T12:00:00Z", param=name) from None


def _position(text: str | None) -> Position | None:
    try:
        return None if text is None else Position.parse(text)
    except ValueError:
        raise InvalidRequest("cursor is none that was given here", param="cursor") from None


def _form(asked: Asked) -> str:
    """As the query says, or else the first of the types in Accept that there is; JSON where nothing is said."""
    said = asked.query.get("format")
    if said is not None:
        if said not in _TYPES:
            raise InvalidRequest("format is json or csv", param="format")
        return said
    for each in asked.request.headers.get("accept", "").split(","):
        wanted = each.partition(";")[0].strip().lower()
        for form, media_type in _TYPES.items():
            if wanted == media_type:
                return form
    return "json"
