"""Verifies result files: which of their campaigns still run, or will run again."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from bulkstop.engine.caller import OnRest, ignore_rest
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError, InputError, OutputError, SettingsError
from bulkstop.files.whole import is_device
from bulkstop.kore.session import Perform
from bulkstop.model import Campaign, CampaignType, ListedCampaign, Outcome, Result, Scope
from bulkstop.naming import name_setting
from bulkstop.report.lists.verification import Unread, Verification
from bulkstop.report.log import log_event
from bulkstop.report.stop.formats import read_lines
from bulkstop.report.stop.manifest import Manifest, manifest_path
from bulkstop.report.stop.proof import flaw_in
from bulkstop.report.stop.resume import ResumeIndex
from bulkstop.runs import host
from bulkstop.runs.clients import Others
from bulkstop.runs.lists.contacts import ContactSurvey, ServiceClock
from bulkstop.runs.lists.states import Targets, scope_of
from bulkstop.runs.lists.stop_times import StopTimes
from bulkstop.runs.lists.survey import Say, Survey
from bulkstop.runs.parts import Hooks, Parts, open_parts
from bulkstop.runs.stop.input_files import paths_in
from bulkstop.runs.stop.plan import Inputs, make_plan
from bulkstop.runs.stop.prepare import Source, read_plan
from bulkstop.settings import Settings
from bulkstop.settings.targets import Profiles
from bulkstop.source.inputs import STDIN
from bulkstop.source.plan import Plan
from bulkstop.source.protect import read_protection
from bulkstop.text import printable

USABLE_ID = re.compile(r"[\w.~-]{1,199}", re.ASCII)
"""Matches ids of unusable rows that can be looked up.

An unusable row may have a piece of a broken line in place of an id, or the first 200 characters of a longer one.
"""
SPEAKS_OF_ID = re.compile(r"(no )?campaign[ _]id\b")
"""Matches the reason of a row that was unusable because of its id."""


class Owners(NamedTuple):
    """The profile that reaches a row's campaign: the one that the row names, else that of its stream."""

    settings: Settings
    profiles: Profiles | None = None
    streams: Mapping[tuple[str, ...], str | None] = MappingProxyType({})

    def find(self, account_id: str | None, stream_id: str | None, named: object) -> str | None:
        """Return the profile of a row; None is that of the settings."""
        if isinstance(named, str) and self.profiles is not None:
            return named
        return self.streams.get((account_id or "", stream_id or ""))

    def settings_of(self, profile: str | None) -> Settings:
        """Return the settings of a profile; raises SettingsError for an unknown one."""
        return self.settings if self.profiles is None else self.profiles.settings(profile)


def read_targets(
    paths: Sequence[str], settings: Settings, *, with_stops: bool = False, owners: Owners | None = None
) -> Targets:
    """Return the campaigns of result files, each once; the latest line of a row counts.

    `with_stops` adds the times of the stops. An unusable row is looked up if it names a campaign. Raises OutputError
    for a file that cannot be read or is not a result file, SettingsError for one of another host, InputError if there
    are no rows.
    """
    targets = _make_targets(with_stops=with_stops)
    _add_results(targets, paths, owners or Owners(settings))
    if not (targets.campaigns or targets.invalid or targets.unlisted):
        raise InputError(f"{', '.join(paths)}: no row names a campaign; nothing was read")
    return targets


def _make_targets(*, with_stops: bool) -> Targets:
    return Targets(stops=StopTimes() if with_stops else None)


def _add_results(targets: Targets, paths: Iterable[str], owners: Owners) -> None:
    for path in dict.fromkeys(paths):
        _check_manifest(path, owners.settings.host, targets)
        for number, result in _read_results(path):
            _add_result(targets, result, owners, (path, number))


def make_targets(plan: Plan, owners: Owners) -> Targets:
    """Return the campaigns of a list, as if nothing had been sent yet; raises InputError if there are no rows."""
    targets = Targets()
    _add_plan(targets, plan, owners)
    return targets


def _add_plan(targets: Targets, plan: Plan, owners: Owners) -> None:
    for account_id in plan.accounts:
        for campaign in plan.campaigns(account_id):
            profile = owners.find(account_id, campaign.stream_id, campaign.profile)
            targets.add(campaign._replace(profile=profile))
    for result in plan.held_results():
        if result.outcome is not Outcome.DUPLICATE:
            _add_result(targets, result, owners, ("", 0))
    if not plan.rows:
        raise InputError("the list is empty; nothing was asked for")


