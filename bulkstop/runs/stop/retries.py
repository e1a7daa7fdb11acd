"""Which outcomes of an earlier run are sent again."""

from collections.abc import Iterable, Mapping

from bulkstop.errors import SettingsError
from bulkstop.model import DONE, FAILED, HELD_BACK, WORTH_A_RETRY, Outcome
from bulkstop.naming import name_setting

CAN_BE_RETRIED = frozenset(Outcome) - DONE - HELD_BACK
NEEDS_A_CHOICE = FAILED - WORTH_A_RETRY - {Outcome.INVALID}
"""What can be sent again, but no other try is likely to change; a row that is invalid can never be sent as it is."""


def outcomes_to_retry(names: Iterable[str], *, retry_failed: bool) -> frozenset[Outcome]:
    """Return the outcomes that are sent again, besides what has not ended; a text may name several, with commas.

    Raises SettingsError for a name that is no outcome, and for one that is never sent again.
    """
    texts = [names] if isinstance(names, str) else names
    chosen = frozenset(_outcome(name.strip()) for text in texts for name in text.split(","))
    return chosen | WORTH_A_RETRY if retry_failed else chosen


def format_outcomes(outcomes: Iterable[Outcome], separator: str = ", ") -> str:
    """Write the names of outcomes in their usual order."""
    chosen = frozenset(outcomes)
    return separator.join(outcome.value for outcome in Outcome if outcome in chosen)


def format_outcome_counts(counts: Mapping[Outcome, int], outcomes: Iterable[Outcome]) -> str:
    """Write how many rows ended in each of these outcomes; empty when none did."""
    return ", ".join(f"{counts[each]:,} {each}" for each in Outcome if each in frozenset(outcomes) and counts.get(each))


def retry_option(outcomes: Iterable[Outcome]) -> str:
    """Write the option that sends what ended in one of these outcomes again."""
    return name_setting("retry", format_outcomes(outcomes, ","))


def _outcome(name: str) -> Outcome:
    try:
        outcome = Outcome(name.lower())
    except ValueError:
        raise SettingsError(f": {name!r} is no outcome{_nearest(name.lower())}", setting="retry") from None
    if outcome in CAN_BE_RETRIED:
        return outcome
    why = "is done" if outcome in DONE else "was held back on purpose"
    others = format_outcomes(CAN_BE_RETRIED)
    raise SettingsError(f": what is {outcome} {why} and is not sent again; give {others}", setting="retry")


def _nearest(name: str) -> str:
    from difflib import get_close_matches  # only a mistake needs it

    near = get_close_matches(name, [each.value for each in CAN_BE_RETRIED], n=1)
    return f"; did you mean {near[0]}?" if near else f"; give {format_outcomes(CAN_BE_RETRIED)}"
