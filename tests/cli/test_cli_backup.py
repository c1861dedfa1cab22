"""`db backup` and `db restore` as an operator meets them, beside a running gateway."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from shell import Shell, run, run_here

from seedgate.backup import restore as module
from seedgate.backup.manifest import MANIFEST, Kept, Manifest, Part
from seedgate.backup.restore import MARK, Outcome
from seedgate.store.embedded import EmbeddedServer


# If a remark were missing, somebody would find out on the worst day that the backup had no secret, or that it had one.
def test_a_backup_says_what_is_in_it(shell: Shell, tmp_path: Path) -> None:
    told = shell.run("db", "backup", tmp_path / "full")
    assert (told.code, told.out) == (0, f"{tmp_path / 'full'}\n")
    assert "tasks (" in told.err
    assert "secret.key is in it" in told.err
    bare = shell.run("db", "backup", tmp_path / "bare", "--without-secret", "--json")
    assert (bare.code, bare.err, bare.document["secrets"]) == (0, "", [])
    assert "The secret is not in it" in bare.document["remarks"][0]
    assert not list((tmp_path / "bare").glob("*.key"))
    _refused(run("db", "restore", tmp_path / "bare", "--data", tmp_path / "new", "--json"), "without its secret")
    _refused(shell.run("db", "backup", tmp_path / "full", "--json"), "exists already")
    _refused(shell.run("db", "backup", tmp_path / "full.zip", "--json"), "not full.zip")
    _refused(shell.run("db", "restore", tmp_path / "full", "--json"), "There is an installation")
    assert not (tmp_path / "new").exists()


# If an address were not read, or its password told, no installation with a server of its own could be backed up.
def test_a_database_by_address_is_backed_up_and_never_replaced(shell: Shell, tmp_path: Path) -> None:
    with EmbeddedServer.open(shell.data) as server:
        socket = server.dsn_kwargs
    url = f"postgresql://{socket['user']}:hush@/{socket['database']}?host={socket['host']}&port={socket['port']}"
    done = shell.run("db", "backup", tmp_path / "b.tar", "--json", DATABASE_URL=url)
    assert (done.code, done.document["rows"]["installation"]) == (0, 1)
    assert b"hush" not in (tmp_path / "b.tar").read_bytes()
    again = run("db", "restore", tmp_path / "b.tar", "--data", tmp_path / "new", "--json", DATABASE_URL=url)
    _refused(again, "database is not empty")
    assert "hush" not in again.err
    assert not (tmp_path / "new").exists()


# If results in object storage were forgotten, a restored installation would answer with broken addresses.
def test_results_that_are_elsewhere_stay_there(shell: Shell, tmp_path: Path) -> None:
    bucket = f"file://{tmp_path}/bucket"
    (tmp_path / "bucket").mkdir()
    done = shell.run("db", "backup", tmp_path / "b", "--json", BLOBS_URL=f"{bucket}?key=hush")
    assert (done.code, done.document["results"]["count"], done.document["results_url"]) == (0, 0, bucket)
    assert "hush" not in done.out
    _refused(run("db", "restore", tmp_path / "b", "--data", tmp_path / "new", "--json"), f"but in {bucket}")
    assert not (tmp_path / "new").exists()


# If a remark told a manifest's words as they stand, a backup from elsewhere could rule the operator's terminal.
def test_a_restore_says_what_a_terminal_would_not_obey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Outcome(epoch=1, open_tasks=0, requeued=0, in_doubt=0, missing=0, left_out=[], active_keys=7)

    async def restored(*_: object, **__: object) -> Outcome:
        return done

    monkeypatch.setattr(module, "restore", restored)
    monkeypatch.setenv("BLOBS_URL", "file:///there")
    part, none = Part(size_bytes=0, sha256=""), Kept()
    manifest = Manifest(
        format=1,
        seedgate="0",
        schema=1,
        taken_at=datetime(2026, 11, 1, tzinfo=UTC),
        rows={},
        installation=None,
        epoch=0,
        open_tasks=0,
        database=part,
        files=part,
        secrets=[],
        results=none,
        references=none,
        results_url="s3://b\x1b[2J",
    )
    (tmp_path / MANIFEST).write_bytes(manifest.encode())
    told = run_here("db", "restore", str(tmp_path), "--data", str(tmp_path / "new"))
    assert told.code == 0
    assert all(line.isprintable() for line in told.err.splitlines()), told.err
    assert "keys are those of 2026-11-01 00:00:00 UTC: 7 work, also where they were revoked" in told.err


# If a folder that is half an installation could be used, an interrupted restore would go unnoticed.
def test_nothing_runs_where_a_restore_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / MARK).touch()
    for order in (("up", "--port", "0"), ("serve", "--port", "0"), ("work",), ("db", "migrate")):
        done = run(*order, "--data", tmp_path / "data")
        assert (done.code, done.out) == (1, "")
        assert "was interrupted" in done.err
        assert "db restore" in done.err
    assert [path.name for path in (tmp_path / "data").iterdir()] == [MARK]


def _refused(done, words: str) -> None:
    assert done.code == 1
    assert words in done.document["error"]["message"]
    assert done.document["error"]["hint"]
