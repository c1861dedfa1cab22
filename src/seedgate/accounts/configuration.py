"""Changing the configuration, and keeping a process's copy of it fresh."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from seedgate.domain import configuration as rules
from seedgate.domain.configuration import Configuration, Limits, Target
from seedgate.domain.errors import InvalidRequest, NotFound
from seedgate.store import access
from seedgate.store import configuration as store
from seedgate.store.database import Database, Tx

MAX_REASON = 1000
REFRESH_S = 4.0
"""A change reaches every process within five seconds, also where notifications do not."""


class Live:
    """This process's copy. One per process; a database that is away leaves it as it was."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self.current = Configuration(limits=limits)

    async def refresh(self) -> bool:
        """Read what holds now. A turn of a loop; never asks for another one at once."""
        self.current = rules.configure(self._limits, await store.read_rows(self._database.access_lane))
        return False

    def __call__(self) -> Configuration:
        """What holds now."""
        return self.current


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What was written."""

    name: str
    value: str | None
    version: int


async def change(
    database: Database, *, name: str, value: str | None, actor: str, reason: str, listings: Collection[str]
) -> Changed:
    """Set a name, or with None put it back to its default, and apply it, in one transaction.

    `listings` are the ids of what is offered. Raises InvalidRequest for a name, value or reason that is none, NotFound
    for an account, key or listing that does not exist.
    """
    if not 0 < len(reason.strip()) <= MAX_REASON:
        raise InvalidRequest(f"A change needs a reason of at most {MAX_REASON} characters", param="reason")
    about = rules.target(name)
    meant = None if value is None else rules.read(about, value)
    if about.kind == "listing" and about.subject not in listings:
        raise NotFound(f"There is no listing {about.subject!r}; there are {', '.join(sorted(listings))}")
    if about.kind == "account" and await access.find_account(database, about.subject) is None:
        raise NotFound(f"There is no account called {about.subject!r}")
    async with database.write() as tx:
        await store.lock(tx)
        about, subject = await _resolve(tx, about)
        await store.apply(tx, about, subject, meant)
        text = None if meant is None else rules.write(about, meant)
        version = await store.add_row(tx, name=about.name, value=text, actor=actor, reason=reason.strip())
    return Changed(name=about.name, value=text, version=version)


async def _resolve(tx: Tx, about: Target) -> tuple[Target, str | UUID]:
    """The target under its subject's lasting name, and what finds the row."""
    if about.kind == "key":
        matches = await access.match_keys(tx, about.subject)
        if len(matches) != 1:
            raise NotFound(f"{'No key' if not matches else 'More than one key'} is called {about.subject!r}")
        key_id = matches[0].key_id
        return Target(kind="key", subject=key_id.hex, knob=about.knob), key_id
    return about, about.subject
