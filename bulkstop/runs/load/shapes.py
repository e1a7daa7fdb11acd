"""Parses the shape of a load: rates, and how they change."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bulkstop.engine.load import arrivals
from bulkstop.engine.load.arrivals import Schedule
from bulkstop.errors import SettingsError
from bulkstop.naming import name_setting
from bulkstop.settings.parse import UNITS_S, parse_seconds
from bulkstop.text import format_duration

EVEN, POISSON = "even", "poisson"
"""How requests are spread: evenly at the rate, or as independent random arrivals."""
MOST_PER_S = 1e6
_NUMBER = r"\d{1,9}(?:\.\d{1,6})?"
_RATE = re.compile(rf"({_NUMBER})\s*(?:/\s*(?=\w)({_NUMBER})?\s*({'|'.join(UNITS_S)}))?", re.ASCII)


def parse_rate(text: str) -> float:
    """Return a rate above zero in requests per second, from `500/s`, `500`, `30/min` or `60/10s`."""
    return _check_above_zero(_parse_rates([text]), text)[0]


def parse_ramp(text: str) -> tuple[float, float]:
    """Return the first and last rate of a ramp, from `10..1000/s`."""
    first, dots, last = text.partition("..")
    if not dots:
        raise ValueError(f"{text!r} is not a ramp, such as 10..1000/s")
    from_rate, to_rate = _check_above_zero(_parse_rates([first, last]), text)
    return from_rate, to_rate


def parse_steps(text: str) -> tuple[float, ...]:
    """Return the rates of steps, from `100,200,400/s`."""
    return tuple(_check_above_zero(_parse_rates(text.split(",")), text))


def parse_spike(text: str) -> tuple[float, float | None]:
    """Return the rate of a spike, and its length in seconds or None, from `2000/s` or `2000/s:5s`."""
    peak, colon, length = text.partition(":")
    return parse_rate(peak), parse_seconds(length) if colon else None


def parse_arrivals(text: str) -> str:
    """Return how requests are spread over the time."""
    if text not in (EVEN, POISSON):
        raise ValueError(f"{text!r} is neither {EVEN} nor {POISSON}")
    return text


def _parse_rates(parts: list[str]) -> list[float]:
    """Return rates; one without a unit of time has that of the last."""
    matches = [match for part in parts if (match := _RATE.fullmatch(part.strip()))]
    spans_s = [_read_span(each) for each in matches]
    if len(matches) == len(parts) and 0.0 not in spans_s:
        rates = [float(each[1]) / (span_s or spans_s[-1] or 1.0) for each, span_s in zip(matches, spans_s, strict=True)]
        if max(rates) <= MOST_PER_S:
            return rates
    raise ValueError(f"{', '.join(parts)!r}: a rate is written 500/s or 30/min, up to {MOST_PER_S:,.0f}/s")


def _read_span(rate: re.Match[str]) -> float | None:
    """Return the seconds after the slash of a rate; None without a slash."""
    return None if rate[3] is None else float(rate[2] or 1) * UNITS_S[rate[3]]


def _check_above_zero(rates: list[float], text: str) -> list[float]:
    if not max(rates):
        raise ValueError(f"{text!r}: sends nothing")
    return rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The options for the shape of a load; raises SettingsError for options that conflict."""

    rate: float | None = None
    ramp: tuple[float, float] | None = None
    steps: tuple[float, ...] | None = None
    step_s: float | None = None
    spike: tuple[float, float | None] | None = None
    closed: bool = False
    length_s: float | None = None
    count: int | None = None
    arrivals: str = EVEN
    warmup_s: float = 0.0

    def __post_init__(self) -> None:
        """Raise SettingsError for options that conflict."""
        shapes = sum((self.rate is not None, self.ramp is not None, self.steps is not None, self.closed))
        if shapes != 1:
            ways = ("rate", "500/s"), ("ramp", "10..1000/s"), ("steps", "100,200/s")
            choice = ", ".join(name_setting(*way) for way in ways)
            raise SettingsError(f"give one of {choice} and {name_setting('closed', True)}")
        if (self.steps is None) != (self.step_s is None):
            steps, step = name_setting("steps", "100,200,400/s"), name_setting("step", "20s")
            raise SettingsError(f"{steps} and {step} go together")
        if self.steps is not None and self.length_s is not None:
            raise SettingsError(": steps end with the last of them; leave it out", setting="duration")
        if self.spike is not None and (self.rate is None or self.length_s is None):
            both = f"{name_setting('rate')} and {name_setting('duration')}"
            raise SettingsError(f": is a jump in the middle of {both}; give both", setting="spike")
        if self.closed and self.arrivals != EVEN:
            raise SettingsError(": a closed model has no times at which requests are due", setting="arrivals")
        if self.closed and self.warmup_s and (self.length_s is None or self.count is not None):
            both = f"{name_setting('duration', '30s')}, and without {name_setting('count')}"
            raise SettingsError(f": goes with a closed model only together with {both}", setting="warmup")

    @property
    def has_end(self) -> bool:
        """Return whether the load ends without the end of a list."""
        return self.length_s is not None or self.count is not None or self.steps is not None

    def schedule(self, listed: int | None) -> Schedule | None:
        """Return the schedule, None for a closed model; without an end of its own it ends after `listed` requests."""
        count = self.count_for(listed)
        try:
            schedule = None if self.closed else self._maker()(count=count)
            return schedule if schedule is None or self.arrivals == EVEN else schedule.at_random()
        except ValueError as error:
            names = ", ".join(map(name_setting, ("rate", "ramp", "steps", "spike")))
            raise SettingsError(f"{names}: {error}; nothing was sent") from None

    def count_for(self, listed: int | None) -> int | None:
        """Return the most requests; None if only the duration limits them."""
        if not self.has_end and listed is None:
            ways = f"{name_setting('duration', '30s')} or {name_setting('count')}"
            raise SettingsError(f"{ways}: neither is given; nothing was sent")
        return self.count if self.has_end else listed

    def words(self) -> str:
        """Return a description of the load, without the number of requests."""
        if self.closed:
            words = "closed: each request after the answer to the one before it"
        elif self.rate is not None:
            words = f"{self.rate:,g}/s"
        elif self.ramp is not None:
            first, last = self.ramp
            words = f"{first:,g}/s {'rising' if first <= last else 'falling'} to {last:,g}/s"
        else:
            words = (
                f"{', '.join(f'{each:,g}' for each in self.steps or ())}/s, {format_duration(self.step_s or 0)} each"
            )
        if self.spike is not None:
            words += f", in the middle {self.spike[0]:,g}/s"
        if self.arrivals == POISSON:
            words += " at random times (Poisson)"
        words = words if self.length_s is None else f"{words}, for {format_duration(self.length_s)}"
        return f"{words}, after {format_duration(self.warmup_s)} of warm-up" if self.warmup_s else words

    def _maker(self) -> Callable[..., Schedule]:
        if self.steps is not None:
            return partial(arrivals.steps, self.steps, self.step_s or 0.0)
        if self.ramp is not None:
            return partial(arrivals.ramp, *self.ramp, self.length_s)
        if self.spike is not None:
            return partial(arrivals.spike, self.rate or 0.0, self.spike[0], self.length_s or 0.0, self.spike[1])
        return partial(arrivals.constant, self.rate or 0.0, self.length_s)
