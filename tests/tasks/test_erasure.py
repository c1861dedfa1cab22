"""Erasure takes what is somebody's and nothing else; it can be repeated, and finishes what broke off."""

from datetime import UTC, datetime

import pytest
from kept import SECRET, House, digest

from seedgate.blobs import Blobs
from seedgate.store.tasks import read_tasks
from seedgate.tasks.erasure import Erased


# If this failed, an erasure would leave what it promised to remove, or take from others, or cost money.
async def test_an_erasure_takes_all_of_one_task_and_nothing_of_another(house: House) -> None:
    owner, stranger = await house.owner(), await house.owner()
    (mine,) = await house.ended(owner, reference="mine")
    shared, _ = await house.ended(owner, 2, reference="shared")
    (theirs,) = await house.ended(stranger, reference="shared")
    balance = await house.world.balance(owner[0])
    lane = house.world.database.read_lane
    before = await read_tasks(lane, [mine, theirs])
    assert await house.eraser().erase([mine, shared]) == Erased(tasks=2, pictures=2, references=3)
    assert not house.shelf.has(digest("mine"))
    assert not house.shelf.has(digest("original of mine"))
    assert house.shelf.has(digest("shared"))
    assert len(house.files()) == 2
    rows = {row["id"]: row for row in await house.world.database.fetch("SELECT * FROM task")}
    assert SECRET not in str(rows[mine])
    assert SECRET in rows[theirs]["request"]
    assert await read_tasks(lane, [mine, theirs]) == before
    assert await house.world.balance(owner[0]) == balance
    events = await house.world.database.fetch("SELECT task_id, detail FROM event WHERE kind = 6 ORDER BY task_id")
    assert [(row["task_id"], row["detail"]) for row in events] == [(mine, "by otto"), (shared, "by otto")]
    assert await house.eraser(note="by anna").erase([mine, shared]) == Erased()
    assert (
        await house.world.database.fetch("SELECT task_id, detail FROM event WHERE kind = 6 ORDER BY task_id") == events
    )
    assert await house.world.findings() == []
    # The last one that needed it takes it along.
    assert (await house.eraser(batch=1).erase([theirs, *rows])).references == 1
    assert not house.shelf.has(digest("shared"))


# If this failed, a task that is being drawn would lose its prompt or its references under the worker.
async def test_what_is_open_or_fresh_is_left(house: House) -> None:
    owner = await house.owner()
    (ended,) = await house.ended(owner, reference="face")
    still_open = house.world.task(*owner, request='{"prompt": "open"}')
    await house.world.accept(still_open)
    house.shelve("face", age_s=0)
    assert await house.eraser().erase([ended, still_open.id]) == Erased(tasks=1, pictures=1, references_later=2)
    assert house.shelf.has(digest("face"))
    assert not (await house.world.database.fetch("SELECT wipe_tasks($1)", [still_open.id]))[0]["wipe_tasks"]
    rows = await house.world.database.fetch("SELECT request FROM task WHERE state < 10")
    assert [row["request"] for row in rows] == [still_open.request]
    house.shelve("face")
    await house.upkeep().turn()
    assert not house.shelf.has(digest("face"))


# If this failed, an account's past could not be erased, or its present would be, or another's.
async def test_an_account_is_erased_up_to_a_day(house: House) -> None:
    owner, stranger = await house.owner(), await house.owner()
    await house.ended(owner, 5)
    await house.ended(stranger, 2)
    moment = datetime.now(UTC)
    (later,) = await house.ended(owner)
    erased = await house.eraser(batch=2).erase_before(owner[0], moment)
    assert erased == Erased(tasks=5, pictures=4)
    left = await house.world.database.fetch("SELECT id, account_id FROM task WHERE wiped_at IS NULL")
    assert len(left) == 3
    assert {row["id"] for row in left if row["account_id"] == owner[0]} == {later}
    assert len(house.files()) == 3
    assert await house.world.findings() == []


# If this failed, what somebody uploaded would outlive the erasure of everything else, or another's would go with it.
async def test_an_accounts_uploads_are_erased_too(house: House) -> None:
    owner, stranger = await house.owner(), await house.owner()
    await house.ended(owner, reference="drawn from")
    for account, content in ((owner, "drawn from"), (owner, "mine"), (owner, "mine"), (owner, "ours")):
        await house.upload(account[0], content)
    await house.upload(stranger[0], "ours")
    moment = datetime.now(UTC)
    await house.upload(owner[0], "later")
    erased = await house.eraser(batch=1).erase_before(owner[0], moment)
    assert erased == Erased(tasks=1, pictures=1, uploads=4, references=3)
    assert [house.shelf.has(digest(text)) for text in ("mine", "drawn from", "ours", "later")] == [
        *(False, False),
        *(True, True),
    ]
    left = await house.world.database.fetch("SELECT account_id, sha256 FROM file ORDER BY id")
    assert [tuple(row) for row in left] == [(stranger[0], digest("ours")), (owner[0], digest("later"))]
    assert await house.eraser().erase_before(owner[0], moment) == Erased()


class _Dying(Blobs):
    async def delete(self, names: object) -> None:
        raise KeyboardInterrupt


# If this failed, an erasure that was interrupted could not be finished by asking again.
async def test_an_erasure_that_broke_off_is_finished_by_its_repetition(house: House) -> None:
    ids = await house.ended(await house.owner(), 2)
    dying = _Dying(store=house.blobs.store, folder=house.blobs.folder)
    with pytest.raises(KeyboardInterrupt):
        await house.eraser(blobs=dying).erase(ids)
    assert len(house.files()) == 2
    assert await house.eraser().erase(ids) == Erased()
    assert house.files() == set()
