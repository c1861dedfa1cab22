"""An account's keys in the hands of its keys: whoever manages them makes others that may do no more than it may.

Every change is decided in its transaction, under the account's lock and on what the rows say then: a key that was
revoked a moment ago makes none, however long a cache trusts it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from seedgate import log
from seedgate.accounts.issue import MAX_OVERLAP, check_limits, check_name, issue, renew
from seedgate.accounts.secret import Secret
from seedgate.domain.caller import Caller
from seedgate.domain.configuration import Limits
from seedgate.domain.errors import AlreadyExists, Forbidden, InvalidRequest, NotFound, QuotaExceeded, Unauthenticated
from seedgate.domain.key import Wish, check_rotation, give
from seedgate.ids import Ids, KeyKind
from seedgate.store import access, keyring
from seedgate.store.database import Database, Tx
from seedgate.store.keyring import Listed

MAX_OLDER_SECRETS = 10
"""Of one key, replaced and still working."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of all accounts. One per process."""

    database: Database
    ids: Ids
    secret: Secret
    most: int
    """Keys of an account that work at the same time; operators may make more."""
    limits: Callable[[], Limits]
    """What holds for keys without limits of their own."""

    async def page(self, account_id: UUID, *, before: UUID | None, most: int) -> list[Listed]:
        """The account's keys, newest first."""
        return await keyring.page_keys(self.database, account_id=account_id, before=before, most=most)

    async def active(self, account_id: UUID) -> int:
        """How many of the account's keys work."""
        return await keyring.count_active(self.database, account_id=account_id)

    async def make(self, caller: Caller, name: str, wish: Wish) -> tuple[Listed, str]:
        """A new key of the caller's account and kind; its secret is given once, here.

        Raises Forbidden for whatever the caller's key has not itself, AlreadyExists, QuotaExceeded, InvalidRequest.
        """
        async with self.database.write() as tx:
            maker = await self._caller(tx, caller)
            limits = give(wish, maker.limits, left_micros=maker.left_micros, defaults=self.limits())
            check_limits(limits)
            check_name(name)
            await self._check_place(tx, caller.account_id, name)
            if maker.limits.budget_micros is not None:
                await _take_budget(tx, maker, limits.budget_micros or 0)
            issued = await issue(
                tx,
                self.ids,
                self.secret,
                account_id=caller.account_id,
                name=name,
                kind=KeyKind(maker.kind),
                limits=limits,
            )
            made = await _known(tx, caller, issued.key_id)
            if made.state != "active":
                raise InvalidRequest("expires_at has passed", param="expires_at")
        _log("key_made", made, caller)
        return made, issued.key

    async def rotate(self, caller: Caller, key_id: UUID, *, overlap: timedelta) -> tuple[Listed, str]:
        """Another secret for a key, given once, here; the ones that it has work for `overlap` more.

        Raises NotFound, InvalidRequest, and Forbidden where the caller's key is another one that may not manage keys or
        may do less.
        """
        if not timedelta(0) <= overlap <= MAX_OVERLAP:
            raise InvalidRequest(f"The overlap is at most {MAX_OVERLAP.days} days", param="overlap_s")
        async with self.database.write() as tx:
            by, key = await self._both(tx, caller, key_id)
            if key.id != by.id:
                check_rotation(key.limits, by.limits, defaults=self.limits())
            if key.state != "active":
                raise InvalidRequest(f"The key is {key.state}; make another", param="id")
            if overlap and key.older_secrets >= MAX_OLDER_SECRETS:
                sentence = f"{key.older_secrets} older secrets of this key work; overlap_s 0 ends them all"
                raise InvalidRequest(sentence, param="overlap_s")
            issued = await renew(tx, self.ids, self.secret, key_id=key.id, kind=KeyKind(key.kind), overlap=overlap)
            rotated = await _known(tx, caller, key.id)
        _log("key_rotated", rotated, caller)
        return rotated, issued.key

    async def revoke(self, caller: Caller, key_id: UUID) -> Listed:
        """End a key: within five seconds no process lets it in. Again is no error.

        Raises NotFound, or Forbidden where the caller's key is another one and may not manage keys.
        """
        async with self.database.write() as tx:
            by, key = await self._both(tx, caller, key_id)
            if key.id != by.id and not by.limits.manages_keys:
                raise Forbidden("This key may not manage keys")
            await access.revoke_key(tx, key.id)
            revoked = await _known(tx, caller, key.id)
        _log("key_revoked", revoked, caller)
        return revoked

    async def _caller(self, tx: Tx, caller: Caller) -> Listed:
        """The caller's own key as it is now, with its account locked."""
        await keyring.lock_account(tx, caller.account_id)
        found = await keyring.read_key(tx, caller.key_id, account_id=caller.account_id)
        if found is None or found.state != "active":
            raise Unauthenticated
        if not await keyring.is_newest(tx, caller.key_id, digest=caller.digest):
            raise Forbidden("This secret was replaced by another one, which alone changes keys")
        return found

    async def _both(self, tx: Tx, caller: Caller, key_id: UUID) -> tuple[Listed, Listed]:
        by = await self._caller(tx, caller)
        return by, await _known(tx, caller, key_id)

    async def _check_place(self, tx: Tx, account_id: UUID, name: str) -> None:
        known = await keyring.find_name(tx, name, account_id=account_id)
        if known is not None:
            raise AlreadyExists(
                f"There is a key of this name, {known.hex}, and its secret is not shown again: rotate it for another",
                param="name",
            )
        active = await keyring.count_active(tx, account_id=account_id)
        if active >= self.most:
            raise QuotaExceeded(
                f"The account has {active} keys of at most {self.most}; revoke some", param="keys_per_account"
            )


async def _take_budget(tx: Tx, maker: Listed, amount_micros: int) -> None:
    if not await keyring.take_budget(tx, maker.id, amount_micros=amount_micros):
        raise Forbidden("Not as much is left of this key's budget", param="budget")


async def _known(tx: Tx, caller: Caller, key_id: UUID) -> Listed:
    """A key of the caller's account. Raises NotFound alike for an unknown one and for another account's."""
    found = await keyring.read_key(tx, key_id, account_id=caller.account_id)
    if found is None:
        raise NotFound
    return found


def _log(event: str, key: Listed, caller: Caller) -> None:
    log.get("keys").info(event, key=key.id.hex, by=caller.key_id.hex)
