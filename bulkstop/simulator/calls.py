"""Reads the operation of a request from its raw path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote

from bulkstop.model import CampaignType


class Operation(StrEnum):
    """The calls that the service knows."""

    STOP = "stop"
    LIST = "list"
    STATUS = "status"
    GET = "get"
    CONTACTS = "contacts"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Call:
    """The meaning of a request; without an operation, its path is unknown.

    A campaign id is one decoded path segment; it is None for calls without one, and if it is not UTF-8. The stream is
    the segment in its place, which in v1 may be the application; None if the path has none.
    """

    operation: Operation | None
    campaign_type: CampaignType | None
    campaign_id: str | None
    query: Mapping[str, str]
    stream_id: str | None = None


_STREAM = "(?P<stream>[^/]+)"
_ID = "(?P<id>[^/]+)"
_CONTACTS = re.compile("/agentassist/api/public/analytics/account/[^/]+/v2/interactionDetails")
_V1 = f"/agentassist/api/v1/public/{_STREAM}/campaign"
_V2 = f"/campaign/api/v2/public/{_STREAM}/campaign"
Route = tuple[Operation, CampaignType | None, re.Pattern[str]]
_ROUTES: Mapping[str, tuple[Route, ...]] = {
    "v1": (
        (Operation.STOP, None, re.compile(f"/campaign/api/v1/public/{_STREAM}/campaign/{_ID}")),
        (Operation.LIST, None, re.compile(_V1 + "/getAllCampaignDetails")),
        (Operation.STATUS, None, re.compile(f"{_V1}/{_ID}/status")),
        (Operation.GET, None, re.compile(f"{_V1}/{_ID}")),
        (Operation.CONTACTS, None, _CONTACTS),
    ),
    "v2": (
        (Operation.STOP, CampaignType.VOICE, re.compile(f"/api/v2/public/{_STREAM}/campaign/trigger/{_ID}")),
        (Operation.STOP, CampaignType.SMS, re.compile(f"{_V2}//trigger/{_ID}")),
        (Operation.LIST, None, re.compile(_V2 + "/getAllCampaignDetails")),
        (Operation.STATUS, None, re.compile(f"{_V2}/{_ID}/status")),
        (Operation.SCHEDULE, None, re.compile(_V2 + "/schedule")),
        (Operation.GET, None, re.compile(f"{_V2}/{_ID}")),
        (Operation.CONTACTS, None, _CONTACTS),
    ),
}
"""The paths of each version; the first that matches counts."""


def read_call(raw_path: str, api: str = "v2") -> Call:
    """Return the call of a raw path with its query, in a version of the API; the path is not normalised."""
    path, _, text = raw_path.partition("?")
    query = read_query(text)
    for operation, campaign_type, pattern in _ROUTES[api]:
        if match := pattern.fullmatch(path):
            segments = {name: _decode(segment) for name, segment in match.groupdict().items()}
            campaign_id = segments.get("id")
            if campaign_id in (".", ".."):
                break  # a path step, encoded or not, as gateways resolve it
            kind = campaign_type or _read_type(operation, query)
            return Call(operation, kind, campaign_id, query, segments.get("stream"))
    return Call(None, None, None, query)


def _read_type(operation: Operation, query: Mapping[str, str]) -> CampaignType | None:
    """Return the type of a stop whose path serves both types; voice if the query names none."""
    if operation is not Operation.STOP:
        return None
    return CampaignType.SMS if query.get("campaignType") == CampaignType.SMS else CampaignType.VOICE


@lru_cache(maxsize=1024)
def read_query(query: str) -> Mapping[str, str]:
    """Return the parameters of a query; the last of repeated ones counts."""
    return MappingProxyType(dict(parse_qsl(query, keep_blank_values=True)))


def _decode(segment: str) -> str | None:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
