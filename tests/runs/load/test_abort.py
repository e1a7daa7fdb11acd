"""A load test ends early when a condition holds for its last seconds, in one process or several."""

import pytest

from bulkstop.report.load.thresholds import parse_threshold
from bulkstop.runs.load.abort import RecentRequests
from tests.loads import measured


def watched(condition: str) -> RecentRequests:
    """Return a watch for one condition, whose clock stands still."""
    return RecentRequests([parse_threshold(condition)], now=lambda: 0.0)


@pytest.mark.parametrize(("answers", "is_true"), [((0, 0, 50, 100, 100), False), ((0, 0, 20, 40, 40), True)])
def test_slow_answers_of_several(answers: tuple[int, ...], is_true: bool) -> None:
    """A rate counts from the first responses of each process, which may arrive in the middle of a second."""
    recent = watched("rate<150/s")
    for count in answers:
        for number in range(2):
            metrics = measured(count)
            metrics.elapsed_s = 3.0  # since the beginning of the run
            recent.add(metrics, number, 0.5)
        recent.judge()
    assert (recent.verdict is not None) is is_true


@pytest.mark.parametrize(("condition", "in_flight", "is_true"), [("rate<150/s", 99, True), ("rate<150/s", 9, False)])
def test_no_answer(condition: str, in_flight: int, is_true: bool) -> None:
    """A service that answers none of many requests for ten seconds has a rate of 0."""
    recent = watched(condition)
    recent.in_flight = lambda: in_flight
    for _ in range(9):
        recent.judge()
    assert recent.verdict is None
    recent.judge()
    assert (recent.verdict is not None) is is_true


def test_few() -> None:
    """A share is not checked against a few requests, however many are in flight."""
    recent = watched("stopped>=0%")
    recent.in_flight = lambda: 99
    for count, is_true in ((19, False), (1, True)):
        recent.add(measured(count), 0, 1.0)
        recent.judge()
        assert (recent.verdict is not None) is is_true
