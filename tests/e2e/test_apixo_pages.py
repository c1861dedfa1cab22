"""Every request that the vendor's pages print, sent to a running gateway; every size of their tables, decoded."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from gateway import Caller, urls
from PIL import Image
from world import SLOW_S

PAGES = Path(__file__).parents[1] / "fixtures" / "apixo"
REQUESTS = sorted(path.name for path in PAGES.glob("*.request.*.json"))
SIZES = {
    "2K": {
        "1:1": "2048x2048",
        "2:3": "1664x2496",
        "3:2": "2496x1664",
        "3:4": "1728x2304",
        "4:3": "2304x1728",
        "9:16": "1600x2848",
        "16:9": "2848x1600",
        "21:9": "3136x1344",
    },
    "4K": {
        "1:1": "4096x4096",
        "2:3": "3328x4992",
        "3:2": "4992x3328",
        "3:4": "3520x4704",
        "4:3": "4704x3520",
        "9:16": "3040x5504",
        "16:9": "5504x3040",
        "21:9": "6240x2656",
    },
    "3K": {
        "1:1": "3072x3072",
        "2:3": "2496x3744",
        "3:2": "3744x2496",
        "3:4": "2592x3456",
        "4:3": "3456x2592",
        "9:16": "2304x4096",
        "16:9": "4096x2304",
        "21:9": "4704x2016",
    },
}
ALL_SIZES = [
    (model, tier, ratio, size)
    for model, tier in (("seedream-4-5", "2K"), ("seedream-4-5", "4K"), ("seedream-5-0", "3K"))
    for ratio, size in SIZES[tier].items()
]


def _local(body: dict[str, Any], references: str) -> dict[str, Any]:
    """The printed body with its strangers' addresses, and its dots, changed to ours."""
    body = json.loads(json.dumps(body))
    addresses = body["input"].get("image_urls")
    if addresses:
        body["input"]["image_urls"] = [f"{references}/ref.{'png' if n % 2 else 'jpg'}" for n in range(len(addresses))]
    if body["input"]["prompt"] == "...":
        body["input"]["prompt"] = "a prompt in place of three dots"
    if "callback_url" in body:
        body["callback_url"] = f"{references}/callback"
    return body


# If this failed, code copied from the vendor's page would not work with a changed base URL.
@pytest.mark.parametrize("name", REQUESTS)
async def test_printed_requests_end_in_the_printed_shape(name: str, caller: Caller, references: str) -> None:
    page = json.loads((PAGES / name).read_text())
    body = _local(page["body"], references)
    status, answer = await caller.submit(body, page["model"])
    assert (status, answer["code"], answer["message"]) == (200, 200, "success"), answer
    assert set(answer["data"]) == {"taskId"}
    data = await caller.end(answer["data"]["taskId"], page["model"])
    assert set(data) == {"taskId", "state", "resultJson", "createTime", "completeTime", "costTime"}
    assert data["state"] == "success"
    assert data["costTime"] == data["completeTime"] - data["createTime"]
    assert isinstance(data["resultJson"], str)
    pictures = urls(data)
    assert len(pictures) == body["input"].get("max_images", 1)
    resolution = body["input"].get("resolution", "2K")
    for url in pictures:
        with Image.open(io.BytesIO(await caller.fetch(url))) as image:
            image.load()
            if "aspect_ratio" in body["input"]:
                assert f"{image.width}x{image.height}" == SIZES[resolution][body["input"]["aspect_ratio"]]
            if "output_format" in body["input"]:
                assert image.format == body["input"]["output_format"].upper()


# If this failed, a picture would not have the size that was paid for.
@pytest.mark.parametrize(("model", "tier", "ratio", "size"), ALL_SIZES)
async def test_every_size_of_the_tables_is_exact(model: str, tier: str, ratio: str, size: str, caller: Caller) -> None:
    data = await caller.draw(model, resolution=tier, aspect_ratio=ratio)
    with Image.open(io.BytesIO(await caller.fetch(urls(data)[0]))) as image:
        image.load()
        assert f"{image.width}x{image.height}" == size


