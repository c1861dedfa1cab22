"""A backup in both of its forms, and a restore that is refused, interrupted, or comes to its end."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from world import World, tables

from seedgate.accounts import secret
from seedgate.backup import archive
from seedgate.backup.manifest import DATABASE, FILES, MANIFEST, decode
from seedgate.backup.restore import MARK, Outcome, Site, refuse_unfinished, restore
from seedgate.backup.take import Installation, take
from seedgate.blobs import Blobs, key
from seedgate.domain.errors import NewerSchema, OperatorError
from seedgate.domain.quota import Quota, Usage
from seedgate.domain.reason import Reason
from seedgate.ids import Ids
from seedgate.intake.shelf import Shelf
from seedgate.store import files, finish, migrate, slots
from seedgate.store.database import Database, Dsn

SCHEMA = migrate.shipped()[-1].number
FORMS = ("monday", "monday.tar")


def _silent(_step: str, _done: int) -> None:
    pass


def _check(data: Path) -> Callable[[bytes], None]:
    return lambda known: secret.compare(secret.load(data, given="", file=""), known)


async def _installed(world: World, data: Path) -> Installation:
    """An installation with two pictures, one of them of an open task, a reference, an upload, and one that expired."""
    data.mkdir(exist_ok=True)
    await _draw_two(world)
    await secret.check(world.database, Ids(), secret.load(data, given="", file=""))
    results, shelf = data / "results", Shelf(root=data / "references")
    for row in await world.database.fetch("SELECT name FROM image"):
        (results / row["name"][:2]).mkdir(mode=0o700, parents=True, exist_ok=True)
        (results / key(row["name"])).write_bytes(_content(row["name"]))
    sha256 = _shelve(shelf, b"reference")
    await _upload(world, _shelve(shelf, b"upload"), timedelta(days=15))
    await _upload(world, hashlib.sha256(b"expired").hexdigest(), timedelta(microseconds=1))
    async with world.database.write() as tx:
        await tx.execute(
            "INSERT INTO reference SELECT id, 0, 'o', $1, 'png', 1, 1, 1, seedgate_now() FROM task LIMIT 1", sha256
        )
    return Installation(
        database=world.database,
        blobs=Blobs.open(folder=results),
        results_url="",
        references=shelf,
        references_age=timedelta(days=15),
        secrets=[data / "secret.key"],
        check_secret=_check(data),
        version="0",
    )


def _shelve(shelf: Shelf, content: bytes) -> str:
    with shelf.desk() as desk:
        (desk / "made").write_bytes(content)
        return shelf.put(desk / "made")


async def _upload(world: World, sha256: str, keep: timedelta) -> None:
    (owner,) = await world.database.fetch("SELECT id FROM account LIMIT 1")
    name = f"{world.ids.token()}.png"
    shape = {"format": "png", "width": 1, "height": 1, "size_bytes": 6}
    async with world.database.write() as tx:
        new = files.NewFile(id=world.ids.new(), account_id=owner["id"], name=name, sha256=sha256, **shape)
        await files.add_file(tx, new, quota=Quota(files=9, size_bytes=99), keep=keep)


async def _draw_two(world: World) -> None:
    """Two tasks of two pictures, each with one of them, and one task at its end."""
    account, lane = await world.account(), world.database.work_lane
    key_id = await world.key(account)
    await world.accept(*(world.task(account, key_id, pictures=2, slots=2) for _ in range(2)))
    worker = slots.WorkerIdentity(id=world.ids.new(), host="h", process="")
    claims = await slots.claim(lane, worker, name="engine:blank", want=4, cursor=UUID(int=0))
    for claim in claims:
        place = {"task_id": claim.task_id, "ordinal": claim.ordinal, "epoch": claim.epoch}
        await slots.open_attempts(lane, [slots.Intent(**place, lane=claim.lane, free=True)])
        if claim.ordinal == 0:
            name = f"{world.ids.token()}.jpg"
            content = hashlib.sha256(_content(name)).digest()
            shape = {"format": "jpeg", "width": 8, "height": 8, "size_bytes": 1}
            picture = {"slot": 0, "name": name, "sha256": content}
            await slots.keep_images(lane, [slots.Picture(**place, **shape, **picture)])
        if claim.ordinal == 0 or claim.task_id == claims[0].task_id:
            reason = None if claim.ordinal == 0 else Reason.INTERNAL
            await finish.finish_slots(lane, [finish.SlotEnding(**place, reason=reason)])


def _content(name: str) -> bytes:
    return f"picture {name}".encode()


def site(data: Path, dsn: Dsn) -> Site:
    """Where a test restores to."""

    @asynccontextmanager
    async def open_database() -> AsyncIterator[Database]:
        database = Database(dsn)
        yield database
        await database.close()

    return Site(
        data=data,
        open_database=open_database,
        open_blobs=lambda: Blobs.open(folder=data / "results"),
        discard=lambda: None,
        check_secret=_check(data),
    )


async def restored(backup: Path, where: Site, tell: Callable[[str, int], None] = _silent) -> Outcome:
    """A whole restore."""
    with archive.read(backup) as source:
        return await restore(source, decode(source.manifest(), schema=SCHEMA), where, tell=tell)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _rows(dsn: Dsn) -> dict[str, list[str]]:
    database = Database(dsn)
    try:
        return await tables(database)
    finally:
        await database.close()


# If this failed, pictures, keys or rows would come back other than they were, or be readable by others meanwhile.
@pytest.mark.parametrize("form", FORMS)
async def test_everything_comes_back_private_and_identical(form: str, tmp_path: Path, world: World, empty: Dsn) -> None:
    old, new, backup = tmp_path / "old", tmp_path / "new", tmp_path / form
    manifest = await take(await _installed(world, old), backup, tell=_silent)
    assert (manifest.results.count, manifest.references.count, manifest.secrets) == (2, 2, ["secret.key"])
    assert not any(path.stat().st_mode & 0o077 for path in (backup, *backup.rglob("*")))
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    outcome = await restored(backup, site(new, empty))
    assert (outcome.epoch, outcome.missing, outcome.missing_uploads, outcome.left_out) == (1, 0, 0, [])
    assert outcome.active_keys == 1
    assert _files(new) == _files(old)
    assert not any(path.stat().st_mode & 0o077 for path in new.rglob("*") if path.is_dir())
    before, after = await tables(world.database), await _rows(empty)
    changed = {table for table in before if before[table] != after[table]}
    assert changed == {"attempt", "event", "file", "installation", "slot", "worker"}
    assert set(after["file"]) < set(before["file"])


# If this failed, a picture that expires while a backup is taken would end the backup, or be a broken address after it.
@pytest.mark.parametrize("form", FORMS)
async def test_a_file_that_expires_meanwhile_is_left_out(form: str, tmp_path: Path, world: World, empty: Dsn) -> None:
    installation = await _installed(world, tmp_path / "old")
    victim = min((tmp_path / "old" / "results").rglob("*.jpg"))
    upload = installation.references.path(hashlib.sha256(b"upload").hexdigest())

    def tell(step: str, _done: int) -> None:
        if step == "files":
            victim.unlink(missing_ok=True)
            upload.unlink(missing_ok=True)

    manifest = await take(installation, tmp_path / form, tell=tell)
    assert (manifest.results.count, manifest.results.missing, manifest.references.missing) == (1, 1, 1)
    outcome = await restored(tmp_path / form, site(tmp_path / "new", empty))
    assert (outcome.missing, outcome.missing_uploads) == (1, 1)
    database = Database(empty)
    rows = await database.fetch("SELECT deleted_at FROM image WHERE name = $1", victim.name)
    (owner,) = await database.fetch("SELECT id FROM account")
    assert await files.read_usage(database, owner["id"]) == Usage(files=0, size_bytes=0)
    assert await files.page_files(database, account_id=owner["id"], before=None, most=9) == []
    await database.close()
    assert not rows or rows[0]["deleted_at"] is not None


# If this failed, a backup that was killed would pass for one, or be in the way of the next.
@pytest.mark.parametrize("form", FORMS)
async def test_a_backup_is_whole_or_not_there(form: str, tmp_path: Path, world: World) -> None:
    installation = await _installed(world, tmp_path / "old")
    draft = tmp_path / f"{form}.partial"

    def fail(step: str, _done: int) -> None:
        if step == "files":
            assert draft.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await take(installation, tmp_path / form, tell=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    _leave(draft)
    await take(installation, tmp_path / form, tell=_silent)
    with pytest.raises(OperatorError, match="exists already"):
        await take(installation, tmp_path / form, tell=_silent)

    with archive.create(tmp_path / f"b{form}") as writer:
        with pytest.raises(OperatorError, match="under way"), archive.create(tmp_path / f"b{form}"):
            pass
        writer.finish(b"{}")
    assert not [path.name for path in tmp_path.iterdir() if "partial" in path.name]


def _leave(draft: Path) -> None:
    """What a backup that was killed leaves."""
    script = (
        "import os, sys; from pathlib import Path; from seedgate.backup.archive import create\n"
        "with create(Path(sys.argv[1])) as writer:\n"
        "    for name in ('files.txt', 'results/ab/ab' + '0' * 20 + '.jpg'):\n"
        "        with writer.member(name) as file: file.write(b'x'); file.flush()\n"
        "    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, draft.with_suffix("")]).returncode == 9
    assert draft.exists()


# If this failed, a backup would delete somebody's files for having an unlucky name.
def test_what_lies_in_a_backups_way_and_is_not_ours_is_left(tmp_path: Path) -> None:
    for form in FORMS:
        for number, content in enumerate(({"letter": "dear"}, {"results/ab/letter": "dear"}, "dear", None)):
            target = tmp_path / str(number) / form
            draft = target.with_name(f"{form}.partial")
            draft.parent.mkdir(exist_ok=True)
            if isinstance(content, str):
                draft.write_text(content)
            elif content is None:
                draft.symlink_to(tmp_path)
            else:
                for name, letter in content.items():
                    (draft / name).parent.mkdir(parents=True)
                    (draft / name).write_text(letter)
            before = _files(target.parent)
            with pytest.raises(OperatorError, match="in the way") as caught, archive.create(target):
                pass
            assert draft.name in caught.value.hint
            assert _files(target.parent) == before
            assert os.path.lexists(draft)


# If this failed, a manifest that cannot be read would end in a traceback.
@pytest.mark.parametrize("words", ["has no manifest", "cannot be used: Input/output error"])
def test_a_manifest_that_cannot_be_read_is_refused(words: str, tmp_path: Path) -> None:
    if words == "has no manifest":
        (tmp_path / MANIFEST).mkdir()
    else:
        (tmp_path / MANIFEST).symlink_to("/proc/self/mem")  # reading it is an I/O error
    with pytest.raises(OperatorError, match=words), archive.read(tmp_path) as source:
        source.manifest()


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((path / MANIFEST).read_bytes())
    change(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def _first_result(path: Path) -> Path:
    return next((path / "results").rglob("*.jpg"))


def _spoil(path: Path) -> None:
    """As many bytes, and others."""
    path.write_bytes(path.read_bytes()[::-1])


DAMAGES: dict[str, tuple[type[Exception], str, Callable[[Path], object]]] = {
    "no manifest": (OperatorError, "no manifest", lambda b: (b / MANIFEST).unlink()),
    "no JSON": (OperatorError, "cannot be read", lambda b: (b / MANIFEST).write_bytes(b"\x00")),
    "newer format": (OperatorError, "has format 2", lambda b: _edit(b, lambda m: m.update(format=2))),
    "newer schema": (NewerSchema, "newer Seedgate", lambda b: _edit(b, lambda m: m.update(schema=SCHEMA + 1))),
    "a changed dump": (OperatorError, "damaged", lambda b: (b / DATABASE).write_bytes(b"x")),
    "no dump": (OperatorError, "damaged", lambda b: (b / DATABASE).unlink()),
    "a changed list": (OperatorError, "damaged", lambda b: (b / FILES).write_bytes(b"")),
    "a changed picture": (OperatorError, "is not what it was", lambda b: _spoil(_first_result(b))),
    "a missing picture": (OperatorError, "damaged: of 2 results, 1", lambda b: _first_result(b).unlink()),
    "a missing secret": (OperatorError, "damaged", lambda b: (b / "secret.key").unlink()),
    "another secret": (OperatorError, "another secret", lambda b: (b / "secret.key").write_bytes(b"o" * 40)),
    "a file elsewhere": (OperatorError, "damaged", lambda b: _edit(b, lambda m: m.update(secrets=["../x"]))),
}


# If this failed, a bad backup would leave half an installation, or one that is taken for whole.
async def test_what_is_refused_leaves_nothing(tmp_path: Path, world: World, empty: Dsn) -> None:
    installation, new = await _installed(world, tmp_path / "old"), tmp_path / "new"
    for number, (name, (error, words, damage)) in enumerate(DAMAGES.items()):
        backup = tmp_path / f"backup{number}"
        await take(installation, backup, tell=_silent)
        damage(backup)
        with pytest.raises(error, match=words) as caught:
            await restored(backup, site(new, empty))
        assert caught.value.hint, name
        assert not new.exists(), name
        assert await _rows(empty) == {}, name


# If this failed, a tar that was cut off on its way would be taken for a backup of fewer pictures.
async def test_a_tar_that_was_cut_off_is_refused(tmp_path: Path, world: World, empty: Dsn) -> None:
    backup, new = tmp_path / "monday.tar", tmp_path / "new"
    await take(await _installed(world, tmp_path / "old"), backup, tell=_silent)
    whole = backup.read_bytes()
    for length in (0, 100, archive.MANIFEST_BYTES, archive.MANIFEST_BYTES + 900, len(whole) - 2600, len(whole) - 1600):
        backup.write_bytes(whole[:length])
        with pytest.raises(OperatorError):
            await restored(backup, site(new, empty))
        assert not new.exists()
        assert await _rows(empty) == {}


# If this failed, a restore would overwrite what somebody has.
async def test_what_is_there_is_not_touched(tmp_path: Path, world: World, empty: Dsn, dsn: Dsn) -> None:
    old, backup = tmp_path / "old", tmp_path / "monday"
    await take(await _installed(world, old), backup, tell=_silent)
    before, rows = _files(old), await tables(world.database)
    with pytest.raises(OperatorError, match="There is an installation"):
        await restored(backup, site(old, empty))
    with pytest.raises(OperatorError, match="database is not empty"):
        await restored(backup, site(tmp_path / "new", dsn))
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(OperatorError, match="Not empty"):
        await restored(backup, site(tmp_path / "mine", empty))
    assert _files(tmp_path / "mine") == {"letter": b"dear"}
    assert (_files(old), await tables(world.database), await _rows(empty)) == (before, rows, {})
    (tmp_path / "bare").mkdir()
    await restored(backup, site(tmp_path / "bare", empty))


KILLED_RESTORE = """
import asyncio, json, os, signal, sys
from pathlib import Path
from seedgate.store.database import Dsn
from test_restore import restored, site

