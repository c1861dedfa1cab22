"""Authentication: cached, refreshed, revoked within seconds, and never a 401 because a database is away."""

import asyncio
import secrets
from dataclasses import dataclass, field

import pytest
from world import World

from seedgate.accounts.issue import DEVELOPMENT_KEY_FILE, UNLIMITED, create_key, development_key
from seedgate.accounts.keys import Keys
from seedgate.accounts.secret import Secret, check, load
from seedgate.clock import Clock
from seedgate.domain.errors import (
    AlreadyExists,
    BadSettings,
    Forbidden,
    InvalidRequest,
    OperatorError,
    Unauthenticated,
    Unavailable,
)
from seedgate.ids import Ids, KeyKind
from seedgate.store.database import Database

SECRET = Secret(b"s" * 32)


@dataclass
class Hand:
    """A clock that a test turns."""

    now: float = 0.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(monotonic=lambda: self.now)


def _keys(database: Database, hand: Hand, *, development: bool = True) -> Keys:
    return Keys(database, pepper=SECRET.derive("key pepper"), clock=hand.clock, allow_development=development)


async def _make(world: World, kind: KeyKind = KeyKind.TEST, name: str = "k", account: str = "acme") -> str:
    issued = await create_key(
        world.database, world.ids, SECRET, account=account, name=name, kind=kind, limits=UNLIMITED
    )
    return issued.key


# If this failed, every request would cost a question, or a revoked key would go on working.
async def test_keys_are_cached_and_revoked_within_five_seconds(world: World) -> None:
    hand = Hand()
    keys = _keys(world.database, hand)
    key = await _make(world)
    caller = await keys.authenticate(key)
    asked = world.database.access_lane.statements
    for _ in range(100):
        assert await keys.authenticate(key) == caller
    assert world.database.access_lane.statements == asked
    async with world.database.write() as tx:
        await tx.execute("UPDATE api_key SET revoked_at = seedgate_now()")
    hand.now = 5.0
    with pytest.raises(Unauthenticated):
        await keys.authenticate(key)
    await keys.close()


# If this failed, a busy key would wait for the database every few seconds.
async def test_a_stale_entry_is_served_while_it_is_refreshed(world: World) -> None:
    hand = Hand()
    keys = _keys(world.database, hand)
    key = await _make(world)
    caller = await keys.authenticate(key)
    asked = world.database.access_lane.statements
    hand.now = 3.0
    assert await keys.authenticate(key) == caller
    async with asyncio.timeout(5):
        while world.database.access_lane.statements == asked:
            await asyncio.sleep(0.001)
    await keys.close()
    assert world.database.access_lane.statements == asked + 1


# If this failed, an outage would be called a wrong key.
async def test_an_outage_is_never_unauthenticated(world: World) -> None:
    key = await _make(world)
    broken = Database(type(world.database._dsn)(world.database._dsn.arguments | {"port": 1}))
    keys = _keys(broken, Hand())
    with pytest.raises(Unavailable):
        await keys.authenticate(key)
    await keys.close()
    await broken.close()


# If this failed, production would accept a key that everybody on a laptop has seen.
async def test_development_keys_are_refused_in_production(world: World) -> None:
    key = await _make(world, KeyKind.DEV)
    keys = _keys(world.database, Hand(), development=False)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(key)
    await keys.close()


# If this failed, an expired key would go on working.
async def test_expired_keys_are_refused(world: World) -> None:
    key = await _make(world)
    async with world.database.write() as tx:
        await tx.execute("UPDATE api_key SET expires_at = seedgate_now() - interval '1 second'")
    keys = _keys(world.database, Hand())
    with pytest.raises(Unauthenticated):
        await keys.authenticate(key)
    await keys.close()


# If this failed, the database would hold something that opens it.
async def test_no_key_is_stored(world: World) -> None:
    key = await _make(world)
    rows = await world.database.fetch(
        "SELECT concat(to_jsonb(k), to_jsonb(s)) AS row FROM api_key k JOIN key_secret s ON s.key_id = k.id"
    )
    body = key.split("_")[2]
    assert body not in rows[0]["row"]
    assert body[8:] not in rows[0]["row"]


# If this failed, a mistake at the command line would be a trace, or mix play money with real money.
async def test_mistakes_are_told(world: World) -> None:
    await _make(world)
    with pytest.raises(InvalidRequest, match="'k'"):
        await _make(world)
    with pytest.raises(Forbidden):
        await _make(world, KeyKind.LIVE, name="other")
    with pytest.raises(InvalidRequest):
        await _make(world, name="")
    with pytest.raises(AlreadyExists):
        async with world.database.write() as tx:
            await tx.execute("INSERT INTO account (id, name, mode) VALUES ($1, 'acme', 'test')", world.ids.new())


# If this failed, each start would make a new key, or the play credit would grow with every start.
async def test_the_development_key_is_made_once(world: World, tmp_path) -> None:
    for _ in range(2):
        key = await development_key(world.database, world.ids, SECRET, data=tmp_path, credit_micros=10**9)
    assert (tmp_path / DEVELOPMENT_KEY_FILE).read_text().strip() == key
    assert (tmp_path / DEVELOPMENT_KEY_FILE).stat().st_mode & 0o777 == 0o600
    (row,) = await world.database.fetch("SELECT count(*) AS n FROM api_key")
    assert row["n"] == 1
    (tmp_path / DEVELOPMENT_KEY_FILE).unlink()
    assert await development_key(world.database, world.ids, SECRET, data=tmp_path, credit_micros=10**9) != key
    (row,) = await world.database.fetch("SELECT avail_micros AS n FROM account")
    assert row["n"] == 10**9
    assert await world.findings() == []


# If this failed, two machines with different secrets would lock out each other's keys.
async def test_another_secret_is_refused(world: World) -> None:
    await check(world.database, Ids(), SECRET)
    await check(world.database, Ids(), SECRET)
    with pytest.raises(OperatorError, match="another secret"):
        await check(world.database, Ids(), Secret(b"t" * 32))


# If this failed, the secret would be readable by others, change at a restart, or be too weak.
def test_the_secret_is_made_once_and_checked(tmp_path) -> None:
    first = load(tmp_path, given="", file="")
    assert load(tmp_path, given="", file="") == first
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert "s3" not in repr(first)
    given = secrets.token_hex(32)
    assert load(tmp_path, given=given, file="").value == given.encode()
    with pytest.raises(BadSettings):
        load(tmp_path, given="short", file="")
    with pytest.raises(BadSettings):
        load(tmp_path, given="", file=str(tmp_path / "missing"))
    assert first.derive("a") != first.derive("b")
