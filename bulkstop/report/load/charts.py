"""The charts of a load test: traces and axes in plotly.js form.

They consist only of numbers and of our own words: no foreign text gets into them.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from bulkstop.errors import SettingsError
from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram
from bulkstop.report.load.summary import Corner
from bulkstop.report.load.timeline import FIGURES, Point
from bulkstop.text import write_install

Chart = dict[str, Any]
"""A chart: `data` and `layout`."""
Line = tuple[str, float]
"""A time that must not be exceeded: its figure, such as p99, and the seconds."""

LINES = tuple(zip(FIGURES, ("#2a9d8f", "#4a86e8", "#e6862a", "#d64550"), strict=True))
"""The figures that a chart over time shows of each point."""
COLOURS = {
    Outcome.STOPPED: "#3f9b5b",
    Outcome.ALREADY_STOPPED: "#8fcf9f",
    Outcome.UNCONFIRMED: "#c9b037",
    Outcome.NOT_FOUND: "#8d7bc7",
    Outcome.REJECTED: "#b05fb0",
    Outcome.UNAUTHORIZED: "#5b6abf",
    Outcome.THROTTLED: "#f0a830",
    Outcome.SERVER_ERROR: "#d64550",
    Outcome.TIMEOUT: "#9c2f3f",
    Outcome.CONNECTION_ERROR: "#7a5548",
    Outcome.UNKNOWN: "#9aa0a6",
}
A_DECADE = 20
"""The points of a percentile curve for each further nine."""
NINES = ((1.0, "0 %"), (2.0, "50 %"), *((10.0**nines, f"{100 - 100 / 10**nines:.6g} %") for nines in range(1, 8)))
UNITS = ((600.0, 1.0, "s"), (3 * 3600.0, 60.0, "min"), (math.inf, 3600.0, "h"))
"""Time units: up to how many seconds to use each, its length in seconds, and its name."""


def read_library() -> str:
    """Return the JavaScript that draws charts; raises SettingsError, which names the package, if it is missing."""
    check_library()
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def check_library() -> None:
    """Raise SettingsError unless the library is installed, without importing it."""
    from importlib.util import find_spec

    if find_spec("plotly") is None:
        raise SettingsError(
            f": nothing was sent; leave it out, or install the package plotly: {write_install('plotly>=7,<8')}",
            setting="html",
        )


def draw_latencies(points: Sequence[Point], lines: Sequence[Line] = (), *, is_open: bool) -> Chart:
    """Return a chart of each second's latencies with the `lines` not to exceed; service times are hidden at first."""
    unit_s, _ = choose_unit(points)
    x = [_round((point.start_s + point.length_s / 2) / unit_s) for point in points]
    sets = _sets(is_open)
    data = []
    for number, (key, name, dash) in enumerate(sets):
        for place, (line, colour) in enumerate(LINES):
            values = [getattr(point, key) for point in points]
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if len(points) <= 60 else "lines",
                    "name": line,
                    "x": x,
                    "y": [None if value is None else value[place] for value in values],
                    "line": {"color": colour, "width": 1.5 if line == "max" else 2, "dash": dash},
                    "marker": {"size": 4},
                    "legend": f"legend{number + 1}" if number else "legend",
                    "visible": "legendonly" if number else True,
                    "hovertemplate": f"{name} {line} %{{y:,.3~f}} ms<extra></extra>",
                }
            )
    return {"data": data, "layout": {"xaxis": _time_axis(points), **_times(lines), **_legends(sets)}}


def draw_percentiles(latency: Histogram, service: Histogram, lines: Sequence[Line] = (), *, is_open: bool) -> Chart:
    """Return a chart of the time that each percentage did not exceed; each further nine has the same width."""
    most = max(len(latency), len(service), 10)
    sets = _sets(is_open)
    data = []
    for (key, name, dash), colour in zip(sets, ("#4a86e8", "#e6862a"), strict=False):
        curve = list(_curve(latency if key == "latency_ms" else service))
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": [x for x, _, _ in curve],
                "y": [y for _, _, y in curve],
                "text": [percent for _, percent, _ in curve],
                "line": {"color": colour, "width": 2, "dash": dash},
                "hovertemplate": f"{name}: %{{text}} within %{{y:,.3~f}} ms<extra></extra>",
            }
        )
    ticks = [nine for nine in NINES if nine[0] <= most * 1.01]
    axis = {
        "type": "log",
        "title": {"text": "percent of the requests (each further nine as wide as the last)"},
        "tickvals": [x for x, _ in ticks],
        "ticktext": [text for _, text in ticks],
        "range": [0, math.log10(most * 1.05)],
        "minor": {"showgrid": False},
    }
    return {"data": data, "layout": {"xaxis": axis, **_times(lines), "hovermode": "closest"}}


