"""`generate` against a running gateway: files, names, formats, what it prints, how it ends."""

import json
import shutil
import signal
import subprocess
import time

import pytest
from conftest import COMMAND, environment, run
from PIL import Image


# If the file were not a whole picture of what was asked for, the command would be useless.
def test_a_picture_lands_in_its_file(gateway, tmp_path):
    target = tmp_path / "fox.png"
    order = ("-o", target, "--model", "seedream-5-0", "--size", "2K", "--aspect-ratio", "16:9")
    done = gateway.run("generate", "a fox in watercolor", *order)
    assert (done.code, done.out.strip(), done.err) == (0, str(target), "")
    with Image.open(target) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (2848, 1600))
    assert list(tmp_path.iterdir()) == [target]


# If the name lied, other programs would refuse the file.
def test_a_file_is_named_by_what_it_is(gateway, tmp_path):
    done = gateway.run("generate", "fox", "-o", tmp_path / "fox.png", "--n", "2", "--size", "2048x2048", "--json")
    assert done.code == 0, done.err
    assert "delivered jpeg, so the file is called fox-1.jpg" in done.err
    files = done.document["files"]
    assert [file["path"] for file in files] == [str(tmp_path / f"fox-{n}.jpg") for n in (1, 2)]
    for file in files:
        with Image.open(file["path"]) as picture:
            picture.load()
            assert (picture.format, picture.size) == ("JPEG", (2048, 2048))
    assert {path.name for path in tmp_path.iterdir()} == {"fox-1.jpg", "fox-2.jpg"}


# If references did not travel, image-to-image would silently be text-to-image.
def test_a_file_goes_along_as_a_reference(gateway, tmp_path):
    reference = tmp_path / "reference.png"
    Image.new("RGB", (64, 64), "red").save(reference)
    done = gateway.run("generate", "fox", "--image", reference, "-o", tmp_path / "out.jpeg", "--json")
    assert done.code == 0, done.err
    assert done.document["files"][0]["path"] == str(tmp_path / "out.jpeg")
    story = gateway.run("tasks", "show", done.document["task_id"], "--json").document
    assert story["request"]["references"][0].startswith("sha256:")
    (tmp_path / "note.png").write_text("no picture")
    assert gateway.run("generate", "fox", "--image", tmp_path / "note.png").code == 2


# If the printed command were quoted wrongly, a prompt would run in a shell.
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_printed_curl_does_the_same(gateway, tmp_path):
    prompt = 'it\'s a "fox" $(touch owned) `touch owned` лиса'
    printed = gateway.run("generate", prompt, "--curl", "--json").document
    shell = lambda command, **env: json.loads(  # noqa: E731
        subprocess.run(
            ["sh", "-c", command], capture_output=True, check=True, cwd=tmp_path, env=environment(**env)
        ).stdout
    )
    task_id = shell(printed["submit"])["data"]["taskId"]
    assert shell(printed["status"], TASK_ID=task_id)["data"]["taskId"] == task_id
    assert prompt in gateway.run("tasks", "show", task_id, "--prompt").out
    assert not list(tmp_path.iterdir())


# If Ctrl-C lost the id, a paid picture would be lost with it.
def test_ctrl_c_leaves_the_task_and_tells_its_id(gateway, tmp_path):
    before = gateway.run("tasks", "list", "--limit", "1", "--json").document["tasks"]
    process = subprocess.Popen(
        [*COMMAND, "generate", "[[slow:2]] fox", "--data", gateway.data, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    try:
        deadline = time.monotonic() + 20
        while gateway.run("tasks", "list", "--limit", "1", "--json").document["tasks"] == before:
            assert time.monotonic() < deadline
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    task_id = json.loads(out)["task_id"]
    assert f"the task {task_id} goes on" in err
    assert gateway.run("tasks", "show", task_id, "--json").document["state"] in {"pending", "processing", "success"}


# If failures all ended alike, no script could tell a wrong key from a wrong prompt.
def test_every_ending_has_its_exit_code(gateway, tmp_path):
    wrong_key = gateway.run("generate", "fox", "--key", "sg_dev_wrong", "--json")
    assert (wrong_key.code, wrong_key.document["error"]["code"]) == (3, "unauthenticated")
    wrong_size = gateway.run("generate", "fox", "--size", "1x1")
    assert wrong_size.code == 2
    assert "input.size" in wrong_size.err
    failed = gateway.run("generate", "[[refuse]]", "--json")
    assert failed.code == 1
    assert failed.document["task_id"] in failed.err
    slow = gateway.run("generate", "[[slow:3]]", "--timeout", "1", "--json")
    assert (slow.code, slow.document["error"]["code"]) == (6, "timed_out")
    nobody = run("generate", "fox", "--json", cwd=tmp_path)
    assert (nobody.code, nobody.document["error"]["code"]) == (1, "unreachable")
    assert "`seedgate up`" in nobody.err
    assert gateway.run("generate", "fox", "-o", tmp_path / "missing" / "fox.png").code == 2
    assert gateway.run("generate", "fox", "--format", "webp").code == 2
    assert not list(tmp_path.iterdir())
