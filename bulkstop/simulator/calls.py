"""What a request asks for, read from its path exactly as it was sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote

from bulkstop.model import CampaignType


class Operation(StrEnum):
    """The calls the service knows."""

    STOP = "stop"
    LIST = "list"
    STATUS = "status"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Call:
    """One request's meaning; without an operation the path leads nowhere.

    A campaign id is one decoded path segment; it is None on calls without one and when it is no UTF-8.
    """

    operation: Operation | None
    campaign_type: CampaignType | None
    campaign_id: str | None
    query: Mapping[str, str]


_V2 = "/campaign/api/v2/public/[^/]+/campaign"
_ROUTES = (
    (Operation.STOP, CampaignType.VOICE, re.compile("/api/v2/public/[^/]+/campaign/trigger/([^/]+)")),
    (Operation.STOP, CampaignType.SMS, re.compile(_V2 + "//trigger/([^/]+)")),
    (Operation.LIST, None, re.compile(_V2 + "/getAllCampaignDetails")),
    (Operation.STATUS, None, re.compile(_V2 + "/([^/]+)/status")),
    (Operation.SCHEDULE, None, re.compile(_V2 + "/schedule")),
)


def read_call(raw_path: str) -> Call:
    """Tell what a raw path, query included, asks for; nothing in it is normalised."""
    path, _, query = raw_path.partition("?")
    for operation, campaign_type, pattern in _ROUTES:
        if match := pattern.fullmatch(path):
            campaign_id = _decode(match[1]) if pattern.groups else None
            if campaign_id in (".", ".."):
                break  # a step to another path, encoded or not, as gateways resolve it
            return Call(operation, campaign_type, campaign_id, read_query(query))
    return Call(None, None, None, read_query(query))


@lru_cache(maxsize=1024)
def read_query(query: str) -> Mapping[str, str]:
    """Return the parameters of a query; of a repeated one the last counts."""
    return MappingProxyType(dict(parse_qsl(query, keep_blank_values=True)))


def _decode(segment: str) -> str | None:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
