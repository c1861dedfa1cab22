"""`db backup` and `db restore`: an installation into a folder or file, and out of it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedgate.cli import output, texts
from seedgate.cli.ground import has_database, settings_for
from seedgate.cli.output import Json, Stop
from seedgate.cli.run import Config, Data

if TYPE_CHECKING:
    from seedgate.backup.manifest import Manifest
    from seedgate.backup.restore import Outcome, Site
    from seedgate.backup.take import Tell
    from seedgate.settings import Settings
    from seedgate.store.database import Database

Target = Annotated[Path, typer.Argument(metavar="FOLDER|FILE.tar", help="A new folder, or a new file with .tar.")]
Backup = Annotated[Path, typer.Argument(metavar="FOLDER|FILE.tar", help="What `db backup` made.")]
WithoutSecret = Annotated[
    bool, typer.Option("--without-secret", help="Leave out secret.key and development.key; keep them elsewhere.")
]
NewData = Annotated[
    Path | None, typer.Option("--data", help="A new folder, where everything will be kept.", **texts.PATH)
]

TELL_S = 2.0


def backup(
    target: Target,
    without_secret: WithoutSecret = False,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Copy everything into a new folder or tar file, beside a running gateway.

    Database, pictures, and the secret without which no key is recognised. Pictures in object storage stay there.
    """
    import asyncio

    settings = settings_for(config, data)
    if not has_database(settings):
        raise Stop(
            f"There is no Seedgate data in {settings.data.absolute()}",
            hint="Name its folder with --data, or its database with DATABASE_URL.",
            code="no_data",
        )
    manifest = asyncio.run(_take(settings, target.absolute(), secrets=not without_secret, tell=_teller(quiet=as_json)))
    remarks = _taken_remarks(manifest, settings)
    if as_json:
        output.document({"backup": str(target.absolute()), "remarks": remarks} | _plain(manifest))
        return
    output.line(str(target.absolute()))
    tasks, pictures = manifest.rows.get("task", 0), manifest.results
    output.say(f"{tasks:,} tasks ({manifest.open_tasks:,} open), {pictures.count:,} results ({_size(pictures)}).")
    for remark in remarks:
        output.say(output.clean(remark))


def restore(backup: Backup, config: Config = None, data: NewData = None, as_json: Json = False) -> None:
    """Make a new installation from a backup.

    In a new folder, and in an empty database if DATABASE_URL names one; nothing is replaced. Tasks that were under way
    begin again, or end with a refund where their time is over. The old installation must not run any more: both would
    do the same tasks.
    """
    import asyncio

    from seedgate.backup import archive

    settings = settings_for(config, data)
    folder = settings.data.absolute()
    with archive.read(backup) as source:
        manifest = _read(source.manifest())
        _refuse_unsuited(manifest, settings)
        from seedgate.backup.restore import restore

        outcome = asyncio.run(restore(source, manifest, _site(settings), tell=_teller(quiet=as_json)))
    remarks = _restored_remarks(manifest, outcome)
    if as_json:
        output.document({"data_dir": str(folder), "remarks": remarks, "taken_at": manifest.taken_at} | _plain(outcome))
        return
    output.line(str(folder))
    tasks, results = manifest.rows.get("task", 0), manifest.results.count
    output.say(
        f"As of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC: {tasks:,} tasks ({outcome.open_tasks:,} open),"
        f" {results:,} results. Epoch {outcome.epoch}."
    )
    for remark in remarks:
        output.say(output.clean(remark))
    output.say("Start it with `seedgate up`; `seedgate ledger check` proves the books.")


async def _take(settings: "Settings", target: Path, *, secrets: bool, tell: "Tell") -> "Manifest":
    from datetime import timedelta
    from importlib.metadata import version

    from seedgate.backup.restore import SECRETS
    from seedgate.backup.take import Installation, take
    from seedgate.blobs import Blobs
    from seedgate.compose.ground import open_database
    from seedgate.intake.shelf import Shelf

    data = settings.data.absolute()
    kept = [data / name for name in SECRETS if name != "secret.key" or not _secret_is_elsewhere(settings)]
    async with open_database(settings) as reached:
        installation = Installation(
            database=reached.database,
            blobs=Blobs.open(folder=data / "results", url=settings.blobs_url),
            results_url=_shown(settings.blobs_url),
            references=Shelf(root=data / "references"),
            references_age=timedelta(days=settings.results.days),
            secrets=[path for path in kept if path.exists()] if secrets else [],
            check_secret=_check_secret(settings),
            version=version("seedgate"),
        )
        return await take(installation, target, tell=tell)


