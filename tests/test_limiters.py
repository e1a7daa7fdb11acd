"""The limiters that pacing is measured against count as their names say, and the benchmark tells what it missed."""

import copy
import http.client
import json
import random
from collections import Counter
from dataclasses import replace
from urllib.parse import urlsplit

import limiter_lab
import limiters
import pytest
from limiter_gateways import SHAPES, gateways, list_missing
from limiter_lab import Call, Log, Rules
from limiter_models import LIMITERS, Halving, SlidingCounter, SlidingLog, find_fastest_s
from limiter_runs import BURST, DEFAULT, Case, Run, Size, count_most

from bulkstop.model import Limit

LIMIT = Limit(20, 5.0)
AT_ONCE = {"GCRA, burst 1": 1, "GCRA, burst 1/10": 2, "GCRA, burst 1/4": 5, "GCRA, burst 1/2": 10}
SIZE = Size(40, LIMIT)
ROUGHLY_S = 0.0021
"""nginx and HAProxy count and log in whole milliseconds."""


@pytest.mark.parametrize("name", LIMITERS)
def test_at_once(name: str) -> None:
    """A limiter takes the whole limit at once, or its burst."""
    limiter = LIMITERS[name](LIMIT, 0.0)
    assert sum(limiter.call(0.0) for _ in range(30)) == AT_ONCE.get(name, 20)


@pytest.mark.parametrize("phase", [0.0, 0.3])
@pytest.mark.parametrize("name", LIMITERS)
def test_evenly(name: str, phase: float) -> None:
    """Evenly spaced calls are admitted for an hour, if a counter has a twentieth to spare."""
    limiter = LIMITERS[name](LIMIT, phase)
    step_s = LIMIT.window_s / LIMIT.calls * (20 / 19 if "counter" in name else 1)
    assert all(limiter.call(number * step_s) for number in range(int(3600 / step_s)))


@pytest.mark.parametrize("name", LIMITERS)
def test_ready_at(name: str) -> None:
    """The moment that a limiter names is the first at which it lets a call through."""
    limiter, chance, now = LIMITERS[name](LIMIT, 0.3), random.Random(1), 0.0
    for _ in range(500):
        now += chance.expovariate(6)
        at = limiter.ready_at(now)
        assert copy.deepcopy(limiter).call(at)
        assert at == now or not copy.deepcopy(limiter).call(max(now, at - 0.001))
        limiter.call(now)


@pytest.mark.parametrize("phase", [0.0, 0.3])
@pytest.mark.parametrize("name", LIMITERS)
def test_fastest(name: str, phase: float) -> None:
    """The fastest client is refused nothing, keeps the quota, and is no faster than a list of its length may be."""
    limiter, size = LIMITERS[name](LIMIT, phase), Size(120, LIMIT)
    assert 25.0 <= find_fastest_s(limiter, LIMIT, size.campaigns) <= 120 / 19 * 5.0
    expected = {"sliding log": 25.0, "GCRA, burst 1": 29.75, "GCRA, burst 1/4": 28.75, "token bucket": 25.0}
    if name in expected:
        assert find_fastest_s(LIMITERS[name](LIMIT, phase), LIMIT, 120) == pytest.approx(expected[name])


def test_refused_calls_count() -> None:
    """A counter that counts refused calls admits nothing while a client keeps trying."""
    tried = [0.0] * 20 + [number * 0.1 for number in range(1, 300)]
    counters = [SlidingCounter(LIMIT, counts_refused=counts) for counts in (False, True)]
    let_through = [sum(counter.call(at) for at in tried) for counter in counters]
    assert let_through[0] > 100
    assert let_through[1] < 60


def test_rounding() -> None:
    """HAProxy lets a call through as soon as the weighted sum is below the next whole number."""
    exact, rounded = SlidingCounter(LIMIT), SlidingCounter(LIMIT, rounds_down=True)
    for _ in range(20):
        assert exact.call(0.0)
        assert rounded.call(0.0)
    assert exact.ready_at(5.0) == pytest.approx(5.25)
    assert rounded.ready_at(5.0) == pytest.approx(5.0, abs=1e-4)


def test_halving() -> None:
    """The whole limit holds, then half of it, then the whole one again."""
    limiter = Halving(SlidingLog(LIMIT), SlidingLog(Limit(10, 5.0)), 50.0)
    assert [sum(limiter.call(at) for _ in range(30)) for at in (0.0, 50.0, 99.0, 100.0)] == [20, 10, 10, 20]


def test_most_in_a_window() -> None:
    """A call leaves a rolling window exactly one window after it came."""
    assert count_most([0.0, 0.0, 4.9, 5.0], 5.0) == 3
    assert count_most([], 5.0) == 0


