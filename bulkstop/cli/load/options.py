"""The options of `bulkstop load`, and the checks that they fit together."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import click
from click.core import ParameterSource

from bulkstop.cli.files import check_written
from bulkstop.cli.load import limit
from bulkstop.cli.log import with_log
from bulkstop.cli.options import ParsedText, with_options, with_settings
from bulkstop.cli.words.naming import WordChoice
from bulkstop.errors import SettingsError
from bulkstop.report.load.comparison import MAX_REGRESSION
from bulkstop.report.load.metrics import MAX_LATE_S
from bulkstop.report.load.thresholds import Threshold, parse_threshold
from bulkstop.runs.load import shapes
from bulkstop.runs.load.abort import SECONDS
from bulkstop.runs.load.run import LEAST_IN_FLIGHT, MOST_IN_FLIGHT
from bulkstop.runs.load.shapes import Shape
from bulkstop.runs.load.targets import PREFIX
from bulkstop.runs.options import parse_expected
from bulkstop.runs.stop.input_files import is_same
from bulkstop.settings import Settings
from bulkstop.settings.parse import parse_count, parse_seconds
from bulkstop.settings.spec import (
    CONCURRENCY,
    CONNECTION,
    CREDENTIALS,
    GRACE,
    INPUT,
    PATHS,
    PROTECTION,
    RETRY_AFTER,
    SCOPE,
    TYPE,
)
from bulkstop.source.forms.format import Format
from bulkstop.text import printable
from bulkstop.units import parse_percentage

HTML = "--html"


def parse_regression(text: str) -> float:
    """Return how much worse a figure may get, from a text such as `10%`."""
    share = parse_percentage(text)
    if share is None:
        raise ValueError(f"{text!r} is not a percentage, such as 10%")
    return share


with_load_options = with_options(
    click.argument("source", required=False, metavar="[INPUT]"),
    click.option(
        "--format",
        "fmt",
        type=WordChoice([form.value for form in Format]),
        help="Format of INPUT; default: taken from its name and content.",
    ),
    click.option(
        "--rate", type=ParsedText(shapes.parse_rate, "RATE"), metavar="RATE", help="Rate of requests: 500/s, 30/min."
    ),
    click.option(
        "--ramp",
        type=ParsedText(shapes.parse_ramp, "A..B/s"),
        metavar="A..B/s",
        help="Change the rate evenly from A to B.",
    ),
    click.option(
        "--steps",
        type=ParsedText(shapes.parse_steps, "A,B,.../s"),
        metavar="A,B,.../s",
        help="Use these rates one after the other.",
    ),
    click.option(
        "--step", "step_s", type=ParsedText(parse_seconds, "TIME"), metavar="TIME", help="Duration of each step."
    ),
    click.option(
        "--spike",
        type=ParsedText(shapes.parse_spike, "RATE[:TIME]"),
        metavar="RATE[:TIME]",
        help="With --rate and --duration: use this rate in the middle, for TIME or a fifth of the duration.",
    ),
    click.option(
        "--closed",
        is_flag=True,
        help="No schedule: keep --concurrency requests in flight.",
    ),
    click.option(
        "--duration",
        "length_s",
        type=ParsedText(parse_seconds, "TIME"),
        metavar="TIME",
        help="Duration of the run: 30s, 5m.",
    ),
    click.option(
        "--count",
        type=ParsedText(parse_count, "N"),
        metavar="N",
        help="Largest number of requests; default: as many as fit into --duration, else each campaign of INPUT once.",
    ),
    click.option(
        "--max-in-flight",
        type=ParsedText(parse_count, "N"),
        metavar="N",
        help=f"Most requests in flight; default: rate times --timeout, {LEAST_IN_FLIGHT}-{MOST_IN_FLIGHT}.",
    ),
    click.option(
        "--processes",
        type=ParsedText(parse_count, "N"),
        default=1,
        metavar="N",
        help="Send from N processes, to use N cores.  [default: 1]",
    ),
    click.option(
        "--max-late",
        "max_late_s",
        type=ParsedText(parse_seconds, "TIME"),
        default=MAX_LATE_S,
        metavar="TIME",
        help=f"Largest lateness of this program; 1% of the requests may exceed it.  [default: {MAX_LATE_S * 1e3:g}ms]",
    ),
    click.option(
        "--require",
        multiple=True,
        type=ParsedText(parse_threshold, "CONDITION"),
        metavar="CONDITION",
        help="Condition that must hold, such as 'p99<250ms'; repeatable.",
    ),
    click.option(
        "--warmup",
        "warmup_s",
        type=ParsedText(parse_seconds, "TIME"),
        default=0.0,
        metavar="TIME",
        help="Send at the first rate for this time before the measurement starts.",
    ),
    click.option(
        "--arrivals",
        type=WordChoice([shapes.EVEN, shapes.POISSON]),
        default=shapes.EVEN,
        help=f"Spread of requests over time: {shapes.EVEN}, or random (poisson) as from many callers.",
    ),
    click.option(
        "--abort-on",
        multiple=True,
        type=ParsedText(parse_threshold, "CONDITION"),
        metavar="CONDITION",
        help=f"End at once if this is true of the last {SECONDS} s, such as 'failed>20%'; repeatable.",
    ),
    click.option("--compare", metavar="OLD.json", help="Compare with an earlier run: the file of its --json."),
    click.option(
        "--max-regression",
        type=ParsedText(parse_regression, "N%"),
        metavar="N%",
        help=f"With --compare: how much worse a figure may get.  [default: {MAX_REGRESSION * 100:g}%]",
    ),
    limit.options,
    click.option(
        "--id-prefix", default=PREFIX, show_default=True, metavar="TEXT", help="Start of made-up campaign ids."
    ),
    click.option("--results", metavar="FILE", help="Write a line for each request; - is standard output."),
    click.option("--hdr", metavar="FILE", help="Write a histogram log that HdrHistogram tools read."),
    click.option(HTML, metavar="FILE", help="Write a page with charts, for a browser; no network needed."),
    click.option("--overwrite", is_flag=True, help="Replace these files if they exist."),
    click.option(
        "--allow-host",
        "allowed",
        multiple=True,
        metavar="HOST",
        help="Allow this host of the vendor; on a terminal you are asked for its name instead; repeatable.",
    ),
    click.option("--yes", is_flag=True, help="Do not ask before stopping the campaigns of INPUT on another host."),
    click.option(
        "--expect",
        type=ParsedText(parse_expected, "N|A..B"),
        metavar="N|A..B",
        help="Do not ask; send nothing unless INPUT has this many campaigns.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Write the figures as one JSON object to standard output."),
    click.option("--quiet", is_flag=True, help="Show only warnings, errors and the verdict."),
    with_log,
    with_settings(CONNECTION, CREDENTIALS, PATHS, SCOPE, INPUT, TYPE, PROTECTION, CONCURRENCY, GRACE, RETRY_AFTER),
)
"""Adds all options of `load` to a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The options of `load` except the settings, the shape and those of the search."""

    source: str | None
    fmt: str | None
    max_in_flight: int | None
    processes: int
    max_late_s: float
    require: tuple[Threshold, ...]
    abort_on: tuple[Threshold, ...]
    compare: str | None
    max_regression: float | None
    id_prefix: str
    results: str | None
    hdr: str | None
    html: str | None
    overwrite: bool
    allowed: tuple[str, ...]
    yes: bool
    expect: tuple[int, int] | None
    as_json: bool
    quiet: bool
    log_json: bool

    @property
    def outputs(self) -> tuple[tuple[str, str | None], ...]:
        """The options that name files to be written, each with its file or None."""
        return (("--results", self.results), ("--hdr", self.hdr), (HTML, self.html))

    @property
    def label(self) -> str:
        """The label of the campaigns: the input, or the prefix of made-up ids."""
        return printable(self.source or self.id_prefix)

    def has_verdict(self, code: int) -> bool:
        """Return whether a run with this exit code prints a verdict: not with --log-json, nor after a quiet success."""
        return not self.log_json and bool(code or not self.quiet)


def read_load_options(params: Mapping[str, Any]) -> LoadOptions:
    """Return the options; --log-json implies quiet, so that no text for people stands between its lines."""
    options = LoadOptions(**{each.name: params[each.name] for each in fields(LoadOptions)})
    return replace(options, quiet=options.quiet or params["log_json"])


def read_shape(params: Mapping[str, Any]) -> Shape:
    """Return the shape of the load from the options of a command; raises SettingsError for options that conflict."""
    return Shape(**{each.name: params[each.name] for each in fields(Shape)})


def check_usage(ctx: click.Context, shape: Shape, options: LoadOptions, settings: Settings) -> None:
    """Raise SettingsError for options that conflict."""
    if shape.closed and options.max_in_flight is not None:
        raise SettingsError("--max-in-flight: does not work with --closed; give --concurrency instead")
    if _is_typed(ctx, "max_retry_after_s"):
        raise SettingsError("--max-retry-after: goes with --find-limit")
    if not shape.closed and _is_typed(ctx, "concurrency"):
        raise SettingsError("--concurrency: only works with --closed; without it, give --max-in-flight")
    if options.max_regression is not None and options.compare is None:
        raise SettingsError("--max-regression: goes with --compare OLD.json")
    check_files(options)
    check_written(options.outputs, settings, ctx.params["config"])


def check_input(ctx: click.Context, options: LoadOptions) -> None:
    """Raise SettingsError for a typed option about INPUT when ids are made up, or about made-up ids with an INPUT."""
    for name, is_without_use, why in (
        (
            "id_prefix",
            options.source is not None,
            "--id-prefix: only works without INPUT, which has ids of its own",
        ),
        ("fmt", options.source is None, "--format: only works with INPUT; give INPUT, or leave it out"),
        ("expect", options.source is None, "--expect: only works with INPUT; give INPUT, or leave it out"),
        ("yes", options.source is None, "--yes: only works with INPUT; give INPUT, or leave it out"),
    ):
        if is_without_use and _is_typed(ctx, name):
            raise SettingsError(why)


def _is_typed(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def check_files(options: LoadOptions) -> None:
    """Raise SettingsError for a file that would be written twice, or is INPUT."""
    lines, page = options.outputs[:2], options.html
    for option, path in lines:
        if options.as_json and path == "-":
            raise SettingsError(f"--json: standard output is taken by {option} -; give {option} FILE")
    if options.results is not None and options.results.lower().endswith(".csv"):
        raise SettingsError(f"--results {options.results}: its lines are JSON, not CSV; name it .jsonl")
    if options.html == "-":
        raise SettingsError(f"{HTML} -: a page is a file; give {HTML} FILE; nothing was sent")
    if options.results is not None and options.hdr is not None and is_same(options.results, options.hdr):
        raise SettingsError(f"--hdr {options.hdr}: is also what --results writes; give another file")
    if page is not None and any(path is not None and is_same(page, path) for _, path in lines):
        raise SettingsError(f"{HTML} {options.html}: is also what --results or --hdr writes; give another file")
    for option, path in options.outputs:
        if path not in (None, "-") and options.source is not None and is_same(path, options.source):
            raise SettingsError(f"{option} {path}: is INPUT itself; give another file")
    if "-" in (options.results, options.hdr, "-" if options.as_json else None) and sys.stdout is None:
        raise SettingsError("standard output is closed; nothing was sent")
