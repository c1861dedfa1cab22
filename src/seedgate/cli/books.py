"""`ledger`, `check` and `db`: whether the books are right, and whether the schema is."""

from typing import TYPE_CHECKING, Any

import typer

from seedgate.cli import backup, output
from seedgate.cli.ground import has_database, on_ground, settings_for
from seedgate.cli.output import Json, Stop, Yes
from seedgate.cli.run import Config, Data

if TYPE_CHECKING:
    from seedgate.compose.ground import Ground

ledger = typer.Typer(help="The books.", no_args_is_help=True)
db = typer.Typer(help="The database: its schema, backups, and its end.", no_args_is_help=True)


@ledger.command("check")
def check(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Prove the money invariants, beside a running gateway; exit code 1 where one does not hold."""
    document = on_ground(config, data, _check)
    if as_json:
        output.document(document)
    else:
        _print_check(document)
    if not document["ok"]:
        raise typer.Exit(1)


@db.command("migrate")
def migrate(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Bring the schema up to date; makes the embedded database where there is none."""
    import asyncio

    settings = settings_for(config, data)

    async def run() -> list[str]:
        from seedgate.compose.ground import open_database
        from seedgate.store.migrate import migrate

        async with open_database(settings) as reached:
            return [f"{migration.number:04d}_{migration.name}" for migration in await migrate(reached.database)]

    applied = asyncio.run(run())
    if as_json:
        output.document({"applied": applied})
    else:
        output.line(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")


db.command("backup")(backup.backup)
db.command("restore")(backup.restore)


@db.command("discard")
def discard(config: Config = None, data: Data = None, yes: Yes = False, as_json: Json = False) -> None:
    """Delete the embedded database for good: keys, tasks, money. The rest of the data folder stays."""
    from seedgate.store.embedded import EmbeddedServer

    settings = settings_for(config, data)
    folder = settings.data.absolute()
    if settings.database_url.get_secret_value():
        raise Stop("The database is not the embedded one", hint="Drop it where it is.", code="not_embedded")
    if not has_database(settings):
        raise Stop(f"There is no database in {folder}", hint="Name its folder with --data.", code="no_data")
    output.make_sure(f"deletes the database of {folder}, with all keys, tasks and money", yes=yes)
    EmbeddedServer.discard(folder)
    if as_json:
        output.document({"discarded": str(folder)})
    else:
        output.line(f"The database of {folder} is gone.")


@db.command("status")
def status(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """What the database holds, and what this program would still apply."""
    import asyncio

    settings = settings_for(config, data)
    if not has_database(settings):
        raise Stop(
            f"There is no database in {settings.data.absolute()}",
            hint="Make it with `seedgate up` or `seedgate db migrate`, or name its folder with --data.",
            code="no_data",
        )

    async def run() -> dict[str, Any]:
        from seedgate.compose.ground import open_database
        from seedgate.store.migrate import shipped
        from seedgate.store.operations import read_applied, read_server

        async with open_database(settings) as reached:
            applied = await read_applied(reached.database)
            version = (await read_server(reached.database)).version
        known = {migration.number for migration in applied}
        missing = [migration for migration in shipped() if migration.number not in known]
        return {
            "server": f"{version // 10_000}.{version % 10_000}",
            "embedded": not settings.database_url.get_secret_value(),
            "applied": [{"number": m.number, "name": m.name, "applied_at": m.applied_at} for m in applied],
            "missing": [{"number": m.number, "name": m.name} for m in missing],
            "up_to_date": not missing,
        }

    document = asyncio.run(run())
    if as_json:
        output.document(document)
        return
    output.line(f"PostgreSQL {document['server']}, {'embedded' if document['embedded'] else 'by address'}")
    rows = [(f"{m['number']:04d}", m["name"], m.get("applied_at")) for m in document["applied"] + document["missing"]]
    output.table(("NUMBER", "NAME", "APPLIED"), rows)
    if document["missing"]:
        output.say("The schema is older than this program. Run `seedgate db migrate`.")


async def _check(ground: "Ground") -> dict[str, Any]:
    from seedgate.store.ledger import check

    checked, findings = await check(ground.database)
    found = [{"invariant": f.invariant, "subject": f.subject, "detail": f.detail} for f in findings]
    return {"ok": not found, "checked": checked, "findings": found}


def _print_check(document: dict[str, Any]) -> None:
    counts = dict.fromkeys(document["checked"], 0)
    for finding in document["findings"]:
        counts[finding["invariant"]] += 1
    rows = [(name, counts[name] or "holds", sentence) for name, sentence in document["checked"].items()]
    output.table(("INVARIANT", "DIFFERENCES", "WHAT"), rows)
    if document["findings"]:
        differences = [(f["invariant"], f["subject"], f["detail"]) for f in document["findings"]]
        output.table(("INVARIANT", "SUBJECT", "DETAIL"), differences)
        output.say("The books are wrong where listed.\n  hint: keep a backup of the data folder, and report it.")
    else:
        output.line("The books are right.")
