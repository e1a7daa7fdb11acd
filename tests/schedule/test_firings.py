"""Firings are those of the calendar, compared with the C library, and in nights of clock changes."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest

from bulkstop.schedule.days import parse_days, parse_time
from bulkstop.schedule.firings import Firing, OnHoliday, Timetable, find_last, find_next, list_firings
from bulkstop.schedule.free_days import FreeDays, check_region, parse_own_dates
from bulkstop.schedule.zones import explain_age, find_version, open_zone, resolve

TIMES = ("00:00", "00:15", "01:45", "02:15", "02:30", "18:00", "23:45")
ZONES = (
    "Europe/Berlin",
    "Africa/Cairo",  # a gap at midnight
    "Australia/Lord_Howe",  # a shift by half an hour
    "Asia/Kolkata",  # no shift
    "America/New_York",
    "America/Santiago",  # a gap at midnight, in the south
    "Pacific/Chatham",
)
# For each nominal time: the first quarter of an hour at which the C library's clock shows it, or a later one.
C_LIBRARY = """
import sys, time, calendar
begin, days, times = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
for day in range(days):
    year, month, date = time.gmtime(begin + day * 86400)[:3]
    for text in times:
        nominal = (year, month, date, int(text[:2]), int(text[3:]))
        at = calendar.timegm((*nominal, 0)) - 15 * 3600
        while time.localtime(at)[:5] < nominal:
            at += 900
        print(at)
