"""The options of `bulkstop hold`, apart from the settings."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import click

from bulkstop.cli.files import RESULTS
from bulkstop.cli.log import with_log
from bulkstop.cli.options import ParsedText, with_options, with_settings
from bulkstop.cli.stop.options import StopOptions, keep_types, make_filter_options, name_by_time, parse_types
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.errors import SettingsError
from bulkstop.files.whole import find_free_name
from bulkstop.naming import name_setting
from bulkstop.runs.hold.run import Watch
from bulkstop.runs.lists.discover import ANY_STATUS
from bulkstop.runs.lists.states import AT_REST
from bulkstop.runs.options import parse_expected
from bulkstop.settings import GROUPS, OPTION_SPECS, Settings
from bulkstop.settings.finish_by import find_moment, parse_finish_by
from bulkstop.settings.load import variable_of
from bulkstop.settings.parse import parse_count, parse_seconds
from bulkstop.settings.spec import TYPE
from bulkstop.text.clock import format_clock

EVERY_S = 60.0
AGAIN = 3


class HoldOptions(NamedTuple):
    """The options that only `hold` has."""

    every_s: float
    for_s: float | None
    until: str | None
    again: int

    def make_watch(self, settings: Settings) -> Watch:
        """Return when to look and when to end; raises SettingsError for an end that has passed."""
        most = settings.max_campaigns or 0
        if self.for_s is not None:
            began, for_s = elapsed_s(), self.for_s
            return Watch(every_s=self.every_s, most=most, left_s=lambda: for_s - (elapsed_s() - began))
        if self.until is not None:
            at = self.find_end(settings).timestamp()
            return Watch(every_s=self.every_s, most=most, left_s=lambda: at - time.time())
        return Watch(every_s=self.every_s, most=most)

    def find_end(self, settings: Settings) -> datetime:
        """Return the moment of `--until`; a time of the day that has passed today means tomorrow."""
        now, text = datetime.now(UTC), self.until or ""
        for day in (now, now + timedelta(days=1)):
            if (moment := find_moment(text, settings.tz, day)) > now:
                return moment
        raise SettingsError(f"--until {text}: has passed; nothing was sent")

    def describe_end(self, settings: Settings) -> str:
        """Return until when the hold looks, as text."""
        if self.for_s is not None:
            return f"for {self.for_s / 3600:.3g} h" if self.for_s >= 3600 else f"for {self.for_s:g} s"
        if self.until is None:
            return "until Ctrl-C"
        at = self.find_end(settings)
        return f"until {format_clock(at.timestamp(), time.time(), at.tzinfo)}"


def read_hold_options(params: Mapping[str, Any], settings: Settings) -> tuple[HoldOptions, StopOptions]:
    """Return the options that only `hold` has, and the equivalent options of `stop`; raises SettingsError."""
    hold = HoldOptions(params["every_s"], params["for_s"], params["until"], params["again"])
    _check(hold, params, settings)
    given: dict[str, Any] = {name: params.get(name) for name in StopOptions._fields}
    options = StopOptions(**given | {"inputs": (), "retry": (), "running": True})
    is_quiet = options.quiet or options.log_json or options.as_json
    return hold, options._replace(quiet=is_quiet, target=options.output or _name_results(options))


def _check(hold: HoldOptions, params: Mapping[str, Any], settings: Settings) -> None:
    if params["as_json"] and not params["dry_run"]:
        raise SettingsError("--json: writes the plan; use it with --dry-run")
    if hold.for_s is not None and hold.until is not None:
        raise SettingsError("--for and --until both set the end; use one of them")
    if settings.max_campaigns is None:
        raise SettingsError(
            ": is required, because nobody confirms later stops: give the most campaigns that hold may stop in all",
            setting="max_campaigns",
        )
    for status in params["wanted"] or ():
        if status == ANY_STATUS or status in AT_REST:
            raise SettingsError(f"--status {status}: also matches stopped campaigns, so hold would never end")
    if hold.until is not None:
        hold.find_end(settings)


def _name_results(options: StopOptions) -> str:
    """Return a result file named after the time; raises SettingsError where the file of an earlier hold is needed."""
    if options.goes_on:
        raise SettingsError(
            f": the result file of a hold has the date and time in its name; give {name_setting('output', 'FILE')} "
            "with the file to go on with",
            setting="resume" if options.resume else "trust_results",
        )
    return find_free_name(name_by_time("hold"), RESULTS)


with_hold_options: Callable[[Callable[..., Any]], Callable[..., Any]] = with_options(
    click.option(
        "--every",
        "every_s",
        type=ParsedText(parse_seconds, "SECONDS"),
        default=f"{EVERY_S:g}s",
        show_default=True,
        metavar="SECONDS",
        help="Time between two looks at the service's list.",
    ),
    click.option(
        "--for",
        "for_s",
        type=ParsedText(parse_seconds, "SECONDS"),
        metavar="SECONDS",
        help="End after this time, such as 2h.  [default: at Ctrl-C]",
    ),
    click.option(
        "--until",
        type=ParsedText(parse_finish_by, "TIME"),
        metavar="TIME",
        help="End at this time: 08:00 (tomorrow if it has passed), 2026-12-01T08:00, 08:00+05:30.",
    ),
    click.option(
        "--again",
        type=ParsedText(parse_count, "N"),
        default=str(AGAIN),
        show_default=True,
        metavar="N",
        help="Stop each campaign at most this many times; report it after that.",
    ),
    *make_filter_options("Only campaigns in these states; running: Active, Preparing or undocumented."),
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        help="Result file: JSON lines, or CSV if it ends in .csv; - is standard output.  "
        "[default: hold-TIME.results.jsonl]",
    ),
    click.option("--resume", is_flag=True, help="Continue an earlier hold with its result file."),
    click.option(
        "--trust-results",
        is_flag=True,
        help="Resume even if the manifest does not prove the result file, or others can change it.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing result file."),
    click.option("--dry-run", is_flag=True, help="Show what the first look would stop, and send nothing."),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    click.option(
        "--expect",
        type=ParsedText(parse_expected, "N|A..B"),
        metavar="N|A..B",
        help="Do not ask; send nothing unless the first look finds this many campaigns to stop.",
    ),
    click.option("--json", "as_json", is_flag=True, help="With --dry-run: write the plan as JSON to standard output."),
    click.option("--quiet", is_flag=True, help="Show only warnings, errors and the verdict."),
    with_log,
    with_settings(*(group for group in GROUPS if group is not TYPE)),
    click.option(
        "--type",
        "type",
        type=ParsedText(parse_types, OPTION_SPECS["type"].metavar),
        metavar=OPTION_SPECS["type"].metavar,
        envvar=variable_of("type"),
        callback=keep_types,
        help=f"{OPTION_SPECS['type'].help.removesuffix('.')}; default: both.",
    ),
)
"""Adds all options of `hold` to a command."""
