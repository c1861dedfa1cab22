"""Who may read the figures."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from seedgate.domain.errors import NotFound, Unavailable
from seedgate.web.dispatch import Measured
from seedgate.web.health import Health, MetricsFor


class NoDatabase(SimpleNamespace):
    """One that does not answer."""

    async def fetch(self, *_: object) -> None:
        raise Unavailable


# If this failed, strangers would read how many callers there are and what they do, or the operator could not.
@pytest.mark.parametrize(
    ("metrics_for", "peer", "header", "may"),
    [
        ("loopback", "127.0.0.1", "accept", True),
        ("loopback", "::1", "accept", True),
        ("loopback", "::ffff:127.0.0.1", "accept", True),
        ("loopback", "127.0.0.1", "x-forwarded-for", False),
        ("loopback", "127.0.0.1", "forwarded", False),
        ("loopback", "127.0.0.1", "x-real-ip", False),
        ("loopback", "127.0.0.1", "via", False),
        ("loopback", "203.0.113.7", "accept", False),
        ("loopback", None, "accept", False),
        ("everybody", "203.0.113.7", "x-forwarded-for", True),
        ("nobody", "127.0.0.1", "accept", False),
    ],
)
async def test_figures_are_for_whom_the_setting_says(
    metrics_for: MetricsFor, peer: str | None, header: str, may: bool, tmp_path: Path
) -> None:
    health = Health(database=cast("Any", NoDatabase()), measured=Measured(), data=tmp_path, metrics_for=metrics_for)
    client = (peer, 1) if peer is not None else None
    request = Request({"type": "http", "client": client, "headers": [(header.encode(), b"127.0.0.1")]})
    if may:
        assert b"seedgate_disk_free_bytes" in (await health.metrics(request)).body
    else:
        with pytest.raises(NotFound):
            await health.metrics(request)
