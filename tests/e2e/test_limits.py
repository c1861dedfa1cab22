"""Keys, limits, prices and maintenance of a running gateway, changed from the command line and felt over HTTP."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from gateway import Gateway

BODY = {"input": {"mode": "text-to-image", "prompt": "a fox", "max_images": 1}}
OTHER = {"input": {"mode": "text-to-image", "prompt": "an owl", "max_images": 1}}
LIVE_S = 5.0
"""How long a change may take to be felt everywhere."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    env = {
        "SEEDGATE_LIMITS__SUBMITS_PER_MINUTE": "5",
        "SEEDGATE_LIMITS__POLLS_PER_MINUTE": "10",
        "SEEDGATE_LIMITS__REFUSALS_PER_SECOND": "3",
        "SEEDGATE_TRUSTED_PROXIES": '["127.0.0.1"]',
    }
    with Gateway(tmp_path_factory.mktemp("limits") / "data", env=env) as running:
        yield running


def run(gateway: Gateway, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "seedgate", *arguments, "--data", str(gateway.data), "--json"]
    done = subprocess.run(command, capture_output=True, env=gateway.env | {"PATH": "/usr/bin:/bin"}, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Answer:
    """A response that was read."""

    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A caller with a key of its own."""

    def __init__(self, session: aiohttp.ClientSession, gateway: Gateway, key: str) -> None:
        self._session = session
        self._gateway = gateway
        self.key = key

    async def submit(self, body: Any = BODY, model: str = "seedream-4-5", **headers: str) -> Answer:
        sent = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": str(time.monotonic_ns())}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in sent.items() if value}
        url = f"{self._gateway.url}/api/v1/generateTask/{model}"
        async with self._session.post(url, json=body, headers=sent) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str = "/api/v1/apikeys/current-balance", **headers: str) -> Answer:
        sent = {"Authorization": f"Bearer {self.key}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        async with self._session.get(f"{self._gateway.url}{path}", headers=sent) as response:
            return Answer(response.status, response.headers, await response.read())

    async def until(self, status: int, ask: Any) -> float:
        """Seconds until `ask` is answered with `status`."""
        started = time.monotonic()
        while (await ask()).status != status:
            assert time.monotonic() - started < LIVE_S
            await asyncio.sleep(0.1)
        return time.monotonic() - started


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def client(session: aiohttp.ClientSession, gateway: Gateway, *options: str) -> Client:
    """A key without a submit rate unless the options say otherwise."""
    rate = () if "--submits-per-minute" in options else ("--submits-per-minute", "unlimited")
    made = run(gateway, "keys", "create", *rate, *options)
    return Client(session, gateway, made["key"])


# If this failed, the defaults of the settings would be words, or a refused caller would not know what it has left.
async def test_the_default_rate_is_the_settings_and_told(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    made = run(gateway, "keys", "create")
    assert (made["submits_per_minute"], made["concurrent_tasks"], made["polls_per_minute"]) == (5, 10, 10)
    caller = Client(session, gateway, made["key"])
    answers = [await caller.submit() for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    refused = answers[-1].headers
    assert 1 <= int(refused["Retry-After"]) <= 59
    assert (refused["x-ratelimit-limit-requests"], refused["x-ratelimit-remaining-requests"]) == ("5", "0")
    assert refused["X-Seedgate-Charged"] == "0"
    assert refused["X-Request-Id"]
    run(gateway, "configuration", "set", "limits.submits_per_minute", "1000", "--reason", "more for all")
    await caller.until(200, caller.submit)
    run(gateway, "configuration", "reset", "limits.submits_per_minute", "--reason", "as before")


async def test_polls_are_bounded_and_submits_are_not_touched(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    caller = client(session, gateway)
    answers = [await caller.get() for _ in range(12)]
    assert [answer.status for answer in answers] == [200] * 10 + [429] * 2
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 59
    assert (await caller.submit()).status == 200


# If this failed, whoever guesses keys would cost the database a question for each, for ever.
async def test_an_address_with_many_refusals_waits_and_others_do_not(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    nobody, known = Client(session, gateway, "nonsense"), client(session, gateway)
    assert (await known.get(X_Forwarded_For="203.0.113.1")).status == 200
    answers = [await nobody.get(X_Forwarded_For="203.0.113.1") for _ in range(5)]
    assert [answer.status for answer in answers][:3] == [401] * 3
    assert answers[-1].status == 429
    assert (await nobody.get(X_Forwarded_For="203.0.113.2")).status == 401
    assert (await known.get(X_Forwarded_For="203.0.113.1")).status == 200


async def test_a_key_is_bound_to_its_models_and_its_budget(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    caller = client(session, gateway, "--model", "apixo/seedream-4-5", "--budget", "0.07")
    answer = await caller.submit(model="seedream-5-0")
    assert (answer.status, answer.json()["code"]) == (403, 403)
    assert [(await caller.submit()).status for _ in range(3)] == [200, 200, 402]
    answer = await caller.submit()
    assert answer.headers["x-should-retry"] == "false"


# If this failed, a leaked key would work on, or a rotated one would lose its callers.
async def test_keys_end_and_turn_within_five_seconds(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    caller = client(session, gateway, "--name", "turned", "--polls-per-minute", "unlimited")
    first = await caller.submit(Idempotency_Key="same")
    turned = run(gateway, "keys", "rotate", "turned", "--overlap", "1h")
    newer = Client(session, gateway, turned["key"])
    assert (await caller.get()).status == (await newer.get()).status == 200
    again = await newer.submit(Idempotency_Key="same")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.body == first.body
    run(gateway, "keys", "rotate", "turned", "--overlap", "0s")
    await newer.until(401, newer.get)
    await caller.until(401, caller.get)
    gone = client(session, gateway, "--name", "gone")
    assert (await gone.get()).status == 200
    run(gateway, "keys", "revoke", gone.key[:16])
    await gone.until(401, gone.get)


async def test_a_key_in_the_query_is_no_key(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    for name in ("api_key", "key", "token", "access_token", "Authorization"):
        url = f"{gateway.url}/api/v1/apikeys/current-balance?{name}={gateway.key}"
        async with session.get(url, headers={"X-Forwarded-For": f"203.0.113.{50 + len(name)}"}) as response:
            assert response.status == 401


# If this failed, a task could cost something else than was agreed when it was accepted.
async def test_a_price_change_concerns_later_tasks_only(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    caller = client(session, gateway, "--polls-per-minute", "unlimited")
    before = (await caller.submit()).json()["data"]["taskId"]
    version = run(gateway, "configuration", "set", "listing.apixo/seedream-4-5.price", "0.05", "--reason", "spring")
    path = "/api/v1/statusTask/seedream-4-5?taskId="
    async with asyncio.timeout(LIVE_S):
        while (await caller.submit(X_Seedgate_Dry_Run="1")).json()["price"]["unit"] != "0.05":
            await asyncio.sleep(0.1)
    after = (await caller.submit()).json()["data"]["taskId"]
    for task_id, charged in ((before, "35000"), (after, "50000")):
        async with asyncio.timeout(30):
            while "X-Seedgate-Charged" not in (answer := await caller.get(path + task_id)).headers:
                await asyncio.sleep(0.05)
        assert answer.headers["X-Seedgate-Charged"] == charged
    shown = run(gateway, "tasks", "show", after)
    assert (shown["receipt"]["unit_price_micros"], shown["price_version"]) == (50_000, version["version"])
    run(gateway, "configuration", "reset", "listing.apixo/seedream-4-5.price", "--reason", "as before")
    assert run(gateway, "ledger", "check")["ok"]


async def test_maintenance_and_switches_refuse_before_anything_is_held(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    caller = client(session, gateway, "--polls-per-minute", "unlimited")
    first = await caller.submit(Idempotency_Key="before")
    run(gateway, "configuration", "set", "listing.apixo/seedream-5-0.enabled", "off", "--reason", "test")
    await caller.until(404, lambda: caller.submit(model="seedream-5-0"))
    run(gateway, "configuration", "reset", "listing.apixo/seedream-5-0.enabled", "--reason", "test")
    run(gateway, "configuration", "set", "maintenance", "Back at noon.", "--reason", "test")
    await caller.until(503, caller.submit)
    answer = await caller.submit()
    assert answer.json()["message"] == "Back at noon."
    assert answer.headers["Retry-After"] == "30"
    assert (await caller.get()).status == 200
    # A lost answer is given again, also now; another body under its key is nothing that there was.
    again = await caller.submit(Idempotency_Key="before")
    assert (again.status, again.body) == (200, first.body)
    assert (await caller.submit(OTHER, Idempotency_Key="before")).status == 503
    run(gateway, "configuration", "set", "maintenance", "off", "--reason", "test")
    await caller.until(200, caller.submit)
    history = run(gateway, "configuration", "history", "maintenance")["changes"]
    assert [change["value"] for change in history] == ["off", "Back at noon."]


# If this failed, a quote would cost something, or promise what the submit does not keep.
async def test_a_dry_run_tells_everything_and_does_nothing(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    caller = client(session, gateway, "--route", "value", "--polls-per-minute", "unlimited")
    body = {"input": BODY["input"] | {"max_images": 3, "aspect_ratio": "16:9", "image_urls": None}}
    balance = (await caller.get()).json()
    quoted = await caller.submit(body, X_Seedgate_Dry_Run="1")
    said = quoted.json()
    assert (quoted.status, quoted.headers["X-Seedgate-Dry-Run"], quoted.headers["X-Seedgate-Charged"]) == (
        200,
        "1",
        "0",
    )
    assert (said["price"]["total"], said["served_by"], said["affordable"]) == ("0.105", "engine:blank", True)
    assert (said["request"]["size"], said["request"]["route"]) == ({"width": 2848, "height": 1600}, "value")
    assert any(change["field"] for change in said["changes"])
    assert (await caller.get()).json() == balance
    refused = await caller.submit({"input": {"prompt": ""}}, X_Seedgate_Dry_Run="1")
    assert refused.status == 400


# If this failed, a client that repeats itself after a lost answer would pay twice, and one that means two would get one.
async def test_a_retry_without_a_key_is_recognised_by_what_it_says(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    caller = client(session, gateway)

    async def task(body: Any, **headers: str) -> str:
        return (await caller.submit(body, Idempotency_Key="", **headers)).json()["data"]["taskId"]

    first = await task(OTHER)
    assert await task(OTHER, x_stainless_retry_count="1") == first
    second = await task(OTHER, x_stainless_retry_count="0")
    assert second != first
    assert await task(OTHER, x_stainless_retry_count="2") == second
    assert await task(BODY, x_stainless_retry_count="1") not in {first, second}


async def test_a_full_queue_refuses_before_anything_is_held(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    caller = client(session, gateway, "--polls-per-minute", "unlimited", "--concurrent", "unlimited")
    run(gateway, "configuration", "set", "lane.engine:blank.capacity", "0", "--reason", "stop")
    run(gateway, "configuration", "set", "lane.engine:blank.max_waiting", "3", "--reason", "short")
    await caller.until(503, caller.submit)
    answer = await caller.submit()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    run(gateway, "configuration", "reset", "lane.engine:blank.capacity", "--reason", "go")
    await caller.until(200, caller.submit)
    run(gateway, "configuration", "reset", "lane.engine:blank.max_waiting", "--reason", "go")
    assert run(gateway, "ledger", "check")["ok"]
