"""`tasks`: what was asked for, what became of it, and calling it off."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from seedgate.cli import numbers, output, texts
from seedgate.cli.erase import erase
from seedgate.cli.erase import task_id as _id
from seedgate.cli.ground import account_called, on_ground, operator
from seedgate.cli.output import Json, Stop
from seedgate.cli.run import Config, Data
from seedgate.domain.errors import NotFound
from seedgate.domain.money import dollars

if TYPE_CHECKING:
    from seedgate.compose.ground import Ground
    from seedgate.domain.task import TaskView

tasks = typer.Typer(help="Tasks.", no_args_is_help=True)
tasks.command("erase")(erase)

AccountName = Annotated[str | None, typer.Option("--account", help="Only of this account.", **texts.TEXT)]
Limit = Annotated[int, typer.Option("--limit", help="How many, newest first.", **numbers.whole(1, 1000))]
Before = Annotated[UUID | None, typer.Option("--before", metavar="ID", parser=_id, help="Older than this task.")]
TaskId = Annotated[UUID, typer.Argument(metavar="ID", parser=_id)]
TaskIds = Annotated[list[UUID], typer.Argument(metavar="ID", parser=_id)]
Prompt = Annotated[bool, typer.Option("--prompt", help="Show the prompt too.")]


@tasks.command("list")
def list_(
    account: AccountName = None,
    limit: Limit = 20,
    before: Before = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Tasks, newest first."""
    found = on_ground(config, data, lambda ground: _list(ground, account, before, limit))
    if as_json:
        output.document({"tasks": found, "next": found[-1]["id"] if len(found) == limit else None})
        return
    output.table(
        ("TASK", "CREATED", "ACCOUNT", "MODEL", "STATE", "PICTURES", "COST"),
        [
            (
                task["id"],
                task["created_at"],
                task["account"],
                task["model"],
                f"{task['state']} ({task['reason']})" if task["reason"] else task["state"],
                task["pictures"] if task["delivered"] is None else f"{task['delivered']} of {task['pictures']}",
                _cost(task),
            )
            for task in found
        ],
        nothing="There are no tasks. Make one with `seedgate generate PROMPT`.",
    )


@tasks.command("show")
def show(task: TaskId, prompt: Prompt = False, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Everything about one task: its way, its attempts, its pictures, its receipt."""
    from seedgate.cli.story import print_story, read_story

    story = on_ground(config, data, lambda ground: read_story(ground.database, task, with_prompt=prompt))
    if story is None:
        hint = "`seedgate tasks list` shows them; --data names another gateway's folder."
        raise Stop(f"There is no task {task.hex}", hint=hint, code="not_found")
    if as_json:
        output.document(story)
    else:
        print_story(story)


@tasks.command("cancel")
def cancel(task_ids: TaskIds, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Cancel tasks, beside a running gateway or without one; exit code 1 where there is no such task.

    What nobody works on is released at once. What runs is told to stop; what was delivered is kept and paid for.
    """
    found, unknown = on_ground(config, data, lambda ground: _cancel(ground, list(dict.fromkeys(task_ids))))
    if as_json:
        output.document({"tasks": found, "unknown": unknown})
    elif found:
        _print_cancelled(found)
    for task_id in unknown:
        output.say(f"seedgate: There is no task {task_id.hex}\n  hint: `seedgate tasks list` shows them.")
    if unknown:
        raise typer.Exit(1)


def _print_cancelled(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            task["id"],
            task["state"],
            task["pictures"] if task["delivered"] is None else f"{task['delivered']} of {task['pictures']}",
            _cost(task),
            None if task["released_micros"] is None else f"${dollars(task['released_micros'])}",
            _going_on(task),
        )
        for task in found
    ]
    output.table(("TASK", "STATE", "PICTURES", "COST", "RELEASED", "GOES ON"), rows)
    if any(not task["ended"] for task in found):
        output.say(
            "What runs was told to stop; `seedgate tasks show ID` says when it has. What a dead worker left ends with"
            " the next worker, what is in doubt with its task's deadline."
        )


def _going_on(task: dict[str, Any]) -> str | None:
    parts = [f"{task[name]} {name.replace('_', ' ')}" for name in ("running", "in_doubt") if task[name]]
    return ", ".join(parts) or None


async def _cancel(ground: "Ground", task_ids: list[UUID]) -> tuple[list[dict[str, Any]], list[UUID]]:
    from seedgate.tasks.cancel import cancel_for_operator

    found: list[dict[str, Any]] = []
    unknown = []
    for task_id in task_ids:
        try:
            cancelled = await cancel_for_operator(ground.database, task_id, operator=operator())
        except NotFound:
            unknown.append(task_id)
            continue
        view = cancelled.task
        found.append(
            _outcome(view)
            | {
                "ended": view.state.terminal,
                "released_micros": None if view.charged_micros is None else view.held_micros - view.charged_micros,
                "running": cancelled.unsettled.running,
                "in_doubt": cancelled.unsettled.in_doubt,
            }
        )
    return found, unknown


async def _list(ground: "Ground", account: str | None, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    from seedgate.store.operations import account_names
    from seedgate.store.tasks import list_tasks

    account_id = None if account is None else await account_called(ground, account)
    views = await list_tasks(ground.database, account_id=account_id, before=before, most=limit)
    names = await account_names(ground.database, list({view.account_id for view in views}))
    return [
        _outcome(view)
        | {
            "account": names.get(view.account_id),
            "model": view.listing_id,
            "created_at": view.created_at,
            "completed_at": view.completed_at,
        }
        for view in views
    ]


def _outcome(view: "TaskView") -> dict[str, Any]:
    return {
        "id": view.id,
        "state": view.state.name.lower(),
        "reason": view.reason,
        "pictures": view.pictures,
        "delivered": len(view.files) if view.state.terminal else None,
        "held_micros": view.held_micros,
        "charged_micros": view.charged_micros,
    }


def _cost(task: dict[str, Any]) -> str:
    charged = task["charged_micros"]
    return f"${dollars(task['held_micros'])} held" if charged is None else f"${dollars(charged)}"
