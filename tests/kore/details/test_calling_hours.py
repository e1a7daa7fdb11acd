"""Calling hours in a response: what is read, and what is reported as malformed instead of guessed."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.kore.details.calling_hours import CallingHours, Hours, Window, parse_calling_hours, read_hours
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, CampaignType, Outcome, Scope

VOICE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)
DAY = {"day": "MO", "start": "9:00 AM", "end": "6:00 PM"}
SAMPLE = {"frequency": "WEEKLY", "timezone": "Asia/Kolkata", "days": [DAY]}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each, max_size=3))


def parse(hours: object) -> CallingHours | None:
    """Read calling hours where the sample of the vendor's pages has them."""
    return parse_calling_hours({"dialingStrategy": {"callingHours": hours}})


@pytest.mark.parametrize(
    ("day", "window"),
    [
        ({}, (0, 540, 1080)),
        ({"day": "Tuesday", "start": "09:00", "end": "18:30"}, (1, 540, 1110)),
        ({"day": "sun", "start": "12:00 AM", "end": "12:00 PM"}, (6, 0, 720)),
        ({"start": "9:00am", "end": "12:00 AM"}, (0, 540, 0)),
        ({"start": "6:30 PM", "end": "3:00 a.m."}, (0, 1110, 180)),
    ],
)
def test_window(day: dict[str, str], window: tuple[int, int, int]) -> None:
    """A window has its day and its minutes, in 12 or 24 hours; it may end on the next day."""
    assert parse(SAMPLE | {"days": [DAY | day]}) == CallingHours("Asia/Kolkata", (Window(*window),))


def test_every_day() -> None:
    """Daily hours that name no day are those of each."""
    hours = parse(SAMPLE | {"frequency": "DAILY", "days": [{"start": "9:00 AM", "end": "6:00 PM"}]})
    assert hours is not None
    assert [window.day for window in hours.windows] == list(range(7))


@pytest.mark.parametrize("campaign", [{}, {"dialingStrategy": {}}, {"dialingStrategy": {"callingHours": None}}])
def test_without(campaign: dict[str, Any]) -> None:
    """A campaign may have no calling hours, which is no fault."""
    assert parse_calling_hours(campaign) is None


@pytest.mark.parametrize(
    ("hours", "fault"),
    [
        ("9 to 5", "callingHours is '9 to 5'"),
        (SAMPLE | {"timezone": None}, "timezone is missing"),
        (SAMPLE | {"timezone": "GMT+5:30"}, "timezone is 'GMT+5:30'"),
        (SAMPLE | {"days": []}, "days is []"),
        (SAMPLE | {"days": ["MO"]}, "days has 'MO'"),
        (SAMPLE | {"days": [DAY | {"day": "M"}]}, "day is 'M'"),
        (SAMPLE | {"days": [DAY | {"day": None}]}, "day is missing"),
        (SAMPLE | {"days": [DAY, DAY | {"end": "25:00"}]}, "end is '25:00'"),
        (SAMPLE | {"days": [DAY | {"start": "13:00 PM"}]}, "start is '13:00 PM'"),
        (SAMPLE | {"days": [DAY | {"start": 9}]}, "start is 9"),
        (SAMPLE | {"days": [DAY | {"end": "9:00 AM"}]}, "start and end are both '9:00 AM'"),
        (SAMPLE | {"frequency": "DAILY"}, "frequency is DAILY, but days does not name every day"),
    ],
)
def test_fault(hours: object, fault: str) -> None:
    """Malformed or ambiguous calling hours are reported."""
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        parse(hours)


@given(st.dictionaries(st.sampled_from(["frequency", "timezone", "days"]), JSON) | JSON)
def test_any_answer(hours: object) -> None:
    """Any value is read, or reported in one line."""
    answer = Response(
        200, json.dumps({"data": {"_id": "cd-1", "dialingStrategy": {"callingHours": hours}}}).encode(), 1
    )
    read = read_hours(answer, VOICE, "cd-1")
    assert isinstance(read, Hours)
    assert read.fault is None or read.fault.isprintable()


@pytest.mark.parametrize(
    ("campaign_id", "hours"),
    [("cd-1", Hours(CallingHours("Asia/Kolkata", (Window(0, 540, 1080),)))), ("cd-2", None)],
)
def test_whose_they_are(campaign_id: str, hours: Hours | None) -> None:
    """The calling hours of another campaign than requested are ignored."""
    data = {"_id": "cd-1", "dialingStrategy": {"callingHours": SAMPLE}}
    read = read_hours(Response(200, json.dumps({"data": data}).encode(), 1.0), VOICE, campaign_id)
    assert (read.outcome is Outcome.UNCONFIRMED) if isinstance(read, Attempt) else (read == hours)
    assert isinstance(read, Attempt) == (hours is None)
