"""A line for each request of a load test.

It is no result line: a campaign may be asked for many times, and here it matters when.
"""

import json

import orjson

from bulkstop.model import Attempt, Campaign
from bulkstop.text.cells import escape_json_line

KEYS = (
    "campaign_id",
    "campaign_type",
    "account_id",
    "stream_id",
    "outcome",
    "http_status",
    "intended_s",
    "started_s",
    "latency_ms",
    "service_ms",
    "error",
)
"""The keys of a line, in order; the times are to the microsecond, and the latency is from the intended one."""


def format_request(
    campaign: Campaign, attempt: Attempt, *, intended_s: float, started_s: float, ended_s: float
) -> bytes:
    """Write a request as one JSON object and a newline; the latency of one that was cut off is that up to then.

    The times of one that left to warm the service up are below zero.
    """
    cells = {
        "campaign_id": campaign.campaign_id,
        "campaign_type": campaign.campaign_type,
        "account_id": campaign.account_id,
        "stream_id": campaign.stream_id,
        "outcome": attempt.outcome,
        "http_status": attempt.http_status,
        # int() of something half a step larger: a third of what round() takes, of which there would be four a request.
        "intended_s": int(intended_s * 1e6 + 0.5) / 1e6 if intended_s >= 0 else round(intended_s, 6),
        "started_s": int(started_s * 1e6 + 0.5) / 1e6 if started_s >= 0 else round(started_s, 6),
        "latency_ms": int((ended_s - intended_s) * 1e6 + 0.5) / 1e3,
        "service_ms": int((ended_s - started_s) * 1e6 + 0.5) / 1e3,
        "error": attempt.error,
    }
    try:
        return escape_json_line(orjson.dumps(cells, option=orjson.OPT_APPEND_NEWLINE))
    except TypeError:  # half a surrogate pair in what a server said
        return json.dumps(cells, separators=(",", ":")).encode() + b"\n"
