"""A task's story from its rows: plain words for numbers, no name of a result, no secret part of an address."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from seedgate.cli import output
from seedgate.domain.errors import UnbalancedEntry
from seedgate.domain.ledger import Book, Entry, Side
from seedgate.domain.money import dollars
from seedgate.domain.slot import SlotState
from seedgate.domain.task import TaskState
from seedgate.store.database import Database
from seedgate.store.details import Details, read_details
from seedgate.store.operations import account_names
from seedgate.store.tasks import show_task

_RECEIPT = ("unit_price_micros", "held_micros", "charged_micros", "released_micros")
_LINES = ("picture", "charged", "released", "delivered_by", "attempt", "reason", "message")
_CAPABILITY = re.compile(r"(?<=/files/)[0-9A-Za-z]{22}(?=\.)")
_EVENTS = {
    1: "finished",
    2: "a late outcome was refused",
    3: "lost with its worker",
    4: "its engine crashed",
    5: "cancellation asked for",
    6: "erased",
}
UNREADABLE = "(an address that cannot be read)"
_OVERVIEW = (
    "id",
    "account",
    "mode",
    "model",
    "state",
    "pictures",
    "delivered",
    "reason",
    "message",
    "callback_url",
    "wiped_at",
)


async def read_story(database: Database, task_id: UUID, *, with_prompt: bool) -> dict[str, Any] | None:
    """The document of one task; None for an unknown one."""
    found, details = await show_task(database, task_id), await read_details(database, task_id)
    if found is None or details is None:
        return None
    rows: dict[str, Any] = {name: json.loads(str(value)) for name, value in found.items()}
    task = rows["task"]
    account_id = UUID(task["account_id"])
    names = await account_names(database, [account_id])
    return {
        "id": task_id.hex,
        "account": names.get(account_id),
        "key_id": task["key_id"],
        "mode": task["mode"],
        "model": task["listing_id"],
        "listing_version": task["listing_version"],
        "state": TaskState(task["state"]).name.lower(),
        "pictures": task["pictures"],
        "delivered": task["delivered"],
        "reason": task["reason"],
        "message": task["message"],
        "callback_url": _shown(task["callback_url"]),
        "deadline_at": task["deadline_at"],
        "cancel_requested_at": task["cancel_requested_at"],
        "wiped_at": task["wiped_at"],
        "request": _request(rows["request"], with_prompt=with_prompt),
        "changes": rows["changes"],
        "timeline": [{"at": at, "what": what} for at, what in sorted(_timeline(rows))],
        "slots": [slot | {"state": SlotState(slot["state"]).name.lower()} for slot in rows["slots"]],
        "attempts": rows["attempts"],
        "images": rows["images"],
        "price_version": task["price_version"],
        "receipt": _receipt(details) | {"postings": [_posting(p) for p in rows["postings"]]},
    }


def print_story(story: dict[str, Any]) -> None:
    """For people: the overview, then a table for each part that has anything."""
    for name in _OVERVIEW:
        if story[name] is not None:
            output.line(f"{name.replace('_', ' '):<13} {output.clean(str(story[name]))}")
    receipt = story["receipt"]
    for name in _RECEIPT:
        if receipt.get(name) is not None:
            output.line(f"{name.removesuffix('_micros').replace('_', ' '):<13} ${dollars(receipt[name])}")
    if "error" in receipt:
        output.line(f"{'receipt':<13} does not add up: {receipt['error']}")
    for name, value in story["request"].items():
        if value in (None, False, [], "") or name in _OVERVIEW:
            continue
        output.line(f"{name.replace('_', ' '):<13} {output.clean(_scalar(value))}")
    _part("What happened", story["timeline"], ("at", "what"))
    _part("Slots", story["slots"], ("ordinal", "state", "pictures", "lane", "crashes", "losses", "reason"))
    _part("Attempts", story["attempts"], ("slot", "epoch", "lane", "state", "reason", "started_at", "ended_at"))
    _part("Pictures", story["images"], ("ordinal", "slot", "format", "width", "height", "size_bytes", "deleted_at"))
    _part("Report of changes", story["changes"], ("field", "kind", "given", "used", "why"))
    lines = [
        line | {name: _amount(line[f"{name}_micros"]) for name in ("charged", "released")}
        for line in receipt.get("pictures", ())
    ]
    _part("Receipt", lines, _LINES)
    postings = [posting | {"amount": f"${dollars(posting['amount_micros'])}"} for posting in receipt["postings"]]
    _part("Postings", postings, ("entry", "side", "book", "amount", "at"))


def _receipt(details: Details) -> dict[str, Any]:
    """What was held, charged and released, picture by picture; for an operator also where the books are wrong."""
    try:
        made = details.receipt()
    except UnbalancedEntry as error:
        return {"error": error.message}
    lanes = {(attempt.slot, attempt.epoch): attempt.lane for attempt in details.attempts}
    return {name: getattr(made, name) for name in _RECEIPT} | {
        "pictures": [
            {
                "picture": line.picture,
                "charged_micros": line.charged_micros,
                "released_micros": line.released_micros,
                "delivered_by": None if line.epoch is None else lanes.get((line.slot, line.epoch)),
                "slot": line.slot,
                "attempt": line.epoch,
                "reason": line.reason,
                "message": line.message,
            }
            for line in made.lines
        ]
    }


def _amount(micros: int | None) -> str | None:
    return None if micros is None else f"${dollars(micros)}"


def _part(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    if rows:
        output.line(f"\n{title}")
        heads = [column.upper().replace("_", " ") for column in columns]
        output.table(heads, [[_moment(row.get(column)) for column in columns] for row in rows])


def _timeline(rows: dict[str, Any]) -> Iterator[tuple[str, str]]:
    task = rows["task"]
    moments = [(task["created_at"], "accepted"), (task["started_at"], "started")]
    for attempt in rows["attempts"]:
        name = f"attempt {attempt['epoch']} of slot {attempt['slot']}"
        moments += [
            (attempt["started_at"], f"{name} began"),
            (attempt["accepted_at"], f"{name} was accepted by {attempt['lane']}"),
            (attempt["ended_at"], f"{name} ended: {attempt['reason'] or attempt['state']}"),
        ]
    moments.append((task["wiped_at"], "prompt, references and addresses were removed"))
    moments += [(image["at"], f"picture {image['ordinal']} was stored") for image in rows["images"]]
    moments += [(event["at"], _event(event)) for event in rows["events"]]
    return ((at, what) for at, what in moments if at is not None)


def _event(event: dict[str, Any]) -> str:
    what = _EVENTS.get(event["kind"], f"event {event['kind']}")
    return f"{what}: {event['detail']}" if event["detail"] else what


def _request(request: dict[str, Any], *, with_prompt: bool) -> dict[str, Any]:
    shown = request | {"references": [_shown(text) for text in request.get("references", ())]}
    if isinstance(size := request.get("size"), dict):
        shown["size"] = f"{size['width']}x{size['height']}"
    if not with_prompt:
        del shown["prompt"]
    return shown


def _shown(address: str | None) -> str | None:
    """An address without user, password, query and the name of a file of ours, where secrets are carried."""
    if address is None or not address.lower().startswith(("http://", "https://")):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return UNREADABLE
    query = "?…" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{_CAPABILITY.sub('…', parts.path)}{query}"


def _posting(posting: dict[str, Any]) -> dict[str, Any]:
    names = {
        "entry": Entry(posting["entry"]).name.lower(),
        "side": Side(posting["side"]).name.lower(),
        "book": Book(posting["book"]).name.lower(),
    }
    return posting | names


def _scalar(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _moment(value: object) -> object:
    """Times to the millisecond."""
    if isinstance(value, str) and value[10:11] == "T" and value[-6:-5] in "+-":
        return datetime.fromisoformat(value).strftime("%H:%M:%S.%f")[:-3]
    return value
