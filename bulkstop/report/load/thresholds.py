"""What a load test must come to: `p99<250ms`, `errors<1%`, `rate>480/s`, read and judged."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram
from bulkstop.report.load.metrics import Metrics
from bulkstop.units import PERCENT, in_seconds

PER_S = {unit: 1 / seconds for unit, seconds in in_seconds("s", "m", "min", "h").items()}
"""What one in such a time is in a second."""
FORMS = "such as p99<250ms, service.p99<200ms, max<2s, errors<1%, throttled<0.5% or rate>480/s"

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_PARTS = re.compile(r"([a-z_]+(?:\.[a-z]+)?(?:\d+(?:\.\d+)?)?)\s*([<>]=?)\s*(\d+(?:\.\d+)?)\s*(\S*)", re.ASCII)
_TIME = re.compile(r"(?:(latency|service)\.)?(?:p(\d{1,3}(?:\.\d{1,6})?)|(max|mean))", re.ASCII)
_TIME_UNITS = in_seconds("us", "ms", "s", "m", "min", "h")
_RATE_UNITS = {f"/{unit}": a_second for unit, a_second in PER_S.items()}
_SHARE_UNITS = {"%": PERCENT}
_NEVER = {Outcome.INVALID, Outcome.DUPLICATE, Outcome.PROTECTED, Outcome.NOT_SENT}
"""Outcomes of rows, which no request can have: a line about them would hold whatever happens."""
_OUTCOMES = {outcome.value: outcome for outcome in Outcome if outcome not in _NEVER}


Figure = Callable[[Metrics], tuple[float, float] | None]
"""What was measured: the least and the most that it may be; None if nothing was."""


class Verdict(NamedTuple):
    """What became of a threshold: its text, what was measured, None if nothing was, and in which unit.

    `is_least` tells that it may be more: requests that were cut off would have taken longer.
    """

    text: str
    held: bool
    value: float | None
    unit: str
    is_least: bool = False

    def __str__(self) -> str:
        """Name it, and say what was measured."""
        figure = "nothing was measured" if self.value is None else f"{_number(self.value)}{self.unit}"
        figure += " or more, as requests were cut off" if self.is_least else ""
        return f"{self.text}: {'held' if self.held else 'FAILED'} ({figure})"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit on a figure; it must hold even if the requests that were cut off had been the slowest."""

    text: str
    name: str
    """What it is about: p99, errors, rate ..."""
    figure: Figure
    compare: Callable[[float, float], bool]
    number: float
    unit: str
    scale: float

    @property
    def bound(self) -> float:
        """The line itself: seconds, a share, or requests a second."""
        return self.number * self.scale

    @property
    def is_time(self) -> bool:
        """Tell whether it is about a time."""
        return self.unit in _TIME_UNITS

    def judge(self, metrics: Metrics) -> Verdict:
        """Hold it against what was measured; if nothing was, it did not hold."""
        span = self.figure(metrics)
        if span is None:
            return Verdict(self.text, held=False, value=None, unit=self.unit)
        least, most = (float(f"{value / self.scale:.9g}") for value in span)  # 35 of 100 are 35 %, no less
        held = self.compare(least, self.number) and self.compare(most, self.number)
        return Verdict(self.text, held, least, self.unit, is_least=most > least)


def parse_threshold(text: str) -> Threshold:
    """Read a threshold; raises ValueError with the forms there are.

    Times are latencies, from when a request was due; `service.` in front makes it those from when it left. `errors` and
    the names of outcomes are shares of the requests; `rate` is requests a second.
    """
    match = _PARTS.fullmatch(text.strip().lower())
    name, sign, number, unit = match.groups() if match else ("", "<", "0", "")
    figure, units = _figure(name)
    if figure is None or unit not in units:
        why = f"; {name} is given in {', '.join(units)}" if figure is not None else _suggest(name)
        raise ValueError(f"{text!r} is no threshold, {FORMS}{why}")
    scale = units[unit]
    return Threshold(text.strip(), name, figure, _COMPARE[sign], float(number), unit, scale)


def _suggest(name: str) -> str:
    from bulkstop.text.likeness import suggest_near  # only a mistake needs it

    return suggest_near(name, ("errors", "rate", "max", "mean", "p99", *_OUTCOMES)) if name else ""


def _figure(name: str) -> tuple[Figure | None, dict[str, float]]:
    if name == "rate":
        return lambda metrics: (metrics.rate, metrics.rate) if metrics.requests else None, _RATE_UNITS
    if name == "errors":
        return lambda metrics: _share(metrics, metrics.errors), _SHARE_UNITS
    if outcome := _OUTCOMES.get(name):
        return lambda metrics: _share(metrics, metrics.outcomes[outcome]), _SHARE_UNITS
    return _time(name), _TIME_UNITS


def _number(value: float) -> str:
    return f"{value:.6g}" if value < 1000 else f"{value:,.1f}".removesuffix(".0")


def _share(metrics: Metrics, part: int) -> tuple[float, float] | None:
    return (part / metrics.requests, part / metrics.requests) if metrics.requests else None


def _time(name: str) -> Figure | None:
    match = _TIME.fullmatch(name)
    if match is None:
        return None
    which, percent, other = match.groups()
    if percent is not None and not 0 < float(percent) <= 100:
        return None

    def figure(metrics: Metrics) -> tuple[float, float] | None:
        times = metrics.service if which == "service" else metrics.latency
        if not metrics.requests:
            return None
        cut_share = metrics.outcomes[Outcome.UNKNOWN] / metrics.requests
        if percent is not None:
            return _percentile(times, float(percent), cut_share)
        value = times.max_s if other == "max" else times.mean_s
        return value, math.inf if cut_share else value

    return figure


def _percentile(times: Histogram, percent: float, cut_share: float) -> tuple[float, float]:
    """Return a percentile, and what it is at most if the requests that were cut off were the slowest of all."""
    highest = percent + 100 * cut_share
    least, most = times.at(percent, min(highest, 100.0))
    return least, most if highest <= 100 else math.inf
