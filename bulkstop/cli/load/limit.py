"""`bulkstop load --find-limit`: searches the highest rate that holds, and writes the quota for a profile."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import click
from click.core import ParameterSource

from bulkstop.cli.log import say
from bulkstop.cli.options import ParsedText, describe_way
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.errors import SettingsError
from bulkstop.model import SIGNALS, Campaign
from bulkstop.report.load.limit import (
    EVEN,
    LimitSummary,
    QuotaTarget,
    describe_paste,
    format_limit,
    format_limit_verdict,
    format_probe,
    format_profile,
    format_search,
    limit_to_json,
    list_limit_faults,
)
from bulkstop.runs import host
from bulkstop.runs.load import shapes
from bulkstop.runs.load.search import PROOF_S, START, STEP_S, TOP, USUAL, Search, execute
from bulkstop.settings import OPTION_SPECS, Settings
from bulkstop.settings.profiles import read_profile
from bulkstop.source.plan import Plan
from bulkstop.text import format_table

ABOUT = f"""\b
--find-limit searches the highest rate that holds. It starts at --rate (or {START:g}/s) and doubles the rate until
one does not hold. Then it halves the gap until that is below 5 %. At last it holds the best rate once more,
for twice the time.
  a step        lasts --step, or {STEP_S:g}s. If the service refuses requests and still counts those of earlier steps,
                steps become longer, until --duration or --count is used up; then the limit stays unknown, and
                the exit code is 3.
  a rate holds  if the service keeps up, and all requirements hold for all requests of the step. It keeps up
                if no queue grows: no third of the step is slower than the third before, and what is in flight
                at the end drains in the time of one answer. If only that fails, the rate is tried again,
                because it may have been a pause. Unless you set them yourself, these are required too:
                {", ".join(each.text for each in USUAL)}
  after a rate  that did not hold, nothing is sent for one step, or for as long as the service asks for. If
                answers did not come in time, single requests are sent until the service has caught up. Before
                the last step, calls are sent until one is refused, so that no saved-up calls help it.
  rate          --require 'rate>50/s' is checked against the limit that was found.
  --write-quota prints lines for the profile: the limit, rounded down, as quota, and pace = "{EVEN}", because calls
                were sent evenly. First the rate must hold for {PROOF_S:g} s, so that a limit per minute shows. The
                lines go to standard output, or with --json to standard error.
  The exit code is 1 if no rate held, and 3 if this machine was the limit or the search did not end."""


WITH_SEARCH = frozenset(
    {
        *(
            "source",
            "fmt",
            "rate",
            "step_s",
            "length_s",
            "count",
            "max_in_flight",
            "max_late_s",
            "require",
            "id_prefix",
        ),
        *(
            "allowed",
            "as_json",
            "quiet",
            "yes",
            "expect",
            "find_limit",
            "max_rate",
            "write_quota",
            "log_level",
            "log_json",
        ),
        *("yes", "expect"),
        *("profile", "config", *(OPTION_SPECS.keys() - {"concurrency"})),
    }
)
"""The options of `load` that a search accepts."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the search to a command."""
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
    return reduce(lambda wrapped, option: option(wrapped), reversed(of_search), command)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The options of a search, and the profile that takes its quota with --write-quota."""

    search: Search
    target: QuotaTarget | None = None


def read_search_options(ctx: click.Context) -> SearchOptions | None:
    """Return the options of the search; None without --find-limit. Raises SettingsError for options that conflict."""
    params = ctx.params
    if not params["find_limit"]:
        for name in ("max_rate", "write_quota"):
            if params[name]:
                raise SettingsError(f"{_flag(ctx, name)}: goes with --find-limit")
        return None
    for name in _list_foreign(ctx):
        raise SettingsError(f"{_flag(ctx, name)}: does not go with --find-limit")
    if (params["as_json"] or params["write_quota"]) and sys.stdout is None:
        raise SettingsError("standard output is closed; nothing was sent")
    search = Search(
        start=params["rate"] or min(START, params["max_rate"] or START),
        top=params["max_rate"] or max(TOP, params["rate"] or 0),
        step_s=params["step_s"] or STEP_S,
        require=params["require"],
        count=params["count"],
        max_in_flight=params["max_in_flight"],
        max_late_s=params["max_late_s"],
        length_s=params["length_s"],
        proof_s=PROOF_S if params["write_quota"] else 0.0,
    )
    if search.start > search.top:
        raise SettingsError("--max-rate: is lower than --rate, where the search begins")
    if not params["write_quota"]:
        return SearchOptions(search)
    profile = read_profile(params["config"], params["profile"])
    return SearchOptions(search, QuotaTarget(params["config"], profile.name, profile.values))


def _list_foreign(ctx: click.Context) -> list[str]:
    """Return the typed options that a search does not accept."""
    typed = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    return [name for name in typed if name not in WITH_SEARCH]


def _flag(ctx: click.Context, name: str) -> str:
    return next((param.opts[0] for param in ctx.command.params if param.name == name), name)


def search(
    options: SearchOptions,
    campaigns: Iterator[Campaign],
    plan: Plan | None,
    settings: Settings,
    *,
    confirm: Callable[[], None],
    targets: str,
    as_json: bool,
    quiet: bool,
    has_verdict: Callable[[int], bool],
) -> int:
    """Run the search and print its steps and result; return the exit code."""
    if options.target is not None and plan is not None and len(plan.accounts) > 1:
        raise SettingsError("--write-quota: a quota is for one account, and the list has several; nothing was sent")
    if not quiet:
        host_row, *rows = format_search(options.search.plan(settings, targets))
        table = [host_row, *describe_way(settings), *rows]
        print_err("\n".join(format_table("Search for the limit: every request is a real stop", table)))
    confirm()
    tell_probe = (lambda probe: None) if quiet else (lambda probe: print_err(f"  {format_probe(probe)}"))
    note = (lambda text: None) if quiet else (lambda text: print_err(f"  {text}"))
    job = execute(options.search, campaigns, settings, signals=SIGNALS, say=say, tell=tell_probe, note=note)
    summary = host.run(job)
    verdict = format_limit_verdict(summary) if has_verdict(summary.exit_code) else ""
    code = show(summary, options.target, as_json=as_json, quiet=quiet, verdict=verdict)
    if verdict and code == summary.exit_code:  # otherwise the write error is the last line
        print_err(verdict)
    return code


def show(summary: LimitSummary, target: QuotaTarget | None, *, as_json: bool, quiet: bool, verdict: str) -> int:
    """Print what was found, except what the verdict contains; return the exit code."""
    quota = summary.quota
    if not quiet:
        paste = [("quota", describe_paste(target, quota))] if target else []
        print_err("\n".join(format_table("Summary", [*format_limit(summary), *paste])))
    for line in list_limit_faults(summary):
        if line not in verdict:
            print_err(f"bulkstop: {line}")
    lines = "" if target is None or quota is None else format_profile(target, quota)
    if not as_json:
        return print_last(lines, summary.exit_code) if lines else summary.exit_code
    if lines:
        print_err(lines)
    return print_last(json.dumps(limit_to_json(summary)), summary.exit_code)
