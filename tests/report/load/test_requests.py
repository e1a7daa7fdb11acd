"""The line of a request: its keys, its times, and one line for any words in it."""

import json

from bulkstop.model import Attempt, Campaign, CampaignType, Outcome
from bulkstop.report.load.requests import KEYS, format_request

CAMPAIGN = Campaign.of_row("cd-1", CampaignType.SMS, "a1", "st-1", "app", "list.csv", 7, row={"x": 1})
TIMES = {"intended_s": 1.5, "started_s": 1.5000123, "ended_s": 1.6234567}


def test_line() -> None:
    """A line has the keys in order, and times to the microsecond."""
    line = format_request(CAMPAIGN, Attempt(Outcome.SERVER_ERROR, http_status=503, error="HTTP 503"), **TIMES)
    assert line.endswith(b"}\n")
    assert tuple(json.loads(line)) == KEYS
    assert json.loads(line) == {
        "campaign_id": "cd-1",
        "campaign_type": "sms",
        "account_id": "a1",
        "stream_id": "st-1",
        "outcome": "server_error",
        "http_status": 503,
        "intended_s": 1.5,
        "started_s": 1.500012,
        "latency_ms": 123.457,
        "service_ms": 123.444,
        "error": "HTTP 503",
    }


def test_cut_off() -> None:
    """A request that was cut off has its times so far, and its outcome says so."""
    cells = json.loads(format_request(CAMPAIGN, Attempt(Outcome.UNKNOWN, error="cut"), **TIMES))
    assert (cells["outcome"], cells["latency_ms"], cells["http_status"]) == ("unknown", 123.457, None)


def test_odd_words() -> None:
    """Line breaks and half a surrogate pair stay inside the line."""
    line = format_request(CAMPAIGN, Attempt(Outcome.REJECTED, error="a\nb\ud800"), **TIMES)
    assert line.count(b"\n") == 1
    assert json.loads(line)["error"] == "a\nb\ud800"
    line = format_request(CAMPAIGN, Attempt(Outcome.REJECTED, error="\x9b31m\u202e"), **TIMES)
    assert line[:-1].decode().isprintable()
    assert json.loads(line)["error"] == "\x9b31m\u202e"