def make_run(times_s: list[float], refused: int = 0, client: str = DEFAULT, **outcomes: int) -> Run:
    """Return a run against a sliding log, of which so many calls were refused at the beginning."""
    case = Case("limits", "sliding log", client, SIZE, rules=Rules("sliding log", 20, 5.0))
    calls = [Call(0.0, 429)] * refused + [Call(at_s, 200) for at_s in times_s]
    return Run(case, Log(calls), Counter(outcomes or {"stopped": SIZE.campaigns}))


@pytest.mark.parametrize(
    ("run", "missed"),
    [
        (make_run([0.0] * 20 + [5.05] * 20), []),
        (make_run([0.0] * 20 + [5.3] * 20), ["time"]),
        (make_run([0.0] * 20 + [5.05] * 20, refused=2), ["refused", "over"]),
        (make_run([0.0] * 20 + [4.9] * 20), ["over"]),
        (make_run([0.0] * 20 + [5.05] * 20, stopped=39, throttled=1), ["outcomes"]),
        (make_run([0.0] * 20 + [5.05] * 20, stopped=39), ["outcomes"]),
        (make_run([0.0] * 20), ["time"]),
    ],
    ids=["reached", "slow", "refused", "over", "throttled", "a line short", "cut off"],
)
def test_verdict(run: Run, missed: list[str]) -> None:
    """Missed targets are named."""
    assert limiters.judge_limits([run]) == missed


def test_broken_backend_verdict() -> None:
    """A run with a broken backend is measured beside `--pace burst`."""
    times_s = {DEFAULT: [0.0] * 20 + [6.0] * 20, BURST: [0.0] * 20 + [5.0] * 20}
    runs = [make_run(times, client=client) for client, times in times_s.items()]
    assert limiters.write_outage_verdict(runs) == ""
    outage = [Run(replace(run.case, part="outage"), run.log, run.outcomes) for run in runs]
    assert "1.20, NOT REACHED: time" in limiters.write_outage_verdict(outage)


def test_run_is_written() -> None:
    """A run is one line, with the client's report and each call in the server's log."""
    told = json.loads(limiters.write_run(make_run([0.0, 5.5], stopped=2)))
    assert told["outcomes"] == {"stopped": 2}
    assert told["log"]["calls"] == [[0.0, 200], [5.5, 200]]
    assert told["case"]["service"] == "sliding log"


def test_late_lab_is_told() -> None:
    """A machine that was too slow for the runs is not a proof of anything, and the last line says so."""
    assert "kept up" in limiters.write_lateness([1.0] * 100)
    assert "DID NOT KEEP UP" in limiters.write_lateness([1.0] * 90 + [50.0] * 10)


@pytest.mark.parametrize("name", SHAPES)
def test_gateway_models(name: str) -> None:
    """The model of a gateway admits the same burst as its configuration."""
    shape = SHAPES[name]
    model = shape.make_model(LIMIT, 0.0)
    assert sum(model.call(0.0) for _ in range(30)) == (20 if shape.program == "haproxy" else shape.burst + 1)


@pytest.mark.real
def test_lab() -> None:
    """The lab answers as its rules say, and logs what it has seen, the second client's calls as well."""
    rules = Rules("GCRA, burst 1", 2, 120.0, retry_after=True, latency_s=0.0, other_share=1e6)
    with limiter_lab.lab() as url:
        limiter_lab.put_rules(url, "one", rules)
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        answers = []
        for number in range(3):
            connection.request("POST", f"/campaign/trigger/cd-{number}?accountId=one&trigger=stop", b"{}")
            response = connection.getresponse()
            answers.append((response.status, response.getheader("Retry-After"), b"Stopped" in response.read()))
        connection.close()
        log = limiter_lab.get_log(url, "one")
        assert limiter_lab.get_lateness_ms(url) is not None
    assert answers == [(200, None, True), (429, "60", False), (429, "60", False)]
    assert [call.status for call in log.calls] == [200, 429, 429]
    assert log.calls[0].at_s == 0.0
    assert log.others
    assert not any(is_let_through for _, is_let_through in log.others)


@pytest.mark.real
@pytest.mark.full
@pytest.mark.parametrize("name", SHAPES)
def test_gateways(name: str) -> None:
    """A real gateway decides like its model, except for calls at the very edge of a millisecond."""
    if SHAPES[name].program in list_missing():
        pytest.skip(f"{SHAPES[name].program} is not installed here; only the real one tells whether its model is right")
    limit = Limit(20, 2.0)
    with gateways([limit]) as gates:
        for _ in range(60):
            gates.prime(name, limit, "one")
        calls = gates.read_calls(name, "one", least=60)
    assert len(calls) == 60
    model, now = SHAPES[name].make_model(limit, 0.0), 0.0
    for call in calls:
        now = max(now, call.at_s)
        if call.status == 200:
            at_s = model.ready_at(now)
            assert at_s <= now + ROUGHLY_S, call
            now = max(now, at_s)
        else:
            before_s = now - ROUGHLY_S
            assert copy.deepcopy(model).ready_at(before_s) > before_s, call
        if call.status == 200 or SHAPES[name].program == "haproxy":
            model.call(now)
