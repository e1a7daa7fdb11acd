"""A line for each request of a load test.

It is not a result line: a campaign may be requested many times, and the times matter here.
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
"""The keys of a line, in order; times are to the microsecond, and the latency starts at the intended time."""


def format_request(
    campaign: Campaign, attempt: Attempt, *, intended_s: float, started_s: float, ended_s: float
) -> bytes:
    """Return a request as one JSON object and a newline; a cancelled one has its latency so far.

    The times of a request that warms the service up are negative.
    """
    cells = {
        "campaign_id": campaign.campaign_id,
        "campaign_type": campaign.campaign_type,
        "account_id": campaign.account_id,
        "stream_id": campaign.stream_id,
        "outcome": attempt.outcome,
        "http_status": attempt.http_status,
        # int() of a value half a step larger takes a third of the time of round(), which runs four times per request.
        "intended_s": int(intended_s * 1e6 + 0.5) / 1e6 if intended_s >= 0 else round(intended_s, 6),
        "started_s": int(started_s * 1e6 + 0.5) / 1e6 if started_s >= 0 else round(started_s, 6),
        "latency_ms": int((ended_s - intended_s) * 1e6 + 0.5) / 1e3,
        "service_ms": int((ended_s - started_s) * 1e6 + 0.5) / 1e3,
        "error": attempt.error,
    }
    try:
        return escape_json_line(orjson.dumps(cells, option=orjson.OPT_APPEND_NEWLINE))
    except TypeError:  # half a surrogate pair in a server's text
        return json.dumps(cells, separators=(",", ":")).encode() + b"\n"
