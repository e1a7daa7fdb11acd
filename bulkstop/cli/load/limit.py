"""`bulkstop load --find-limit`: the highest rate that holds, told, and what a profile needs to go by it."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import click
from click.core import ParameterSource

from bulkstop.cli.load import shapes
from bulkstop.cli.load.summary import verdicts_to_json
from bulkstop.cli.options import ParsedText
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.errors import SettingsError
from bulkstop.model import SIGNALS, Campaign, Limit
from bulkstop.report.load.error_counts import error_counts_to_json, format_error_counts
from bulkstop.report.load.summary import describe_outcome, metrics_to_json, warn_nothing_stopped
from bulkstop.report.stop.summary import format_counts
from bulkstop.runs import host
from bulkstop.runs.load.search import (
    START,
    STEP_S,
    TOP,
    USUAL,
    Probe,
    Search,
    SearchResult,
    execute,
    format_limit,
)
from bulkstop.settings import OPTION_SPECS, Settings
from bulkstop.settings.profiles import read_profile
from bulkstop.source.plan import Plan
from bulkstop.text import format_duration, format_table

EVEN = "even"

ABOUT = f"""\b
--find-limit looks for the highest rate that holds: from --rate (or {START:g}/s) on it doubles until one does
not, halves the gap until it is below 5 %, and lets the highest that held do so once more, for twice the time.
  a step        --step, or {STEP_S:g}s; it has to be longer than the time over which the service counts: a limit
                of so many calls a minute is not felt in {STEP_S:g} seconds, and needs --step 60s
  it holds      if all that is required does, and, unless a --require is about the same,
                {", ".join(each.text for each in USUAL)}
  after one that did not, nothing is sent for a step, or for as long as the service asks for
  rate          --require 'rate>50/s' is asked of the limit that was found
