"""`generate` against a running gateway: files, names, formats, what it prints, how it ends."""

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest
from PIL import Image
from shell import COMMAND, environment, run

from seedgate.cli.gateway import Gateway


# If the file were not a whole picture of what was asked for, the command would be useless.
def test_a_picture_lands_in_its_file(shell, tmp_path):
    target = tmp_path / "fox.png"
    order = ("-o", target, "--model", "seedream-5-0", "--size", "2K", "--aspect-ratio", "16:9")
    done = shell.run("generate", "a fox in watercolor", *order)
    assert (done.code, done.out, done.err) == (0, f"{target}\n", "")
    with Image.open(target) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (2848, 1600))
    assert list(tmp_path.iterdir()) == [target]


# If the name lied, other programs would refuse the file.
def test_files_are_numbered_and_named_by_what_they_are(shell, tmp_path):
    order = ("-o", tmp_path / "fox.png", "-m", "seedream-4-5", "--n", "2", "--size", "2048x2048", "--json")
    done = shell.run("generate", "fox", *order)
    assert done.code == 0, done.err
    assert "delivered jpeg, so the file is called fox-1.jpg" in done.err
    files = [file["path"] for file in done.document["files"]]
    assert files == [str(tmp_path / f"fox-{number}.jpg") for number in (1, 2)]
    for file in files:
        with Image.open(file) as picture:
            picture.load()
            assert (picture.format, picture.size) == ("JPEG", (2048, 2048))
    assert {path.name for path in tmp_path.iterdir()} == {"fox-1.jpg", "fox-2.jpg"}


# If references did not travel, image-to-image would silently be text-to-image.
def test_a_file_goes_along_as_a_reference(shell, tmp_path):
    reference = tmp_path / "reference.png"
    Image.new("RGB", (64, 64), "red").save(reference)
    done = shell.run("generate", "fox", "--image", reference, "-o", tmp_path / "out.jpeg", "--json")
    assert done.code == 0, done.err
    assert done.document["files"][0]["path"] == str(tmp_path / "out.jpeg")
    story = shell.run("tasks", "show", done.document["task_id"], "--json").document
    assert story["request"]["references"][0].startswith("sha256:")


# If the printed command were quoted wrongly, a prompt would run in a shell.
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_printed_curl_does_the_same(shell, tmp_path):
    def execute(command, **env):
        options = {"capture_output": True, "check": True, "cwd": tmp_path, "env": environment(**env)}
        return json.loads(subprocess.run(["sh", "-c", command], **options).stdout)["data"]

    prompt = 'it\'s a "fox" $(touch owned) `touch owned` лиса'
    printed = shell.run("generate", prompt, "--curl", "--json").document
    task_id = execute(printed["submit"])["taskId"]
    assert execute(printed["status"], TASK_ID=task_id)["taskId"] == task_id
    assert prompt in shell.run("tasks", "show", task_id, "--prompt").out
    assert not list(tmp_path.iterdir())


# If Ctrl-C lost the id, a paid picture would be lost with it.
def test_ctrl_c_leaves_the_task_and_tells_its_id(shell, tmp_path):
    def polls():
        with urllib.request.urlopen(f"{shell.gateway.url}/metrics", timeout=10) as answer:
            told = re.findall(rb'seedgate_requests_total\{.*intent="status".*\} ([0-9.]+)', answer.read())
        return sum(map(float, told))

    before = polls()
    command = [*COMMAND, "generate", "[[slow:2]] fox", "--data", shell.data, "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes) as process:
        try:
            deadline = time.monotonic() + 30
            while polls() == before:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130, err
    task_id = json.loads(out)["task_id"]
    assert f"the task {task_id} goes on" in err
    ours = Gateway(url=shell.gateway.url, key=shell.gateway.key, model="seedream-5-0")
    assert ours.wait(task_id, limit_s=30, show=lambda _: None)["state"] == "success"


# If failures all ended alike, no script could tell a wrong key from a slow picture.
def test_every_ending_has_its_exit_code(shell, tmp_path):
    wrong_key = shell.run("generate", "fox", "--key", "sg_dev_wrong", "--json")
    assert (wrong_key.code, wrong_key.document["error"]["code"]) == (3, "unauthenticated")
    failed = shell.run("generate", "[[refuse]]", "--json")
    assert failed.code == 1
    assert failed.document["task_id"] in failed.err
    slow = shell.run("generate", "[[slow:1.5]]", "--timeout", "1", "--json")
    assert (slow.code, slow.document["error"]["code"]) == (6, "timed_out")
    nobody = run("generate", "fox", "--json", cwd=tmp_path)
    assert (nobody.code, nobody.document["error"]["code"]) == (1, "unreachable")
    assert "`seedgate up`" in nobody.err
    assert not list(tmp_path.iterdir())
