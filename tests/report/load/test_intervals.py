"""Intervals: each request in the second of its response, each second reported once."""

import math
import pickle
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.model import Outcome
from bulkstop.report.load.intervals import Interval, IntervalMerger, Intervals
from tests.loads import interval


class Log:
    """Records each interval when it is reported."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, int, int, Counter[Outcome]]] = []
        self.longest: list[float] = []

    def __call__(self, interval: Interval) -> None:
        """Note an interval; its parts are used again for the next."""
        counts = len(interval.latency), len(interval.service)
        self.rows.append((interval.start_s, interval.length_s, *counts, Counter(interval.outcomes)))
        self.longest.append(interval.latency.max_s)


def test_seconds() -> None:
    """Each second with responses is reported when it is over; one without is omitted."""
    log = Log()
    intervals = Intervals(log)
    for at in (0.1, 0.9, 1.0, 3.25, 3.5):
        intervals.add(at, Outcome.STOPPED, at, at / 2)
    intervals.add(3.75, Outcome.UNKNOWN, 9.0, 9.0)
    intervals.close(3.75)
    stopped, cut = Counter({Outcome.STOPPED: 2}), Counter({Outcome.STOPPED: 2, Outcome.UNKNOWN: 1})
    assert log.rows == [
        (0.0, 1.0, 2, 2, stopped),
        (1.0, 1.0, 1, 1, Counter({Outcome.STOPPED: 1})),
        (3.0, 0.75, 3, 3, cut),
    ]
    assert log.longest == [0.9, 1.0, 9.0]


class TestTogether:
    """Several who count at the same time have one interval a second."""

    def test_added_up(self) -> None:
        """A second is reported once, in order, with the counts of all, when all have passed it."""
        log = Log()
        together = IntervalMerger(log, 2)
        together.add(interval(0.0, 0.5))
        together.add(interval(1.0, 0.6, 0.7))
        together.passed(0, 2.0)
        assert log.rows == []
        together.add(interval(0.0, 0.25, 0.75, length_s=0.9))
        together.passed(1, 1.5)
        assert [row[:4] for row in log.rows] == [(0.0, 1.0, 3, 3)]
        together.add(interval(1.0, 0.5, length_s=0.75))
        together.passed(1, math.inf)
        together.add(interval(3.0, 0.1, length_s=0.5))
        together.passed(0, math.inf)
        assert [row[:4] for row in log.rows] == [(0.0, 1.0, 3, 3), (1.0, 1.0, 3, 3), (3.0, 0.5, 1, 1)]
        assert log.longest == [0.75, 0.7, 0.1]
        assert log.rows[0][4] == {Outcome.STOPPED: 3}

    @settings(max_examples=30)
    @given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 2)), max_size=40))
    def test_nothing_is_lost(self, answers: list[tuple[float, int]]) -> None:
        """Every request is in the second of its answer, however they are divided between those who count."""
        alone, several = Log(), Log()
        whole, together = Intervals(alone), IntervalMerger(several, 3)
        parts = [Intervals(lambda interval: together.add(copied(interval))) for _ in range(3)]
        for at_s, number in sorted(answers):
            whole.add(at_s, Outcome.STOPPED, at_s, at_s / 2)
            parts[number].add(at_s, Outcome.STOPPED, at_s, at_s / 2)
        whole.close(5.0)
        for number, part in enumerate(parts):
            part.close(5.0)
            together.passed(number, math.inf)
        seconds = Counter(float(int(at_s)) for at_s, _ in answers)
        assert [(row[0], row[2]) for row in alone.rows] == sorted(seconds.items())
        assert [(row[0], *row[2:]) for row in several.rows] == [(row[0], *row[2:]) for row in alone.rows]
        assert several.longest == alone.longest


def copied(interval: Interval) -> Interval:
    """Return it as another process has it."""
    copy: Interval = pickle.loads(pickle.dumps(interval))
    return copy
