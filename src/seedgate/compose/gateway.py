"""A running gateway of the asked roles, built on the ground."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from seedgate import log
from seedgate.accounts.configuration import REFRESH_S, Live
from seedgate.accounts.credits import Balances
from seedgate.accounts.keyring import Keyring
from seedgate.accounts.keys import Keys
from seedgate.accounts.statement import Turns
from seedgate.accounts.uploads import Uploads
from seedgate.blobs import Blobs
from seedgate.catalogue.load import Catalogue
from seedgate.catalogue.load import load as load_catalogue
from seedgate.compose.ground import Ground, make_folder
from seedgate.compose.offer import configured_limits, dialects, interfaces
from seedgate.dialect import StoreDataUrl
from seedgate.domain.addresses import Policy
from seedgate.domain.errors import BadSettings, NoSpace, Unavailable
from seedgate.domain.quota import Quota
from seedgate.inference import EngineHost, HostLimits
from seedgate.intake.dataurl import name_data_url, store_data_url
from seedgate.intake.fetch import fetch_references
from seedgate.intake.gate import Gate
from seedgate.intake.shelf import Shelf
from seedgate.loop import Loop, run
from seedgate.net import Net, open_net
from seedgate.settings import Settings
from seedgate.store.configuration import CHANNEL
from seedgate.store.database import Database
from seedgate.store.funds import read_spendable
from seedgate.store.operations import require_connections
from seedgate.store.slots import StoredReference
from seedgate.tasks import presence
from seedgate.tasks.attempt import FetchReferences, Studio
from seedgate.tasks.backlog import LOOK_S, Backlog
from seedgate.tasks.cancel import cancel_for_caller
from seedgate.tasks.finish import Writes
from seedgate.tasks.lookup import Lookups
from seedgate.tasks.outputs import Outputs
from seedgate.tasks.own_files import OwnFiles
from seedgate.tasks.submit import Submits
from seedgate.tasks.upkeep import UPKEEP_S, Ages, Upkeep
from seedgate.tasks.worker import Worker
from seedgate.web import app as rest
from seedgate.web.body import Bodies
from seedgate.web.dispatch import Dispatch, Measured, Services
from seedgate.web.files import Files
from seedgate.web.health import Health
from seedgate.web.openapi import Documents
from seedgate.web.own import operations
from seedgate.web.own.door import Door, House
from seedgate.web.refusals import Addresses, Throttle

DATABASE_WATCH_S = 0.5
WORK_DRAIN_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway. `dispatch` is None where this process serves no HTTP."""

    ground: Ground
    catalogue: Catalogue
    dispatch: Dispatch | None
    worker: Worker | None


@asynccontextmanager
async def open_gateway(ground: Ground, *, serve: bool, work: bool, base_url: str) -> AsyncIterator[Gateway]:
    """Everything of the asked roles, started; at the end stopped in the opposite order.

    `base_url` is where callers reach this gateway, for the addresses of results.
    """
    settings = ground.settings
    if serve and settings.production and not settings.public_url:
        hint = "Set SEEDGATE_PUBLIC_URL to the address under which callers reach this gateway."
        raise BadSettings("In production the setting `public_url` is needed", hint=hint)
    await require_connections(ground.database)
    catalogue = load_catalogue()
    blobs = Blobs.open(folder=ground.data / "results", url=settings.blobs_url)
    shelf = Shelf(root=ground.data / "references")
    live = Live(ground.database, configured_limits(settings))
    await live.refresh()
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        dispatch, loops = None, _loops(ground, blobs, shelf, work=work)
        if serve:
            dispatch, watches = _open_web(stack, ground, catalogue, blobs, shelf, live, base_url)
            loops += watches
        own = OwnFiles(
            ground.database.access_lane,
            blobs=blobs,
            shelf=shelf,
            bases=(settings.files_url, settings.public_url, base_url),
        )
        worker = await _open_work(stack, ground, catalogue, own, shelf) if work else None
        changed = asyncio.Event()
        loops.append(Loop(name="configuration", turn=live.refresh, pause_s=REFRESH_S, wake=changed))
        tasks = [asyncio.create_task(run(loop, clock=ground.clock, stopping=stopping)) for loop in loops]
        channels = {CHANNEL: changed.set}
        if worker is not None:
            channels |= {"seedgate_slots": worker.wake.set, "seedgate_cancel": worker.wake_stop.set}
        tasks.append(asyncio.create_task(ground.database.listen(channels, stopping)))
        stack.push_async_callback(_stop, stopping, tasks)
        yield Gateway(ground=ground, catalogue=catalogue, dispatch=dispatch, worker=worker)


