"""The verdict on a run: whether all is done, or how much is not."""

from collections.abc import Mapping, Sequence


def format_done(what: str) -> str:
    """Return the verdict on complete work: `DONE: all 24 stopped`."""
    return f"DONE: {what}"


def format_not_stopped(number: int, of: int, counts: Mapping[str, int], also: Sequence[str] = ()) -> str:
    """Return the verdict on incomplete stops: `NOT STOPPED: 3 of 27 (2 not_found, 1 invalid)`, and other faults."""
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    text = f"NOT STOPPED: {number:,} of {of:,}" + (f" ({parts})" if parts else "")
    return "; ".join((text, *also))


def format_not_stopped_at_all(why: str) -> str:
    """Return the verdict on a run that had nothing to stop: `NOT STOPPED: no matching campaign runs`."""
    return f"NOT STOPPED: {why}"


def format_not_done(reasons: Sequence[str]) -> str:
    """Return the verdict on what was not carried out, or did not hold: `NOT DONE: errors<1%: FAILED (3%)`."""
    return f"NOT DONE: {'; '.join(reasons)}"


def format_not_complete(reason: str) -> str:
    """Return the verdict on incomplete reading or writing: `NOT COMPLETE: ended by SIGINT`."""
    return f"NOT COMPLETE: {reason}"


def format_not_expected(what: str) -> str:
    """Return the verdict on a list that differs from the expected one: `NOT AS EXPECTED: 3 campaigns, not 0`."""
    return f"NOT AS EXPECTED: {what}"
