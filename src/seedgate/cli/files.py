"""`files`: what callers uploaded, and removing it at an operator's word."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from seedgate.cli import numbers, output, texts
from seedgate.cli.ground import account_called, on_ground
from seedgate.cli.output import Json, Yes
from seedgate.cli.run import Config, Data

if TYPE_CHECKING:
    from seedgate.compose.ground import Ground

files = typer.Typer(help="Uploads.", no_args_is_help=True)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter("an upload's id is 32 hexadecimal digits") from None


AccountName = Annotated[str | None, typer.Option("--account", help="Only of this account.", **texts.TEXT)]
Limit = Annotated[int, typer.Option("--limit", help="How many, newest first.", **numbers.whole(1, 1000))]
Before = Annotated[UUID | None, typer.Option("--before", metavar="ID", parser=_id, help="Older than this upload.")]
FileIds = Annotated[list[UUID], typer.Argument(metavar="ID…", parser=_id)]


@files.command("list")
def list_(
    account: AccountName = None,
    limit: Limit = 20,
    before: Before = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Uploads that have not expired, newest first, without their addresses."""
    found = on_ground(config, data, lambda ground: _list(ground, account, before, limit))
    if as_json:
        output.document({"files": found, "next": found[-1]["id"] if len(found) == limit else None})
        return
    output.table(
        ("UPLOAD", "CREATED", "EXPIRES", "ACCOUNT", "FORMAT", "SIZE", "BYTES"),
        [
            (
                file["id"],
                file["created_at"],
                file["expires_at"],
                file["account"],
                file["format"],
                f"{file['width']}×{file['height']}",
                f"{file['size_bytes']:,}",
            )
            for file in found
        ],
        nothing="There are no uploads.",
    )


@files.command("delete")
def delete(
    file_ids: FileIds, yes: Yes = False, config: Config = None, data: Data = None, as_json: Json = False
) -> None:
    """Delete uploads, whoever made them; exit code 1 where there is no such upload.

    Their addresses lead nowhere at once. The workers remove the content, unless another upload or a task needs it.
    """
    ids = list(dict.fromkeys(file_ids))
    output.make_sure(f"deletes {'1 upload' if len(ids) == 1 else f'{len(ids)} uploads'} for good", yes=yes)
    gone = on_ground(config, data, lambda ground: _delete(ground, ids))
    unknown = [file_id for file_id in ids if file_id not in gone]
    if as_json:
        output.document({"deleted": gone, "unknown": unknown})
    else:
        for file_id in gone:
            output.line(f"The upload {file_id.hex} is deleted.")
    for file_id in unknown:
        output.say(f"seedgate: There is no upload {file_id.hex}\n  hint: `seedgate files list` shows them.")
    if unknown:
        raise typer.Exit(1)


async def _list(ground: "Ground", account: str | None, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    from seedgate.store.files import page_files
    from seedgate.store.operations import account_names

    account_id = None if account is None else await account_called(ground, account)
    found = await page_files(ground.database, account_id=account_id, before=before, most=limit)
    names = await account_names(ground.database, list({file.account_id for file in found}))
    shown = ("id", "created_at", "expires_at", "format", "width", "height", "size_bytes")
    return [{name: getattr(file, name) for name in shown} | {"account": names.get(file.account_id)} for file in found]


async def _delete(ground: "Ground", ids: list[UUID]) -> list[UUID]:
    from seedgate.store.files import delete_file

    async with ground.database.write() as tx:
        return [file_id for file_id in ids if await delete_file(tx, file_id, account_id=None)]
