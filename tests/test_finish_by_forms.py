"""The time to finish by, in every form that it can be written in."""

import re
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bulkstop.errors import SettingsError
from bulkstop.runs.wiring import check_time
from bulkstop.settings import Settings
from bulkstop.settings.finish_by import explain_moment, find_moment, parse_finish_by

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
INDIA = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("text", "tz", "moment"),
    [
        ("13:30", "UTC", "2026-11-29T13:30:00+00:00"),
        ("14:30", "Europe/Berlin", "2026-11-29T14:30:00+01:00"),
        ("+2h", "UTC", "2026-11-29T14:00:00+00:00"),
        ("+90m", "Europe/Berlin", "2026-11-29T14:30:00+01:00"),
        ("+ 45 min", "UTC", "2026-11-29T12:45:00+00:00"),
        ("2026-12-01T18:00", "UTC", "2026-12-01T18:00:00+00:00"),
        ("2026-12-01 8:00", "Europe/Berlin", "2026-12-01T08:00:00+01:00"),
        ("2026-11-30T00:30", "UTC", "2026-11-30T00:30:00+00:00"),
        ("18:00Z", None, "2026-11-29T18:00:00+00:00"),
        ("18:00z", "Asia/Tokyo", "2026-11-30T03:00:00+09:00"),
        ("18:00+05:30", None, "2026-11-29T18:00:00+05:30"),
        ("18:00+0530", "Europe/Berlin", "2026-11-29T13:30:00+01:00"),
        ("18:00 -08", None, "2026-11-29T18:00:00-08:00"),
        ("2026-12-01T18:00+05:30", "UTC", "2026-12-01T12:30:00+00:00"),
        ("02:00+14:00", None, "2026-11-30T02:00:00+14:00"),  # tomorrow has begun there, and is there today
    ],
)
def test_forms(text: str, tz: str | None, moment: str) -> None:
    """An offset in the text is obeyed, and `tz` is then only the zone that the moment is shown in."""
    written = parse_finish_by(text)
    assert find_moment(written, tz, NOON).isoformat() == moment
    assert parse_finish_by(written) == written


@pytest.mark.parametrize(
    ("now", "moment"),
    [
        ("2026-10-25T00:10", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T00:40", "2026-10-25T02:30:00+01:00"),  # the first 02:30 is over, the second is to come
        ("2026-10-25T01:40", "2026-10-25T02:30:00+02:00"),
        ("2026-03-29T00:10", "2026-03-29T03:30:00+02:00"),  # there is no 02:30 in that night
    ],
)
def test_nights_with_another_hour(now: str, moment: str) -> None:
    """A time that comes twice in a night is the first, until that is over; one that is left out counts on."""
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert find_moment("02:30", "Europe/Berlin", at).isoformat() == moment


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("24:00", "a day ends at 23:59:59; give 00:00 with the date of the day after"),
        ("24:30", "a day ends at 23:59:59; give 00:00 with the date of the day after"),
        ("25:00", "a time of the day is 00:00 to 23:59:59"),
        ("18:60", "a time of the day is 00:00 to 23:59:59"),
        ("2027-02-29T18:00", "the calendar has no 2027-02-29"),
        ("9999-12-31T23:59", "the year 9999 is not a year to finish in"),
        ("0001-01-01T00:00", "the year 1 is not a year to finish in"),
        ("+0s", "'0s' is not a time above zero"),
        ("+-2h", "'-2h' is not a time above zero"),
        ("+", "'' is not a time above zero"),
        ("+2d", "'2d': write a time in"),
        ("+9000h", "is more than a year; give a shorter time"),
        ("18:00 CET", "give the zone with tz, or an offset"),
        ("18:00 Europe/Berlin", "give the zone with tz, or an offset"),
        ("18:00+25:00", "an offset is -12:00 to +14:00"),
        ("18:00+05:75", "an offset is -12:00 to +14:00"),
        ("-2h", "is not a time to finish by such as 18:00"),
        ("6pm", "is not a time to finish by such as 18:00"),
        ("18", "is not a time to finish by such as 18:00"),
        ("2026-12-01", "is not a time to finish by such as 18:00"),
        ("\uff11\uff18:00", "is not a time to finish by such as 18:00"),
        ("18:0\u0663", "is not a time to finish by such as 18:00"),
        ("2026-12-01  18:00", "is not a time to finish by such as 18:00"),
    ],
)
def test_what_cannot_be_read(text: str, why: str) -> None:
    """An invalid time is refused in one line that repeats it and shows the valid form."""
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        parse_finish_by(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "tz", "why"),
    [
        ("09:30", "UTC", "has passed today; it is 12:00:00 UTC; if you mean tomorrow, give 2026-11-30T09:30"),
        ("18:00", "Asia/Tokyo", "has passed today; it is 21:00:00 JST; if you mean tomorrow, give 2026-11-30T18:00"),
        ("11:00Z", "Asia/Tokyo", "has passed today; it is 21:00:00 JST; if you mean tomorrow, give 2026-11-30T11:00Z"),
        ("2026-11-29T09:30", "UTC", "has passed; it is 2026-11-29 12:00:00 UTC"),
        ("2028-02-29T18:00", "UTC", "is more than a year away; give an earlier date"),
        ("2027-11-28T18:00", "UTC", None),
        ("+2h", "UTC", None),
    ],
)
def test_a_moment_that_is_not_ahead(text: str, tz: str, why: str | None) -> None:
    """A moment that has passed is refused with the time that it is, one far away as a slip."""
    assert explain_moment(text, tz, NOON) == (why and f"{text}: {why}")


def test_a_date_that_has_passed_sends_nothing() -> None:
    """Nothing is sent when the date is a past one."""
    with pytest.raises(SettingsError, match=r"^finish_by 2020-01-01T10:00: has passed; it is .*; nothing was sent$"):
        check_time(Settings(host="h", finish_by="2020-01-01T10:00", tz="UTC"))


@pytest.mark.parametrize(
    ("value", "left_s"),
    [
        (datetime(2026, 12, 1, 18, tzinfo=INDIA), 2 * 86_400 + 1_800),
        (datetime(2026, 12, 1, 18), 2 * 86_400 + 6 * 3_600),  # noqa: DTZ001 - a time in the zone of `tz`
        (time(18, tzinfo=INDIA), 1_800),
        ("+100ms", 0.1),
    ],
)
def test_values(value: Any, left_s: float) -> None:
    """A caller in Python gives a time or a datetime; its offset is obeyed."""
    assert Settings(host="h", finish_by=value, tz="UTC").seconds_left(NOON) == pytest.approx(left_s)


def test_a_time_in_a_zone_without_a_date() -> None:
    """A time in a zone whose offset depends on the day is refused: its zone would be dropped."""
    with pytest.raises(SettingsError, match="in a zone whose offset depends on the day; give a datetime, or tz"):
        Settings(host="h", finish_by=time(18, tzinfo=ZoneInfo("Europe/Berlin")))
