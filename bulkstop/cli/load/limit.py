"""`bulkstop load --find-limit`: the highest rate that holds, told, and written down as a quota."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import click
from click.core import ParameterSource

from bulkstop.cli.load import shapes
from bulkstop.cli.load.summary import verdicts_json
from bulkstop.cli.options import Reads
from bulkstop.cli.terminal import say, tell_last
from bulkstop.errors import OutputError, SettingsError
from bulkstop.model import SIGNALS, Campaign
from bulkstop.report.load.error_counts import reason_rows, reasons_json
from bulkstop.report.load.summary import fate, figures, unstopped
from bulkstop.report.stop.summary import counts
from bulkstop.runs import host
from bulkstop.runs.load.profile import EVEN, check_profile, write_quota
from bulkstop.runs.load.search import START, STEP_S, TOP, UNANSWERED, USUAL, Found, Probe, Search, as_limit, carry_out
from bulkstop.settings import KNOBS, Settings
from bulkstop.source.plan import Plan
from bulkstop.text import duration, table

ABOUT = f"""\b
--find-limit looks for the highest rate that holds: from --rate (or {START:g}/s) on it doubles until one does
not, halves the gap until it is below 5 %, and lets the highest that held do so once more, for twice the time.
  a step        --step, or {STEP_S:g}s; it has to be longer than the time over which the service counts: a limit
                of so many calls a minute is not felt in {STEP_S:g} seconds, and needs --step 60s
  it holds      if all that is required does, and, unless a --require is about the same,
                {", ".join(each.text for each in USUAL)}
  after one that did not, nothing is sent for a step, or for as long as the service asks for
  rate          --require 'rate>50/s' is asked of the limit that was found
