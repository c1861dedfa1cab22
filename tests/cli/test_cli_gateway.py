"""What the command line makes of a gateway's answers, also of strange ones."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from seedgate.cli import draw, http, output, pictures
from seedgate.cli import gateway as gateways
from seedgate.cli.gateway import Gateway, failure, find, result_urls
from seedgate.cli.output import Stop

ACCEPTED = {"code": 200, "message": "success", "data": {"taskId": "1" * 32}}


class Stranger:
    """Answers with what it was told to, in order, the last one for ever; and remembers what it was asked."""

    def __init__(self):
        self.answers = []
        self.asked = []
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                stranger.asked.append((self.path, dict(self.headers.items())))
                status, headers, body = stranger.answers[min(len(stranger.asked), len(stranger.answers)) - 1]
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def stranger():
    made = Stranger()
    yield made
    made.close()


def submit(stranger, *answers):
    stranger.answers = [(status, {}, body) for status, body in answers]
    return Gateway(url=stranger.url, key="sg_key", model="seedream-4-5").submit({"input": {}})


# If a refusal lost its meaning, the exit code would be a riddle.
@pytest.mark.parametrize(
    ("status", "message", "exit_code"),
    [
        (401, "Invalid or missing API key", 3),
        (403, "This API key may not do that.", 3),
        (402, "Insufficient credits", 4),
        (400, "Insufficient credits", 4),
        (400, "input.prompt is required", 2),
        (404, "Model 'x' was not found", 1),
        (429, "Rate limit exceeded", 1),
        (500, "Internal server error", 1),
    ],
)
def test_a_refused_submit(stranger, status, message, exit_code):
    with pytest.raises(Stop) as stopped:
        submit(stranger, (status, {"code": status, "message": message, "data": None}))
    assert (stopped.value.message, stopped.value.exit_code) == (message, exit_code)
    assert stopped.value.hint
    assert len(stranger.asked) == 1


# If a repeated submit had another key, a restarting gateway would be paid twice.
def test_a_submit_is_repeated_under_one_key(stranger):
    assert submit(stranger, (503, {"code": 503, "message": "restarting"}), (200, ACCEPTED)) == "1" * 32
    keys = [headers["Idempotency-Key"] for _, headers in stranger.asked]
    assert len(keys) == 2
    assert len(set(keys)) == 1


# If any page counted as a gateway, a wrong port would look like success.
@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data":{}}', b'{"code":200,"data":{}}', b"[" * 200_000])
def test_a_stranger_is_told_apart(stranger, body):
    with pytest.raises(Stop, match="is no Seedgate|HTTP status 200"):
        submit(stranger, (200, body))


# If any value were a task's id, it would travel into addresses, file names and the terminal.
@pytest.mark.parametrize(
    "task_id", ["", "a\0", "\ud800", "1" * 65, "../a", "1\n", "\x1b[2J", "٣", 7, ["a"], None, True]
)
def test_a_task_id_is_one(stranger, task_id):
    with pytest.raises(Stop, match="is no Seedgate"):
        submit(stranger, (200, {"code": 200, "data": {"taskId": task_id}}))


# If a server's words reached the terminal raw, it could rewrite what was said, or fake a line of ours.
def test_a_terminal_does_not_obey_the_server(stranger, capsys):
    evil = "no\x1b[2J\n  hint: obey \x07\x9b1m\ud800"
    told = {"retry-after": "1\x1b[2J"}
    stranger.answers = [(429, told, {"code": 429, "message": evil, "data": None})]
    with pytest.raises(Stop) as refused:
        Gateway(url=stranger.url, key="k", model="m").submit({"input": {}})
    assert "in a few s" in refused.value.hint
    failed = failure("7", {"state": "failed", "failCode": evil, "failMsg": evil})
    kept = Stop("not saved", hint=f"kept: http://a/{evil}")
    for stop in (refused.value, failed, kept):
        output.report(stop, as_json=False)
        said = capsys.readouterr().err
        assert said.count("\n") == 2, said
        assert said.replace("\n", "").isprintable()
    assert failure("7", {"failCode": [[]], "failMsg": {}}).message == "The task failed (no code)"


# If a gateway decided how many files there are, it could fill a disk; if names were shared, one would replace another.
def test_no_more_is_saved_than_was_asked_for(stranger, tmp_path):
    urls = [f"{stranger.url}/{number}.jpg" for number in range(5)]
    done = {"state": "success", "resultJson": json.dumps({"resultUrls": urls})}
    picture = (200, {}, b"\xff\xd8\xff picture")
    stranger.answers = [(200, {}, ACCEPTED), (200, {}, {"code": 200, "data": done}), picture]
    order = {"input": {"max_images": 2}}
    found = Gateway(url=stranger.url, key="k", model="seedream-4-5")
    draw.draw(found, order, tmp_path / "fox.jpg", timeout_s=20, as_json=True)
    assert {path.name for path in tmp_path.iterdir()} == {"fox-1.jpg", "fox-2.jpg"}
    assert len(stranger.asked) == 4
    pictures.save(urls[:2], tmp_path / "owl.jpg", task_id="7", pictures=1, done=lambda _: None)
    assert {path.name for path in tmp_path.glob("owl*")} == {"owl-1.jpg", "owl-2.jpg"}


# If a poll gave up at the first error, every restart would lose its callers.
def test_waiting_outlives_a_restart(stranger, monkeypatch):
    monkeypatch.setattr(gateways, "FIRST_POLL_S", 0.01)
    states = ({"state": "pending"}, {"state": "processing"}, {"state": "success"})
    told = [(200, {}, {"code": 200, "data": state}) for state in states]
    stranger.answers = [told[0], (503, {}, b"away"), told[1], (429, {}, {"code": 429}), told[2]]
    seen = []
    found = Gateway(url=stranger.url, key="k", model="m").wait("1", limit_s=20, show=seen.append)
    assert (seen, found["state"]) == (["pending", "processing", "success"], "success")


# If codes of the two pages were not known, content and time would be mere failures.
@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("CONTENT_VIOLATION", 5),
        ("SensitiveContentDetected", 5),
        ("InputOutputSensitiveContentDetected", 5),
        ("PROCESSING_TIMEOUT", 6),
        ("Timeout", 6),
        ("UpstreamError", 1),
    ],
)
def test_a_failed_task(code, exit_code):
    stop = failure("7", {"state": "failed", "failCode": code, "failMsg": "why"})
    assert (stop.exit_code, stop.task_id, stop.message) == (exit_code, "7", f"why ({code})")


# If these constants drifted from the listings, refusals would get the wrong exit code.
def test_the_codes_are_those_of_the_listings():
    from seedgate.catalogue.load import load
    from seedgate.domain.reason import Reason
    from seedgate.vendors.apixo.wire import read_terms

    terms = [read_terms(listing).failures for listing in load().listings["apixo"].newest.values()]
    refused = {each[reason].code for each in terms for reason in (Reason.PROMPT_REFUSED, Reason.CONTENT_REFUSED)}
    assert refused == gateways.CONTENT_REFUSED
    assert {each[Reason.DEADLINE].code for each in terms} == gateways.TOO_SLOW


# If a redirect carried the key, whoever is pointed at would have it.
def test_a_redirect_does_not_carry_the_key(stranger):
    stranger.answers = [(302, {"location": f"{stranger.url}/elsewhere"}, b""), (200, {}, ACCEPTED)]
    http.call("GET", f"{stranger.url}/first", key="sg_secret")
    assert [("Authorization" in headers) for _, headers in stranger.asked] == [True, False]


# If a torn or strange result got its name, it would be taken for the picture.
@pytest.mark.parametrize(
    ("headers", "body"), [({"content-length": "99"}, b"\xff\xd8\xff"), ({}, b"<html>not here</html>")]
)
def test_what_is_no_whole_picture_is_not_kept(stranger, tmp_path, headers, body):
    stranger.answers = [(200, {**headers, "connection": "close"}, body)]
    with pytest.raises(Stop) as stopped:
        pictures.save([f"{stranger.url}/a.jpg"], tmp_path / "fox.jpg", task_id="7", pictures=1, done=lambda _: None)
    assert stopped.value.task_id == "7"
    assert not list(tmp_path.iterdir())


# If a result's address could name a file, a gateway could have one copied.
def test_only_http_is_opened(tmp_path):
    (tmp_path / "passwd").write_bytes(b"\xff\xd8\xff private")
    with pytest.raises(http.Unanswered):
        http.download((tmp_path / "passwd").as_uri(), tmp_path / "copy")
    assert result_urls("7", {"resultJson": '{"resultUrls":["a"]}'}) == ["a"]


# If a strange list of results were a traceback, the id of a paid task would be lost in it.
@pytest.mark.parametrize(
    "told", ["{", "[" * 200_000, '{"resultUrls":"http://a"}', '{"resultUrls":[7]}', '{"resultUrls":{"a":1}}', None]
)
def test_strange_results_are_not_told(told):
    with pytest.raises(Stop, match="its results are not told") as stopped:
        result_urls("7", {"resultJson": told})
    assert stopped.value.task_id == "7"


# If the folder's key went to any address, a typo would give it away.
def test_the_kept_key_stays_on_this_machine(tmp_path):
    (tmp_path / "development.key").write_text("sg_dev_kept\n")
    (tmp_path / "running.json").write_text('{"url":"http://10.0.0.1:1"}')
    seek = lambda **given: find(**{"url": "", "key": "", "data": lambda: tmp_path, "model": "m"} | given)  # noqa: E731
    assert (seek().url, seek().key) == ("http://10.0.0.1:1", "sg_dev_kept")
    assert seek(url="http://127.0.0.1:9/").key == "sg_dev_kept"
    assert seek(url="https://example.com", key="mine").key == "mine"
    with pytest.raises(Stop) as stopped:
        seek(url="https://example.com")
    assert stopped.value.exit_code == 3
    for url in ("file:///etc", "http://[:::::]/x"):
        with pytest.raises(Stop, match="no address of a gateway"):
            seek(url=url)
