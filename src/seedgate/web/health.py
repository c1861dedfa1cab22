"""Whether the process lives, whether it can serve, and what it has measured."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seedgate.domain.errors import NotFound, SeedgateError
from seedgate.store.database import Database
from seedgate.store.statistics import Statistics, read_statistics
from seedgate.web.dispatch import Measured
from seedgate.web.protocol import peer_of

MetricsFor = Literal["loopback", "everybody", "nobody"]

READY_TIMEOUT_S = 2.0
STATISTICS_AGE_S = 5.0
"""How old the database's figures may be; a scrape never costs more than one small query."""
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via")
"""Headers of what comes through a proxy: on its machine everybody would seem to be at home."""


@dataclass(slots=True, kw_only=True)
class Health:
    """The three addresses of operators and their machines."""

    database: Database
    measured: Measured
    data: Path
    metrics_for: MetricsFor
    _read_at: float = 0.0
    _statistics: Statistics | None = None

    async def alive(self, _: Request) -> Response:
        """/healthz: the event loop turns."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """/readyz: requests are served and the database answers; 503 with the reason where not."""
        reason = None
        if self.measured.draining:
            reason = "shutting down"
        else:
            try:
                await asyncio.wait_for(self.database.access_lane.fetch("SELECT 1"), READY_TIMEOUT_S)
            except (SeedgateError, TimeoutError):
                reason = "the database does not answer"
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "unavailable", "reason": reason}, 503, {"retry-after": "1"})

    async def metrics(self, request: Request) -> Response:
        """/metrics: the text format of Prometheus. Raises NotFound for whom it is not for."""
        if not self._may_measure(request):
            raise NotFound
        if time.monotonic() - self._read_at > STATISTICS_AGE_S:
            try:
                self._statistics = await read_statistics(self.database)
            except SeedgateError:
                self._statistics = None
            self._read_at = time.monotonic()
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Figures(self.measured, self._statistics, shutil.disk_usage(self.data).free))
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _may_measure(self, request: Request) -> bool:
        match self.metrics_for:
            case "everybody":
                return True
            case "nobody":
                return False
            case "loopback":
                at_home = request.client is not None and peer_of(request.client.host)[1]
                return at_home and not any(name in request.headers for name in FORWARDED)
            case _:
                assert_never(self.metrics_for)


class _Figures(Collector):
    def __init__(self, measured: Measured, statistics: Statistics | None, disk_free_bytes: int) -> None:
        self._measured = measured
        self._statistics = statistics
        self._disk_free_bytes = disk_free_bytes

    def collect(self) -> Iterator[Metric]:
        """Every figure of this process and, where it answers, of the database."""
        requests = CounterMetricFamily(
            "seedgate_requests", "Answers to dialect requests.", labels=["dialect", "intent", "status"]
        )
        for (dialect, intent, status), count in self._measured.answers.items():
            requests.add_metric([dialect, intent, str(status)], count)
        yield requests
        seconds = CounterMetricFamily("seedgate_request_seconds", "Time spent answering.", labels=["dialect", "intent"])
        for (dialect, intent), total in self._measured.seconds.items():
            seconds.add_metric([dialect, intent], total)
        yield seconds
        yield GaugeMetricFamily("seedgate_disk_free_bytes", "Free space where data is kept.", self._disk_free_bytes)
        database_up = self._statistics is not None
        yield GaugeMetricFamily("seedgate_database_up", "Whether the database answers.", int(database_up))
        if self._statistics is not None:
            yield from self._of_database(self._statistics)

    def _of_database(self, statistics: Statistics) -> Iterator[Metric]:
        slots = GaugeMetricFamily("seedgate_slots", "Unsettled slots.", labels=["lane", "state"])
        for (lane, state), count in statistics.slots.items():
            slots.add_metric([lane, state], count)
        yield slots
        yield GaugeMetricFamily(
            "seedgate_oldest_open_task_seconds", "Age of the oldest open task.", statistics.oldest_open_task_s
        )
        yield GaugeMetricFamily("seedgate_workers", "Workers with a valid lease.", statistics.workers)
        yield GaugeMetricFamily("seedgate_deliveries_due", "Callbacks that wait to be sent.", statistics.deliveries_due)