def _site(settings: "Settings") -> "Site":
    from seedgate.backup.restore import Site
    from seedgate.blobs import Blobs
    from seedgate.compose.ground import reach_database
    from seedgate.store.embedded import EmbeddedServer

    data = settings.data.absolute()

    @asynccontextmanager
    async def open_database() -> "AsyncIterator[Database]":
        async with reach_database(settings) as reached:
            yield reached.database

    return Site(
        data=data,
        open_database=open_database,
        open_blobs=lambda: Blobs.open(folder=data / "results", url=settings.blobs_url),
        discard=lambda: None if settings.database_url.get_secret_value() else EmbeddedServer.discard(data),
        check_secret=_check_secret(settings),
    )


def _read(text: bytes) -> "Manifest":
    from seedgate.backup.manifest import decode
    from seedgate.store.migrate import shipped

    return decode(text, schema=shipped()[-1].number)


def _refuse_unsuited(manifest: "Manifest", settings: "Settings") -> None:
    """What would be found out only at the end, or not at all."""
    if manifest.installation and "secret.key" not in manifest.secrets and not _secret_is_elsewhere(settings):
        raise Stop(
            "The backup is without its secret, and no key in it would be recognised",
            hint="Give the secret of the old installation: SEEDGATE_SECRET_KEY_FILE=…/secret.key.",
            code="no_secret",
        )
    if manifest.results_url and not settings.blobs_url:
        raise Stop(
            f"The results are not in the backup, but in {manifest.results_url}",
            hint="Set BLOBS_URL to it, or to where they are now.",
            code="no_results",
        )


def _check_secret(settings: "Settings") -> "Callable[[bytes], None]":
    from seedgate.accounts import secret

    def check(known: bytes) -> None:
        # Where there is none, the store of secrets has it: it is not made anew for a backup.
        if _secret_is_elsewhere(settings) or (settings.data / secret.FILE_NAME).exists():
            given = settings.secret_key.get_secret_value()
            mine = secret.load(settings.data.absolute(), given=given, file=settings.secret_key_file)
            secret.compare(mine, known)

    return check


def _secret_is_elsewhere(settings: "Settings") -> bool:
    return bool(settings.secret_key.get_secret_value() or settings.secret_key_file)


def _taken_remarks(manifest: "Manifest", settings: "Settings") -> list[str]:
    remarks = []
    if "secret.key" in manifest.secrets:
        remarks.append("secret.key is in it: keep the backup as safe as the data folder.")
    else:
        where = "SEEDGATE_SECRET_KEY" if _secret_is_elsewhere(settings) else "secret.key"
        remarks.append(f"The secret is not in it: keep {where} elsewhere, since no key is recognised without it.")
    if manifest.results_url:
        remarks.append(f"The results are not in it: they stay in {manifest.results_url}.")
    missing = manifest.results.missing + manifest.references.missing
    if missing:
        remarks.append(f"{missing:,} pictures were gone, or not what their rows say, and were left out.")
    return remarks


def _restored_remarks(manifest: "Manifest", outcome: "Outcome") -> list[str]:
    keys = (
        f"API keys are those of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC: {outcome.active_keys:,} work,"
        " also where they were revoked or rotated since. Look through `seedgate keys list`, and do that again."
    )
    remarks = [keys]
    if outcome.requeued:
        remarks.append(f"{outcome.requeued:,} slots that were being worked on wait again.")
    if outcome.in_doubt:
        remarks.append(f"{outcome.in_doubt:,} slots are in doubt: what may have been paid for is not submitted again.")
    if outcome.missing:
        remarks.append(f"{outcome.missing:,} results were not in the backup; their addresses answer 410.")
    if outcome.missing_uploads:
        remarks.append(f"{outcome.missing_uploads:,} uploads were not in the backup, and are forgotten.")
    if outcome.left_out:
        remarks.append(f"Left out, since they are not Seedgate's: the tables {', '.join(outcome.left_out)}.")
    if manifest.results_url:
        remarks.append(f"The results were in {manifest.results_url} and are looked for where BLOBS_URL says.")
    return remarks


def _teller(*, quiet: bool) -> "Tell":
    """Says every few seconds how far it is, on standard error."""
    began = told = time.monotonic()
    sentences = {"database": "The database …", "files": "Pictures: {done:,} …"}

    def tell(step: str, done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if not quiet and step in sentences and now - told >= TELL_S:
            told = now
            output.say(f"{sentences[step].format(done=done)} {now - began:.0f} s")

    return tell


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if url else ""


def _size(pictures: Any) -> str:
    return f"{pictures.size_bytes / 1e6:,.1f} MB"


def _plain(document: Any) -> dict[str, Any]:
    """A struct as plain values."""
    import msgspec

    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.Encoder(uuid_format="hex").encode(document))
    return plain
