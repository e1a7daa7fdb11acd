"""The due firing follows from the calendar, the journal and the clock."""

from datetime import UTC, datetime, time, timedelta

import pytest

from bulkstop.runs.schedule.due import find_preflight
from bulkstop.runs.schedule.journal import Entry, Event, make_entry
from bulkstop.runs.schedule.occasion import Occasion
from bulkstop.schedule.firings import Firing, Timetable, list_firings

TABLE = Timetable("eod", (time(18), time(19)), "UTC")
DAY = datetime(2027, 3, 2, tzinfo=UTC)
AHEAD_S = 7200.0


def note(event: Event, firing: Firing) -> Entry:
    """Return a line of the journal about a firing."""
    return make_entry(event, Occasion(firing), firing.moment)


def find_hour(now: datetime, *entries: Entry) -> int | None:
    """Return the hour of the firing whose preflight is due."""
    firing = find_preflight(TABLE, entries, now, AHEAD_S)
    return None if firing is None else firing.moment.hour


@pytest.mark.parametrize(
    ("at", "hour"),
    [("15:59", None), ("16:00", 18), ("16:10", 18), ("16:11", None), ("17:00", 19), ("17:09", 19), ("18:00", None)],
)
def test_preflight(at: str, hour: int | None) -> None:
    """A preflight is due at its time and ten minutes longer, also of a firing that is not the next."""
    assert find_hour(datetime.combine(DAY, time.fromisoformat(at), UTC)) == hour


def test_preflight_once() -> None:
    """A preflight in the journal is not due again; a line about the firing itself does not count."""
    first, second = list_firings(TABLE, DAY, DAY + timedelta(days=1))
    at = DAY + timedelta(hours=16)
    assert find_hour(at, note(Event.PREFLIGHT, first)) is None
    assert find_hour(at, note(Event.PREFLIGHT, second), note(Event.MISSED, first)) == 18