def lane(settings: Settings) -> str:
    """The lane that tasks wait in."""
    return f"engine:{settings.work.engine}"


def _open_web(
    stack: AsyncExitStack, ground: Ground, catalogue: Catalogue, blobs: Blobs, shelf: Shelf, live: Live, base_url: str
) -> tuple[Dispatch, list[Loop]]:
    settings, database = ground.settings, ground.database
    files_base = (settings.files_url or base_url).rstrip("/")
    spool = ground.data / "incoming"
    make_folder(spool)
    keys = Keys(
        database,
        pepper=ground.secret.derive("key pepper"),
        clock=ground.clock,
        allow_development=not settings.production,
    )
    backlog = Backlog(database, live)
    submits = Submits(
        database,
        ground.ids,
        lane=lane(settings),
        deadline_s=settings.work.deadline_s,
        configuration=live,
        backlog=backlog,
    )
    lookups, balances, files = (
        Lookups(database),
        Balances(database),
        Files(database, blobs, shelf, keep=timedelta(days=settings.results.days)),
    )
    for part in (keys, submits, lookups, balances, files):
        stack.push_async_callback(part.close)
    services = Services(
        keys=keys,
        submits=submits,
        lookups=lookups,
        cancel=lambda lookup, caller: cancel_for_caller(database, lookup, caller),
        balances=balances,
        spendable=lambda caller: read_spendable(database, caller.account_id, caller.key_id),
        bodies=Bodies(
            small_bytes=settings.limits.body_bytes, large_bytes=settings.limits.image_body_bytes, spool=spool
        ),
        store_data_url=_keep_data_urls(shelf),
        name_data_url=name_data_url,
        throttle=Throttle(lambda: live().limits, Addresses(settings.trusted_proxies), ground.clock),
        result_url=lambda name: f"{files_base}/files/{name}",
    )
    measured = Measured()
    spoken = dialects(catalogue)
    documents = Documents(interfaces(spoken), server=base_url)
    health = Health(database=database, measured=measured, data=ground.data, metrics_for=settings.metrics)
    own = operations.routes(Door(_house(ground, catalogue, services, shelf, live), measured))
    application = rest.build(spoken, files, documents, health, own)
    dispatch = Dispatch(spoken, services, measured=measured, rest=application)
    return dispatch, [Loop(name="backlog", turn=backlog.look, pause_s=LOOK_S)]


def _house(ground: Ground, catalogue: Catalogue, services: Services, shelf: Shelf, live: Live) -> House:
    settings = ground.settings
    return House(
        keys=services.keys,
        throttle=services.throttle,
        database=ground.database,
        uploads=Uploads(
            database=ground.database,
            ids=ground.ids,
            gate=Gate(),
            shelf=shelf,
            quota=Quota(files=settings.limits.files_per_account, size_bytes=settings.limits.file_bytes_per_account),
            keep=timedelta(days=settings.results.file_days),
        ),
        keyring=Keyring(
            database=ground.database,
            ids=ground.ids,
            secret=ground.secret,
            most=settings.limits.keys_per_account,
            limits=lambda: live().limits,
        ),
        statements=Turns(),
        bodies=services.bodies,
        listings=catalogue.listings,
        configuration=live,
        model_of={
            key: listing.model.id for each in catalogue.listings.values() for key, listing in each.versions.items()
        },
        result_days=settings.results.days,
        file_url=services.result_url,
    )


