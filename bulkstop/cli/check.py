"""`bulkstop check`: shows what a profile can reach, and stops nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import click

from bulkstop.cli.again import FOUND
from bulkstop.cli.files import use_store
from bulkstop.cli.options import (
    GroupedCommand,
    describe_way,
    read_listed_targets,
    read_profiles,
    read_settings,
    with_settings,
)
from bulkstop.cli.stop.checks import Start, find_list_faults, find_setting_faults
from bulkstop.cli.stop.options import usual_options
from bulkstop.cli.terminal import end_at_signals, print_last
from bulkstop.cli.words.naming import WordChoice
from bulkstop.errors import BulkstopError
from bulkstop.model import Scope
from bulkstop.report.lists.check import CheckFacts, format_check
from bulkstop.runs.clients import ListedTargets, choose_others
from bulkstop.runs.lists.check import check, check_targets, describe_inputs, describe_settings
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.stop.warnings import find_warnings
from bulkstop.settings import GROUPS, Settings
from bulkstop.settings.spec import GRACE
from bulkstop.source.forms.format import Format
from bulkstop.source.protect import read_protection

EXAMPLE = """\b
Examples:
  # Check the settings of a profile, and a list
  bulkstop check campaigns.csv --profile prod

\b
Exit codes:
  0  ready: the service took the token and gave its lists, and every row of INPUT can be used
  1  not ready; the last line says why
  2  usage or settings are wrong, or INPUT cannot be read; nothing was asked for
  3  standard output cannot be written
"""


@click.command("check", cls=GroupedCommand, epilog=EXAMPLE, main=("profile", "targets", "as_json"))
@click.argument("inputs", nargs=-1, metavar="[INPUT ...]")
@click.option(
    "--format",
    "fmt",
    type=WordChoice([form.value for form in Format]),
    help="Format of every input; default: taken from its name and content.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the findings as one JSON object to standard output.")
@click.option("--quiet", is_flag=True, help="Show nothing if all is ready.")
@with_settings(*(group for group in GROUPS if group != GRACE))
@click.pass_context
def command(
    ctx: click.Context, /, inputs: tuple[str, ...], fmt: str | None, *, as_json: bool, quiet: bool, **_: object
) -> int:
    """Check the host, the token, its scope, the clock, the quota store and INPUT; stop nothing.

    check reads one page of the service's list for each type in the profile's account and stream and in INPUT, or for
    each of the --targets. It shows what `stop` would read of INPUT, and everything for which `stop` would refuse it.
    """
    ctx.with_resource(end_at_signals("; nothing was stopped"))
    settings = use_store(read_settings(ctx))
    facts = replace(describe_settings(settings), way=tuple(describe_way(settings)))
    faults = [str(fault) for fault in find_setting_faults(settings)]
    scopes: list[Scope] = []
    if inputs:
        try:
            facts, scopes = _read_inputs(facts, inputs, fmt, settings, ctx.params["config"], faults)
        except BulkstopError as unread:
            unreadable = replace(facts, fault=_one_line(str(unread)), is_unread=True)
            return _print(ctx, unreadable, as_json=as_json, quiet=quiet)
    targets = read_listed_targets(ctx, settings) or _find_targets(ctx, scopes)
    found = cast("dict[str, Any]", check(settings, scopes) if targets is None else check_targets(settings, targets))
    fault, *more = dict.fromkeys(map(_one_line, filter(None, (found.pop("fault", None), *faults)))) or [None]
    facts = replace(facts, fault=fault, more_faults=tuple(filter(None, more)), **found)
    return _print(ctx, facts, as_json=as_json, quiet=quiet)


def _read_inputs(
    facts: CheckFacts, inputs: Sequence[str], fmt: str | None, settings: Settings, config: str, faults: list[str]
) -> tuple[CheckFacts, list[Scope]]:
    """Return the facts with those of the inputs, and the scopes of their lists; append faults that `stop` would raise.

    Raises a BulkstopError for an input that cannot be read completely.
    """
    options, profiles = usual_options(inputs, fmt), read_profiles(click.get_current_context())
    try:
        read_protection(settings.protect)
    except BulkstopError:  # it is among the faults already
        settings = replace(settings, protect=())
    journal = RunJournal(options.target, mode=options.mode)
    with journal, journal.plan(inputs, settings, fmt=fmt, profiles=profiles) as plan:
        faults += map(str, find_list_faults(Start(plan, settings, options, journal), config))
        read, scopes = describe_inputs(plan, settings)
        warnings = tuple(find_warnings(plan, settings, None))
    return replace(facts, read=read, warnings=warnings), scopes


def _find_targets(ctx: click.Context, scopes: Sequence[Scope]) -> ListedTargets | None:
    """Return the lists of an input whose rows name profiles; None if they name none."""
    profiles = read_profiles(ctx)
    return ListedTargets(scopes, choose_others(profiles, scopes)) if profiles.others else None


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _print(ctx: click.Context, facts: CheckFacts, *, as_json: bool, quiet: bool) -> int:
    if (tell := ctx.meta.get(FOUND)) is not None:
        tell(facts)
    if as_json:
        return print_last(json.dumps(facts.as_dict()), facts.exit_code)
    if quiet and not facts.exit_code:
        return 0
    return print_last("\n".join(format_check(facts)), facts.exit_code, is_for_a_person=True)