def read_sources(
    paths: Sequence[str],
    settings: Settings,
    fmt: str | None = None,
    *,
    with_stops: bool = False,
    owners: Owners | None = None,
) -> Targets:
    """Return the campaigns of result files and lists; a result has precedence over a list.

    Raises the errors of `read_targets`, and InputError for a list that cannot be read or is empty.
    """
    names = dict.fromkeys(paths)
    results = [path for path in names if is_result_file(path, fmt)]
    owners = owners or Owners(settings)
    if len(results) == len(names):
        return read_targets(results, settings, with_stops=with_stops, owners=owners)
    targets = _make_targets(with_stops=with_stops)
    lists = [path for path in names if path not in results]
    with make_plan(lists, settings, fmt=fmt, profiles=owners.profiles) as plan:
        _add_plan(targets, plan, owners)
    _add_results(targets, results, owners)
    return targets


def is_result_file(path: str, fmt: str | None = None) -> bool:
    """Return whether a file has the results of a run rather than a list, by its manifest, else by its first line.

    A pipe can be read only once, so it is a list if it has a format.
    """
    if path == STDIN or is_device(path):
        return path != STDIN and fmt is None
    try:
        with Path(path).open("rb") as file:
            return Path(manifest_path(path)).is_file() or next(read_lines(file, path), None) is not None
    except (OSError, OutputError):
        return False


def _read_source(
    inputs: Inputs, owners: Owners, fmt: str | None, *, with_stops: bool
) -> AbstractContextManager[Targets]:
    settings = owners.settings
    if paths := paths_in(inputs):
        return nullcontext(read_sources(paths, settings, fmt, with_stops=with_stops, owners=owners))
    with make_plan(inputs, settings, fmt=fmt, profiles=owners.profiles) as plan:
        return nullcontext(make_targets(plan, owners))


def _add_result(targets: Targets, result: Result, owners: Owners, place: tuple[str, int]) -> None:
    """Add the campaign of a result; `place` is its own position, used if it does not name that of its row."""
    profile = owners.find(result.account_id, result.stream_id, (result.row or {}).get("profile"))
    settings, unknown = owners.settings, None
    try:
        settings = owners.settings_of(profile)
    except SettingsError as why:
        unknown = str(why)
    campaign = _make_campaign(result, settings)._replace(profile=profile)
    if fault := _explain_unread(result, campaign, settings) or unknown:
        source, line = (result.source, result.line) if result.source and result.line else place
        targets.leave_out(Unread(printable(source), line, result.campaign_id, printable(fault)))
    else:
        targets.add(campaign, result.outcome)
        if targets.stops is not None:
            targets.stops.note(scope_of(campaign), result)


def verify(
    targets: Targets,
    settings: Settings,
    *,
    others: Others | None = None,
    singly: bool = False,
    others_count: bool = False,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    rests: OnRest = ignore_rest,
) -> Verification:
    """Ask the service for the states of all targets, within the quota; raises SettingsError if it cannot begin.

    `others` are the profiles besides that of the settings. `singly` reads each campaign individually instead of lists.
    `others_count` also counts other running campaigns of these lists. If the targets have times of stops, later
    contacts are read as well. One of the `signals` ends it at once.
    """
    survey = make_survey(targets, settings, singly=singly, others_count=others_count, say=say)
    return host.run(_verify(survey, targets.stops, settings, signals, rests, others), fast=False)


async def _verify(
    survey: Survey,
    stops: StopTimes | None,
    settings: Settings,
    signals: Sequence[int],
    rests: OnRest,
    others: Others | None,
) -> Verification:
    shutdown, verification = Shutdown(grace_s=0.0, lost="no list was written", observe=log_event), None
    with handle_signals(shutdown, signals):
        try:
            async with open_parts(settings, Hooks(others=others)) as parts:
                verification = await read_all(survey, stops, parts, rests)
        except asyncio.CancelledError:
            if shutdown.signum is None:
                raise
    return verification or survey.verification(signum=shutdown.signum)


