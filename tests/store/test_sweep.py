"""What nobody else moves."""

from test_work import Bench
from world import PRICE, World

from seedgate.accounts.configuration import change
from seedgate.tasks.finish import Writes
from seedgate.tasks.sweep import Sweep


# If this failed, an account that was frozen would go on spending what it had queued.
async def test_a_frozen_account_has_its_open_tasks_called_off(world: World) -> None:
    frozen, other = await world.account(credit=10 * PRICE), await world.account()
    tasks = [world.task(frozen, await world.key(frozen), pictures=2, slots=2) for _ in range(3)]
    kept = world.task(other, await world.key(other))
    await world.accept(*tasks)
    bench = Bench(world)
    (claim,) = await bench.claim(want=1)
    await world.accept(kept)
    await change(
        world.database, name=f"account.{frozen.hex}.frozen", value="on", actor="tester", reason="test", listings=()
    )
    writes = Writes(world.database)
    await Sweep(database=world.database, writes=writes).turn()
    await writes.close()
    rows = await world.database.fetch(
        "SELECT id, state, cancel_requested_at IS NOT NULL AS asked FROM task ORDER BY id"
    )
    states = {row["id"]: (row["state"], row["asked"]) for row in rows}
    assert states.pop(claim.task_id) == (1, True)
    assert states.pop(kept.id) == (0, False)
    assert set(states.values()) == {(12, True)}
    assert await world.balance(frozen) == (8 * PRICE, 2 * PRICE, 1)
    assert await world.findings() == []
