"""Ended tasks with everything that is kept of them: rows, pictures, references; and days that pass."""

import hashlib
import json
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from world import World

from seedgate.blobs import Blobs, key
from seedgate.domain.quota import Quota
from seedgate.domain.reason import Reason
from seedgate.intake.shelf import Shelf
from seedgate.store import finish, slots
from seedgate.store.files import NewFile, add_file
from seedgate.store.finish import SlotEnding
from seedgate.store.slots import Intent, Picture, StoredReference, WorkerIdentity
from seedgate.tasks.erasure import Eraser
from seedgate.tasks.upkeep import Ages, Upkeep

SECRET = "mauve-otter"
AGES = Ages(results=timedelta(days=15), prompts=timedelta(days=15), tasks=timedelta(days=90))
DEADLINE = timedelta(minutes=3)


@dataclass(frozen=True, kw_only=True)
class House:
    """A world with its files."""

    world: World
    data: Path

    @property
    def blobs(self) -> Blobs:
        return Blobs.open(folder=self.data / "results")

    @property
    def shelf(self) -> Shelf:
        return Shelf(root=self.data / "references")

    def upkeep(self, **changes: Any) -> Upkeep:
        parts = {
            "database": self.world.database,
            "blobs": self.blobs,
            "references": self.shelf,
            "incoming": self.data / "incoming",
            "ages": AGES,
            "deadline": DEADLINE,
        }
        return Upkeep(**(parts | changes))

    def eraser(self, **changes: Any) -> Eraser:
        parts = {
            "database": self.world.database,
            "blobs": self.blobs,
            "references": self.shelf,
            "deadline": DEADLINE,
            "note": "by otto",
        }
        return Eraser(**(parts | changes))

    async def pass_days(self, days: float) -> None:
        """From the day on which the test began."""
        async with self.world.database.write() as tx:
            await tx.execute("UPDATE clock SET shift = make_interval(secs => $1)", days * 86_400)

    async def owner(self) -> tuple[UUID, UUID]:
        """An account with credit, and a key of it."""
        account = await self.world.account(credit=10**10)
        return account, await self.world.key(account)

    async def ended(
        self, owner: tuple[UUID, UUID], count: int = 1, *, reference: str | None = None, fail_every: int = 3
    ) -> list[UUID]:
        """Tasks that ended: every third without its picture. Their requests tell secrets."""
        world, lane = self.world, self.world.database.work_lane
        tasks = [world.task(*owner, **_request(reference)) for _ in range(count)]
        await world.accept(*tasks)
        ours = {task.id: number for number, task in enumerate(tasks, 1)}
        me = WorkerIdentity(id=world.ids.new(), host="h", process="")
        claims = await slots.claim(lane, me, name="engine:blank", want=count, cursor=UUID(int=0))
        assert {claim.task_id for claim in claims} == set(ours)
        if reference is not None:
            for claim in claims:
                await slots.record_references(lane, claim.task_id, claim.epoch, [self.shelve(reference)])
        await slots.open_attempts(
            lane, [Intent(task_id=c.task_id, ordinal=0, epoch=c.epoch, lane=c.lane, free=True) for c in claims]
        )
        drawn = [claim for claim in claims if ours[claim.task_id] % fail_every]
        await slots.keep_images(lane, [self._picture(claim) for claim in drawn])
        endings = [
            SlotEnding(
                task_id=claim.task_id,
                ordinal=0,
                epoch=claim.epoch,
                reason=None if claim in drawn else Reason.INTERNAL,
            )
            for claim in claims
        ]
        assert all(await finish.finish_slots(lane, endings))
        return [task.id for task in tasks]

    def shelve(self, content: str, *, age_s: float = 86_400) -> StoredReference:
        """A reference on the shelf, and the original that came as a data URL; both as old as that."""
        for text in (content, f"original of {content}"):
            path = self.shelf.path(digest(text))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            os.utime(path, (time.time() - age_s,) * 2)
        return StoredReference(
            original_sha256=digest(f"original of {content}"),
            sha256=digest(content),
            format="png",
            width=20,
            height=20,
            size_bytes=len(content),
        )

    async def upload(self, account_id: UUID, content: str) -> None:
        """An upload whose content has been on the shelf for a day."""
        self.shelve(content)
        new = NewFile(
            id=self.world.ids.new(),
            account_id=account_id,
            name=f"{self.world.ids.token()}.png",
            sha256=digest(content),
            format="png",
            width=1,
            height=1,
            size_bytes=len(content),
        )
        async with self.world.database.write() as tx:
            await add_file(tx, new, quota=Quota(files=99, size_bytes=999), keep=timedelta(days=15))

    def files(self) -> set[str]:
        """Names of the results that are there."""
        return {path.name for path in (self.data / "results").rglob("*") if path.is_file()}

    def age_results(self) -> None:
        """As if they had been written long ago."""
        for path in (self.data / "results").rglob("*.jpg"):
            os.utime(path, (time.time() - 86_400,) * 2)

    def _picture(self, claim: slots.Claim) -> Picture:
        name = f"{self.world.ids.token()}.jpg"
        path = self.data / "results" / key(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
        return Picture(
            task_id=claim.task_id,
            ordinal=0,
            slot=0,
            epoch=claim.epoch,
            name=name,
            format="jpeg",
            width=8,
            height=8,
            size_bytes=7,
            sha256=b"s" * 32,
        )


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _request(reference: str | None) -> dict[str, Any]:
    references = [] if reference is None else [f"sha256:{digest(f'original of {reference}')}"]
    request = {
        "prompt": f"a portrait of {SECRET}",
        "model": "seedream-4-5",
        "pictures": 1,
        "tier": "2K",
        "size": {"width": 2048, "height": 1024},
        "references": [*references, f"https://example.com/{SECRET}.png"],
        "seed": 7,
    }
    change = {"kind": "ignored", "field": "input.subject", "given": SECRET, "used": None, "why": "unknown"}
    return {
        "request": json.dumps(request),
        "changes": json.dumps([change]),
        "callback_url": f"https://example.com/hook/{SECRET}",
        "has_references": reference is not None,
    }