async def read_all(survey: Survey, stops: StopTimes | None, parts: Parts, rests: OnRest = ignore_rest) -> Verification:
    """Ask for the states and, where times of stops are known, for the contacts since."""
    clock = ServiceClock()
    perform = parts.perform if stops is None else clock.watch(parts.perform)
    fault = await run_survey(survey, parts, rests, perform)
    verification = survey.verification(fault=fault)
    if stops is None or fault is not None:
        return verification
    stops.settle()
    contacts = ContactSurvey(stops, clock, parts.settings.concurrency)
    facts = await contacts.run(perform, parts.accounts.of_run(rests=rests).caller_of)
    verification = survey.verification()  # again, to include the elapsed time
    return replace(
        verification,
        contacts=facts,
        calls=verification.calls + contacts.calls,
        notes=(*verification.notes, *facts.notes),
    )


async def verify_source(
    parts: Parts,
    source: Source,
    *,
    fmt: str | None = None,
    singly: bool = False,
    calls: bool = False,
    profiles: Profiles | None = None,
) -> Verification:
    """Ask for the states of a source's campaigns, from result files, lists or campaigns; `calls` adds contacts.

    Raises a BulkstopError for a source that cannot be used; a later fault is in the result.
    """
    settings = parts.settings
    owners = Owners(settings, profiles)
    with await read_plan(source, partial(_read_source, owners=owners, fmt=fmt, with_stops=calls)) as targets:
        survey = make_survey(targets, settings, singly=singly)
    return await read_all(survey, targets.stops, parts)


def make_survey(
    targets: Targets,
    settings: Settings,
    *,
    singly: bool = False,
    others_count: bool = False,
    say: Say = lambda text: None,
) -> Survey:
    """Return a survey of all targets."""
    protection = read_protection(settings.protect) if settings.protect else None

    def is_protected(scope: Scope, item: ListedCampaign) -> bool:
        campaign = Campaign.of_row(item.campaign_id, scope.campaign_type, *scope[:3], "", 0, name=item.name)
        return protection is not None and protection.of(campaign) is not None

    return Survey(
        targets,
        singly=singly,
        quota=settings.quota,
        concurrency=settings.concurrency,
        say=say,
        others_count=others_count,
        is_protected=is_protected,
    )


async def run_survey(
    survey: Survey, parts: Parts, rests: OnRest = ignore_rest, perform: Perform | None = None
) -> BulkstopError | None:
    """Ask for the states of all targets; return the error that ended this early, or None."""
    try:
        await parts.check_credentials()  # without credentials no call can succeed
    except BulkstopError as fault:
        return fault
    return await survey.run(perform or parts.perform, parts.accounts.of_run(rests=rests).caller_of)


def _check_manifest(path: str, host: str, targets: Targets) -> None:
    """Raise SettingsError for a file of another host; record what only its manifest knows."""
    manifest = Manifest.read(manifest_path(path))
    if manifest is None:
        return
    last_host = manifest.last.settings.get("host", host)
    if last_host != host:
        was = printable(str(last_host))
        raise SettingsError(f" {host}: {path} is of a run at {was}; give that, or other results", setting="host")
    if flaw := flaw_in(path, manifest):
        targets.notes.append(f"{path}: {flaw}; it may not name what was to be stopped")
    with suppress(OutputError):  # rows without a line then cannot be counted
        targets.unlisted += max(0, manifest.last.rows - ResumeIndex(path).rows)


def _read_results(path: str) -> Iterator[tuple[int, Result]]:
    try:
        with Path(path).open("rb") as file:
            for line in read_lines(file, path):
                if line.result is not None:
                    yield line.number, line.result
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror})") from None


def _make_campaign(result: Result, settings: Settings) -> Campaign:
    """Return the campaign of a result; one without a type, a fault reported separately, becomes voice."""
    kind, stream_id = result.campaign_type or settings.type, result.stream_id or settings.stream_id or ""
    account_id, iid = result.account_id or settings.account_id or "", settings.iid or stream_id
    return Campaign.of_row(result.campaign_id, kind or CampaignType.VOICE, account_id, stream_id, iid, "", 0)


def _explain_unread(result: Result, campaign: Campaign, settings: Settings) -> str | None:
    """Return why the campaign of a result cannot be looked up; None if it can."""
    is_invalid = result.outcome is Outcome.INVALID
    if is_invalid and (SPEAKS_OF_ID.match(result.error or "") or not USABLE_ID.fullmatch(result.campaign_id)):
        return result.error or "no usable campaign id"
    if result.campaign_type is None and settings.type is None:
        return (result.error if is_invalid else None) or f"no campaign_type; give {name_setting('type')}"
    fault = campaign.fault_with(any_id=settings.any_id)
    return fault and ((result.error if is_invalid else None) or fault)
