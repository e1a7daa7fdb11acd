"""Thresholds: how they are written, and how they are judged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.model import Outcome
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.thresholds import parse_threshold, with_usual
from tests.loads import measured


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    """Measure 1,000 requests in 2 s: 1 to 1,000 ms latency, half of it service time; 990 stopped, 10 throttled."""
    metrics = Metrics()
    for ms in range(1, 1001):
        outcome = Outcome.THROTTLED if ms > 990 else Outcome.STOPPED
        measured(1, outcome, latency_s=ms / 1e3, service_s=ms / 2e3, before=metrics)
    metrics.elapsed_s, metrics.sending_s = 2.5, 2.0
    return metrics


@pytest.mark.parametrize(
    ("text", "held", "said"),
    [
        ("all.p99<250ms", False, "all.p99<250ms: FAILED (990.207ms)"),
        ("all.p50<0.6s", True, "all.p50<0.6s: held (0.500223s)"),
        ("all.service.p99<500ms", True, "all.service.p99<500ms: held (495.103ms)"),
        ("all.service.p99 < 490 ms", False, "all.service.p99 < 490 ms: FAILED (495.103ms)"),
        ("all.latency.p99.9<2s", True, "all.latency.p99.9<2s: held (0.999423s)"),
        ("all.P100<=1s", True, "all.P100<=1s: held (1s)"),
        ("all.p100<1s", False, "all.p100<1s: FAILED (1s)"),
        ("all.max<1000001us", True, "all.max<1000001us: held (1,000,000us)"),
        ("all.mean>500ms", True, "all.mean>500ms: held (500.505ms)"),
        ("all.service.max<1m", True, "all.service.max<1m: held (0.00833333m)"),
        ("errors<1%", False, "errors<1%: FAILED (1%)"),
        ("errors<=1%", True, "errors<=1%: held (1%)"),
        ("throttled<0.5%", False, "throttled<0.5%: FAILED (1%)"),
        ("server_error<0.1%", True, "server_error<0.1%: held (0%)"),
        ("p99<250ms", False, "p99<250ms: FAILED (981.503ms of successes)"),
        ("max<=991ms", True, "max<=991ms: held (990.207ms of successes)"),
        ("failed<=1%", True, "failed<=1%: held (1%)"),
        ("rate>480/s", True, "rate>480/s: held (495/s)"),
        ("answered.rate>480/s", True, "answered.rate>480/s: held (500/s)"),
        ("offered.rate>500/s", False, "offered.rate>500/s: FAILED (500/s)"),
        ("rate>=29700/min", True, "rate>=29700/min: held (29,700/min)"),
        ("rate>495/s", False, "rate>495/s: FAILED (495/s)"),
    ],
)
def test_judged(text: str, held: bool, said: str, metrics: Metrics) -> None:
    """A threshold holds or does not, and says by how much, in the unit that it was given in."""
    verdict = parse_threshold(text).judge(metrics)
    assert verdict.held is held
    assert str(verdict) == said


@given(part=st.integers(0, 1000), whole=st.integers(1, 1000))
def test_on_the_edge(part: int, whole: int) -> None:
    """A value is neither below nor above itself: 35 of 100 are 35 %."""
    part = min(part, whole)
    metrics = Metrics()
    metrics.outcomes[Outcome.THROTTLED], metrics.outcomes[Outcome.STOPPED] = part, whole - part
    percent = f"{part / whole * 100:.6f}"
    if float(percent) * whole == part * 100:
        for sign, held in (("<", False), (">", False), ("<=", True), (">=", True)):
            assert parse_threshold(f"throttled{sign}{percent}%").judge(metrics).held is held


@given(ms=st.integers(1, 2000))
def test_time_on_the_edge(ms: int) -> None:
    """A time that was measured to the microsecond is not below itself in any unit."""
    metrics = measured(latency_s=ms / 1e3)
    for text in (f"max<{ms}ms", f"max>{ms}ms", f"max<{ms / 1e3:.3f}s", f"max>{ms * 1000}us"):
        assert not parse_threshold(text).judge(metrics).held, text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("p99", "such as p99<250ms"),
        ("p99<250", "p99 is given in us, ms, s, m"),
        ("p99<5%", "p99 is given in us, ms, s, m"),
        ("p0<5ms", "such as"),
        ("p101<5ms", "such as"),
        ("p99=5ms", "such as"),
        ("p99<<5ms", "such as"),
        ("p99<-5ms", "such as"),
        ("server.p99<5ms", "such as"),
        ("rate>480", "rate is given in /s"),
        ("errors<1", "errors is given in %"),
        ("errors<1%%", "errors is given in %"),
        ("happiness>1%", "such as"),
        ("invalid<1%", "such as"),
        ("duplicate<1%", "such as"),
        ("protected<1%", "such as"),
        ("not_sent<1%", "such as"),
        ("service.errors<1%", "such as"),
        ("", "such as"),
    ],
)
def test_refused(text: str, why: str) -> None:
    """An invalid condition is refused with the valid forms."""
    with pytest.raises(ValueError, match=why):
        parse_threshold(text)


@pytest.mark.parametrize("text", ["p99<1s", "service.max>0s", "errors<1%", "rate>0/s", "stopped>=0%"])
def test_nothing_measured(text: str) -> None:
    """Without a request nothing holds: an empty run is never a success."""
    verdict = parse_threshold(text).judge(Metrics())
    assert not verdict.held
    assert str(verdict) == f"{text}: FAILED (nothing was measured)"


def test_nothing_answered() -> None:
    """Requests that were all cut off may have taken any time, so none holds."""
    metrics = measured(1, Outcome.UNKNOWN, latency_s=0, answered=False)
    assert not parse_threshold("p99<1m").judge(metrics).held
    assert parse_threshold("unknown>=100%").judge(metrics).held


@pytest.mark.parametrize(
    ("text", "held", "said"),
    [
        ("p80<10ms", True, "(1ms of successes)"),
        ("p90<10ms", True, "(1ms of successes)"),
        ("p95<10ms", False, "(1ms of successes or more, as requests never left or were cut off)"),
        ("p95>0.5ms", True, "(1ms of successes or more, as requests never left or were cut off)"),
        ("all.p80<10ms", True, "(1ms)"),
        ("all.p95<10ms", False, "(1ms or more, as requests never left or were cut off)"),
        ("all.p5<10ms", True, "(0.1ms or more, as requests never left or were cut off)"),
        ("all.p5<0.5ms", False, "(0.1ms or more, as requests never left or were cut off)"),
        ("max<1000ms", False, "(1ms of successes or more, as requests never left or were cut off)"),
        ("all.service.mean<1m", False, "or more, as requests never left or were cut off)"),
        ("failed<=10%", True, "(10%)"),
    ],
)
@pytest.mark.parametrize("unsent", [0, 50, 100])
def test_cut_off(text: str, held: bool, said: str, unsent: int) -> None:
    """Requests that never left or were cut off would have taken longer: a line holds if they are the slowest of all."""
    metrics = measured(900, latency_s=0.001)
    measured(100 - unsent, Outcome.UNKNOWN, latency_s=0.0001, answered=False, unsent=unsent, before=metrics)
    verdict = parse_threshold(text).judge(metrics)
    assert said in str(verdict)
    assert verdict.held is held


def test_unsent_may_be_of_any_outcome() -> None:
    """A share of an outcome holds only if it does whether or not what never left would have ended so."""
    metrics = measured(90, unsent=10)
    assert not parse_threshold("throttled<=5%").judge(metrics).held
    assert not parse_threshold("stopped>=95%").judge(metrics).held
    assert parse_threshold("stopped>=90%").judge(metrics).held


@pytest.mark.parametrize(
    ("require", "whole"),
    [
        ([], []),
        (["p99<1s"], ["p99<1s", "failed<1%"]),
        (["p99<1s", "errors<5%"], ["p99<1s", "errors<5%"]),
        (["failed<=100%"], ["failed<=100%"]),
    ],
)
def test_usual(require: list[str], whole: list[str]) -> None:
    """By default hardly any request may fail, unless a requirement is about that."""
    assert [each.text for each in with_usual([*map(parse_threshold, require)])] == whole


def test_quick_refusals_are_no_quick_answers() -> None:
    """A service that is dead to most callers is slow to those it answers, and `all.` says what all have waited."""
    metrics = measured(
        78, Outcome.CONNECTION_ERROR, latency_s=0.001, answered=False, before=measured(22, latency_s=0.5)
    )
    assert not parse_threshold("p50<250ms").judge(metrics).held
    assert parse_threshold("all.p50<250ms").judge(metrics).held
    assert not parse_threshold("failed<1%").judge(metrics).held


@given(bound_ms=st.integers(1, 2000), percent=st.integers(1, 100))
def test_against_the_figure(bound_ms: int, percent: int, metrics: Metrics) -> None:
    """`p<` and `p>=` of the same bound are never both true, and agree with the percentile itself."""
    figure_s = metrics.latency.at(percent)[0]
    below = parse_threshold(f"all.p{percent}<{bound_ms}ms").judge(metrics).held
    assert below is (figure_s < bound_ms / 1e3)
    assert parse_threshold(f"all.p{percent}>={bound_ms}ms").judge(metrics).held is not below