def draw_outcomes(points: Sequence[Point], intended: Sequence[Corner]) -> Chart:
    """Return a chart of the requests per second, stacked by outcome, and the rate at which they were due."""
    unit_s, _ = choose_unit(points)
    points = [point for point in points if point.outcomes]
    widths = {
        "x": [_round(point.start_s / unit_s) for point in points],
        "width": [_round(point.length_s / unit_s) for point in points],
        "offset": 0,
    }
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": outcome.value,
            **widths,
            "y": [_round(point.outcomes.get(outcome, 0) / point.length_s) for point in points],
            "marker": {"color": COLOURS[outcome], "line": {"width": 0}},
            "hovertemplate": f"{outcome.value} %{{y:,.4~g}}/s<extra></extra>",
        }
        for outcome in COLOURS
        if any(point.outcomes.get(outcome) for point in points)
    ]
    if intended:
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "intended rate",
                "x": [_round(at_s / unit_s) for at_s, _ in intended],
                "y": [_round(rate) for _, rate in intended],
                "line": {"width": 2, "dash": "dash"},
                "meta": "ink",
                "hovertemplate": "intended %{y:,.4~g}/s<extra></extra>",
            }
        )
    axis = {"title": {"text": "requests a second"}, "rangemode": "tozero"}
    return {"data": data, "layout": {"xaxis": _time_axis(points), "yaxis": axis, "barmode": "stack", "bargap": 0}}


def choose_unit(points: Sequence[Point]) -> tuple[float, str]:
    """Return the unit of the time axis: its length in seconds, and its name."""
    end_s = points[-1].end_s if points else 0.0
    return next((unit_s, name) for most_s, unit_s, name in UNITS if end_s <= most_s)


def _sets(is_open: bool) -> tuple[tuple[str, str, str], ...]:
    """Return the names of the line sets; in a closed model both are equal, so there is one."""
    service = ("service_ms", "service", "dot")
    return (("latency_ms", "latency", "solid"), service) if is_open else (service,)


def _curve(histogram: Histogram) -> Iterator[tuple[float, str, float]]:
    """Yield 1/(1-share), the percentage and the milliseconds, up to the last request but one, and the longest."""
    number = len(histogram)
    if not number:
        return
    steps = math.floor(math.log10(number) * A_DECADE)
    xs = [10 ** (step / A_DECADE) for step in range(steps + 1)]
    shares = [100 * (1 - 1 / x) for x in xs]
    for x, share, value in zip(xs, shares, histogram.at(*shares), strict=True):
        yield _round(x, 6), f"{share:.6g} %", _round(value * 1e3)
    yield float(number), "100 %", _round(histogram.max_s * 1e3)


def _time_axis(points: Sequence[Point]) -> Chart:
    unit_s, unit = choose_unit(points)
    end = _round(points[-1].end_s / unit_s) if points else 1.0
    return {
        "title": {"text": "since the beginning"},
        "ticksuffix": f" {unit}",
        "range": [0, end],
        "hoverformat": ".6~g",
    }


def _times(lines: Sequence[Line]) -> Chart:
    """Return an axis of milliseconds, with a dashed line for each time that must not be exceeded."""
    axis = {"title": {"text": "milliseconds"}, "type": "log", "hoverformat": ",.3~f", "dtick": "D2", "tickformat": "~r"}
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": _round(bound_s * 1e3),
            "y1": _round(bound_s * 1e3),
            "line": {"width": 1, "dash": "dash"},
            "label": {"text": f"{name} required", "textposition": "start", "yanchor": "top"},
        }
        for name, bound_s in lines
    ]
    return {"yaxis": axis, "shapes": shapes}


def _legends(sets: Sequence[tuple[str, str, str]]) -> Chart:
    names = [name if not number else f"{name} (click)" for number, (_, name, _) in enumerate(sets)]
    return {
        f"legend{number + 1}" if number else "legend": {
            "title": {"text": name},
            "y": 1 - 0.5 * number,
            "yanchor": "top",
        }
        for number, name in enumerate(names)
    }


def _round(value: float, digits: int = 4) -> float:
    return round(value, digits)
