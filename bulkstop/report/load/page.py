"""The page of a load test: one file of HTML that needs no network, with charts, and every figure as text too.

Whatever is told may be hostile, a host or an id or a server's words: all of it is escaped, none of it gets into a
script, and the page's policy lets no other script run than its own two, and nothing be fetched.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files

from bulkstop.model import Outcome, utc_text
from bulkstop.report.load.charts import (
    Chart,
    Corner,
    Line,
    Second,
    draw_latencies,
    draw_outcomes,
    draw_percentiles,
    summarize_points,
)
from bulkstop.report.load.error_counts import ErrorCount
from bulkstop.report.load.histogram import PERCENTILES, Histogram
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.summary import NAMES, format_ms
from bulkstop.report.load.thresholds import Verdict
from bulkstop.report.load.timeline import Point
from bulkstop.text import printable

FAR = 10
"""A line so many times above all that was measured is not drawn: it would press the rest together."""
LATENCY = "Latency is from when a request was due to its answer, service from when it left to its answer."
CLOSED = "Requests had no times at which they were due; service is from when one left to its answer."


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What is said of a load test, beside its figures."""

    host: str
    load: str
    began: float
    ended: str
    facts: tuple[tuple[str, str], ...] = ()
    """What was run: names and values."""
    alarms: tuple[str, ...] = ()
    """Why the figures are not what they should be."""
    verdicts: tuple[Verdict, ...] = ()
    is_open: bool = True
    kept: str = ""
    """That the schedule was kept, or empty."""
    intended: tuple[Corner, ...] = ()
    """The rate that requests were due at, as a line."""
    reasons: tuple[ErrorCount, ...] = ()
    """Why requests failed."""
    lines: tuple[Line, ...] = ()
    """The times that must not be crossed; their names are our own words."""
    version: str = ""


