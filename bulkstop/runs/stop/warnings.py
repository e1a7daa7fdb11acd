"""Warnings about a plan, one line each; they do not prevent the run."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from urllib.parse import urlsplit

from bulkstop.engine.limits.estimate import Stored, add_stored
from bulkstop.engine.limits.timetable import find_late
from bulkstop.model import Order, Outcome, WarningKind
from bulkstop.naming import name_setting
from bulkstop.runs.stop.history import LastRun, is_much_larger
from bulkstop.runs.wiring import make_quota
from bulkstop.settings import LOOPBACK, Settings
from bulkstop.settings.targets import Profiles
from bulkstop.source.id_check import CAMPAIGN_ID, INSTANCE_ID, Sample
from bulkstop.source.plan import Plan
from bulkstop.text import format_count, printable

NAMED = 3
"""Number of accounts or rules that a warning names; the others are counted."""
ID_CHARS_SHOWN = 60


def find_warnings(
    plan: Plan,
    settings: Settings,
    last: LastRun | None,
    profiles: Profiles | None = None,
    ages: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> list[str]:
    """Return what is unusual about a plan, the worst first; `last` is the last run of the same profile, if known.

    `ages` are how many seconds ago the calls of each account were made that its quota still counts.
    """
    warnings = {
        WarningKind.LARGER_LIST: _much_larger(plan, last),
        WarningKind.INSTANCE_IDS: _instance_ids(plan.looks.instance_ids),
        WarningKind.ODD_IDS: _odd_ids(plan),
        WarningKind.ODD_PRIORITIES: _odd_priorities(plan.looks.odd_priorities, settings.order),
        WarningKind.UNUSABLE_ROWS: _unusable(plan),
        WarningKind.ACCOUNTS: _accounts(plan, settings),
        WarningKind.NAMELESS: _nameless(plan),
        WarningKind.ALL_PROTECTED: _all_protected(plan),
        WarningKind.UNUSED_RULES: _unused_rules(plan),
        WarningKind.PLAIN_HTTP: _open_to_the_network(settings),
        WarningKind.LATE_STOPS: _late_stops(plan, settings, profiles, ages),
        WarningKind.NO_STOP_AT: _no_stop_at(plan),
    }
    return [line for kind, lines in warnings.items() for line in _hold_against(kind, lines, plan, settings)]


def _hold_against(kind: WarningKind, lines: Iterator[str], plan: Plan, settings: Settings) -> Iterator[str]:
    """Yield the unexpected warnings, and those expected in vain; a resumed run has only part of its list."""
    if kind not in settings.expect_warnings:
        yield from lines
    elif not list(lines) and not plan.settled and kind is not WarningKind.LARGER_LIST:
        yield f"{name_setting('expect_warnings', kind.value)}: no such warning came; is this the right list?"


def _much_larger(plan: Plan, last: LastRun | None) -> Iterator[str]:
    if last is not None and is_much_larger(plan.listed, last):
        when = last.at[:16].replace("T", " ")
        yield (
            f"the list has {format_count(plan.listed, 'campaign')} "
            f"to stop, but the last list of this profile had {last.listed:,} "
            f"({when} UTC); is this the right list?"
        )


def _instance_ids(sample: Sample) -> Iterator[str]:
    if sample.count:
        are = format_count(sample.count, "id looks like an instance id", "ids look like instance ids")
        yield (
            f"{are} ({INSTANCE_ID}...): {_first(sample)}; "
            f"a stop needs campaign ids ({CAMPAIGN_ID}...), so the service may not find them"
        )


def _odd_ids(plan: Plan) -> Iterator[str]:
    sample = plan.looks.odd_ids
    if sample.count:
        look = "does not look like a campaign id" if sample.count == 1 else "do not look like campaign ids"
        yield (
            f"{sample.count:,} of {format_count(plan.to_send, 'id')} {look} "
            f"({CAMPAIGN_ID} and groups of hex digits): {_first(sample)}; is it the right column?"
        )


def _odd_priorities(sample: Sample, order: Order) -> Iterator[str]:
    if sample.count:
        are = (
            "1 priority is not a whole number"
            if sample.count == 1
            else f"{sample.count:,} priorities are not whole numbers"
        )
        what = (
            f"that matters with {name_setting('order', 'priority')} only"
            if order is Order.INPUT
            else f"sent after all others{' of its kind' if order is Order.IMPACT else ''}"
        )
        yield printable(f"{are}; {what}; the first is {sample.first[0]}")


def _unusable(plan: Plan) -> Iterator[str]:
    invalid = plan.held[Outcome.INVALID]
    if 2 * invalid <= plan.rows:
        return
    yield printable(
        f"{invalid:,} of {format_count(plan.rows, 'row')} cannot be used; the first is {plan.first_invalid}"
    )


def _accounts(plan: Plan, settings: Settings) -> Iterator[str]:
    accounts, usual, expected = plan.accounts, settings.account_id, settings.expect_accounts
    if expected is not None:
        if len(accounts) < expected and not plan.settled:
            only = f": {_format_counts(accounts)}" if accounts else ""
            yield f"the list has campaigns of {format_count(len(accounts), 'account')}, not of {expected:,}{only}"
    elif usual is None and len(accounts) > 1:
        yield f"the list has campaigns of {format_count(len(accounts), 'account')}: {_format_counts(accounts)}"
    elif others := {
        account: number
        for account, number in accounts.items()
        if usual and account != usual and next(iter(plan.campaigns(account))).profile is None
    }:
        number = sum(others.values())
        are = format_count(number, "campaign is", "campaigns are")
        yield f"{are} of another account than {name_setting('account_id')} {usual}: {_format_counts(others)}"


def _nameless(plan: Plan) -> Iterator[str]:
    if plan.protection.has_names and plan.looks.nameless:
        have = "has" if plan.looks.nameless == 1 else "have"
        yield (
            f"{plan.looks.nameless:,} of {format_count(plan.to_send, 'campaign')} {have} no name in the list, "
            f"so no name: rule of {name_setting('protect')} can match them"
        )


def _all_protected(plan: Plan) -> Iterator[str]:
    if not plan.to_send and plan.held[Outcome.PROTECTED]:
        yield "every campaign is protected, so nothing will be sent"


def _unused_rules(plan: Plan) -> Iterator[str]:
    unused = plan.protection.unused()
    if unused and plan.rows:
        first = ", ".join(f"{rule.place} ({rule.words})" for rule in unused[:NAMED])
        more = f" and {len(unused) - NAMED:,} more" if len(unused) > NAMED else ""
        match = "matches" if len(unused) == 1 else "match"
        rules = f"{len(unused):,} of {format_count(plan.protection.rules, 'rule')} of {name_setting('protect')}"
        yield printable(f"{rules} {match} no campaign of this list: {first}{more}")


def _late_stops(
    plan: Plan, settings: Settings, profiles: Profiles | None, ages: Mapping[str, Sequence[float]]
) -> Iterator[str]:
    """Yield how many campaigns cannot be stopped by their times, each by the quota of its profile."""
    now, late, past = time.time(), 0, 0
    for account_id in plan.stop_times.accounts:
        its = settings
        if profiles is not None and profiles.others:
            its = profiles.others.get(plan.first(account_id).profile or "", settings)
        moments = plan.stop_times.moments(account_id)
        places = make_quota(its).places(0.0, 0.0) if its.quota else []
        places = add_stored(places, Stored(now, tuple(now - age for age in ages.get(account_id, ()))))
        gone = sum(moment < now for moment in moments)
        late, past = late + sum(find_late(moments, places, now)) - gone, past + gone
    if past:
        yield f"the stop_at of {format_count(past, 'campaign')} has passed; stopped at once"
    if late > 0:
        yield f"{format_count(late, 'campaign')} will be stopped after stop_at: the quota lets no more leave by then"


def _no_stop_at(plan: Plan) -> Iterator[str]:
    if plan.stop_times and (
        count := plan.to_send - sum(map(len, map(plan.stop_times.moments, plan.stop_times.accounts)))
    ):
        have = format_count(count, "campaign has", "campaigns have")
        yield f"{have} no stop_at, though others have one; they are stopped at once"


def _open_to_the_network(settings: Settings) -> Iterator[str]:
    parts = urlsplit(settings.host)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        yield f"{settings.host} is plain http: anybody on the network can read and use the token"


def _first(sample: Sample) -> str:
    more = f" and {sample.count - len(sample.first):,} more" if sample.count > len(sample.first) else ""
    return ", ".join(map(_show_id, sample.first)) + more


def _show_id(campaign_id: str) -> str:
    cut = campaign_id[:ID_CHARS_SHOWN] + "..." if len(campaign_id) > ID_CHARS_SHOWN else campaign_id
    return printable(cut)


def _format_counts(accounts: Mapping[str, int]) -> str:
    named = ", ".join(f"{_show_id(account)} ({number:,})" for account, number in islice(accounts.items(), NAMED))
    return named + (f" and {len(accounts) - NAMED:,} more" if len(accounts) > NAMED else "")
