"""Making keys, and the account and key that development mode starts with."""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from seedgate.accounts.secret import Secret
from seedgate.domain.errors import AlreadyExists, Forbidden, InvalidRequest
from seedgate.domain.ledger import Entry
from seedgate.ids import Ids, KeyKind, key_digest, key_prefix, well_formed_key
from seedgate.store.access import NewKey, add_key, ensure_account, find_keys
from seedgate.store.database import Database
from seedgate.store.ledger import Adjustment, adjust

DEVELOPMENT_ACCOUNT = "development"
DEVELOPMENT_KEY_FILE = "development.key"
MAX_NAME = 200
_GRANT_KEY = "development credit"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What a key may do; None is no limit."""

    submits_per_minute: int | None
    concurrent_tasks: int | None


async def create_key(
    database: Database, ids: Ids, secret: Secret, *, account: str, name: str, kind: KeyKind, limits: KeyLimits
) -> str:
    """Make a key for the account called `account`, which is made if there is none; the key is returned once, here.

    Raises InvalidRequest when the account has a key of that name, Forbidden when the account is of the other mode.
    """
    if not all(0 < len(text) <= MAX_NAME for text in (account, name)):
        raise InvalidRequest(f"A name has 1 to {MAX_NAME} characters", param="name")
    mode = "live" if kind is KeyKind.LIVE else "test"
    key = ids.api_key(kind)
    try:
        async with database.write() as tx:
            account_id, _ = await ensure_account(tx, account_id=ids.new(), name=account, mode=mode)
            rows = await tx.fetch("SELECT mode FROM account WHERE id = $1", account_id)
            if rows[0]["mode"] != mode:
                raise Forbidden(f"The account {account!r} is a {rows[0]['mode']} account; it takes no {kind} key")
            await add_key(
                tx, _new_key(ids, secret, account_id=account_id, name=name, kind=kind, key=key, limits=limits)
            )
    except AlreadyExists:
        raise InvalidRequest(f"The account {account!r} has a key called {name!r}", param="name") from None
    return key


async def development_key(database: Database, ids: Ids, secret: Secret, *, data: Path, credit_micros: int) -> str:
    """The key of the development account, made with its play credit at the first start and kept in the data folder.

    Development keys have no limits: whoever runs the gateway on a laptop is its only caller.
    """
    path = data / DEVELOPMENT_KEY_FILE
    pepper = secret.derive("key pepper")
    known = path.read_text(encoding="ascii").strip() if path.exists() else ""
    if well_formed_key(known):
        (record,) = await find_keys(database.access_lane, [key_digest(pepper, known)])
        if record is not None and record.usable:
            return known
    key = ids.api_key(KeyKind.DEV)
    async with database.write() as tx:
        account_id, _ = await ensure_account(tx, account_id=ids.new(), name=DEVELOPMENT_ACCOUNT, mode="test")
        limits = KeyLimits(submits_per_minute=None, concurrent_tasks=None)
        name = f"development {ids.token()[:6]}"
        await add_key(
            tx, _new_key(ids, secret, account_id=account_id, name=name, kind=KeyKind.DEV, key=key, limits=limits)
        )
        grant = Adjustment(
            id=ids.new(),
            account_id=account_id,
            entry=Entry.GRANT,
            amount_micros=credit_micros,
            reason="play credit of the development account",
            actor="seedgate up",
            idempotency_key=_GRANT_KEY,
        )
        await adjust(tx, grant)
    _keep(path, key)
    return key


def _new_key(
    ids: Ids, secret: Secret, *, account_id: UUID, name: str, kind: KeyKind, key: str, limits: KeyLimits
) -> NewKey:
    return NewKey(
        key_id=ids.new(),
        account_id=account_id,
        kind=kind,
        name=name,
        prefix=key_prefix(key),
        digest=key_digest(secret.derive("key pepper"), key),
        submits_per_minute=limits.submits_per_minute,
        concurrent_tasks=limits.concurrent_tasks,
    )


def _keep(path: Path, key: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