def _keep_data_urls(shelf: Shelf) -> StoreDataUrl:
    def store(text: str) -> str:
        try:
            return store_data_url(text, shelf)
        except NoSpace as error:
            raise Unavailable("There is no room for the request's images now", retry_after_s=30) from error

    return store


async def _open_work(
    stack: AsyncExitStack, ground: Ground, catalogue: Catalogue, own: OwnFiles, shelf: Shelf
) -> Worker:
    settings, database = ground.settings, ground.database
    places = settings.work.engine_processes or max(1, (os.cpu_count() or 1) // 2)
    scratch, incoming = ground.data / "scratch", ground.data / "incoming"
    make_folder(scratch)
    make_folder(incoming)
    engine = EngineHost(
        settings.work.engine,
        scratch=scratch,
        processes=places,
        limits=HostLimits(job_s=settings.work.engine_job_s),
    )
    net = await stack.enter_async_context(open_net(_policy(settings)))
    stack.push_async_callback(engine.stop)
    await engine.start()
    writes = Writes(database)
    stack.push_async_callback(writes.close)
    studio = Studio(
        database=database,
        writes=writes,
        outputs=Outputs(blobs=own.blobs, writes=writes, ids=ground.ids, incoming=incoming),
        engine=engine,
        places=asyncio.Semaphore(places),
        models=catalogue.models,
        fetch=_fetch(net, own),
        reference_path=shelf.path,
    )
    identity = presence.identity(ground.ids)
    heartbeat = presence.Heartbeat(lambda: Database(ground.dsn), identity)
    worker = Worker(
        studio,
        lane=lane(settings),
        places=places,
        identity=identity,
        clock=ground.clock,
        cursor=ground.ids.new(),
    )
    heartbeat.start()
    stack.push_async_callback(heartbeat.stop)
    worker.start()
    stack.push_async_callback(worker.stop, drain_s=WORK_DRAIN_S)
    return worker


def _fetch(net: Net, own: OwnFiles) -> FetchReferences:
    gate = Gate()

    async def fetch(addresses: Sequence[str]) -> list[StoredReference]:
        found = await fetch_references(addresses, net=net, gate=gate, shelf=own.shelf, read_own=own.read)
        return [
            StoredReference(
                original_sha256=reference.original_sha256,
                sha256=reference.sha256,
                format=reference.format,
                width=reference.width,
                height=reference.height,
                size_bytes=reference.size_bytes,
            )
            for reference in found
        ]

    return fetch


def _loops(ground: Ground, blobs: Blobs, shelf: Shelf, *, work: bool) -> list[Loop]:
    settings, loops = ground.settings, []
    if work:
        upkeep = Upkeep(
            database=ground.database,
            blobs=blobs,
            references=shelf,
            incoming=ground.data / "incoming",
            ages=Ages(
                results=timedelta(days=settings.results.days),
                prompts=timedelta(days=settings.prompt_days),
                tasks=timedelta(days=settings.retention.task_days),
            ),
            deadline=timedelta(seconds=settings.work.deadline_s),
        )
        loops.append(Loop(name="upkeep", turn=upkeep.turn, pause_s=UPKEEP_S))
    embedded = ground.embedded
    if embedded is not None:

        async def watch() -> bool:
            if await asyncio.to_thread(embedded.ensure_running):
                log.get("database").warning("database_restarted")
            return False

        loops.append(Loop(name="database", turn=watch, pause_s=DATABASE_WATCH_S))
    return loops


async def _stop(stopping: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    stopping.set()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.get("gateway").warning("loop_ended_badly", error=type(outcome).__name__)


def _policy(settings: Settings) -> Policy:
    development = not settings.production
    names = (urlsplit(url).hostname for url in (settings.public_url, settings.files_url) if url)
    own = frozenset(name.lower() for name in names if name)
    return Policy(allow_http=development, allow_loopback=development, own_hosts=frozenset() if development else own)
