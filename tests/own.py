"""Our own interface without a server: the application is called as a server would call it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from world import PRICE, World

from seedgate.accounts.credits import grant
from seedgate.accounts.issue import UNLIMITED, create_key
from seedgate.accounts.keyring import Keyring
from seedgate.accounts.keys import Keys
from seedgate.accounts.secret import Secret
from seedgate.accounts.statement import Turns
from seedgate.accounts.uploads import Uploads
from seedgate.blobs import Blobs
from seedgate.catalogue.load import load
from seedgate.domain.configuration import Configuration, Limits
from seedgate.domain.key import KeyLimits
from seedgate.domain.quota import Quota
from seedgate.ids import KeyKind
from seedgate.intake.gate import Gate
from seedgate.intake.shelf import Shelf
from seedgate.store.access import find_account
from seedgate.web import app as rest
from seedgate.web.body import Bodies
from seedgate.web.dispatch import Measured
from seedgate.web.files import Files
from seedgate.web.health import Health
from seedgate.web.openapi import Documents
from seedgate.web.own import operations
from seedgate.web.own.door import Door, House, Operation
from seedgate.web.refusals import Addresses, Throttle

SECRET = Secret(b"s" * 32)
BASE = "http://gateway.test"


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


@dataclass
class Api:
    """The application over a database and a folder of its own."""

    world: World
    data: Path
    quota: Quota = field(default_factory=lambda: Quota(files=1000, size_bytes=200_000_000))
    table: tuple[Operation, ...] = operations.OPERATIONS
    measured: Measured = field(default_factory=Measured)
    limits: Limits = field(default_factory=Limits)
    most_keys: int = 100
    turns: Turns = field(default_factory=Turns)

    def __post_init__(self) -> None:
        database, catalogue = self.world.database, load()
        self.shelf = Shelf(root=self.data / "references")
        self.blobs = Blobs.open(folder=self.data / "results")
        self.keys = Keys(database, pepper=SECRET.derive("key pepper"), clock=self.world.clock, allow_development=False)
        self.files = Files(database, self.blobs, self.shelf, keep=timedelta(days=15))
        self.uploads = Uploads(
            database=database,
            ids=self.world.ids,
            gate=Gate(),
            shelf=self.shelf,
            quota=self.quota,
            keep=timedelta(days=15),
        )
        self.keyring = Keyring(
            database=database, ids=self.world.ids, secret=SECRET, most=self.most_keys, limits=lambda: self.limits
        )
        house = House(
            keys=self.keys,
            throttle=Throttle(lambda: self.limits, Addresses(()), self.world.clock),
            database=database,
            uploads=self.uploads,
            keyring=self.keyring,
            statements=self.turns,
            bodies=Bodies(small_bytes=1000, large_bytes=1000, spool=self.data),
            listings=catalogue.listings,
            configuration=Configuration,
            model_of={k: listing.model.id for v in catalogue.listings.values() for k, listing in v.versions.items()},
            result_days=15,
            file_url=lambda name: f"{BASE}/files/{name}",
        )
        routes = operations.routes(Door(house, self.measured), self.table)
        health = Health(database=database, measured=self.measured, data=self.data, metrics_for="loopback")
        self.app: Starlette = rest.build((), self.files, Documents({}, server=BASE), health, routes)

    async def key(self, name: str = "acme", limits: KeyLimits = UNLIMITED) -> tuple[str, UUID]:
        """A new key, and its account."""
        issued = await create_key(
            self.world.database,
            self.world.ids,
            SECRET,
            account=name,
            name=f"key {self.world.ids.new().hex}",
            kind=KeyKind.TEST,
            limits=limits,
        )
        found = await find_account(self.world.database, name)
        assert found is not None
        return issued.key, found[0]

    async def grant(self, account: UUID, amount: int = 100 * PRICE) -> None:
        rows = await self.world.database.fetch("SELECT name FROM account WHERE id = $1", account)
        name = rows[0]["name"]
        await grant(self.world.database, self.world.ids, account=name, amount_micros=amount, reason="t", actor="t")

    async def task(self, account: UUID, **changes: object) -> UUID:
        """An accepted task of another key of the account."""
        task = self.world.task(account, await self.world.key(account), **changes)
        await self.world.accept(task)
        return task.id

    async def close(self) -> None:
        await self.keys.close()
        await self.files.close()

    async def __call__(
        self,
        method: str,
        path: str,
        key: str | None = None,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: Iterable[bytes] = (),
        prefix: str = operations.PREFIX,
        client: str = "127.0.0.1",
    ) -> Got:
        """One request, to `path` below the prefix."""
        path, _, query = path.partition("?")
        sent = [("authorization", f"Bearer {key}")] if key else []
        chunks = list(body)
        messages = [
            {"type": "http.request", "body": chunk, "more_body": at + 1 < len(chunks)}
            for at, chunk in enumerate(chunks or [b""])
        ]
        messages.append({"type": "http.disconnect"})
        told: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": prefix + path,
            "client": (client, 1),
            "query_string": query.encode("latin-1"),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in [*sent, *headers]],
        }
        await self.app(scope, receive, send)  # type: ignore[arg-type]
        if not told:
            return Got(0, {}, b"")
        return Got(
            told[0]["status"],
            {name.decode(): value.decode() for name, value in told[0]["headers"]},
            b"".join(message.get("body", b"") for message in told[1:]),
        )
