"""The bench's arithmetic: what is printed as a ratio must be one."""

import json

import pytest

from bench.figures import Measured, ratios, summary, table
from bench.wrk import Load, parse

SAID = """Running 2m test @ http://127.0.0.1:8787
  1 threads and 64 connections
Requests/sec:  12000.00

{"requests": 6000, "duration_us": 500000, "refused": 2, "broken": 1, "p50_us": 4100, "p99_us": 9000, "mean_us": 4300}
"""


def measured(kind: str, side: str, per_s: int, *, connections: int = 64, p99_ms: float = 5.0) -> Measured:
    load = Load(requests=per_s, seconds=1.0, wrong=0, p50_ms=1.0, p99_ms=p99_ms, mean_ms=1.2)
    return Measured(kind=kind, side=side, connections=connections, load=load, app_s=0.5, postgres_s=0.25)


# If the line were read wrongly, every figure of a run would be wrong.
def test_the_line_that_the_script_prints_is_read():
    load = parse(SAID)
    assert (load.requests, load.per_s, load.wrong) == (6000, 12_000, 3)
    assert (load.p50_ms, load.p99_ms, load.mean_ms) == (4.1, 9.0, 4.3)


# If a wrk that never ran were taken for a run without requests, the bench would divide by nothing, or pass.
def test_a_wrk_that_failed_is_an_error_with_its_words():
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


# If ratios were taken of medians, a machine that got busy half-way would change them.
def test_a_ratio_is_of_one_round_and_the_headline_is_the_median_at_64_connections():
    rounds = []
    for echo, gateway in ((20_000, 10_000), (4_000, 2_400), (20_000, 14_000)):
        rounds += [measured("submit", "echo", echo), measured("submit", "gateway", gateway)]
    rounds += [measured("submit", "echo", 100, connections=32), measured("submit", "gateway", 10, connections=32)]
    rounds += [measured("poll", "echo", 30_000), measured("poll", "gateway", 33_000, p99_ms=3.0)]
    assert ratios(rounds, "submit", 64) == [0.5, 0.6, 0.7]
    said = summary(rounds)
    assert (said["submit_ratio"], said["poll_ratio"], said["targets_reached"]) == (0.6, 1.1, True)
    assert said["submit_ratios"] == {"32": 0.1, "64": 0.6}
    assert said["poll_p99_ms"] == {"64": 3.0}
    assert json.loads(json.dumps(said)) == said
    row = next(each for each in said["cases"] if (each["kind"], each["side"]) == ("poll", "gateway"))
    assert (row["app_us"], row["postgres_us"]) == (pytest.approx(15.2, abs=0.1), pytest.approx(7.6, abs=0.1))
    assert len(table(said["cases"]).splitlines()) == 1 + len(said["cases"])


# If a missed target were called reached, nobody would look.
def test_a_missed_target_is_said():
    rounds = [measured(kind, side, 100) for kind in ("submit", "poll") for side in ("echo", "gateway")]
    assert summary(rounds)["targets_reached"]
    assert not summary([*rounds[:3], measured("poll", "gateway", 79)])["targets_reached"]


# If the mean of a crowd's cases were its headline, the worst of them would be seen by nobody.
def test_a_case_without_the_headline_is_judged_by_its_worst():
    rounds = []
    for connections, gateway in ((32, 80), (256, 29)):
        rounds.append(measured("submit_many", "echo", 100, connections=connections))
        rounds.append(measured("submit_many", "gateway", gateway, connections=connections))
    said = summary(rounds)
    assert (said["submit_many_ratio"], said["targets_reached"]) == (0.29, False)
    assert "submit_ratio" not in said
