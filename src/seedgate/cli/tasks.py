"""`tasks`: what was asked for and what became of it."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from seedgate.cli import numbers, output
from seedgate.cli.ground import on_ground
from seedgate.cli.output import Json, Stop
from seedgate.cli.run import Config, Data
from seedgate.domain.errors import NotFound
from seedgate.domain.money import dollars

if TYPE_CHECKING:
    from seedgate.compose.ground import Ground

tasks = typer.Typer(help="Tasks.", no_args_is_help=True)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter("a task's id is 32 hexadecimal digits") from None


AccountName = Annotated[str | None, typer.Option("--account", help="Only of this account.")]
Limit = Annotated[int, typer.Option("--limit", help="How many, newest first.", **numbers.whole(1, 1000))]
Before = Annotated[UUID | None, typer.Option("--before", metavar="ID", parser=_id, help="Older than this task.")]
TaskId = Annotated[UUID, typer.Argument(metavar="ID", parser=_id)]
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
def show(
    task_id: TaskId, prompt: Prompt = False, config: Config = None, data: Data = None, as_json: Json = False
) -> None:
    """Everything about one task: its way, its attempts, its pictures, its receipt."""
    from seedgate.cli.story import print_story, read_story

    story = on_ground(config, data, lambda ground: read_story(ground.database, task_id, with_prompt=prompt))
    if story is None:
        hint = "`seedgate tasks list` shows them; --data names another gateway's folder."
        raise Stop(f"There is no task {task_id.hex}", hint=hint, code="not_found")
    if as_json:
        output.document(story)
    else:
        print_story(story)


async def _list(ground: "Ground", account: str | None, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    from seedgate.store.access import find_account
    from seedgate.store.operations import account_names
    from seedgate.store.tasks import list_tasks

    account_id = None
    if account is not None:
        found = await find_account(ground.database, account)
        if found is None:
            raise NotFound(f"There is no account called {account!r}")
        account_id = found[0]
    views = await list_tasks(ground.database, account_id=account_id, before=before, most=limit)
    names = await account_names(ground.database, list({view.account_id for view in views}))
    return [
        {
            "id": view.id,
            "account": names.get(view.account_id),
            "model": view.listing_id,
            "state": view.state.name.lower(),
            "reason": view.reason,
            "pictures": view.pictures,
            "delivered": len(view.files) if view.state.terminal else None,
            "held_micros": view.held_micros,
            "charged_micros": view.charged_micros,
            "created_at": view.created_at,
            "completed_at": view.completed_at,
        }
        for view in views
    ]


def _cost(task: dict[str, Any]) -> str:
    charged = task["charged_micros"]
    return f"${dollars(task['held_micros'])} held" if charged is None else f"${dollars(charged)}"
