"""The thresholds of a load test: `p99<250ms`, `errors<1%`, `rate>480/s`, parsed and judged."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram
from bulkstop.report.load.metrics import Metrics
from bulkstop.units import PERCENT, in_seconds

PER_S = {unit: 1 / seconds for unit, seconds in in_seconds("s", "m", "min", "h").items()}
"""The rate per second for each unit of time."""
FORMS = "such as p99<250ms, service.p99<200ms, all.max<2s, failed<1%, throttled<0.5% or rate>480/s"
USUAL = "failed<1%"
"""The threshold that is added to any other."""
ALL = "all."
_FAILED = ("failed", "errors")

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_PARTS = re.compile(r"([a-z_]+(?:\.[a-z]+){0,2}(?:\d+(?:\.\d+)?)?)\s*([<>]=?)\s*(\d+(?:\.\d+)?)\s*(\S*)", re.ASCII)
_TIME = re.compile(r"(all\.)?(?:(latency|service)\.)?(?:p(\d{1,3}(?:\.\d{1,6})?)|(max|mean))", re.ASCII)
_TIME_UNITS = in_seconds("us", "ms", "s", "m", "min", "h")
_RATE_UNITS = {f"/{unit}": a_second for unit, a_second in PER_S.items()}
_SHARE_UNITS = {"%": PERCENT}
_NEVER = {Outcome.INVALID, Outcome.DUPLICATE, Outcome.PROTECTED, Outcome.NOT_SENT}
"""Outcomes of rows that a request cannot have: a threshold on them would always hold."""
_OUTCOMES = {outcome.value: outcome for outcome in Outcome if outcome not in _NEVER}


Figure = Callable[[Metrics], tuple[float, float] | None]
"""A measurement: its least and its greatest possible value; None without data."""


class Verdict(NamedTuple):
    """The verdict on a threshold: its text, the measurement, None without data, and the unit.

    `is_least` means that the true value may be higher: unsent or cancelled requests would have taken longer. `of` names
    the requests it is about, if that is not obvious.
    """

    text: str
    held: bool
    value: float | None
    unit: str
    is_least: bool = False
    of: str = ""

    def __str__(self) -> str:
        """Return the threshold and the measurement as text."""
        figure = "nothing was measured" if self.value is None else f"{_number(self.value)}{self.unit}"
        figure += f" {self.of}" if self.of and self.value is not None else ""
        figure += " or more, as requests never left or were cut off" if self.is_least else ""
        return f"{self.text}: {'held' if self.held else 'FAILED'} ({figure})"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit on a figure; it must hold even if the unsent and cancelled requests had been the slowest."""

    text: str
    name: str
    """The figure: p99, failed, rate ..."""
    figure: Figure
    compare: Callable[[float, float], bool]
    number: float
    unit: str
    scale: float
    of: str = ""

    @property
    def bound(self) -> float:
        """The limit itself: seconds, a share, or requests per second."""
        return self.number * self.scale

    @property
    def is_time(self) -> bool:
        """Whether it is about a time."""
        return self.unit in _TIME_UNITS

    @property
    def is_rate(self) -> bool:
        """Whether the condition is about a rate."""
        return self.unit in _RATE_UNITS

    @property
    def of_all(self) -> "Threshold":
        """The same limit for all responses, if this one is about successes."""
        if self.name == "rate":
            return replace(self, figure=_FIGURES["answered.rate"])
        figure = _time(f"{ALL}{self.name}") if self.is_time and not self.name.startswith(ALL) else None
        return self if figure is None else replace(self, figure=figure, of="")

    def judge(self, metrics: Metrics) -> Verdict:
        """Return the verdict on measurements; without data the threshold does not hold."""
        span = self.figure(metrics)
        if span is None:
            return Verdict(self.text, held=False, value=None, unit=self.unit)
        least, most = (float(f"{value / self.scale:.9g}") for value in span)  # 35 of 100 are exactly 35 %
        held = self.compare(least, self.number) and self.compare(most, self.number)
        of = self.of if metrics.failed else ""
        return Verdict(self.text, held, least, self.unit, is_least=most > least, of=of)