"""


def make(zone: str, *at: str, days: str = "* *", **more: object) -> Timetable:
    """Return the timetable of a schedule."""
    return Timetable("eod", tuple(map(parse_time, at)), zone, days, **more)  # type: ignore[arg-type]


def ask_c_library(zone: str, begin: date, days: int) -> list[datetime]:
    """Return the moments of all times of so many days, as another library has them."""
    at = int(datetime(begin.year, begin.month, begin.day, tzinfo=UTC).timestamp())
    words = [sys.executable, "-S", "-c", C_LIBRARY, str(at), str(days), ",".join(TIMES)]
    done = subprocess.run(words, env={"TZ": zone}, capture_output=True, text=True, check=True)
    return [datetime.fromtimestamp(int(line), UTC) for line in done.stdout.split()]


@pytest.mark.real
@pytest.mark.parametrize(
    ("zone", "begin", "days"),
    [
        *((zone, date(2026, 1, 1), 400) for zone in ZONES),
        ("America/Sao_Paulo", date(2018, 9, 1), 600),  # summer time was given up, with a gap at midnight
        ("Pacific/Apia", date(2011, 12, 1), 60),  # a day was left out
        ("Africa/Casablanca", date(2027, 1, 1), 400),  # winter time in Ramadan
        ("America/Havana", date(2026, 9, 1), 90),  # the hour before one o'clock occurs twice
        ("Asia/Beirut", date(2026, 9, 1), 400),  # the hour before midnight occurs twice, the hour after it is skipped
        ("Europe/Istanbul", date(2016, 1, 1), 400),  # summer time went on for ever
    ],
)
def test_c_library(zone: str, begin: date, days: int) -> None:
    """Every firing of 400 days and longer is at the moment that the C library finds, once for each nominal time."""
    wanted = ask_c_library(zone, begin, days)
    since = datetime(begin.year, begin.month, begin.day, tzinfo=UTC) - timedelta(days=2)
    last = begin + timedelta(days=days)
    found = {}
    for firing in list_firings(make(zone, *TIMES), since):
        if firing.nominal.date() > last:
            break
        if begin <= firing.nominal.date() < last:
            assert firing.key not in found
            found[firing.key] = firing
    assert [each.moment for each in sorted(found.values(), key=lambda each: each.nominal)] == wanted


@pytest.mark.parametrize(
    ("zone", "nominal", "local", "note"),
    [
        ("Europe/Berlin", "2027-03-28T02:30", "2027-03-28T03:00:00+02:00", "02:30 does not exist that day"),
        ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T02:30:00+02:00", "02:30 comes twice that day"),
        ("Africa/Cairo", "2027-04-30T00:00", "2027-04-30T01:00:00+03:00", "00:00 does not exist that day"),
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-04T02:30:00+11:00", "02:15 does not exist that day"),
        ("Pacific/Apia", "2011-12-30T18:00", "2011-12-31T00:00:00+14:00", "18:00 does not exist that day"),
        ("Europe/Berlin", "2026-10-25T18:00", "2026-10-25T18:00:00+01:00", ""),
    ],
)
def test_change_of_the_clock(zone: str, nominal: str, local: str, note: str) -> None:
    """A time in the gap is the first moment after it, one that occurs twice the first; both have a note."""
    moment, said = resolve(datetime.fromisoformat(nominal), open_zone(zone))
    assert moment.astimezone(open_zone(zone)).isoformat() == local
    assert said.startswith(note)
    assert bool(said) == bool(note)


@pytest.mark.parametrize(
    ("zone", "since", "at", "fires"),
    [
        ("Europe/Berlin", "2027-03-27T12:00Z", ("02:15", "02:45", "03:00"), "03:00"),
        ("Asia/Beirut", "2027-03-27T12:00Z", ("00:00", "00:30"), "00:30"),
        ("Pacific/Apia", "2011-12-30T09:00Z", ("00:00",), "00:00"),
    ],
)
def test_several_times_in_one_gap(zone: str, since: str, at: tuple[str, ...], fires: str) -> None:
    """Several times that share one moment after a gap fire once; the others are skipped with the reason."""
    begin = datetime.fromisoformat(since)
    found = list(list_firings(make(zone, *at), begin, begin + timedelta(hours=15)))
    (firing,) = (each for each in found if each.fires)
    assert f"{firing.nominal:%H:%M}" == fires
    assert {each.moment for each in found} == {firing.moment}
    left_out = {each.note for each in found if not each.fires}
    assert left_out
    assert all(note.endswith(f"does not exist that day; {fires} fires at that moment") for note in left_out)


def days_of(table: Timetable, since: str, count: int) -> list[tuple[str, bool, str]]:
    """Return the first firings as date, whether it fires, and note."""
    found = islice(list_firings(table, datetime.fromisoformat(f"{since}T00:00Z")), count)
    return [(f"{each.nominal:%m-%d}", each.fires, each.note) for each in found]


def test_holidays() -> None:
    """A holiday is left out, with its name; an own date too."""
    free = FreeDays(("DE-BY",), parse_own_dates("own.txt", "# ours\n2026-12-24  Christmas Eve\n\n2026-12-31\n"))
    table = make("Europe/Berlin", "18:00", days=parse_days(["mon-fri"]), free_days=free)
    assert days_of(table, "2026-12-23", 8) == [
        ("12-23", True, ""),
        ("12-24", False, "skipped: Christmas Eve"),
        ("12-25", False, "skipped: Christmas Day"),
        ("12-28", True, ""),
        ("12-29", True, ""),
        ("12-30", True, ""),
        ("12-31", False, "skipped: an own date"),
        ("01-01", False, "skipped: New Year's Day"),
    ]


def test_before_holidays() -> None:
    """A firing on a holiday runs on the working day before, in its place of the order, unless that day has its own."""
    free = FreeDays(("DE",))
    fridays = make("Europe/Berlin", "18:00", days="* FRI", free_days=free, on_holiday=OnHoliday.RUN_BEFORE)
    assert days_of(fridays, "2026-12-16", 3) == [
        ("12-18", True, ""),
        ("12-24", True, "runs before Christmas Day on 2026-12-25"),
        ("12-31", True, "runs before New Year's Day on 2027-01-01"),
    ]
    mondays = make("Europe/Berlin", "18:00", days="* MON", free_days=free, on_holiday=OnHoliday.RUN_BEFORE)
    assert days_of(mondays, "2027-03-23", 2)[0] == ("03-25", True, "runs before Easter Monday on 2027-03-29")
    daily = make("Europe/Berlin", "18:00", free_days=free, on_holiday=OnHoliday.RUN_BEFORE)
    assert days_of(daily, "2026-12-25", 2) == [
        ("12-25", False, "skipped: Christmas Day; it fires on 2026-12-24 anyway"),
        ("12-26", False, "skipped: Second Day of Christmas; it fires on 2026-12-24 anyway"),
    ]


def test_estimated_holidays() -> None:
    """A holiday that depends on the moon is marked as estimated."""
    notes = [
        note
        for _, fires, note in days_of(make("Asia/Karachi", "18:00", free_days=FreeDays(("PK",))), "2030-01-01", 365)
        if not fires
    ]
    assert any(note.endswith("(estimated)") for note in notes)
    assert any("(estimated)" not in note for note in notes)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["mon-fri"], "* MON,TUE,WED,THU,FRI"),
        (["Sat - Sun"], "* SAT,SUN"),
        (["fri-mon"], "* FRI,SAT,SUN,MON"),
        (["mon,thursday", "mon"], "* MON,THU"),
        (["mon#1"], "* MON#1"),
        (["1", "15", "last"], "1,15,L *"),
        (["daily"], "* *"),
    ],
)
def test_days(words: list[str], fields: str) -> None:
    """Days are written as people do."""
    assert parse_days(words) == fields


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["mo"], "'mo' is not a day of the week"),
        (["32"], "'32' is not a day of a month"),
        (["1", "mon"], "mixes days"),
        ([], "names no day"),
        (["mon-"], "'' is not a day of the week"),
    ],
)
def test_wrong_days(words: list[str], fault: str) -> None:
    """An invalid day is reported."""
    with pytest.raises(ValueError, match=fault):
        parse_days(words)


@pytest.mark.parametrize("text", ["24:00", "18", "6 pm", "18:60", "", "18:00:30"])
def test_wrong_times(text: str) -> None:
    """An invalid time of day is reported, with the valid form."""
    with pytest.raises(ValueError, match="is not a time of day; write it as 18:00"):
        parse_time(text)


def test_wrong_regions() -> None:
    """An unknown region is reported, with the known ones."""
    assert check_region("de-by") == "DE-BY"
    with pytest.raises(ValueError, match="is not a country with known holidays"):
        check_region("XX")
    with pytest.raises(ValueError, match=r"DE has no part 'XX'.*BY"):
        check_region("DE-XX")
    with pytest.raises(ValueError, match=r"own.txt line 2: '24.12.' is not a date"):
        parse_own_dates("own.txt", "2026-12-24\n24.12.\n")


def test_last_and_next() -> None:
    """The last firing is looked for as far back as said, the next one after the moment itself."""
    table = make("Europe/Berlin", "18:00", days="* MON")
    at = datetime(2026, 12, 7, 17, tzinfo=UTC)

    def key(firing: Firing | None) -> str | None:
        return firing.key if firing else None

    assert key(find_last(table, at, timedelta(0))) == "2026-12-07T18:00[Europe/Berlin]"
    assert key(find_last(table, at - timedelta(seconds=1), timedelta(days=1))) is None
    assert key(find_next(table, at)) == "2026-12-14T18:00[Europe/Berlin]"


def test_age_of_zones() -> None:
    """Data of zones that is older than a year, or has no version, is warned of."""
    assert explain_age("2025b", date(2026, 2, 1)) is None
    assert "2025b is older than a year" in (explain_age("2025b", date(2026, 4, 1)) or "")
    assert "not known" in (explain_age(None, date(2026, 4, 1)) or "")
    assert find_version() is not None
    with pytest.raises(ValueError, match="'Europe/Berln' is not a time zone"):
        open_zone("Europe/Berln")
