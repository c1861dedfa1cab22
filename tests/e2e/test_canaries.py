"""A canary in every slot that holds a secret: none comes out where it does not belong."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import structlog
from canaries import Canaries, files, forms, token
from conftest import picture
from gateway import Gateway
from shell import environment
from world import World, tables, url

from seedgate import log
from seedgate.ids import Ids, KeyKind, key_digest
from seedgate.store.database import Database, Dsn

PAGES = ("/openapi.json", "/openapi/apixo.json", "/metrics", "/healthz", "/readyz", "/nothing")
SUBMIT, STATUS = "/api/v1/generateTask/seedream-4-5", "/api/v1/statusTask/seedream-4-5"
OWN = "/seedgate/v1"


@dataclass
class Aviary:
    """A gateway whose every slot holds a canary, its callers and its operator."""

    canaries: Canaries
    gateway: Gateway
    env: dict[str, str]
    folder: Path
    session: aiohttp.ClientSession
    reference: str
    leaks: list[str] = field(default_factory=list)

    def scan(self, place: str, content: bytes | str) -> None:
        self.leaks += self.canaries.found(place, content)

    async def ask(self, method: str, path: str, key: str, place: str = "answer", **more: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}", "Cookie": f"session={self.canaries.planted['cookie'][0]}"}
        headers |= more.pop("headers", {})
        async with self.session.request(method, self.gateway.url + path, headers=headers, **more) as response:
            body = await response.read()
            said = "\n".join(f"{name}: {value}" for name, value in response.headers.items()).encode() + b"\n" + body
        self.scan(f"{place} {method} {path.partition('?')[0]} {response.status}", said)
        with contextlib.suppress(ValueError):
            return response.status, json.loads(body)
        return response.status, body

    async def run(self, place: str, *arguments: str) -> str:
        """A command of the operator's; its output is scanned, and given."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "seedgate", *arguments, "--data", self.gateway.data],
            capture_output=True,
            env=environment(**self.env),
            text=True,
            timeout=60,
        )
        self.scan(f"{place} {' '.join(arguments)}", done.stdout + done.stderr)
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout

    async def key(self, *arguments: str) -> str:
        said = await self.run("key-once", "keys", *arguments, "--json")
        return json.loads(said)["key"]


@pytest.fixture
async def aviary(lasting: Dsn, references: str, tmp_path: Path) -> AsyncIterator[Aviary]:
    canaries = Canaries()
    env = {
        "SEEDGATE_LOG_LEVEL": "debug",
        "SEEDGATE_SECRET_KEY": canaries.plant("secret_key", token(40)),
        "DATABASE_URL": url(lasting).replace("///", f"//{lasting.arguments['user']}:{canaries.plant('password')}@/"),
        "SEEDGATE_LIMITS__REFUSALS_PER_SECOND": "0",
        "AWS_SECRET_ACCESS_KEY": canaries.plant("bucket key"),
    }
    for slot in ("wrong key", "cookie", "query key", "file name"):
        canaries.plant(slot)
    canaries.plant("idempotency key", allowed="database backup")
    canaries.plant("prompt", f"a fox & {token()} ä", allowed="database backup receipt")
    canaries.plant("callback", allowed="database backup receipt")
    canaries.plant("reference", allowed="database backup receipt")
    canaries.plant("reference user")
    gateway = Gateway(tmp_path / "data", env=env)
    await asyncio.to_thread(gateway.start)
    try:
        async with aiohttp.ClientSession() as session:
            yield Aviary(canaries, gateway, env, tmp_path, session, references)
    finally:
        await asyncio.to_thread(gateway.close)


