"""The documents as they are served, and a gateway held to them by schemathesis."""

import json
import subprocess
import sys
from pathlib import Path

from gateway import Caller, Gateway

# Valid is not enough: null means absent, some fields need others, and a key of an earlier example may come again.
NOT_CHECKED = "positive_data_acceptance"
EXAMPLES = 40
LIMIT_S = 60


# If this failed, a document would send its readers' keys to whoever wrote the Host header.
async def test_documents_are_listed_and_name_this_gateway(gateway: Gateway, caller: Caller) -> None:
    evil = {"Host": "evil.example"}
    async with caller.session.get(f"{gateway.url}/openapi.json", headers=evil) as response:
        listed = (await response.json())["documents"]
    assert "apixo" in {each["name"] for each in listed}
    for each in listed:
        assert each["url"] == f"{gateway.url}/openapi/{each['name']}.json"
        async with caller.session.get(each["url"], headers=evil) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            document = await response.json()
        assert all(server["url"].startswith(gateway.url) for server in document["servers"])
        assert "evil" not in json.dumps(document)
    async with caller.session.get(f"{gateway.url}/openapi/other.json") as response:
        assert response.status == 404


# If this failed, whoever asks with the wrong method would look for the mistake in the address.
async def test_other_methods_are_told_which_one_it_is(gateway: Gateway, caller: Caller) -> None:
    for method, path, allowed in (
        ("GET", "/api/v1/generateTask/seedream-4-5", "POST"),
        ("POST", "/statusTask/seedream-4-5", "DELETE, GET"),
        ("PUT", "/apikeys/current-balance", "GET"),
    ):
        async with caller.session.request(method, gateway.url + path) as response:
            assert (response.status, response.headers["allow"]) == (405, allowed)
            assert (await response.json())["code"] == 405


# If this failed, an answer would break a parser that was made from the document, or a request would break us.
async def test_the_gateway_keeps_to_its_documents(gateway: Gateway, caller: Caller, tmp_path: Path) -> None:
    async with caller.session.get(f"{gateway.url}/openapi.json") as response:
        listed = (await response.json())["documents"]
    for each in listed:
        ended = subprocess.run(
            [
                *(
                    sys.executable,
                    "-c",
                    "from schemathesis.cli import schemathesis; schemathesis()",
                    "run",
                    each["url"],
                ),
                *("--header", f"Authorization: Bearer {gateway.key}"),
                *("--checks", "all", "--exclude-checks", NOT_CHECKED),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "request_failed" not in gateway.log()
