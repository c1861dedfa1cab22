"""`tasks erase`: what ended tasks hold of somebody, removed at once."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from seedgate.cli import output, texts
from seedgate.cli.ground import account_called, on_ground, operator
from seedgate.cli.output import Json, Stop, Yes
from seedgate.cli.run import Config, Data
from seedgate.domain.statement import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seedgate.compose.ground import Ground
    from seedgate.tasks.erasure import Eraser

MAX_REASON = 1000


def task_id(text: str) -> UUID:
    """A task's id as somebody typed it."""
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter("a task's id is 32 hexadecimal digits") from None


def _moment(text: str) -> datetime:
    try:
        return moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


TaskIds = Annotated[list[UUID] | None, typer.Argument(metavar="ID…", parser=task_id)]
AccountName = Annotated[
    str | None, typer.Option("--account", help="Every ended task and every upload of this account …", **texts.TEXT)
]
Before = Annotated[
    datetime | None,
    typer.Option("--before", metavar="DATE", parser=_moment, help="… that was made before this day or time, in UTC."),
]
Reason = Annotated[str, typer.Option("--reason", help="Kept with the tasks, beside your name.")]


def erase(
    task_ids: TaskIds = None,
    account: AccountName = None,
    before: Before = None,
    reason: Reason = "",
    yes: Yes = False,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Remove pictures, prompts and references of ended tasks for good; state, times and cost stay.

    With --account, uploads too; `seedgate files delete` removes single ones.
    """
    ids = list(dict.fromkeys(task_ids or ()))
    if bool(ids) == bool(account) or (account is None) != (before is None):
        raise typer.BadParameter("either ids, or --account with --before", param_hint="ID…")
    if len(reason) > MAX_REASON:
        raise typer.BadParameter(f"at most {MAX_REASON} characters", param_hint="--reason")
    tasks = "1 task" if len(ids) == 1 else f"{len(ids)} tasks"
    everything = f"of all ended tasks, and all uploads, of {output.clean(account or '')} made before {before}"
    whose = f"of {tasks}" if ids else everything
    output.make_sure(f"removes pictures, prompts and references {whose} for good", yes=yes)

    async def use(ground: "Ground") -> dict[str, Any]:
        eraser = _eraser(ground, f"by {operator()}{': ' if reason else ''}{reason}")
        if account is None or before is None:
            return await _erase(ground, eraser, ids)
        return await _erase_before(ground, eraser, account, before)

    document = on_ground(config, data, use)
    if as_json:
        output.document(document)
    else:
        _print(document)


async def _erase(ground: "Ground", eraser: "Eraser", ids: "Sequence[UUID]") -> dict[str, Any]:
    """All of them or none: whoever names a task wants to know that it cannot be erased yet."""
    from seedgate.store.tasks import read_tasks

    for asked, view in zip(ids, await read_tasks(ground.database.read_lane, ids), strict=True):
        if view is None:
            hint = "`seedgate tasks list` shows them; nothing was erased."
            raise Stop(f"There is no task {asked.hex}", hint=hint, code="not_found")
        if not view.state.terminal:
            hint = "Cancel it first, or wait for its end; nothing was erased."
            raise Stop(f"The task {asked.hex} is still open", hint=hint, code="still_open", task_id=asked.hex)
    return asdict(await eraser.erase(ids)) | {"open": 0}


async def _erase_before(ground: "Ground", eraser: "Eraser", account: str, before: datetime) -> dict[str, Any]:
    from seedgate.store.erasure import count_open

    account_id = await account_called(ground, account)
    erased = await eraser.erase_before(account_id, before)
    return asdict(erased) | {"open": await count_open(ground.database, account_id, before=before)}


def _eraser(ground: "Ground", note: str) -> "Eraser":
    from seedgate.blobs import Blobs
    from seedgate.intake.shelf import Shelf
    from seedgate.tasks.erasure import Eraser

    return Eraser(
        database=ground.database,
        blobs=Blobs.open(folder=ground.data / "results", url=ground.settings.blobs_url),
        references=Shelf(root=ground.data / "references"),
        deadline=timedelta(seconds=ground.settings.work.deadline_s),
        note=note,
    )


def _print(document: dict[str, Any]) -> None:
    if document["tasks"] or document["uploads"]:
        output.line(
            f"Erased: tasks {document['tasks']}, pictures {document['pictures']}, uploads {document['uploads']}, "
            f"files of references {document['references']}."
        )
    else:
        output.line("Nothing was left to erase.")
    if document["references_later"]:
        output.say(
            f"{document['references_later']} files of references are so fresh that they may be another task's: "
            "the workers remove them within two hours, unless they are."
        )
    if document["open"]:
        output.say(f"{document['open']} are still open and were left: cancel them, or come back after their end.")
