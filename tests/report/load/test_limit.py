"""The result of a search, as text, as JSON and as a profile."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.model import Limit, Outcome
from bulkstop.report.load.limit import (
    Hold,
    LimitSummary,
    Probe,
    QuotaTarget,
    SearchPlan,
    describe_paste,
    format_limit,
    format_limit_verdict,
    format_probe,
    format_profile,
    limit_to_json,
    list_limit_faults,
    rate_to_limit,
)
from bulkstop.report.load.thresholds import parse_threshold
from bulkstop.settings.profiles import Profile
from tests.loads import measured

PLAN = SearchPlan(host="http://h", start=50, top=100, step_s=1)


def probe(rate: float, why: str = "", outcome: Outcome = Outcome.STOPPED, *, answered: bool = True) -> Probe:
    """Try a rate with ten requests."""
    error = None if outcome is Outcome.STOPPED else "no such campaign"
    metrics = measured(10, outcome, answered=answered, error=error)
    metrics.elapsed_s = 1.0
    return Probe(rate, 1.0, metrics, "gave way" if why else "held", why)


FOUND = LimitSummary(plan=PLAN, run_id="run-1", probes=(probe(50), probe(100, "slow"), probe(50)), low=50, high=100)


@pytest.mark.parametrize(
    ("summary", "row"),
    [
        (FOUND, ("limit", "50/s held; 100/s did not: slow")),
        (
            LimitSummary(plan=PLAN, run_id="r", probes=(probe(100),), low=100),
            ("limit", "at least 100/s held; a higher rate was not asked for"),
        ),
        (
            LimitSummary(plan=PLAN, run_id="r", probes=FOUND.probes, low=50, high=100, by_machine=True),
            ("limit", "at least 50/s held; 100/s did not: slow"),
        ),
        (
            LimitSummary(plan=PLAN, run_id="r", probes=(probe(50),), low=50, is_over=False, signum=15),
            ("held", "50/s held, so far"),
        ),
    ],
)
def test_limit(summary: LimitSummary, row: tuple[str, str]) -> None:
    """The limit is reported with what did not hold above it, or as unknown."""
    assert row in format_limit(summary)
    assert limit_to_json(summary)["at_least"] is row[1].startswith("at least")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "DONE: 50/s held; 100/s did not: slow"),
        ({"low": None, "high": 50}, "NOT DONE: no rate held, down to 50/s"),
        ({"by_machine": True}, "NOT DONE: this machine gave way first, so the limit is not known"),
        ({"is_over": False, "dead_end": "earlier steps are still being counted"}, "NOT DONE: earlier steps are still "),
        ({"is_over": False, "is_unanswered": True}, "NOT DONE: no request was answered"),
        ({"is_over": False, "signum": 15}, "NOT DONE: ended by SIGTERM, before the limit was known"),
        ({"is_over": False, "signum": 15, "fault": "no token"}, "NOT DONE: no token"),
        ({"plan": replace(PLAN, require=(parse_threshold("rate>90/s"),))}, "NOT DONE: rate>90/s: FAILED ("),
    ],
)
def test_verdict(more: dict[str, Any], said: str) -> None:
    """The last line is DONE only with exit code 0; otherwise it names the reason of the exit code."""
    summary = replace(FOUND, **more)
    assert format_limit_verdict(summary).startswith(said)
    assert format_limit_verdict(summary).startswith("DONE: ") == (summary.exit_code == 0)


def test_probe() -> None:
    """A rate is reported with its measurements, or with why it did not hold."""
    assert format_probe(probe(50)) == "      50/s  held      p99 100.0 ms, 10 requests in 1.0 s"
    assert format_probe(probe(1000, "slow")) == "   1,000/s  gave way  slow"


def test_faults() -> None:
    """Facts that distort the limit are named: this machine, or a service that answers nothing or refuses."""
    assert list_limit_faults(FOUND) == []
    late = LimitSummary(plan=PLAN, run_id="r", probes=FOUND.probes, low=50, high=100, by_machine=True)
    assert list_limit_faults(late)[0].startswith("THIS MACHINE GAVE WAY FIRST: ")
    refused = LimitSummary(plan=PLAN, run_id="r", probes=(probe(50, outcome=Outcome.NOT_FOUND),), low=50)
    assert list_limit_faults(refused) == [
        "WARNING: all 10 requests ended as not_found (no such campaign); the limit is that of answering so"
    ]
    silent = LimitSummary(
        plan=PLAN,
        run_id="r",
        probes=(probe(50, "x", Outcome.TIMEOUT, answered=False),),
        high=50,
        is_over=False,
        dead_end="no request was answered",
        is_unanswered=True,
    )
    assert list_limit_faults(silent) == ["no request was answered: all 10 requests ended as timeout (no such campaign)"]
    assert format_limit_verdict(silent) == "NOT DONE: no request was answered: no such campaign"
    assert (silent.exit_code, silent.quota, FOUND.quota) == (1, None, Limit(50, 1.0))


@given(rate=st.floats(0.001, 1e6))
def test_quota(rate: float) -> None:
    """A rate is written as a quota that is never more, and at most 5 % less."""
    limit = rate_to_limit(rate)
    assert limit.calls <= max(1, rate * limit.window_s + 1e-6)
    if rate >= 20 / 3600:
        assert limit.calls >= 0.95 * rate * limit.window_s


@pytest.mark.parametrize(("rate", "text"), [(48.3, "48/1s"), (20, "20/1s"), (19.9, "199/10s"), (1, "60/60s")])
def test_quota_is_short(rate: float, text: str) -> None:
    """The window is the shortest that loses little."""
    assert str(rate_to_limit(rate)) == text


@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_any_profile(name: str) -> None:
    """The lines for a profile of any name are TOML, and a profile reads them as the quota and the pace."""
    text = format_profile(QuotaTarget("b.toml", name), Limit(48, 1.0))
    assert tomllib.loads(text) == {"profile": {name: {"quota": "48/1s", "pace": "even"}}}
    profile = Profile("b.toml", name, text, tomllib.loads(text)["profile"][name])
    assert (profile.value("quota"), profile.value("pace")) == ((Limit(48, 1.0),), "even")


def test_a_profile_that_is_there() -> None:
    """Lines for a table that the file has bring no header: TOML takes none twice."""
    assert format_profile(QuotaTarget("b.toml", "a b", {}), Limit(48, 1.0)) == 'quota = "48/1s"\npace = "even"'


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (None, "add these lines to b.toml"),
        ({}, 'paste these lines under [profile."a b"] of b.toml; there is neither yet'),
        (
            {"quota": ["60/60s", "9/s"], "pace": "burst", "client_secret_file": "here"},
            'paste these lines under [profile."a b"] of b.toml; in place of quota = ["60/60s", "9/s"], pace = "burst"',
        ),
    ],
)
def test_where_to_paste(values: dict[str, object] | None, place: str) -> None:
    """The message says where the lines belong, and which they replace; it shows nothing else of the profile."""
    assert describe_paste(QuotaTarget("b.toml", "a b", values), Limit(48, 1.0)) == f"48/1s; {place}"
    assert describe_paste(QuotaTarget("b.toml", "a b", values), None) == "none to paste"


def test_quota_is_what_was_taken_after_a_refusal() -> None:
    """One request was due already, and a little was saved up since the refusal: the quota is without them."""
    assert replace(FOUND, hold=Hold(120.0, 0.0)).quota == Limit(49, 1.0)
    assert replace(FOUND, low=50.5, hold=Hold(120.0, 0.04)).quota == Limit(50, 1.0)
    assert replace(FOUND, high=None, hold=Hold(120.0, 0.0)).quota == Limit(50, 1.0)


def test_why_it_did_not_hold() -> None:
    """A run that tells nothing of its rate is no reason."""
    used_up = probe(100)._replace(trial="used up", why="so that nothing is saved up")
    assert "; 100/s did not: slow" in format_limit_verdict(replace(FOUND, probes=(*FOUND.probes, used_up)))