--write-quota prints the lines to paste into the profile: the rate, rounded down, as its quota, and
pace = "{EVEN}", as it held for calls sent evenly; on standard output, with --json on standard error.
Exit code 1 if nothing held, 3 if this machine gave way before the service did, or the search did not end."""


WITH_SEARCH = frozenset(
    {
        *("source", "fmt", "rate", "step_s", "count", "max_in_flight", "max_late_s", "require", "id_prefix"),
        *("allowed", "as_json", "quiet", "find_limit", "max_rate", "write_quota", "log_level", "log_json"),
        *("profile", "config", *(OPTION_SPECS.keys() - {"concurrency"})),
    }
)
"""The options of `load` that mean something to a search."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add to a command the options of the search."""
    of_search = (
        click.option("--find-limit", is_flag=True, help="Find the highest rate that the service takes."),
        click.option(
            "--max-rate",
            type=ParsedText(shapes.parse_rate, "RATE"),
            metavar="RATE",
            help=f"With --find-limit: the highest rate to try.  [default: {TOP:,.0f}/s]",
        ),
        click.option(
            "--write-quota", is_flag=True, help="With --find-limit: print what was found as lines for the profile."
        ),
    )
    return reduce(lambda found, option: option(found), reversed(of_search), command)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What was asked for: the search, and the profile that is to go by what it finds, if one is."""

    search: Search
    target: "QuotaTarget | None" = None


@dataclass(frozen=True, slots=True)
class QuotaTarget:
    """The profile that a quota is meant for, and what stands there now; None where it has no such table."""

    config: str
    profile: str
    values: Mapping[str, Any] | None = None


def read_search_options(ctx: click.Context) -> SearchOptions | None:
    """Read the options of the search; None for another kind of load; raises what does not go together."""
    given = ctx.params
    if not given["find_limit"]:
        for name in ("max_rate", "write_quota"):
            if given[name]:
                raise SettingsError(f"{_flag(ctx, name)}: goes with --find-limit")
        return None
    for name in _list_foreign(ctx):
        raise SettingsError(f"{_flag(ctx, name)}: does not go with --find-limit")
    if (given["as_json"] or given["write_quota"]) and sys.stdout is None:
        raise SettingsError("standard output is closed; nothing was sent")
    search = Search(
        start=given["rate"] or min(START, given["max_rate"] or START),
        top=given["max_rate"] or max(TOP, given["rate"] or 0),
        step_s=given["step_s"] or STEP_S,
        require=given["require"],
        count=given["count"],
        max_in_flight=given["max_in_flight"],
        max_late_s=given["max_late_s"],
    )
    if search.start > search.top:
        raise SettingsError("--max-rate: is lower than --rate, where the search begins")
    if not given["write_quota"]:
        return SearchOptions(search)
    profile = read_profile(given["config"], given["profile"])
    return SearchOptions(search, QuotaTarget(given["config"], profile.name, profile.values))


def _list_foreign(ctx: click.Context) -> list[str]:
    """Name what was typed and means nothing here."""
    typed = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    return [name for name in typed if name not in WITH_SEARCH]


def _flag(ctx: click.Context, name: str) -> str:
    return next((param.opts[0] for param in ctx.command.params if param.name == name), name)


def search(
    where: SearchOptions,
    campaigns: Iterator[Campaign],
    plan: Plan | None,
    settings: Settings,
    *,
    confirm: Callable[[], None],
    told: Sequence[tuple[str, str]],
    as_json: bool,
    quiet: bool,
) -> int:
    """Search, say how it goes and what was found; returns the exit code."""
    if where.target is not None and plan is not None and len(plan.accounts) > 1:
        raise SettingsError("--write-quota: a quota is one account's, and the list has several; nothing was sent")
    if not quiet:
        print_err("\n".join(format_plan(where.search, told)))
    confirm()
    tell_probe = (lambda probe: None) if quiet else (lambda probe: print_err(f"  {format_probe(probe)}"))
    found = host.run(execute(where.search, campaigns, settings, signals=SIGNALS, say=print_err, tell=tell_probe))
    quota = format_limit(found.rate) if found.exit_code == 0 and found.rate is not None else None
    if not quiet:
        print_err("\n".join(format_table("Summary", [*format_summary(found), *describe_paste(where.target, quota)])))
    for line in list_faults(found):
        print_err(f"bulkstop: {line}")
    lines = "" if where.target is None or quota is None else format_profile(where.target.profile, quota)
    if not as_json:
        return print_last(lines, found.exit_code) if lines else found.exit_code
    if lines:
        print_err(lines)
    return print_last(json.dumps(result_to_json(found, settings)), found.exit_code)


def format_plan(search: Search, told: Sequence[tuple[str, str]]) -> list[str]:
    """Write what will be sent, for a person to see before it is."""
    load = f"from {search.start:,g}/s up to {search.top:,g}/s, {format_duration(search.step_s)} each"
    most = "" if search.count is None else f"; at most {search.count:,} requests"
    required = ", ".join(each.text for each in search.lines)
    rows = [*told, ("load", load + most), ("holds if", required)]
    return format_table("Search for the limit: every request is a real stop", rows)


def format_probe(probe: Probe) -> str:
    """Say what became of a rate."""
    measured = probe.metrics
    p99 = f"p99 {measured.latency.at(99)[0] * 1e3:,.1f} ms, " if len(measured.latency) else ""
    said = f"{p99}{measured.requests:,} requests in {format_duration(measured.elapsed_s)}"
    rate = f"{probe.rate:,g}/s"
    return f"{rate:>10}  {probe.trial:<8}  {probe.why or said}"


def format_summary(result: SearchResult) -> list[tuple[str, str]]:
    """Tell what was found, and what that took."""
    rows = [*format_counts(result.outcomes), *format_error_counts(result.reasons)]
    if result.knee.low is not None:
        name, sure = ("limit", "") if result.is_over else ("held", ", so far")
        rows.append((name, f"{_least(result)}{result.knee.low:,g}/s held{sure}{_not_held(result)}"))
    rows += [("required", str(verdict)) for verdict in result.verdicts]
    rows.append(("tried", f"{len(result.probes)} times, {result.requests:,} requests"))
    rows.append(("ended", result.reason))
    return rows


def _least(result: SearchResult) -> str:
    return "at least " if result.is_over and (result.knee.high is None or result.knee.by_machine) else ""


def _not_held(result: SearchResult) -> str:
    last = next((each for each in reversed(result.probes) if each.rate == result.knee.high), None)
    if last is None:
        return "" if not result.is_over else "; no higher rate was to be tried"
    return f"; {last.rate:,g}/s did not: {last.why}"


def list_faults(result: SearchResult) -> list[str]:
    """Name what makes the exit code another than 0, and what makes the limit another than it looks."""
    told = [str(verdict) for verdict in result.verdicts if not verdict.held]
    if result.fault is not None or (result.stuck and not result.is_unanswered):
        told.append(result.reason)
    elif result.is_over and result.knee.by_machine:
        told.append("THIS MACHINE GAVE WAY FIRST: it could not send faster, and what the service takes is not known")
    elif result.is_over and result.rate is None:
        told.append(result.reason)
    if result.is_unanswered:
        told.append(warn_nothing_stopped(result.probes[-1].metrics))
    elif result.refused and result.confirmed is not None:
        told.append(f"WARNING: {describe_outcome(result.confirmed.metrics)}; the limit is that of answering so")
    return told


def describe_paste(target: QuotaTarget | None, quota: Limit | None) -> list[tuple[str, str]]:
    """Say where the lines of a quota belong, and which they replace; nothing unless they were asked for."""
    if target is None:
        return []
    if quota is None:
        return [("quota", "none to paste")]
    if target.values is None:
        return [("quota", f"{quota}; add these lines to {target.config}")]
    stood = [
        f"{key} = {json.dumps(target.values[key], default=str)}" for key in ("quota", "pace") if key in target.values
    ]
    place = f"in place of {', '.join(stood)}" if stood else "there is neither yet"
    return [("quota", f"{quota}; paste these lines under [{_table(target.profile)}] of {target.config}; {place}")]


def format_profile(name: str, quota: Limit) -> str:
    """Write a quota, used evenly, as the lines of a profile."""
    return f'[{_table(name)}]\nquota = "{quota}"\npace = "{EVEN}"'


def _table(profile: str) -> str:
    is_bare = re.fullmatch(r"[A-Za-z0-9_-]+", profile)
    return f"profile.{profile if is_bare else _quote(profile)}"


def _quote(text: str) -> str:
    """Write a text in quotes, as TOML does."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def result_to_json(result: SearchResult, settings: Settings) -> dict[str, object]:
    """Return what was found as a JSON object."""
    return {
        "run_id": result.run_id,
        "host": settings.host,
        "model": "find-limit",
        "limit": result.rate,
        "quota": None if result.rate is None else str(format_limit(result.rate)),
        "held": result.knee.low,
        "did_not_hold": result.knee.high,
        "at_least": bool(_least(result)),
        "by_machine": result.knee.by_machine,
        "requests": result.requests,
        "outcomes": {outcome.value: count for outcome, count in result.outcomes.items()},
        "reasons": error_counts_to_json(result.reasons),
        "tried": [
            {
                "rate": probe.rate,
                "length_s": probe.length_s,
                "became": probe.trial.value,
                "why": probe.why or None,
                **_figures(probe),
            }
            for probe in result.probes
        ],
        "required": verdicts_to_json(result.verdicts),
        "ended": result.reason,
        "exit_code": result.exit_code,
    }


def _figures(probe: Probe) -> dict[str, object]:
    told = metrics_to_json(probe.metrics, is_open=True)
    return {("sent_rate" if name == "rate" else name): value for name, value in told.items()}
