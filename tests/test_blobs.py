"""Results in storage: whole or not there, readable in parts, removable twice."""

from datetime import timedelta
from pathlib import Path

import pytest

from seedgate.blobs import Blobs, key
from seedgate.domain.errors import NotFound, Unavailable

NAME = "Ab" + "c" * 20 + ".png"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "picture"
    path.write_bytes(bytes(range(256)) * 9000)
    return path


# If this failed, a caller would get other bytes than were stored.
async def test_what_is_put_is_read(tmp_path: Path, source: Path) -> None:
    blobs = Blobs.open(folder=tmp_path / "results")
    whole = source.read_bytes()
    await blobs.put(NAME, source)
    assert not source.exists()
    assert b"".join([chunk async for chunk in blobs.read(NAME, start=0, end=len(whole))]) == whole
    assert b"".join([chunk async for chunk in blobs.read(NAME, start=5, end=9)]) == whole[5:9]
    assert (tmp_path / "results" / key(NAME)).read_bytes() == whole
    assert [path.name for path in (tmp_path / "results").rglob("*") if path.is_file()] == [NAME]


# If this failed, a removed result would be an error of ours instead of one that is gone.
async def test_what_is_gone_is_not_found(tmp_path: Path, source: Path) -> None:
    blobs = Blobs.open(folder=tmp_path / "results")
    await blobs.put(NAME, source)
    await blobs.delete([NAME, NAME])
    with pytest.raises(NotFound):
        [chunk async for chunk in blobs.read(NAME, start=0, end=1)]


# If this failed, a download under way when its result expires would break off half-way.
async def test_a_file_that_is_removed_is_read_to_its_end(tmp_path: Path, source: Path) -> None:
    blobs = Blobs.open(folder=tmp_path / "results")
    whole = source.read_bytes()
    await blobs.put(NAME, source)
    chunks = blobs.read(NAME, start=0, end=len(whole))
    first = await anext(chunks)
    await blobs.delete([NAME])
    assert first + b"".join([chunk async for chunk in chunks]) == whole
    assert len(first) < len(whole)


# If this failed, a store that is away would lose a task instead of delaying it.
async def test_a_store_that_refuses_is_unavailable(tmp_path: Path, source: Path) -> None:
    blobs = Blobs.open(folder=tmp_path / "results")
    (tmp_path / "results" / NAME[:2]).write_text("a file where a folder must be")
    with pytest.raises(Unavailable):
        await blobs.put(NAME, source)


# If this failed, the upkeep would look at files that are still being written, or never find any.
async def test_only_old_files_are_listed(tmp_path: Path, source: Path) -> None:
    blobs = Blobs.open(folder=tmp_path / "results")
    await blobs.put(NAME, source)
    assert [names async for names in blobs.older_than(timedelta(hours=1))] in ([], [[]])
    assert [names async for names in blobs.older_than(timedelta(seconds=-5))] == [[NAME]]