def parse_threshold(text: str) -> Threshold:
    """Return a parsed threshold; raises ValueError with the permitted forms.

    Times are latencies of successes, from when a request was due; the prefix `service.` measures from when it was sent,
    and `all.` includes all requests. `failed`, or `errors`, and the names of outcomes are shares of the requests due;
    `rate` is successes per second, `answered.rate` responses, `offered.rate` requests due.
    """
    match = _PARTS.fullmatch(text.strip().lower())
    name, sign, number, unit = match.groups() if match else ("", "<", "0", "")
    figure, units = _figure(name)
    if figure is None or unit not in units:
        why = f"; {name} is given in {', '.join(units)}" if figure is not None else _suggest(name)
        raise ValueError(f"{text!r} is not a condition, {FORMS}{why}")
    scale, of = units[unit], "of successes" if units is _TIME_UNITS and not name.startswith(ALL) else ""
    return Threshold(text.strip(), name, figure, _COMPARE[sign], float(number), unit, scale, of)


def with_usual(require: Sequence[Threshold]) -> tuple[Threshold, ...]:
    """Return the thresholds, with the usual one on failures added if there are any and none is about failures.

    A service that refuses nearly every request is fast.
    """
    if not require or any(each.name in _FAILED for each in require):
        return tuple(require)
    return (*require, parse_threshold(USUAL))


def _suggest(name: str) -> str:
    from bulkstop.text.likeness import suggest_near  # only a mistake needs it

    return suggest_near(name, ("failed", "errors", "rate", "max", "mean", "p99", *_OUTCOMES)) if name else ""


def _figure(name: str) -> tuple[Figure | None, dict[str, float]]:
    if name in _FIGURES:
        return _FIGURES[name], _RATE_UNITS
    if name in _FAILED:
        return lambda metrics: _share(metrics, metrics.failed), _SHARE_UNITS
    if outcome := _OUTCOMES.get(name):
        return lambda metrics: _share(metrics, metrics.outcomes[outcome], metrics.unsent), _SHARE_UNITS
    return _time(name), _TIME_UNITS


def _number(value: float) -> str:
    return f"{value:.6g}" if value < 1000 else f"{value:,.1f}".removesuffix(".0")


def _rate(which: str) -> Figure:
    def figure(metrics: Metrics) -> tuple[float, float] | None:
        value = getattr(metrics.rates, which)
        return (value, value) if metrics.sending_s > 0 or metrics.elapsed_s > 0 else None

    return figure


_FIGURES = {"rate": _rate("successful"), "answered.rate": _rate("answered"), "offered.rate": _rate("offered")}


def _share(metrics: Metrics, part: int, unknown: int = 0) -> tuple[float, float] | None:
    """Return a share of the requests due, and its value with the `unknown` ones included."""
    return (part / metrics.due, (part + unknown) / metrics.due) if metrics.due else None


def _time(name: str) -> Figure | None:
    match = _TIME.fullmatch(name)
    if match is None:
        return None
    of_all, which, percent, other = match.groups()
    if percent is not None and not 0 < float(percent) <= 100:
        return None

    def figure(metrics: Metrics) -> tuple[float, float] | None:
        times, too_short, missing = _choose_times(metrics, is_service=which == "service", of_all=bool(of_all))
        if not len(times):
            return None
        if percent is not None:
            return _percentile(times, float(percent), too_short, missing)
        value = times.max_s if other == "max" else times.mean_s
        return value, math.inf if too_short or missing else value

    return figure


def _choose_times(metrics: Metrics, *, is_service: bool, of_all: bool) -> tuple[Histogram, int, int]:
    """Return times, how many of them are lower bounds, and how many are missing."""
    if not of_all:
        return (metrics.success_service if is_service else metrics.success_latency), 0, metrics.cut_off
    if is_service:
        return metrics.service, metrics.cut_off - metrics.unsent, metrics.unsent
    return metrics.latency, metrics.cut_off, 0


def _percentile(times: Histogram, percent: float, too_short: int, missing: int) -> tuple[float, float]:
    """Return a percentile, and its maximum if the lower bounds and the missing times were the slowest of all."""
    count = len(times)
    rank = max(1, math.ceil(percent / 100 * (count + missing) - 1e-9))
    least_s, most_s = times.of_ranks(rank, rank + too_short)
    return least_s, most_s if rank + too_short <= count else math.inf
