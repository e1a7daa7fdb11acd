"""The campaigns that a load test requests: those of a list, repeatedly, or made-up ones."""

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
"""Default prefix of made-up ids, which cannot be mistaken for real ones."""

KEPT = 10_000
"""Most campaigns of a list that are kept in memory (6 MB); a longer list is read from disk again in each cycle."""

LOOKED_AT = 100
"""Number of made-up campaigns that are checked; if all are protected, a test cannot run."""


@contextmanager
def read_targets(path: str, settings: Settings, *, fmt: str | None = None) -> Iterator[Plan]:
    """Read the campaigns of a list; raises InputError if it has none, SettingsError if it has too many."""
    with make_plan([path], settings, fmt=fmt) as plan:
        check_targets(plan, settings, path)
        yield plan


def check_targets(plan: Plan, settings: Settings, name: str) -> None:
    """Raise InputError for a list without a campaign that can be sent, and SettingsError for one with too many."""
    if not plan.to_send:
        why = f" ({unused})" if (unused := describe_unused(plan)) else ""
        raise InputError(f"{name}: holds no campaign that can be sent{why}; nothing was sent")
    check_size(settings, plan.listed)


def describe_unused(plan: Plan) -> str:
    """Return the counts of what cannot be sent of a list, and its first unusable row; empty if there are none."""
    counts = ", ".join(f"{number:,} {outcome.value}" for outcome, number in plan.held.items())
    return f"{counts}; first {plan.first_invalid}" if plan.held_invalid else counts


def describe_targets(plan: Plan | None, settings: Settings, name: str, planned: int | None = None) -> str:
    """Return a description of the campaigns for `planned` requests: those of a list, or made-up ones."""
    if plan is None:
        return f"made up: {settings.type or CampaignType.VOICE} campaigns {name}..."
    how, which = "again and again", f"{plan.to_send:,} of {name}"
    if planned is not None and planned <= plan.to_send:
        how = "each once"
        which = which if planned == plan.to_send else f"the first {planned:,} of the {which}"
    unused = printable(describe_unused(plan))
    return f"{which}, in its order, {how}" + (f"; not used: {unused}" if unused else "")


def cycle_targets(plan: Plan, first: int = 0, step: int = 1) -> Iterator[Campaign]:
    """Yield the campaigns of a list in its order, repeatedly; only every `step`-th of these, from number `first` on."""
    total = plan.to_send
    if total <= KEPT:
        return islice(cycle(list(plan.at(range(total)))), first, None, step)
    return plan.at(number % total for number in count(first, step))


def choose_targets(plan: Plan | None, settings: Settings, prefix: str = PREFIX) -> Share:
    """Return the campaigns of a load test: those of a list, or made-up ones with ids that no other run has.

    Raises SettingsError without a list if the settings lack what made-up campaigns need.
    """
    return (
        partial(make_targets, settings, make_stem(settings, prefix)) if plan is None else partial(cycle_targets, plan)
    )


def check_number(settings: Settings, planned: int | None) -> None:
    """Raise SettingsError for more made-up campaigns than may be stopped; None means that only time limits them."""
    if settings.max_campaigns is not None and (planned is None or planned > settings.max_campaigns):
        number = "as many campaigns as there is time for" if planned is None else format_count(planned, "campaign")
        why = f"{number} would be made up; nothing was sent"
        raise SettingsError(f" {settings.max_campaigns}: {why}", setting="max_campaigns")


def make_targets(settings: Settings, stem: str, first: int = 0, step: int = 1) -> Iterator[Campaign]:
    """Yield made-up campaigns whose ids begin with `stem`; only every `step`-th of them, from number `first` on."""
    targets = _make_up(settings, stem, count(first + 1, step))
    protected = read_protection(settings.protect)
    return filter(lambda each: protected.of(each) is None, targets) if protected.rules else targets


def make_stem(settings: Settings, prefix: str = PREFIX) -> str:
    """Return the beginning of made-up ids, unique to this run.

    Raises SettingsError if the settings have no account and stream for them, or none of them can be sent.
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
    """Yield a made-up campaign for each number."""
    kind, stream_id = settings.type or CampaignType.VOICE, settings.stream_id or ""
    where = settings.account_id or "", stream_id, settings.iid or stream_id
    for number in numbers:
        yield Campaign.of_row(f"{stem}-{number:08}", kind, *where, "made up", number)
