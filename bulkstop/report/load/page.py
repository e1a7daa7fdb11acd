"""The page of a load test: one HTML file that needs no network, with charts, and every figure as text too.

Any text may be hostile, such as a host, an id or a server's words: all of it is escaped, none of it gets into a script,
and the page's policy permits only its own two scripts and no fetching.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

from bulkstop.model import Outcome, utc_text
from bulkstop.redact import REDACTOR
from bulkstop.report.load.charts import Chart, draw_latencies, draw_outcomes, draw_percentiles
from bulkstop.report.load.figures import NAMES, format_ms
from bulkstop.report.load.histogram import PERCENTILES, Histogram
from bulkstop.report.load.metrics import MAX_LATE_SHARE, Metrics
from bulkstop.report.load.summary import LoadPlan, LoadSummary, format_plan, list_warnings
from bulkstop.report.load.timeline import FIGURES, Point
from bulkstop.text import printable
from bulkstop.version import __version__

FAR = 10
"""A line this many times above all measurements is not drawn, because it would flatten the rest."""
LATENCY = "Latency is from when a request was due to its answer, service from when it left to its answer."
CLOSED = "Requests had no times at which they were due; service is from when one left to its answer."


def render_page(summary: LoadSummary, points: Sequence[Point], library: str) -> str:
    """Return the page; `library` is the JavaScript that draws the charts."""
    plan, metrics = summary.plan, summary.metrics
    required = [(each.name, each.bound) for each in plan.require if each.is_time]
    lines = [(name, bound_s) for name, bound_s in required if bound_s < FAR * metrics.latency.max_s]
    charts = {
        "over-time": draw_latencies(points, lines, is_open=plan.is_open),
        "curve": draw_percentiles(metrics.latency, metrics.service, lines, is_open=plan.is_open),
        "bands": draw_outcomes(points, plan.intended),
    }
    scripts = [library, _part("page.js")]
    return "".join(
        [
            _head(f"Load test of {plan.host}", scripts),
            _top(summary),
            *_drawings(summary, points),
            *_tables(summary, points),
            _foot(plan),
            _data(charts),
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _part(name: str) -> str:
    return files("bulkstop.report.load").joinpath(name).read_text("utf-8")


def _safe(text: object) -> str:
    return escape(printable(REDACTOR.redact(str(text))))


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


def _top(summary: LoadSummary) -> str:
    times = _format_times(summary)
    when = f"{times[0]} to {times[1]}" if times else "nothing was sent"
    alarms = "".join(f"<p>{_safe(alarm)}</p>" for alarm in _list_alarms(summary))
    return (
        f"<header>\n<h1>Load test of {_safe(summary.plan.host)}</h1>\n"
        f'<p class="under">{_safe(summary.plan.load)} · {when} · ended {_safe(summary.reason)}</p>\n'
        + (f'<div class="alarm" role="alert">{alarms}</div>\n' if alarms else "")
        + _verdicts(summary)
        + f"{_tiles(summary.metrics, is_open=summary.plan.is_open)}</header>\n<main>\n"
    )


def _list_alarms(summary: LoadSummary) -> list[str]:
    alarms = list_warnings(summary)
    if summary.fault is not None or summary.signum is not None:
        alarms.append(f"ENDED EARLY: {summary.reason}; the figures are of what was sent until then")
    return alarms


def _format_times(summary: LoadSummary) -> tuple[str, str] | None:
    if not summary.metrics.requests:
        return None
    return utc_text(summary.began), utc_text(summary.began + summary.metrics.elapsed_s)


def _foot(plan: LoadPlan) -> str:
    return (
        f"<footer>Written by bulkstop {__version__}. {LATENCY if plan.is_open else CLOSED} Times are counted "
        "by HdrHistogram, to three digits. Nothing on this page is fetched from elsewhere.</footer>\n"
    )


def _verdicts(summary: LoadSummary) -> str:
    rows = [(str(verdict), verdict.held) for verdict in summary.verdicts]
    metrics = summary.metrics
    if summary.plan.is_open and metrics.requests and metrics.kept_schedule:
        late = f"{metrics.late_share * 100:.3g}% left more than {metrics.max_late_s * 1e3:g}ms late"
        rows.append((f"schedule: kept ({late}; allowed: {MAX_LATE_SHARE * 100:g}%)", True))
    items = "".join(f'<li class="{"held" if held else "failed"}">{_safe(text)}</li>' for text, held in rows)
    return f'<ul class="verdicts" aria-label="What was required">{items}</ul>\n' if items else ""


def _tiles(metrics: Metrics, *, is_open: bool) -> str:
    name, times = ("latency", metrics.latency) if is_open else ("service", metrics.service)
    tiles = [
        ("requests", f"{metrics.requests:,}"),
        ("rate of answers", f"{metrics.rates.answered:,.1f}/s"),
        ("failed", f"{metrics.failed:,} ({metrics.failed_share * 100:.3g}%)"),
    ]
    values = zip(("p50", "p99", "p99.9", "max"), (*times.at(50, 99, 99.9), times.max_s), strict=True)
    tiles += [(f"{name} {which}", f"{format_ms(value)} ms" if len(times) else "-") for which, value in values]
    items = "".join(f"<div><dt>{_safe(what)}</dt><dd>{_safe(value)}</dd></div>" for what, value in tiles)
    return f'<dl class="tiles">{items}</dl>\n'


def _drawings(summary: LoadSummary, points: Sequence[Point]) -> Iterator[str]:
    yield "<noscript><p>The charts need JavaScript; every figure stands in the tables below.</p></noscript>\n"
    plan, metrics = summary.plan, summary.metrics
    named = "Latency" if plan.is_open else "Service time"
    over_time, curve = _describe_course(plan, points), _describe_curve(plan, metrics)
    yield _drawing("over-time", f"{named} over time", over_time, is_log=True, is_time=True)
    yield _drawing("curve", f"{named} by percentile", curve, is_log=True)
    yield _drawing("bands", "Requests a second, by outcome", _describe_bands(plan, metrics), is_time=True)


def _drawing(name: str, title: str, text: str, *, is_log: bool = False, is_time: bool = False) -> str:
    tools = (
        f'<div class="tools"><button type="button" hidden aria-pressed="true" data-of="{name}">linear scale</button>'
        "</div>"
    )
    time = ' data-over="time"' if is_time else ""
    return (
        f'<section aria-labelledby="{name}-title">\n<h2 id="{name}-title">{_safe(title)}</h2>\n'
        f"{tools if is_log else ''}<p>{_safe(text)}</p>\n"
        f'<div class="chart" id="{name}"{time} role="img" aria-label="{_safe(f"Chart: {title}. {text}")}"></div>\n'
        "</section>\n"
    )


def _describe_course(plan: LoadPlan, points: Sequence[Point]) -> str:
    p99s = [(point.latency_ms[2], point.start_s) for point in points if point.latency_ms]
    if not p99s:
        return "No request was answered."
    worst, at_s = max(p99s, key=lambda each: each[0])
    span = f"{format_ms(min(p99s)[0] / 1e3)} and {format_ms(worst / 1e3)} ms; the highest from {at_s:,.6g} s on."
    also = " The legend shows and hides lines, and the service times." if plan.is_open else ""
    return f"Of the requests answered in each {_describe_width(points)}, p99 was between {span}{also}"


def _describe_width(points: Sequence[Point]) -> str:
    length_s = next((point.length_s for point in points if point.outcomes), 1.0)
    return f"{length_s:g} s" if len(points) > 1 and length_s != 1 else "second"


def _describe_curve(plan: LoadPlan, metrics: Metrics) -> str:
    times = metrics.latency if plan.is_open else metrics.service
    if not len(times):
        return "No request was answered."
    p50, p99, most = (format_ms(value) for value in (*times.at(50, 99), times.max_s))
    return f"Half of the requests took up to {p50} ms, 99% up to {p99} ms, all up to {most} ms."


def _describe_bands(plan: LoadPlan, metrics: Metrics) -> str:
    counts = ", ".join(f"{number:,} {outcome.value}" for outcome, number in _outcomes(metrics.outcomes))
    line = " The dashed line is the rate at which requests were due." if plan.intended else ""
    return f"{counts or 'None'}, by the time of the answer.{line}"


def _tables(summary: LoadSummary, points: Sequence[Point]) -> Iterator[str]:
    yield "<section aria-labelledby='figures-title'>\n<h2 id='figures-title'>Figures</h2>\n"
    metrics, is_open = summary.metrics, summary.plan.is_open
    sets = [("latency", metrics.latency), ("latency of successes", metrics.success_latency)] if is_open else []
    sets += [("service", metrics.service), ("service of successes", metrics.success_service)]
    sets += [("lateness", metrics.lateness)] if is_open else []
    caption = "Milliseconds" + ("; lateness is how late the generator itself was" if is_open else "")
    rows = [[name, *_figures(times)] for name, times in sets if metrics.failed or "success" not in name]
    yield _table(caption, ["", *NAMES, "max", "mean"], rows)
    share = 100 / (metrics.requests or 1)
    counts = [
        [outcome.value, f"{number:,}", f"{number * share:.4g}%"] for outcome, number in _outcomes(metrics.outcomes)
    ]
    yield _table("What became of the requests", ["outcome", "requests", "share"], counts)
    if why := [[each.outcome.value, each.error, f"{each.requests:,}"] for each in metrics.reasons.most()]:
        yield _table("Why requests failed", ["outcome", "error", "requests"], why)
    yield "</section>\n<section aria-labelledby='run-title'>\n<h2 id='run-title'>What was run</h2>\n"
    facts = "".join(
        f'<tr><th scope="row">{_safe(name)}</th><td>{_safe(value)}</td></tr>' for name, value in _list_facts(summary)
    )
    yield f'<div class="wide"><table class="facts">{facts}</table></div>\n</section>\n'
    course = _course_table(summary, points)
    yield f"<details><summary>The charts over time as a table</summary>\n{course}</details>\n</main>\n"


def _list_facts(summary: LoadSummary) -> list[tuple[str, str]]:
    metrics = summary.metrics
    return [
        *format_plan(summary.plan),
        ("run id", summary.run_id),
        *zip(("began at", "ended at"), _format_times(summary) or (), strict=False),
        ("answered", f"{metrics.answered:,} of {metrics.requests:,}"),
        ("most in flight", f"{metrics.most_in_flight:,}"),
        ("ended", summary.reason),
        ("exit code", str(summary.exit_code)),
    ]


def _course_table(summary: LoadSummary, points: Sequence[Point]) -> str:
    names = ("latency", "service")[0 if summary.plan.is_open else 1 :]
    occurred = [outcome for outcome in Outcome if any(point.outcomes.get(outcome) for point in points)]
    columns = [f"{name} {which}" for name in names for which in FIGURES]
    cells = []
    for point in points:
        figures_ms = point.latency_ms or () if summary.plan.is_open else ()
        times = [f"{ms:,.3f}" for ms in (*figures_ms, *(point.service_ms or ()))] or ["-"] * len(columns)
        counts = [f"{point.outcomes.get(outcome, 0):,}" for outcome in occurred]
        at = utc_text(summary.began + point.start_s)
        cells.append([f"{point.start_s:,.6g}", at, f"{point.length_s:.3f}", *counts, *times])
    head = ["from s", "UTC", "for s", *(outcome.value for outcome in occurred), *columns]
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
