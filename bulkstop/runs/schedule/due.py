"""Decides from the calendar, the journal and the clock which firing is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bulkstop.runs.schedule.journal import SETTLED, Entry, Event, find_states
from bulkstop.schedule.firings import Firing, Timetable, find_next, list_firings

MOST_BACK = timedelta(days=31)
"""How far back missed firings are reported."""
PREFLIGHT_LATE = timedelta(minutes=10)
"""How late a preflight may run."""


class Due(StrEnum):
    """What to do now."""

    RUN = "run"
    RESUME = "resume"
    DONE = "done"
    NOT_DUE = "not due"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with which firing; `missed` are earlier firings that did not run, or whose end is unknown."""

    due: Due
    firing: Firing | None
    missed: tuple[Firing, ...] = ()
    next: Firing | None = None


def decide(table: Timetable, entries: Sequence[Entry], now: datetime, catch_up_s: float) -> Decision:
    """Return what to do now.

    The latest firing that has not ended runs if it is at most `catch_up_s` late, or continues if it was started.
    Firings after the latest in the journal that are too late to run were missed. A schedule without journal lines has
    missed none.
    """
    states, catch_up = find_states(entries), timedelta(seconds=catch_up_s)
    moments = [datetime.fromisoformat(each.moment) for each in entries if not each.by_hand]
    known = max(moments, default=now)
    since = max(min(known, now - catch_up), now - max(MOST_BACK, catch_up))
    passed = [firing for firing in list_firings(table, since, now) if firing.fires]
    open_ = [firing for firing in passed if (last := states.get(firing.key)) is None or last.event not in SETTLED]
    newest = open_[-1] if open_ and now - open_[-1].moment <= catch_up else None
    if newest is not None and passed[-1] is not newest:
        newest = None  # a later firing has already run
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
    """Return the firing whose preflight is due and not in the journal; None if there is none.

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