def render_page(facts: PageFacts, metrics: Metrics, points: Sequence[Point], library: str) -> str:
    """Write the page; `library` is the JavaScript that draws the charts."""
    rows = summarize_points(points)
    lines = [(name, bound_s) for name, bound_s in facts.lines if bound_s < FAR * metrics.latency.max_s]
    charts = {
        "over-time": draw_latencies(rows, lines, is_open=facts.is_open),
        "curve": draw_percentiles(metrics.latency, metrics.service, lines, is_open=facts.is_open),
        "bands": draw_outcomes(rows, facts.intended),
    }
    scripts = [library, _part("page.js")]
    return "".join(
        [
            _head(f"Load test of {facts.host}", scripts),
            _top(facts, metrics),
            *_drawings(facts, metrics, rows),
            *_tables(facts, metrics, rows),
            _foot(facts),
            _data(charts),
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _part(name: str) -> str:
    return files("bulkstop.report.load").joinpath(name).read_text("utf-8")


def _safe(text: object) -> str:
    return escape(printable(str(text)))


def _head(title: str, scripts: Iterable[str]) -> str:
    allowed = " ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{_safe(title)}</title>\n<style>\n{_part('page.css')}</style>\n</head>\n<body>\n"
    )


def _top(facts: PageFacts, metrics: Metrics) -> str:
    ended_at = facts.began + metrics.elapsed_s
    when = f"{utc_text(facts.began)} to {utc_text(ended_at)}" if metrics.requests else "nothing was sent"
    alarms = "".join(f"<p>{_safe(alarm)}</p>" for alarm in facts.alarms)
    return (
        f"<header>\n<h1>Load test of {_safe(facts.host)}</h1>\n"
        f'<p class="under">{_safe(facts.load)} · {when} · ended {_safe(facts.ended)}</p>\n'
        + (f'<div class="alarm" role="alert">{alarms}</div>\n' if alarms else "")
        + _verdicts(facts)
        + f"{_tiles(facts, metrics)}</header>\n<main>\n"
    )


def _foot(facts: PageFacts) -> str:
    return (
        f"<footer>Written by bulkstop {_safe(facts.version)}. {LATENCY if facts.is_open else CLOSED} Times are counted "
        "by HdrHistogram, to three digits. Nothing on this page is fetched from elsewhere.</footer>\n"
    )


def _verdicts(facts: PageFacts) -> str:
    said = [(str(verdict), verdict.held) for verdict in facts.verdicts]
    if facts.kept:
        said.append((facts.kept, True))
    items = "".join(f'<li class="{"held" if held else "failed"}">{_safe(text)}</li>' for text, held in said)
    return f'<ul class="verdicts" aria-label="What was required">{items}</ul>\n' if items else ""


def _tiles(facts: PageFacts, metrics: Metrics) -> str:
    name, times = ("latency", metrics.latency) if facts.is_open else ("service", metrics.service)
    share = metrics.errors / metrics.requests if metrics.requests else 0.0
    shown = [
        ("requests", f"{metrics.requests:,}"),
        ("rate", f"{metrics.rate:,.1f}/s"),
        ("errors", f"{metrics.errors:,} ({share * 100:.3g}%)"),
    ]
    values = (*times.at(50, 99, 99.9), times.max_s)
    which = ("p50", "p99", "p99.9", "max")
    told_ms = (f"{format_ms(value)} ms" if len(times) else "-" for value in values)
    shown += [(f"{name} {each}", value) for each, value in zip(which, told_ms, strict=True)]
    items = "".join(f"<div><dt>{_safe(what)}</dt><dd>{_safe(value)}</dd></div>" for what, value in shown)
    return f'<dl class="tiles">{items}</dl>\n'


def _drawings(facts: PageFacts, metrics: Metrics, rows: Sequence[Second]) -> Iterator[str]:
    yield "<noscript><p>The charts need JavaScript; every figure stands in the tables below.</p></noscript>\n"
    length_s = next((row.point.length_s for row in rows if row.point.outcomes), 1.0)
    width = f"{length_s:g} s" if len(rows) > 1 and length_s != 1 else "second"
    named = "Latency" if facts.is_open else "Service time"
    yield _drawing("over-time", f"{named} over time", _over_time_said(facts, rows, width), is_log=True, is_time=True)
    yield _drawing("curve", f"{named} by percentile", _curve_said(facts, metrics), is_log=True)
    yield _drawing("bands", "Requests a second, by outcome", _bands_said(metrics, facts), is_time=True)


def _drawing(name: str, title: str, said: str, *, is_log: bool = False, is_time: bool = False) -> str:
    tools = (
        f'<div class="tools"><button type="button" hidden aria-pressed="true" data-of="{name}">linear scale</button>'
        "</div>"
    )
    time = ' data-over="time"' if is_time else ""
    return (
        f'<section aria-labelledby="{name}-title">\n<h2 id="{name}-title">{_safe(title)}</h2>\n'
        f"{tools if is_log else ''}<p>{_safe(said)}</p>\n"
        f'<div class="chart" id="{name}"{time} role="img" aria-label="{_safe(f"Chart: {title}. {said}")}"></div>\n'
        "</section>\n"
    )


def _over_time_said(facts: PageFacts, rows: Sequence[Second], width: str) -> str:
    found = [(row.latency_ms or (), row.point.start_s) for row in rows if row.latency_ms]
    if not found:
        return "No request was answered."
    worst, at_s = max(((figures[2], at_s) for figures, at_s in found), key=lambda each: each[0])
    least = min(figures[2] for figures, _ in found)
    also = " The legend shows and hides lines, and the service times." if facts.is_open else ""
    return (
        f"Of the requests answered in each {width}, p99 was between {format_ms(least / 1e3)} and "
        f"{format_ms(worst / 1e3)} ms; "
        f"the highest from {at_s:,.6g} s on.{also}"
    )


def _curve_said(facts: PageFacts, metrics: Metrics) -> str:
    times = metrics.latency if facts.is_open else metrics.service
    if not len(times):
        return "No request was answered."
    p50, p99 = times.at(50, 99)
    return (
        f"Half of the requests took up to {format_ms(p50)} ms, 99% up to {format_ms(p99)} ms, all up to "
        f"{format_ms(times.max_s)} ms."
    )


def _bands_said(metrics: Metrics, facts: PageFacts) -> str:
    found = ", ".join(f"{number:,} {outcome.value}" for outcome, number in _outcomes(metrics.outcomes))
    line = " The dashed line is the rate at which requests were due." if facts.intended else ""
    return f"{found or 'None'}, by the time of the answer.{line}"


def _tables(told: PageFacts, metrics: Metrics, rows: Sequence[Second]) -> Iterator[str]:
    yield "<section aria-labelledby='figures-title'>\n<h2 id='figures-title'>Figures</h2>\n"
    sets = [("latency", metrics.latency)] if told.is_open else []
    sets.append(("service", metrics.service))
    if told.is_open:
        sets.append(("lateness", metrics.lateness))
    caption = "Milliseconds" + ("; lateness is how late the generator itself was" if told.is_open else "")
    yield _table(caption, ["", *NAMES, "max", "mean"], [[name, *_figures(times)] for name, times in sets])
    share = 100 / (metrics.requests or 1)
    counted = [
        [outcome.value, f"{number:,}", f"{number * share:.4g}%"] for outcome, number in _outcomes(metrics.outcomes)
    ]
    yield _table("What became of the requests", ["outcome", "requests", "share"], counted)
    if why := [[each.outcome.value, each.error, f"{each.requests:,}"] for each in told.reasons]:
        yield _table("Why requests failed", ["outcome", "error", "requests"], why)
    yield "</section>\n<section aria-labelledby='run-title'>\n<h2 id='run-title'>What was run</h2>\n"
    facts = "".join(f'<tr><th scope="row">{_safe(name)}</th><td>{_safe(value)}</td></tr>' for name, value in told.facts)
    yield f'<div class="wide"><table class="facts">{facts}</table></div>\n</section>\n'
    yield f"<details><summary>The charts over time as a table</summary>\n{_seconds(told, rows)}</details>\n</main>\n"


def _seconds(facts: PageFacts, rows: Sequence[Second]) -> str:
    sets = (("latency", "latency_ms"), ("service", "service_ms"))[0 if facts.is_open else 1 :]
    lines = [f"{name} {which}" for name, _ in sets for which in ("p50", "p90", "p99", "max")]
    occurred = [outcome for outcome in Outcome if any(row.point.outcomes.get(outcome) for row in rows)]
    cells = []
    for row in rows:
        told_ms = [f"{ms:,.3f}" for _, key in sets for ms in getattr(row, key) or ()] or ["-"] * len(lines)
        counted = [f"{row.point.outcomes.get(outcome, 0):,}" for outcome in occurred]
        start = f"{row.point.start_s:,.6g}"
        cells.append(
            [start, utc_text(facts.began + row.point.start_s), f"{row.point.length_s:.3f}", *counted, *told_ms]
        )
    head = ["from s", "UTC", "for s", *(outcome.value for outcome in occurred), *lines]
    return _table("Requests by the time of their answer; times in milliseconds", head, cells)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{_safe(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return (
        f'<div class="wide"><table><caption>{_safe(caption)}</caption><thead><tr>{top}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def _figures(times: Histogram) -> list[str]:
    if not len(times):
        return ["-"] * (len(NAMES) + 2)
    return [format_ms(value) for value in (*times.at(*PERCENTILES), times.max_s, times.mean_s)]


def _outcomes(outcomes: Mapping[Outcome, int]) -> list[tuple[Outcome, int]]:
    return [(outcome, outcomes[outcome]) for outcome in Outcome if outcomes.get(outcome)]


def _data(charts: Mapping[str, Chart]) -> str:
    text = json.dumps(charts, separators=(",", ":"), allow_nan=False)  # ASCII, so only these could end the element:
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="charts">{text}</script>\n'
