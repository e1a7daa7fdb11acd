"""The search for a limit, without a service: what it tries, and what it says in the end."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.load.rate_search import TRIES, WITHIN, RateSearch, TrialResult

Service = Callable[[float, bool], TrialResult]
STARTS = st.floats(0.1, 1e4)


def searched(knee: RateSearch, service: Service, most: int = 200) -> list[tuple[float, bool]]:
    """Search to the end; return the rates that were tried, and which of them for longer."""
    tried = []
    while knee.rate is not None:
        tried.append((knee.rate, knee.is_long))
        assert len(tried) <= most
        assert knee.low is None or knee.rate >= knee.low
        assert knee.high is None or knee.rate < knee.high or service(knee.rate, knee.is_long) is TrialResult.LATE
        knee.record(service(knee.rate, knee.is_long))
    return tried


def limited(limit: float, over: TrialResult = TrialResult.GAVE_WAY) -> Service:
    """Return a service that holds up to a limit, regardless of earlier calls."""
    return lambda rate, is_long: TrialResult.HELD if rate <= limit else over


@given(start=STARTS, limit=st.floats(0.1, 1e5))
def test_any_limit(start: float, limit: float) -> None:
    """Any limit is found to 5 % from below and confirmed, in as many trials as the doublings and about six."""
    knee = RateSearch(start, bottom=0.1, top=1e5)
    tried = searched(knee, limited(limit))
    assert knee.low is not None
    assert knee.low <= limit
    assert knee.low >= min(limit, 1e5) / (1 + WITHIN) * (1 - 1e-3)
    assert knee.is_confirmed
    assert (knee.low, True) == tried[-1]
    assert len(tried) <= abs(math.log2(limit / start)) + 9
    assert not knee.by_machine


@given(limit=st.floats(1, 1e4), more=st.floats(1, 1.9))
def test_limit_that_is_felt_later(limit: float, more: float) -> None:
    """A service that lets more through for a while: what is reported held for the longer time, to 5 % from below."""
    knee = RateSearch(10.0, bottom=0.1, top=1e5)
    service: Service = lambda rate, is_long: (  # noqa: E731
        TrialResult.HELD if rate <= limit * (1 if is_long else more) else TrialResult.GAVE_WAY
    )
    searched(knee, service)
    assert knee.low is not None
    assert limit / (1 + WITHIN) * (1 - 1e-3) <= knee.low <= limit
    assert knee.is_confirmed


@given(st.lists(st.sampled_from(TrialResult), min_size=1, max_size=300), STARTS)
def test_whatever_is_told(trials: list[TrialResult], start: float) -> None:
    """For any behaviour of the service, the search ends, and stays within its bounds."""
    left = iter(trials)
    knee, tried = RateSearch(start, bottom=0.1, top=1e5), 0
    while knee.rate is not None:
        assert 0.1 <= knee.rate <= 1e5
        knee.record(next(left, TrialResult.GAVE_WAY))
        tried += 1
    assert tried <= len(trials) + 60
    assert (knee.low is None) or knee.is_confirmed


def test_all_holds() -> None:
    """When all holds, it ends at the top, tried for the longer time."""
    knee = RateSearch(10.0, bottom=1.0, top=50.0)
    assert searched(knee, limited(1e9)) == [(10, False), (20, False), (40, False), (50, False), (50, True)]
    assert (knee.low, knee.high, knee.is_confirmed) == (50, None, True)


def test_nothing_holds() -> None:
    """When nothing holds, it goes down to the bottom and says so."""
    knee = RateSearch(10.0, bottom=1.0, top=50.0)
    assert [rate for rate, _ in searched(knee, limited(0.5))] == [10, 5, 2.5, 1.25, 1]
    assert (knee.low, knee.high, knee.is_confirmed) == (None, 1, False)


def test_late_by_chance() -> None:
    """A rate at which this machine was late is tried again, and one that holds then has held."""
    knee = RateSearch(10.0, bottom=1.0, top=20.0)
    for _ in range(TRIES - 1):
        knee.record(TrialResult.LATE)
        assert knee.rate == 10
    knee.record(TrialResult.HELD)
    assert (knee.low, knee.rate) == (10, 20)


def test_too_fast_for_this_machine() -> None:
    """A rate at which this machine is late each time is its limit, and is reported as such."""
    knee = RateSearch(10.0, bottom=1.0, top=1e5)
    tried = searched(knee, limited(100, TrialResult.LATE))
    assert knee.by_machine
    assert knee.low is not None
    assert 95 <= knee.low <= 100
    assert [rate for rate, _ in tried].count(160) == TRIES


def test_the_service_gives_way_below() -> None:
    """Late above and given way below: the service's limit it is."""
    knee = RateSearch(10.0, bottom=1.0, top=1e5)
    searched(knee, lambda rate, is_long: TrialResult.LATE if rate > 100 else limited(70)(rate, is_long))
    assert not knee.by_machine
    assert knee.low is not None
    assert 66 <= knee.low <= 70


@pytest.mark.parametrize(("start", "top"), [(0, 1), (2, 1), (math.nan, 1)])
def test_no_search(start: float, top: float) -> None:
    """An invalid start is refused, and so is a result after the end."""
    with pytest.raises(ValueError, match="begins above zero"):
        RateSearch(start, bottom=1, top=top)
    ended = RateSearch(1, bottom=1, top=1)
    searched(ended, limited(5))
    with pytest.raises(ValueError, match="has ended"):
        ended.record(TrialResult.HELD)


def test_held_for_too_short_a_time() -> None:
    """Rates that were held too briefly are forgotten, but not those that gave way."""
    rates = RateSearch(10.0, bottom=1.0, top=1e5)
    for trial in (TrialResult.HELD, TrialResult.HELD, TrialResult.GAVE_WAY):
        rates.record(trial)
    assert (rates.low, rates.high) == (20, 40)
    rates.forget_held()
    assert (rates.low, rates.high, rates.rate) == (None, 40, 20)


def test_refuted() -> None:
    """If a rate that was found fails later, the search continues below it, each rate for longer."""
    rates = RateSearch(10.0, bottom=1.0, top=1e5)
    searched(rates, limited(100))
    low = rates.low
    assert low is not None
    rates.refute()
    assert (rates.low, rates.high, rates.is_long) == (None, low, True)
    assert rates.rate is not None
    assert low / 1.06 <= rates.rate < low
    with pytest.raises(ValueError, match="nothing was found"):
        rates.refute()