# If this failed, whoever reads a log, a metric, an answer, a dump or a backup could use what is somebody else's.
async def test_no_canary_comes_out(aviary: Aviary, lasting: Dsn) -> None:
    planted = aviary.canaries
    key = await aviary.key("create", "--name", "first", "--polls-per-minute", "unlimited", "--concurrent", "unlimited")
    rotated = await aviary.key("rotate", "first")
    # The beginning of a key may be shown.
    for slot, issued in (("key", key), ("rotated key", rotated)):
        planted.plant(slot, issued[16:], allowed="key-once")
    planted.plant("development key", aviary.gateway.key[15:])
    tasks = await _submits(aviary, rotated)
    await _questions(aviary, rotated, tasks)
    await _operator(aviary, tasks)
    await _dying_database(aviary, lasting, rotated)
    aviary.scan("backup names", "\n".join(name for name, _ in files(aviary.folder / "backup")))
    for name, content in files(aviary.folder / "backup"):
        aviary.scan(f"backup {name}", content)
    database = Database(lasting)
    aviary.scan("database", json.dumps(await tables(database), ensure_ascii=False))
    await database.close()
    assert await asyncio.to_thread(aviary.gateway.stop) == 0
    aviary.scan("log", aviary.gateway.log_file.read_bytes())
    for name, content in files(aviary.gateway.data):
        aviary.scan(f"folder {name}", name)
        if name != "development.key":
            aviary.scan(f"folder {name}", content)
    assert aviary.leaks == []
    # And each was looked for where it must be: the scanner reads what is there.
    everywhere = Canaries({slot: (value, frozenset()) for slot, (value, _) in planted.planted.items()})
    database = Database(lasting)
    kept = everywhere.found("database", json.dumps(await tables(database), ensure_ascii=False))
    await database.close()
    assert {each.removesuffix(" in database") for each in kept} == {
        "idempotency key",
        "prompt",
        "callback",
        "reference",
    }


async def _submits(aviary: Aviary, key: str) -> list[str]:
    """Every way of a submit, good and bad; the ids of the tasks that were made."""
    word = {slot: value for slot, (value, _) in aviary.canaries.planted.items()}
    prompt = word["prompt"]

    def body(**more: Any) -> dict[str, Any]:
        return {"input": {"mode": "text-to-image", "prompt": prompt, "max_images": 1} | more}

    def drawn_from(address: str) -> dict[str, Any]:
        return body(mode="image-to-image", image_urls=[address])

    host = aviary.reference.removeprefix("http://")
    named = {"Idempotency-Key": word["idempotency key"]}
    callback = {"request_type": "callback", "callback_url": f"http://{host}/hook?token={word['callback']}"}
    good = [
        body() | callback,
        drawn_from(f"http://{host}/ref.jpg?token={word['reference']}"),
        drawn_from(f"http://{host}/missing.jpg?token={word['reference']}"),
        drawn_from(f"http://{host}/text.jpg?token={word['reference']}"),
        drawn_from(f"http://localhost:1/ref.jpg?token={word['reference']}"),
        *(body(prompt=f"{prompt} [[{way}]]") for way in ("refuse", "fail", "crash", "torn", "wrong-size", "slow:30")),
    ]
    bad = [
        drawn_from(f"http://me:{word['reference user']}@{host}/ref.jpg"),
        drawn_from(f"ftp://{host}/ref.jpg?token={word['reference user']}"),
        body(prompt=[prompt]),
        body(prompt=prompt * 2000),
        body(aspect_ratio=f"1:{prompt}"),
        body() | callback | {"callback_url": f"http://me:{word['reference user']}@{host}/"},
    ]
    tasks = []
    for each in good:
        status, answer = await aviary.ask("POST", SUBMIT, key, json=each)
        assert status == 200, answer
        tasks.append(answer["data"]["taskId"])
    for each in bad:
        status, answer = await aviary.ask("POST", SUBMIT, key, json=each)
        assert 400 <= status < 500, (each, answer)
    for each, status in ((body(), 200), (body(), 200), (body(max_images=2), 422)):
        assert (await aviary.ask("POST", SUBMIT, key, json=each, headers=named))[0] == status
    await aviary.ask("POST", SUBMIT, key, "receipt", json=good[0], headers={"X-Seedgate-Dry-Run": "1"})
    await aviary.ask("POST", SUBMIT, key, data=json.dumps(good[0])[:-3], headers={"Content-Type": "application/json"})
    await aviary.ask("POST", SUBMIT, key, data=prompt, headers={"Content-Type": "text/plain"})
    await aviary.ask("POST", SUBMIT, key, json=body(), headers={"Idempotency-Key": word["idempotency key"] * 20})
    await aviary.ask("POST", SUBMIT, word["wrong key"], json=body())
    await aviary.ask("POST", SUBMIT, Ids().api_key(KeyKind.TEST), json=body())
    return tasks


