"""The search for a limit at services that count in any way: what is written is never too much."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from limiter_models import LIMITERS, Gcra, Limiter, SlidingLog

from bulkstop.engine.load.rate_search import TrialResult
from bulkstop.kore.exchange import Response
from bulkstop.model import Limit
from bulkstop.report.load.limit import LimitSummary
from bulkstop.runs.load.search import PROOF_S, Search, execute
from bulkstop.settings import Settings
from tests.engine.parts import now_s
from tests.loads import OK, Service, endless
from tests.virtual_time import run

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
SETTINGS = Settings(host="http://127.0.0.1:1", token=TOKEN)
NAMES = (
    "sliding log",
    "fixed window",
    "sliding counter",
    "token bucket",
    "GCRA, burst 1/2",
    "GCRA, burst 1/10",
    "GCRA, burst 1",
)
LONGEST_S = 3600.0
"""No search of the table takes longer."""
STEPS_S = (0.2, 2.0, 10.0)
RATES, WINDOWS_S = (1, 5, 50, 200), (0.2, 1.0, 10.0, 60.0)


class Limited(Service):
    """Takes what all its limiters take."""

    def __init__(self, *limiters: Limiter) -> None:
        super().__init__()
        self._limiters = limiters

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Answer, or refuse."""
        self.seen.append((now_s(), target, headers["auth"]))
        return OK if all(limiter.call(now_s()) for limiter in self._limiters) else Response(429, b"{}", 1.0)


class Exhausted:
    """Takes nothing any more after a while."""

    def call(self, now: float) -> bool:
        """Return whether it is still that while."""
        return now < 15

    def ready_at(self, now: float) -> float:
        """Return the end of time after it."""
        return now if now < 15 else math.inf


def searched(*limiters: Limiter, **how: Any) -> tuple[LimitSummary, float]:
    """Search at such a service, to write a quota; return how long that took, too."""
    search = Search(**{"proof_s": PROOF_S, "top": 1e5, **how})
    return run(execute(search, endless(), SETTINGS, connect=Limited(*limiters).connect))


def count_refused(limiter: Limiter, rate: float, seconds: float) -> int:
    """Count what is refused of requests that are sent evenly for so long."""
    return sum(not limiter.call(number / rate) for number in range(int(rate * seconds)))


def rows() -> Iterator[Any]:
    """Return all rows of the table; the quick ones are tried each time."""
    for name, window_s, rate, step_s in itertools.product(NAMES, WINDOWS_S, RATES, STEPS_S):
        if rate * window_s < 1 or (rate == 200 and window_s > 1) or (rate == 50 and window_s > 10):
            continue
        is_quick = rate == 5 and (window_s, step_s) in {(1.0, 2.0), (10.0, 10.0)}
        yield pytest.param(name, window_s, rate, step_s, marks=() if is_quick else pytest.mark.full)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(("name", "window_s", "rate", "step_s"), list(rows()))
def test_never_too_much(name: str, window_s: float, rate: int, step_s: float) -> None:
    """For any way of counting, a written quota holds when used evenly, and is not far below the limit.

    Otherwise nothing is written, and the exit code says so. Each search ends.
    """
    make, calls = LIMITERS[name], round(rate * window_s)
    found, took_s = searched(make(Limit(calls, window_s), 0.37), step_s=step_s)
    assert took_s <= LONGEST_S
    if found.quota is None:
        assert found.exit_code in (1, 3)
        assert rate * step_s <= 10 or name == "sliding counter"
        return
    steady = found.quota.calls / found.quota.window_s
    assert count_refused(make(Limit(calls, window_s), 0.0), steady, 25 * max(window_s, 10)) == 0
    most = rate * (1 - 1 / calls) if name == "sliding counter" and calls > 1 else rate  # it rounds up what it weighs
    assert steady >= most * 0.85 or (name == "sliding counter" and calls == 1)


@pytest.mark.full
@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("phase", [0.1, 0.6, 0.9])
@pytest.mark.parametrize("name", ["fixed window", "sliding counter"])
def test_whole_minutes(name: str, phase: float) -> None:
    """A service that counts in whole minutes is seen whenever they begin: a rate is held for as long as two."""
    found, _ = searched(LIMITERS[name](Limit(300, 60.0), phase))
    assert found.quota is not None
    assert 4.2 <= found.quota.calls / found.quota.window_s <= 5


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(
    "windows", [((5, 1.0), (100, 60.0)), ((20, 1.0), (300, 30.0)), ((100, 7.0),), ((25, 1.0),)], ids=str
)
def test_several_windows(windows: tuple[tuple[int, float], ...]) -> None:
    """With two windows, the one that limits in the long run is found."""
    found, _ = searched(*(SlidingLog(Limit(*window)) for window in windows))
    assert found.quota is not None
    true = min(calls / window_s for calls, window_s in windows)
    assert true * 0.85 <= found.quota.calls / found.quota.window_s <= true * (1 + 1e-9)


@pytest.mark.usefixtures("virtual")
def test_says_so() -> None:
    """A step whose first request was refused does not count: it is reported, and repeated later."""
    found, _ = searched(SlidingLog(Limit(60, 10.0)), step_s=2.0)
    unclear = [probe.why for probe in found.probes if probe.trial == TrialResult.UNCLEAR]
    assert "requests of earlier steps still count" in unclear[0]
    assert any("still count; steps take " in why for why in unclear)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(("how", "why"), [({"length_s": 30.0}, "duration 30 s: is over"), ({"count": 90}, "count 90")])
def test_no_time_left(how: dict[str, object], why: str) -> None:
    """If longer steps do not fit, the limit is unknown: exit 3, without a quota."""
    found, _ = searched(SlidingLog(Limit(60, 10.0)), step_s=2.0, **how)
    assert (found.exit_code, found.quota) == (3, None)
    assert found.reason.startswith(why)


@pytest.mark.usefixtures("virtual")
def test_small_burst() -> None:
    """If a small burst is admitted, the limit is found in seconds: nothing is held for long."""
    found, took_s = searched(Gcra(Limit(50, 1.0), 5), step_s=0.5, proof_s=0.0)
    assert found.rate is not None
    assert 47 <= found.rate <= 52
    assert took_s < 20
    assert found.requests < 600


@pytest.mark.usefixtures("virtual")
def test_refuses_for_ever() -> None:
    """A service that takes nothing any more is waited for, but not for ever: exit 3."""
    found, took_s = searched(Exhausted())
    assert (found.exit_code, found.quota) == (3, None)
    assert found.reason.startswith("the service ")
    assert took_s < LONGEST_S


@pytest.mark.usefixtures("virtual")
def test_proof_is_announced() -> None:
    """A step of a minute or two is announced with the reason; without --write-quota nothing is held so long."""
    said: list[str] = []
    for proof_s in (0.0, PROOF_S):
        search, service = Search(step_s=1.0, proof_s=proof_s), Limited(SlidingLog(Limit(25, 1.0)))
        run(execute(search, endless(), SETTINGS, connect=service.connect, note=said.append))
    assert len(said) == 1
    assert said[0].startswith("holding ")
    assert said[0].endswith(" more, so that a limit per minute would show")
