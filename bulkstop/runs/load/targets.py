"""Which campaigns the requests of a load test are for: those of a list, again and again, or made-up ones."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, cycle, islice

from bulkstop.errors import InputError, SettingsError
from bulkstop.model import Campaign, CampaignType
from bulkstop.naming import name_setting
from bulkstop.runs.load.run import Share
from bulkstop.runs.stop.plan import make_plan
from bulkstop.runs.wiring import check_size
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.source.protect import read_protection
from bulkstop.text import format_count, printable

PREFIX = "bulkstop-load-"
"""What the ids of made-up campaigns begin with: nobody takes them for real ones."""

KEPT = 10_000
"""A list of so many campaigns is kept in memory (6 MB); a longer one is read from the disk again in each turn."""

LOOKED_AT = 100
"""Where so many made-up campaigns are protected, one after the other, all are taken to be."""


@contextmanager
def read_targets(path: str, settings: Settings, *, fmt: str | None = None) -> Iterator[Plan]:
    """Read a list to take campaigns from; raises InputError when it holds none, and SettingsError when too many."""
    with make_plan([path], settings, fmt=fmt) as plan:
        check_targets(plan, settings, path)
        yield plan


def check_targets(plan: Plan, settings: Settings, name: str) -> None:
    """Raise InputError when a list holds no campaign that can be sent, and SettingsError when it holds too many."""
    if not plan.to_send:
        why = f" ({unused})" if (unused := describe_unused(plan)) else ""
        raise InputError(f"{name}: holds no campaign that can be sent{why}; nothing was sent")
    check_size(settings, plan.listed)


def describe_unused(plan: Plan) -> str:
    """Count what of a list cannot be sent, by the reason, with the first row that cannot be used; empty for nothing."""
    counts = ", ".join(f"{number:,} {outcome.value}" for outcome, number in plan.held.items())
    return f"{counts}; first {plan.first_invalid}" if plan.held_invalid else counts


def describe_targets(plan: Plan | None, settings: Settings, name: str, planned: int | None = None) -> str:
    """Say which campaigns the requests are for, if so many are planned: those of a list, or made-up ones."""
    if plan is None:
        return f"made up: {settings.type or CampaignType.VOICE} campaigns {name}..."
    how, which = "again and again", f"{plan.to_send:,} of {name}"
    if planned is not None and planned <= plan.to_send:
        how = "each once"
        which = which if planned == plan.to_send else f"the first {planned:,} of the {which}"
    unused = printable(describe_unused(plan))
    return f"{which}, in its order, {how}" + (f"; not used: {unused}" if unused else "")


def cycle_targets(plan: Plan, first: int = 0, step: int = 1) -> Iterator[Campaign]:
    """Return the campaigns of a list in its order, again and again; of these every `step`-th from number `first` on."""
    total = plan.to_send
    if total <= KEPT:
        return islice(cycle(list(plan.at(range(total)))), first, None, step)
    return plan.at(number % total for number in count(first, step))


def choose_targets(plan: Plan | None, settings: Settings, prefix: str = PREFIX) -> Share:
    """Say which campaigns the requests are for: those of a list, or made-up ones with ids that no other run has.

    Raises SettingsError if there is neither a list nor what made-up ones take.
    """
    return (
        partial(make_targets, settings, make_stem(settings, prefix)) if plan is None else partial(cycle_targets, plan)
    )


def check_number(settings: Settings, planned: int | None) -> None:
    """Raise SettingsError when more campaigns would be made up than may be stopped; None is as many as time allows."""
    if settings.max_campaigns is not None and (planned is None or planned > settings.max_campaigns):
        number = "as many campaigns as there is time for" if planned is None else format_count(planned, "campaign")
        why = f"{number} would be made up; nothing was sent"
        raise SettingsError(f" {settings.max_campaigns}: {why}", setting="max_campaigns")


def make_targets(settings: Settings, stem: str, first: int = 0, step: int = 1) -> Iterator[Campaign]:
    """Make campaigns up whose ids begin with `stem`; of these give every `step`-th from number `first` on."""
    targets = _make_up(settings, stem, count(first + 1, step))
    protected = read_protection(settings.protect)
    return filter(lambda each: protected.of(each) is None, targets) if protected.rules else targets


def make_stem(settings: Settings, prefix: str = PREFIX) -> str:
    """Return what the ids of campaigns that are made up begin with, in this run only; raises SettingsError.

    That is when the settings have no account and stream for them, or nothing can be sent with them.
    """
    for name, value in (("account_id", settings.account_id), ("stream_id", settings.stream_id)):
        if not value:
            why = "not given; made-up campaigns need one, or give INPUT; nothing was sent"
            raise SettingsError(f": {why}", setting=name)
    stem = f"{prefix}{uuid.uuid4().hex[:8]}"
    first, *others = _make_up(settings, stem, range(1, LOOKED_AT + 1))
    if (fault := first.fault_with(any_id=settings.any_id)) is not None:
        *names, last = map(name_setting, ("id_prefix", "account_id", "stream_id", "iid"))
        raise SettingsError(f"{', '.join(names)} or {last}: {fault}; nothing was sent")
    protected = read_protection(settings.protect)
    rules = list(map(protected.of, (first, *others)))
    if all(rules):
        why = f"made-up campaigns are {rules[0]}; give another {name_setting('id_prefix')}; nothing was sent"
        raise SettingsError(f": {why}", setting="protect")
    return stem


def _make_up(settings: Settings, stem: str, numbers: Iterable[int]) -> Iterator[Campaign]:
    """Make up a campaign for each number."""
    kind, stream_id = settings.type or CampaignType.VOICE, settings.stream_id or ""
    where = settings.account_id or "", stream_id, settings.iid or stream_id
    for number in numbers:
        yield Campaign.of_row(f"{stem}-{number:08}", kind, *where, "made up", number)
