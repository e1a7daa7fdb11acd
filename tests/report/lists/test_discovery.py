"""The messages about a list of running campaigns."""

from typing import Any

import pytest

from bulkstop.errors import ListError
from bulkstop.model import CampaignType, ListedCampaign, Scope
from bulkstop.report.lists.calling_hours import HoursFound, StopCells
from bulkstop.report.lists.discovery import Discovery, Expected, format_verdict

SMS = Scope("a1", "st-1", "st-1", CampaignType.SMS)
RECURRING = (
    "DONE: 1 campaign (0 voice, 1 sms); nothing else was asked for; 1 recurring: a stop does not end their schedule; "
    "1 call in 0.0 s; written to r.csv"
)
ONE = (SMS, ListedCampaign("cd-1", CampaignType.SMS, is_recurring=True))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"rows": (ONE,), "calls": 1},
            RECURRING,
        ),
        (
            {"calls": 2, "left_out": {"Paused": 4, "Ready": 201}},
            (
                "DONE: no campaign matches; the list is empty; "
                "left out: 201 Ready, 4 Paused; 2 calls in 0.0 s; written to r.csv"
            ),
        ),
        (
            {"rows": (ONE,), "fault": ListError("HTTP\t503")},
            "NOT COMPLETE: the list could not be read completely; HTTP\ufffd503; nothing was written",
        ),
        (
            {"rows": (ONE,), "calls": 2, "hours": HoursFound((StopCells("unknown"),), faults=("cd-1: end is 9",))},
            RECURRING.replace("DONE: ", "NOT COMPLETE: calling hours are not known, as noted; ").replace(
                "1 call", "stop_at for 0 of 1; 2 calls"
            ),
        ),
        ({"signum": 2, "fault": ListError("cut")}, "NOT COMPLETE: ended by SIGINT; nothing was written"),
    ],
)
def test_verdict(facts: dict[str, Any], said: str) -> None:
    """The last word is DONE with exit code 0 alone; else it says what kept the list from being whole."""
    discovery = Discovery(**facts)
    assert format_verdict(discovery, "r.csv") == said
    assert said.startswith("DONE: ") == (discovery.exit_code == 0)


@pytest.mark.parametrize(
    ("expected", "facts", "said"),
    [
        ((0, 0), {"calls": 2}, "DONE: no campaign in 8 lists, as expected; "),
        ((1, 3), {"rows": (ONE,)}, "DONE: 1 campaign (0 voice, 1 sms) in 8 lists, as expected; "),
        ((0, 0), {"rows": (ONE,)}, "NOT AS EXPECTED: 1 campaign (0 voice, 1 sms) in 8 lists, and not the 0 expected; "),
        ((2, 9), {}, "NOT AS EXPECTED: no campaign in 8 lists, and not the 2 to 9 expected; "),
        ((0, 0), {"failed": ("sms of a1: HTTP 503",)}, "NOT COMPLETE: 1 list could not be read; no campaign matches; "),
    ],
)
def test_expected(expected: tuple[int, int], facts: dict[str, Any], said: str) -> None:
    """With an expected number the last word is DONE if it was found, and all lists were read."""
    assert format_verdict(Discovery(**facts), "r.csv", Expected(*expected, 8)).startswith(said)
