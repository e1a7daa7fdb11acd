"""The work of a run: its lanes, and the pool that works through them."""

import time
from array import array
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bulkstop.engine.followup import Follow, follow_nothing
from bulkstop.engine.lanes import Lane, Lanes
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.timetable import Timetable
from bulkstop.engine.pool import Pool
from bulkstop.engine.readback import IsEnough, ListProgress, Reading, ReadList
from bulkstop.engine.retry import Retry
from bulkstop.events import Observe
from bulkstop.kore.session import Perform
from bulkstop.model import Campaign, Outcome, Report, unsent_result, utc_text
from bulkstop.runs.parts import Parts, make_stop_at_once, make_stop_send
from bulkstop.runs.wiring import Accounts, make_guards
from bulkstop.source.due.stop_times import StopTimes
from bulkstop.source.plan import Plan

if TYPE_CHECKING:
    from bulkstop.runs.stop.precheck import KnownStates


class ToSend(Protocol):
    """The campaigns to send, by account: a plan, or what its lists have left of it."""

    @property
    def accounts(self) -> Mapping[str, int]:
        """The number of campaigns of each account."""
        ...

    @property
    def to_send(self) -> int:
        """The number of campaigns."""
        ...

    def campaigns(self, account_id: str) -> Iterable[Campaign]:
        """Return the campaigns of an account, in the order of sending."""
        ...


class Work(NamedTuple):
    """A pool and its lanes."""

    pool: Pool
    lanes: Lanes


def make_work(
    plan: Plan,
    parts: Parts,
    accounts: Accounts,
    known: "KnownStates | None",
    report: Report,
    run_id: str,
    observe: Observe,
    finish_reports: Callable[[], Awaitable[None] | None],
    make_room: Callable[[], Awaitable[None] | None],
    look_at_clock: Callable[[], object],
) -> Work:
    """Return the pool for a plan; campaigns that the lists show at rest are reported here."""
    settings = parts.settings
    to_send: ToSend = plan
    follow: Follow = follow_nothing
    lanes_at_rest: Callable[[], Iterable[Lane]] = tuple
    if known is not None:
        to_send, follow, lanes_at_rest = _narrow(plan, parts, accounts, known, report, run_id, observe)
    guards = make_guards(settings, to_send.to_send, observe, accounts.name)
    lanes = Lanes(make_lanes(to_send, accounts, plan.stop_times), settings.concurrency, guards)
    pool = Pool(
        lanes,
        make_stop_send(parts),
        report,
        retry=Retry(settings.attempts, max_retry_after_s=settings.max_retry_after_s),
        concurrency=settings.concurrency,
        at_once=make_stop_at_once(parts),
        read_list=_read_list_of(parts.perform, accounts),
        follow=follow,
        at_rest=lanes_at_rest,
        run_id=run_id,
        observe=observe,
        finish_reports=finish_reports,
        make_room=make_room,
        look_at_clock=look_at_clock,
    )
    return Work(pool, lanes)


def make_lanes(to_send: ToSend, accounts: Accounts, stop_times: StopTimes | None = None) -> Iterator[Lane]:
    """Yield a lane for every account, within its limits, and a further one for its campaigns with a stop time."""
    for account_id, left in to_send.accounts.items():
        moments = () if stop_times is None else stop_times.moments(account_id)
        if moments and not isinstance(to_send, Plan):  # campaigns at rest need no place of the quota
            moments = _list_moments(to_send.campaigns(account_id))
        if moments:
            yield from _make_timed_lanes(to_send, accounts, moments, account_id, left)
        else:
            yield accounts.lane(account_id, to_send.campaigns(account_id), left=left)


def _list_moments(campaigns: Iterable[Campaign]) -> Sequence[float]:
    texts = (each.stop_at for each in campaigns)
    return array("d", (datetime.fromisoformat(text).timestamp() for text in texts if text))


def _make_timed_lanes(
    to_send: ToSend, accounts: Accounts, moments: Sequence[float], account_id: str, left: int
) -> Iterator[Lane]:
    """Yield two lanes of an account, for its campaigns with a stop time and for those without."""
    timed = len(moments)
    by_text: dict[str, list[float]] = {}
    for moment, leaves_at in zip(moments, accounts.plan_backwards(account_id, moments), strict=True):
        by_text.setdefault(utc_text(moment), []).append(leaves_at)
    timetable = Timetable(by_text)

    def due_of(campaign: Campaign) -> float:
        return elapsed_s() + timetable.leave_at(campaign.stop_at or "") - time.time()

    first = takewhile(lambda each: each.stop_at is not None, to_send.campaigns(account_id))
    others = dropwhile(lambda each: each.stop_at is not None, to_send.campaigns(account_id))
    lane = accounts.lane(account_id, first, left=timed, due_of=due_of)
    lane.ends_after = elapsed_s() + max(each[-1] for each in by_text.values()) - time.time()
    timetable.left = lambda: lane.unsent
    other = accounts.lane(account_id, others, left=left - timed, timetable=timetable)
    if timed and timed < left:
        lane.sibling, other.sibling = other, lane
    yield from (lane, other)


def _narrow(
    plan: Plan, parts: Parts, accounts: Accounts, known: "KnownStates", report: Report, run_id: str, observe: Observe
) -> tuple[ToSend, Follow, Callable[[], Iterable[Lane]]]:
    """Return the work that the lists leave; campaigns at rest are reported here."""
    from bulkstop.runs.stop.precheck import narrow_plan  # imported here because most runs do not need it
    from bulkstop.runs.stop.recurrence import ScheduleCalls

    left = narrow_plan(
        plan,
        known,
        lambda campaign: report([known.result(campaign, run_id)]),
        lambda campaign, why: report([replace(unsent_result(campaign, Outcome.NOT_SENT, why), run_id=run_id)]),
    )
    if not known.disable_schedule:
        return left, follow_nothing, tuple
    calls = ScheduleCalls(known, parts.perform, observe)
    at_rest = {account_id: left.recurring(account_id) for account_id in plan.accounts}
    return left, calls.follow, lambda: calls.lanes_at_rest(at_rest, accounts, run_id)


def _read_list_of(perform: Perform, accounts: Accounts) -> ReadList:
    """Return a function that reads a list during a run; its module is imported only then."""

    async def read_list(of: Campaign, is_enough: IsEnough, progress: ListProgress) -> Reading:
        from bulkstop.runs.stop.readback import list_reader

        return await list_reader(perform, accounts.caller_of)(of, is_enough, progress)

    return read_list
