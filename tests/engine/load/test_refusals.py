"""What a refusal says about its rate."""

from bulkstop.engine.load.refusals import Refusals


def is_of_earlier(refusals: Refusals, rate: float, taken: int, *, was_rested: bool = True) -> bool:
    """Ask with steps for which a rest of 20 seconds is enough."""
    return refusals.is_of_earlier(rate, taken, was_rested=was_rested, most_s=20.0)


def test_first_request() -> None:
    """A first request that is refused says nothing once something was taken, and the rest doubles each time."""
    refusals = Refusals(10.0)
    assert not is_of_earlier(refusals, 40, 0)
    refusals.record(20, 60)
    assert is_of_earlier(refusals, 40, 0, was_rested=False)
    assert refusals.rest_s == 10
    assert is_of_earlier(refusals, 40, 0)
    assert is_of_earlier(refusals, 28, 0)
    assert refusals.rest_s == 40


def test_as_many_as_before() -> None:
    """A service that took no fewer than at a higher rate has forgotten that."""
    refusals = Refusals(10.0)
    refusals.record(80, 50)
    assert not is_of_earlier(refusals, 56, 49)
    assert not is_of_earlier(refusals, 90, 3)
    assert refusals.rest_s == 10


def test_no_more_after_a_longer_rest() -> None:
    """Fewer may come of earlier requests; if a longer pause does not help, they do not, and it is not doubled again."""
    refusals = Refusals(1.0)
    refusals.record(80, 50)
    assert is_of_earlier(refusals, 56, 20)
    assert refusals.rest_s == 2
    assert not is_of_earlier(refusals, 56, 21)
    assert refusals.rest_s == 1
    assert not is_of_earlier(refusals, 52, 20)


def test_long_enough() -> None:
    """If some requests are accepted, a pause of two steps is enough to decide."""
    refusals = Refusals(20.0)
    refusals.record(80, 50)
    assert not is_of_earlier(refusals, 56, 20)
