"""Which outcomes are sent again: those that are named, and what is worth it."""

import pytest

from bulkstop.errors import SettingsError
from bulkstop.model import DONE, HELD_BACK, WORTH_A_RETRY, Outcome
from bulkstop.runs.options import format_outcomes, outcomes_to_retry

REJECTED, NOT_FOUND, TIMEOUT = Outcome.REJECTED, Outcome.NOT_FOUND, Outcome.TIMEOUT


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), set()),
        (("not_found",), {NOT_FOUND}),
        (("not_found,rejected", "timeout"), {NOT_FOUND, REJECTED, TIMEOUT}),
        ((" NOT_FOUND , rejected ",), {NOT_FOUND, REJECTED}),
        ([NOT_FOUND, REJECTED], {NOT_FOUND, REJECTED}),
        ("not_found", {NOT_FOUND}),
    ],
)
def test_names(names: tuple[str, ...], found: set[Outcome]) -> None:
    """Outcomes are given singly or with commas, and --retry-failed adds those worth a retry."""
    assert outcomes_to_retry(names, retry_failed=False) == found
    assert outcomes_to_retry(names, retry_failed=True) == found | WORTH_A_RETRY


@pytest.mark.parametrize("outcome", Outcome)
def test_each(outcome: Outcome) -> None:
    """Done, intentionally omitted or impossible rows are never sent again; any other outcome can be named."""
    if outcome in DONE | HELD_BACK | {Outcome.INVALID}:
        why = "is done and|was left out on purpose and|can never be sent"
        with pytest.raises(SettingsError, match=rf"^retry: what is {outcome} ({why})"):
            outcomes_to_retry([outcome], retry_failed=False)
    else:
        assert outcomes_to_retry([outcome], retry_failed=False) == {outcome}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timout", "'timout' is not an outcome; did you mean timeout?"),
        ("not-found", "'not-found' is not an outcome; did you mean not_found?"),
        ("", "'' is not an outcome; give unconfirmed, not_found, rejected, "),
        ("timeout,", "'' is not an outcome; give "),
        ("500", "'500' is not an outcome; give "),
    ],
)
def test_no_outcome(name: str, said: str) -> None:
    """An unknown outcome is an error with the nearest one, or with all of them."""
    with pytest.raises(SettingsError) as caught:
        outcomes_to_retry([name], retry_failed=True)
    assert str(caught.value).startswith(f"retry: {said}")


def test_listed() -> None:
    """Outcomes are listed in their usual order."""
    assert format_outcomes([TIMEOUT, NOT_FOUND], ",") == "not_found,timeout"
