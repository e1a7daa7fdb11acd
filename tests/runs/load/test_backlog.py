"""Whether a service keeps up, by its latencies alone, for services with a known queue."""

import random

import pytest

from bulkstop.runs.load.backlog import LEAST_REQUESTS, Backlog


def queued(rate: float, length_s: float, service_s: float, base_s: float = 0.0) -> Backlog:
    """Send evenly to a service that handles one request after the other and adds `base_s` to each response."""
    backlog, free_at = Backlog(length_s), 0.0
    for number in range(int(rate * length_s)):
        at = number / rate
        free_at = max(free_at, at) + service_s
        backlog.add(at, free_at - at + base_s)
    return backlog


@pytest.mark.parametrize("length_s", [1.0, 2.0, 10.0])
@pytest.mark.parametrize(("rate", "grows"), [(400, False), (490, False), (500, False), (510, True), (717, True)])
def test_one_by_one(rate: float, length_s: float, grows: bool) -> None:
    """A rate above what a service takes is known by a second, long before answers are slow; one below it is not."""
    assert bool(queued(rate, length_s, 0.002).describe_growth()) is grows


@pytest.mark.parametrize("base_s", [0.2, 0.8])
@pytest.mark.parametrize(("rate", "grows"), [(490, False), (500, False), (520, True), (600, True)])
def test_long_answers(rate: float, grows: bool, base_s: float) -> None:
    """A queue is detected by how fast it grows, however long a response takes without one."""
    assert bool(queued(rate, 1.0, 0.002, base_s).describe_growth()) is grows


@pytest.mark.parametrize(("rate", "grows"), [(8, False), (10, False), (11, True), (15, True)])
def test_few(rate: float, grows: bool) -> None:
    """Ten requests are enough to detect a queue if each is slower than the one before."""
    assert bool(queued(rate, 1.0 if rate >= 10 else 2.0, 0.1).describe_growth()) is grows


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sigma", [0.2, 1.0, 2.0])
def test_unsteady(sigma: float, seed: int) -> None:
    """A service with widely varying times is not mistaken for one that falls behind."""
    backlog, draw = Backlog(1.0), random.Random(seed)
    for number in range(500):
        backlog.add(number / 500, 0.005 * draw.lognormvariate(0, sigma))
    assert backlog.describe_growth() == backlog.describe_left() == ""


@pytest.mark.parametrize("stall_at_s", [0.2, 1.1, 1.8])
def test_stall(stall_at_s: float) -> None:
    """A service that pauses, and has caught up before the end, keeps up."""
    backlog = Backlog(3.0)
    for number in range(600):
        at = number / 200
        backlog.add(at, max(0.002, stall_at_s + 0.4 - at) if at > stall_at_s else 0.002)
    assert backlog.describe_growth() == backlog.describe_left() == ""


def test_left_over() -> None:
    """A service that breaks down at the end leaves a queue, which is reported."""
    backlog = Backlog(1.0)
    for number in range(500):
        backlog.add(number / 500, 0.002 if number < 430 else 0.3)
    assert backlog.describe_growth() == ""
    assert backlog.describe_left() == "a queue was left: p50 was 2.0 ms at first and 300.0 ms at the end"


def test_too_few() -> None:
    """With too few requests no queue is reported."""
    backlog = queued(LEAST_REQUESTS - 1, 1.0, 1.0)
    assert backlog.describe_growth() == backlog.describe_left() == ""