async def _questions(aviary: Aviary, key: str, tasks: list[str]) -> None:
    word = {slot: value for slot, (value, _) in aviary.canaries.planted.items()}
    slow = tasks.pop()
    assert (await aviary.ask("DELETE", f"{STATUS}?taskId={slow}", key))[0] == 200
    async with asyncio.timeout(30):
        for task in tasks:
            while (await aviary.ask("GET", f"{STATUS}?taskId={task}", key))[1]["data"]["state"] not in {
                "success",
                "failed",
            }:
                await asyncio.sleep(0.05)
    for task in [*tasks, slow]:
        await aviary.ask("GET", f"{OWN}/tasks/{task}", key, "receipt")
    form = aiohttp.FormData()
    form.add_field("file", picture(), filename=f"{word['file name']}.jpg")
    status, made = await aviary.ask("POST", f"{OWN}/files", key, data=form)
    assert status == 201, made
    await aviary.ask("GET", f"{OWN}/files/{made['id']}", key)
    await aviary.ask("DELETE", f"{OWN}/files/{made['id']}", key)
    await aviary.ask("POST", f"{OWN}/files", key, data=word["prompt"].encode())
    for path in ("/tasks", "/balance", "/models", "/files", "/nothing"):
        await aviary.ask("GET", OWN + path, key)
        await aviary.ask("GET", OWN + path, word["wrong key"])
        await aviary.ask("GET", f"{OWN}{path}?api_key={word['query key']}", "nobody", "own-query")
    for path in PAGES:
        await aviary.ask("GET", f"{path}?key={word['query key']}", word["wrong key"])
    await aviary.ask("GET", "/api/v1/apikeys/current-balance", key)
    await aviary.ask("GET", f"{STATUS}?taskId={word['wrong key']}", key)
    await aviary.ask("GET", f"/files/{word['wrong key']}.jpg", key)


async def _operator(aviary: Aviary, tasks: list[str]) -> None:
    shown = [("tasks", "show", task) for task in tasks[:2]]
    commands = [
        *shown,
        ("tasks", "list"),
        ("keys", "list"),
        ("credits", "balance"),
        ("credits", "ledger", "development"),
        ("ledger", "check"),
        ("db", "status"),
        ("doctor",),
        ("configuration", "show"),
    ]
    # A few at a time: each takes most of a second.
    for at in range(0, len(commands), 4):
        await asyncio.gather(*(aviary.run("command", *each) for each in commands[at : at + 4]))
    await asyncio.gather(
        aviary.run("command", "tasks", "show", tasks[1], "--json"),
        aviary.run("command", "db", "backup", str(aviary.folder / "backup"), "--without-secret"),
    )
    assert (aviary.folder / "backup").is_dir()
    secret = aviary.canaries.plant("bucket user")
    for bucket in (f"s3://me:{secret}@bucket/prefix", f"https://me:{secret}@localhost:1/b?sig={secret}"):
        aviary.env["BLOBS_URL"] = bucket
        await aviary.run("command", "doctor")
    del aviary.env["BLOBS_URL"]


async def _dying_database(aviary: Aviary, dsn: Dsn, key: str) -> None:
    """Errors of the driver, which quote rows and addresses, reach loops and requests."""
    word = {slot: value for slot, (value, _) in aviary.canaries.planted.items()}
    connection = await asyncpg.connect(**dsn.arguments)
    body = {"input": {"mode": "text-to-image", "prompt": word["prompt"], "max_images": 1}}
    await connection.execute("ALTER TABLE task ADD CONSTRAINT broken CHECK (pictures > 1) NOT VALID")
    status, _ = await aviary.ask("POST", SUBMIT, key, json=body)
    assert status >= 500
    await connection.execute("ALTER TABLE task DROP CONSTRAINT broken")
    for _ in range(3):
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await aviary.ask("POST", SUBMIT, key, json=body)
        await aviary.ask("GET", f"{OWN}/tasks", key)
    await connection.close()


# If this failed, the scan above would find nothing because it cannot.
async def test_the_scanner_finds_seeded_leaks(world: World, tmp_path: Path) -> None:
    canaries, key = Canaries(), Ids().api_key(KeyKind.TEST)
    secret = canaries.plant("key", key[16:], allowed="receipt")
    said = (tmp_path / "log").open("w+")
    log.configure(json_lines=True, stream=said)
    try:
        log.get("test").warning("leak", key=key)
        assert canaries.found("log", (tmp_path / "log").read_text()) == []
        log.get("test").warning("leak", key=key.removeprefix("sg_"))
        assert canaries.found("log", (tmp_path / "log").read_text()) == ["key in log"]
    finally:
        said.close()
        structlog.reset_defaults()
    await world.key(await world.account(), digest=key_digest(b"pepper", key))
    assert canaries.found("database", json.dumps(await tables(world.database))) == []
    await world.key(await world.account(), digest=secret.encode().ljust(32))
    assert canaries.found("database", json.dumps(await tables(world.database))) == ["key in database"]
    for form in forms(secret):
        assert canaries.found("answer", b"before " + form + b" after") == ["key in answer"]
        assert canaries.found("receipt", form) == []