--write-quota writes it, rounded down, into the profile, with pace = "{EVEN}": it held for calls sent evenly.
Exit code 1 if nothing held, 3 if this machine gave way before the service did, or the search did not end."""


WITH_SEARCH = frozenset(
    {
        *("source", "fmt", "rate", "step_s", "count", "max_in_flight", "max_late_s", "require", "id_prefix"),
        *("allowed", "as_json", "quiet", "find_limit", "max_rate", "write_quota", "log_level", "log_json"),
        *("profile", "config", *(KNOBS.keys() - {"concurrency"})),
    }
)
"""The options of `load` that mean something to a search."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of the search."""
    of_search = (
        click.option("--find-limit", is_flag=True, help="Find the highest rate that the service takes."),
        click.option(
            "--max-rate",
            type=Reads(shapes.rate, "RATE"),
            metavar="RATE",
            help=f"With --find-limit: the highest rate to try.  [default: {TOP:,.0f}/s]",
        ),
        click.option(
            "--write-quota", is_flag=True, help="With --find-limit: write what was found as the profile's quota."
        ),
    )
    return reduce(lambda found, option: option(found), reversed(of_search), command)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: the search, and where to write what it finds, if anywhere."""

    search: Search
    config: str | None = None
    profile: str = "default"


def asked(ctx: click.Context) -> Asked | None:
    """Read the options of the search; None for another kind of load; raises what does not go together."""
    given = ctx.params
    if not given["find_limit"]:
        for name in ("max_rate", "write_quota"):
            if given[name]:
                raise SettingsError(f"{_flag(ctx, name)}: goes with --find-limit")
        return None
    for name in _foreign(ctx):
        raise SettingsError(f"{_flag(ctx, name)}: does not go with --find-limit")
    if given["as_json"] and sys.stdout is None:
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
        return Asked(search)
    where = Asked(search, given["config"], given["profile"] or "default")
    check_profile(where.config or "", where.profile)
    return where


def _foreign(ctx: click.Context) -> list[str]:
    """Name what was typed and means nothing here."""
    typed = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    return [name for name in typed if name not in WITH_SEARCH]


def _flag(ctx: click.Context, name: str) -> str:
    return next((param.opts[0] for param in ctx.command.params if param.name == name), name)


def find(
    where: Asked,
    campaigns: Iterator[Campaign],
    plan: Plan | None,
    settings: Settings,
    *,
    confirm: Callable[[], None],
    told: Sequence[tuple[str, str]],
    as_json: bool,
    quiet: bool,
) -> int:
    """Search, say how it goes and what was found; gives the exit code."""
    if where.config is not None and plan is not None and len(plan.accounts) > 1:
        raise SettingsError("--write-quota: a quota is one account's, and the list has several; nothing was sent")
    if not quiet:
        say("\n".join(plan_lines(where.search, told)))
    confirm()
    tell_probe = (lambda probe: None) if quiet else (lambda probe: say(f"  {probe_line(probe)}"))
    found = host.run(carry_out(where.search, campaigns, settings, signals=SIGNALS, say=say, tell=tell_probe))
    written, fault = _written(where, found)
    if not quiet:
        say("\n".join(table("Summary", [*summary_rows(found), *written])))
    for line in [*wrong(found), *fault]:
        say(f"bulkstop: {line}")
    code = 3 if fault else found.exit_code
    return tell_last(json.dumps(found_json(found, settings)), code) if as_json else code


def plan_lines(search: Search, told: Sequence[tuple[str, str]]) -> list[str]:
    """Write what will be sent, for a person to see before it is."""
    load = f"from {search.start:,g}/s up to {search.top:,g}/s, {duration(search.step_s)} each"
    most = "" if search.count is None else f"; at most {search.count:,} requests"
    required = ", ".join(each.text for each in search.lines)
    rows = [*told, ("load", load + most), ("holds if", required)]
    return table("Search for the limit: every request is a real stop", rows)


def probe_line(probe: Probe) -> str:
    """Say what became of a rate."""
    measured = probe.measured
    p99 = f"p99 {measured.latency.at(99)[0] * 1e3:,.1f} ms, " if len(measured.latency) else ""
    said = f"{p99}{measured.requests:,} requests in {duration(measured.elapsed_s)}"
    rate = f"{probe.rate:,g}/s"
    return f"{rate:>10}  {probe.trial:<8}  {probe.why or said}"


def summary_rows(found: Found) -> list[tuple[str, str]]:
    """Tell what was found, and what that took."""
    rows = [*counts(found.outcomes), *reason_rows(found.reasons)]
    if found.knee.low is not None:
        name, sure = ("limit", "") if found.is_over else ("held", ", so far")
        rows.append((name, f"{_least(found)}{found.knee.low:,g}/s held{sure}{_not_held(found)}"))
    rows += [("required", str(verdict)) for verdict in found.verdicts]
    rows.append(("tried", f"{len(found.probes)} times, {found.requests:,} requests"))
    rows.append(("ended", found.reason))
    return rows


def _least(found: Found) -> str:
    return "at least " if found.is_over and (found.knee.high is None or found.knee.by_machine) else ""


def _not_held(found: Found) -> str:
    last = next((each for each in reversed(found.probes) if each.rate == found.knee.high), None)
    if last is None:
        return "" if not found.is_over else "; no higher rate was to be tried"
    return f"; {last.rate:,g}/s did not: {last.why}"


def wrong(found: Found) -> list[str]:
    """Name what makes the exit code another than 0, and what makes the limit another than it looks."""
    told = [str(verdict) for verdict in found.verdicts if not verdict.held]
    if found.fault is not None or found.stuck not in ("", UNANSWERED):
        told.append(found.reason)
    elif found.is_over and found.knee.by_machine:
        told.append("THIS MACHINE GAVE WAY FIRST: it could not send faster, and what the service takes is not known")
    elif found.is_over and found.rate is None:
        told.append(found.reason)
    if found.stuck == UNANSWERED:
        told.append(unstopped(found.probes[-1].measured))
    elif found.refused and found.confirmed is not None:
        told.append(f"WARNING: {fate(found.confirmed.measured)}; the limit is that of answering so")
    return told


def _written(where: Asked, found: Found) -> tuple[list[tuple[str, str]], list[str]]:
    """Write the quota, if that was asked for and it was found; gives what to say, and what went wrong."""
    if where.config is None:
        return [], []
    if found.exit_code != 0 or found.rate is None:
        return [("quota", "not written")], []
    limit = as_limit(found.rate)
    try:
        before = write_quota(where.config, where.profile, limit)
    except OutputError as error:
        return [("quota", f"{limit}, not written")], [str(error)]
    said = f'quota = "{limit}", pace = "{EVEN}" in [profile.{where.profile}] of {where.config}; before: {before}'
    return [("written", said)], []


def found_json(found: Found, settings: Settings) -> dict[str, object]:
    """Give what was found as a JSON object."""
    return {
        "run_id": found.run_id,
        "host": settings.host,
        "model": "find-limit",
        "limit": found.rate,
        "quota": None if found.rate is None else str(as_limit(found.rate)),
        "held": found.knee.low,
        "did_not_hold": found.knee.high,
        "at_least": bool(_least(found)),
        "by_machine": found.knee.by_machine,
        "requests": found.requests,
        "outcomes": {outcome.value: count for outcome, count in found.outcomes.items()},
        "reasons": reasons_json(found.reasons),
        "tried": [
            {
                "rate": probe.rate,
                "length_s": probe.length_s,
                "became": probe.trial.value,
                "why": probe.why or None,
                **_figures(probe),
            }
            for probe in found.probes
        ],
        "required": verdicts_json(found.verdicts),
        "ended": found.reason,
        "exit_code": found.exit_code,
    }


def _figures(probe: Probe) -> dict[str, object]:
    told = figures(probe.measured, is_open=True)
    return {("sent_rate" if name == "rate" else name): value for name, value in told.items()}
