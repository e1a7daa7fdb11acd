"""Whether a rate held: what a short run at it has to come to."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bulkstop.engine.load.rate_search import Trial
from bulkstop.model import Outcome
from bulkstop.report.load.metrics import Measured
from bulkstop.report.load.thresholds import Threshold, threshold
from bulkstop.report.stop.summary import duration

_USUAL = ("throttled<=0%", "p99<1s", "server_error<1%", "timeout<1%", "connection_error<1%", "unauthorized<1%")
USUAL = tuple(map(threshold, _USUAL))
"""What must hold unless it is said. A campaign that is not found, as a made-up one, says nothing against a rate."""
OF_ERRORS = frozenset({"server_error", "timeout", "connection_error", "unauthorized"})
"""What a line for all errors stands in for."""


class Judged(NamedTuple):
    """What became of a rate, and why it did not hold."""

    trial: Trial
    why: str = ""


def lines_for(require: Sequence[Threshold]) -> tuple[Threshold, ...]:
    """Give what every short run has to come to: what is required, and the usual where nothing is said about it."""
    named = {each.name for each in require}
    replaced = named | (OF_ERRORS if "errors" in named else set())
    if any(each.is_time for each in require):
        replaced |= {"p99"}
    return (*(each for each in require if each.name != "rate"), *(each for each in USUAL if each.name not in replaced))


def most_throttled(lines: Sequence[Threshold], planned: int) -> float:
    """Give how many of the planned requests may be throttled before the rate cannot hold any more."""
    return min((each.bound * planned for each in lines if each.name == "throttled"), default=math.inf)


def judge(measured: Measured, planned: int, lines: Sequence[Threshold], *, cut_short: bool) -> Judged:
    """Judge a short run; `cut_short` is one that ended since too many were throttled."""
    if not measured.is_punctual:
        return Judged(Trial.LATE, f"this machine was late with {measured.late_share * 100:.2g}% of the requests")
    unsent = 0 if cut_short else planned - measured.requests
    if unsent and (measured.was_busy or not measured.full_s):
        return Judged(Trial.LATE, f"this machine was too slow to send {unsent:,} of the requests")
    if cut_short:
        return Judged(Trial.GAVE_WAY, _throttled(measured))
    failed = [str(verdict) for each in lines if not (verdict := each.judge(measured)).held]
    if unsent:
        failed.insert(0, f"{unsent:,} requests got no place, as all were taken")
    return Judged(Trial.GAVE_WAY, "; ".join(failed)) if failed else Judged(Trial.HELD)


def _throttled(measured: Measured) -> str:
    count = measured.outcomes[Outcome.THROTTLED]
    return f"{count:,} of {measured.requests:,} throttled in {duration(measured.elapsed_s)}"
