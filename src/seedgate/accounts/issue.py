"""Making, rotating and revoking keys, and the account and key that development mode starts with."""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from seedgate.accounts.secret import Secret
from seedgate.domain.configuration import MAX_COUNT, MAX_MODELS, MAX_RATE, may_be_models
from seedgate.domain.errors import AlreadyExists, Forbidden, InvalidRequest, NotFound
from seedgate.domain.key import KeyLimits
from seedgate.domain.ledger import Entry
from seedgate.domain.money import MAX_AMOUNT_MICROS
from seedgate.ids import Ids, KeyKind, key_digest, key_prefix, well_formed_key
from seedgate.store import access
from seedgate.store.access import KeyMatch, NewKey
from seedgate.store.database import Database, Tx
from seedgate.store.ledger import Adjustment, adjust

DEVELOPMENT_ACCOUNT = "development"
DEVELOPMENT_KEY_FILE = "development.key"
MAX_NAME = 200
MAX_OVERLAP = timedelta(days=30)
_TAKEN = re.compile(r"sg_(live|test|dev)_.*")
_GRANT_KEY = "development credit"


UNLIMITED = KeyLimits(submits_per_minute=0, concurrent_tasks=0, polls_per_minute=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A key as it is shown once."""

    key_id: UUID
    key: str


async def create_key(
    database: Database, ids: Ids, secret: Secret, *, account: str, name: str, kind: KeyKind, limits: KeyLimits
) -> Issued:
    """Make a key for the account called `account`, which is made if there is none; the key is given once, here.

    Raises InvalidRequest when the account has a key of that name or a limit is none, Forbidden when the account is of
    the other mode.
    """
    check_name(account)
    check_name(name)
    check_limits(limits)
    mode = "live" if kind is KeyKind.LIVE else "test"
    try:
        async with database.write() as tx:
            account_id, found = await access.ensure_account(tx, account_id=ids.new(), name=account, mode=mode)
            if found != mode:
                raise Forbidden(f"The account {account!r} is a {found} account; it takes no {kind} key")
            return await issue(tx, ids, secret, account_id=account_id, name=name, kind=kind, limits=limits)
    except AlreadyExists:
        raise InvalidRequest(f"The account {account!r} has a key called {name!r}", param="name") from None


async def rotate_key(database: Database, ids: Ids, secret: Secret, wanted: str, *, overlap: timedelta) -> Issued:
    """Give a key another secret; the old one works for `overlap` more. Limits, budget and idempotency stay the key's.

    `wanted` is an id, a shown prefix, or a name. Raises NotFound, InvalidRequest for an ambiguous name, a key that has
    ended or an overlap that is none.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidRequest(f"The overlap is at most {MAX_OVERLAP.days} days", param="overlap")
    async with database.write() as tx:
        match = await _the_key(tx, wanted)
        if match.revoked_at is not None or match.expired:
            over = "expired" if match.revoked_at is None else "revoked"
            raise InvalidRequest(f"The key {match.name!r} is {over}; make another", param="key")
        return await renew(tx, ids, secret, key_id=match.key_id, kind=KeyKind(match.kind), overlap=overlap)


async def renew(tx: Tx, ids: Ids, secret: Secret, *, key_id: UUID, kind: KeyKind, overlap: timedelta) -> Issued:
    """Give a key another secret; those that it has work for `overlap` more."""
    key = ids.api_key(kind)
    await access.retire_secrets(tx, key_id, overlap=overlap)
    await access.add_secret(tx, key_id, prefix=key_prefix(key), digest=_digest(secret, key))
    return Issued(key_id=key_id, key=key)


async def revoke_key(database: Database, wanted: str) -> KeyMatch:
    """End a key: within five seconds no process lets it in. What it has submitted goes on. Revoking twice is no error.

    Raises NotFound, or InvalidRequest for an ambiguous name.
    """
    async with database.write() as tx:
        match = await _the_key(tx, wanted)
        await access.revoke_key(tx, match.key_id)
    return match


def check_name(name: str) -> None:
    """Raise InvalidRequest for what cannot name a key or an account, or would be taken for a key's own beginning."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidRequest(f"A name has 1 to {MAX_NAME} printable characters", param="name")
    if _TAKEN.fullmatch(name):
        raise InvalidRequest("A name must not look like the beginning of a key", param="name")


def check_limits(limits: KeyLimits) -> None:
    """Raise InvalidRequest that names the limit which is none."""
    _check_number("submits_per_minute", limits.submits_per_minute, MAX_RATE)
    _check_number("concurrent_tasks", limits.concurrent_tasks, MAX_COUNT)
    _check_number("polls_per_minute", limits.polls_per_minute, MAX_RATE)
    if limits.budget_micros is not None and not 0 <= limits.budget_micros <= MAX_AMOUNT_MICROS:
        raise InvalidRequest("A budget is an amount of at most a billion dollars", param="budget")
    if limits.models is not None and not may_be_models(limits.models):
        raise InvalidRequest(f"models are 1 to {MAX_MODELS} ids of models or listings", param="models")
    if limits.expires_at is not None and limits.expires_at.tzinfo is None:
        raise InvalidRequest("expires_at needs a time zone", param="expires_at")


def _check_number(name: str, value: int | None, most: int) -> None:
    if value is not None and not 0 <= value <= most:
        raise InvalidRequest(f"{name} is a number from 0 (no limit) to {most}", param=name)


async def _the_key(tx: Tx, wanted: str) -> KeyMatch:
    matches = await access.match_keys(tx, wanted)
    if not matches:
        raise NotFound("There is no such key", param="key")
    if len(matches) > 1:
        raise InvalidRequest("Several keys are called that; name it by its id", param="key")
    return matches[0]


async def development_key(database: Database, ids: Ids, secret: Secret, *, data: Path, credit_micros: int) -> str:
    """The key of the development account, made with its play credit at the first start and kept in the data folder.

    Development keys have no limits: whoever runs the gateway on a laptop is its only caller.
    """
    path = data / DEVELOPMENT_KEY_FILE
    known = path.read_text(encoding="ascii").strip() if path.exists() else ""
    if well_formed_key(known):
        (record,) = await access.find_keys(database.access_lane, [_digest(secret, known)])
        if record is not None and record.usable:
            return known
    async with database.write() as tx:
        account_id, _ = await access.ensure_account(tx, account_id=ids.new(), name=DEVELOPMENT_ACCOUNT, mode="test")
        name = f"development {ids.token()[:6]}"
        limits = KeyLimits(submits_per_minute=0, concurrent_tasks=0, polls_per_minute=0, manages_keys=True)
        issued = await issue(tx, ids, secret, account_id=account_id, name=name, kind=KeyKind.DEV, limits=limits)
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
    _keep(path, issued.key)
    return issued.key


async def issue(
    tx: Tx, ids: Ids, secret: Secret, *, account_id: UUID, name: str, kind: KeyKind, limits: KeyLimits
) -> Issued:
    """Store a new key. Raises AlreadyExists, at the end of the transaction, where the account has one of that name."""
    issued = Issued(key_id=ids.new(), key=ids.api_key(kind))
    new = NewKey(
        key_id=issued.key_id,
        account_id=account_id,
        kind=kind,
        name=name,
        prefix=key_prefix(issued.key),
        digest=_digest(secret, issued.key),
        submits_per_minute=limits.submits_per_minute,
        concurrent_tasks=limits.concurrent_tasks,
        polls_per_minute=limits.polls_per_minute,
        budget_micros=limits.budget_micros,
        models=limits.models,
        route=limits.route,
        manages_keys=limits.manages_keys,
        expires_at=limits.expires_at,
    )
    await access.add_key(tx, new)
    return issued


def _digest(secret: Secret, key: str) -> bytes:
    return key_digest(secret.derive("key pepper"), key)


def _keep(path: Path, key: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