step, backup, data, dsn = sys.argv[1:]

def tell(now, _done):
    if now == step:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(restored(Path(backup), site(Path(data), Dsn(json.loads(dsn))), tell))
"""


# If this failed, what an interrupted restore left would be started as if it were whole, or could not be finished.
async def test_a_killed_restore_runs_nowhere_and_goes_on(tmp_path: Path, world: World, empty: Dsn) -> None:
    backup, other = tmp_path / "monday.tar", tmp_path / "tuesday"
    installation = await _installed(world, tmp_path / "old")
    await take(installation, backup, tell=_silent)
    await world.account()
    await take(installation, other, tell=_silent)
    for step in ("files", "database", "commit", "committed"):
        new = tmp_path / step
        _restore_and_die(step, backup, new, empty)
        assert bool(await _rows(empty)) == (step == "committed")
        with pytest.raises(OperatorError, match="was interrupted") as caught:
            refuse_unfinished(new)
        assert "again" in caught.value.hint
        with pytest.raises(OperatorError, match="another backup"):
            await restored(other, site(new, empty))
        outcome = await restored(backup, site(new, empty))
        assert (outcome.epoch, outcome.missing) == (1, 0)
        refuse_unfinished(new)
        assert _files(new) == _files(tmp_path / "old")
        database = Database(empty)
        assert (await World(database).findings(), await World(database).count("task")) == ([], 2)
        async with database.write() as tx:
            await tx.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await database.close()


def _restore_and_die(step: str, backup: Path, new: Path, empty: Dsn) -> None:
    order = [sys.executable, "-c", KILLED_RESTORE, step, str(backup), str(new), json.dumps(dict(empty.arguments))]
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    assert subprocess.run(order, env=paths).returncode == -signal.SIGKILL
    assert (new / MARK).exists()


# If this failed, two restores at once would write into one folder.
async def test_two_restores_do_not_share_a_folder(tmp_path: Path, world: World, empty: Dsn) -> None:
    backup, where = tmp_path / "monday", site(tmp_path / "new", empty)
    await take(await _installed(world, tmp_path / "old"), backup, tell=_silent)
    seen = []

    def tell(step: str, _done: int) -> None:
        if step == "commit":
            with pytest.raises(OperatorError, match="under way"), archive.locked(where.data):
                pass
            seen.append(step)

    await restored(backup, where, tell)
    assert seen == ["commit"]