# If this failed, an explicit size would be rounded or refused in one of its spellings.
@pytest.mark.parametrize("size", ["2048x2048", "2304X1728", "3136*1344", "3750x1250"])
async def test_explicit_sizes_are_exact(size: str, caller: Caller) -> None:
    data = await caller.draw(size=size)
    with Image.open(io.BytesIO(await caller.fetch(urls(data)[0]))) as image:
        assert f"{image.width}x{image.height}" == size.replace("X", "x").replace("*", "x")


# If this failed, the ratio of a picture to be changed would be lost when no other is asked for.
async def test_without_a_ratio_the_first_reference_gives_it(caller: Caller, references: str) -> None:
    data = await caller.draw(mode="image-to-image", image_urls=[f"{references}/wide.png"])
    with Image.open(io.BytesIO(await caller.fetch(urls(data)[0]))) as image:
        assert abs(image.width / image.height - 1.5) < 0.02
        assert image.width * image.height >= 3_686_400


# If this failed, a task with one good picture would be thrown away, or paid in full.
async def test_partial_success_is_success_and_pays_for_what_came(caller: Caller) -> None:
    before = await _balance(caller)
    data = await caller.draw(prompt="[[partial:1]]", max_images=3, sequential_image_generation="auto")
    assert data["state"] == "success"
    assert len(urls(data)) == 1
    assert round(before - await _balance(caller), 4) == 0.035


# If this failed, a failed task would cost money or lack its documented words.
@pytest.mark.parametrize(
    ("model", "name", "code", "cost_time"),
    [
        ("seedream-5-0", "text.jpg", "UNSUPPORTED_FORMAT", True),
        ("seedream-5-0", "missing.jpg", "IMAGE_DOWNLOAD_FAILED", True),
        ("seedream-4-5", "text.jpg", "ImageFormatIncorrect", False),
        ("seedream-4-5", "missing.jpg", "BadRequest", False),
    ],
)
async def test_bad_references_fail_in_the_models_words(
    model: str, name: str, code: str, cost_time: bool, caller: Caller, references: str
) -> None:
    before = await _balance(caller)
    data = await caller.draw(model, mode="image-to-image", max_images=4, image_urls=[f"{references}/{name}"])
    assert (data["state"], data["failCode"]) == ("failed", code)
    assert "resultJson" not in data
    assert ("costTime" in data) is cost_time
    assert await _balance(caller) == before


# If this failed, a caller without a web server could not send its own pictures.
async def test_data_urls_are_references(caller: Caller) -> None:
    import base64

    out = io.BytesIO()
    Image.effect_noise((700, 700), 90).convert("RGB").save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    assert len(url) > 131_072
    data = await caller.draw(mode="image-to-image", image_urls=[url, url], max_images=2)
    assert data["state"] == "success"
    assert len(urls(data)) == 2


# If this failed, somebody's slow host would make everybody else wait.
async def test_slow_references_keep_nobody_waiting(caller: Caller, references: str) -> None:
    slow = {
        "mode": "image-to-image",
        "prompt": "slow",
        "max_images": 1,
        "image_urls": [f"{references}/slow/{n}.jpg" for n in range(2)],
    }
    waiting = [(await caller.submit({"input": slow}))[1]["data"]["taskId"] for _ in range(4)]
    started = time.monotonic()
    assert (await caller.draw())["state"] == "success"
    assert time.monotonic() - started < SLOW_S
    for task in waiting:
        assert (await caller.end(task))["state"] == "success"


async def _balance(caller: Caller) -> float:
    url = f"{caller.gateway.url}/apikeys/current-balance"
    async with caller.session.get(url, headers=caller.headers) as response:
        answer = await response.json()
        assert (response.status, answer["code"], answer["message"]) == (200, 200, "success")
        return float(answer["data"])
