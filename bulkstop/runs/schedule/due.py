"""Which firing is due: decided from the calendar, the journal and the clock, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bulkstop.runs.schedule.journal import SETTLED, Entry, Event, find_states
from bulkstop.schedule.firings import Firing, Timetable, find_next, list_firings

MOST_BACK = timedelta(days=31)
"""Missed firings are reported as far back as this."""
PREFLIGHT_LATE = timedelta(minutes=10)
"""A preflight still makes sense this long after its time."""


class Due(StrEnum):
    """What is to be done now."""

    RUN = "run"
    RESUME = "resume"
    DONE = "done"
    NOT_DUE = "not due"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, with which firing; `missed` are those before it that nobody knows the end of."""

    due: Due
    firing: Firing | None
    missed: tuple[Firing, ...] = ()
    next: Firing | None = None


def decide(table: Timetable, entries: Sequence[Entry], now: datetime, catch_up_s: float) -> Decision:
    """Say what is to be done now.

    The latest firing that has not ended runs, if it is no more than `catch_up_s` late; one that was started is gone on
    with. Those after the latest that the journal has, and too late to run, were missed. Before its first line a
    schedule has missed nothing.
    """
    states, catch_up = find_states(entries), timedelta(seconds=catch_up_s)
    moments = [datetime.fromisoformat(each.moment) for each in entries if not each.by_hand]
    known = max(moments, default=now)
    since = max(min(known, now - catch_up), now - max(MOST_BACK, catch_up))
    passed = [firing for firing in list_firings(table, since, now) if firing.fires]
    open_ = [firing for firing in passed if (last := states.get(firing.key)) is None or last.event not in SETTLED]
    newest = open_[-1] if open_ and now - open_[-1].moment <= catch_up else None
    if newest is not None and passed[-1] is not newest:
        newest = None  # a later one has run already
    missed = tuple(
        firing
        for firing in open_
        if firing is not newest and (firing.moment > known or _was_broken_off(states.get(firing.key)))
    )
    if newest is not None:
        is_begun = states.get(newest.key) is not None
        return Decision(Due.RESUME if is_begun else Due.RUN, newest, missed)
    latest = passed[-1] if passed and now - passed[-1].moment <= catch_up else None
    done = Due.DONE if latest is not None and not missed else Due.NOT_DUE
    return Decision(done, latest, missed, find_next(table, now))


def find_preflight(table: Timetable, entries: Sequence[Entry], now: datetime, ahead_s: float) -> Firing | None:
    """Return the firing whose preflight is due now and is not in the journal; None if there is none.

    A preflight is due `ahead_s` before its firing, and for `PREFLIGHT_LATE` after that.
    """
    tried = {each.firing for each in entries if each.event is Event.PREFLIGHT}
    since = now + timedelta(seconds=ahead_s) - PREFLIGHT_LATE
    for firing in list_firings(table, max(since, now), now + timedelta(seconds=ahead_s)):
        if firing.fires and firing.key not in tried:
            return firing
    return None


def _was_broken_off(last: Entry | None) -> bool:
    return last is not None and last.event in (Event.STARTED, Event.INTERRUPTED)
