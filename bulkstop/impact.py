"""The order of campaigns by the harm that they do, as far as a list shows it.

A run in order of impact first stops what nobody else can end, then what contacts the most people per minute:

1. Execution types other than NORMAL: an emergency overrides schedule and calling hours, and cannot be paused. An
   undocumented type may be one, and so may an SMS campaign without a type.
2. Dialing mode: Power dials several people for each agent, Agentless as many as its line allows, Progressive one for
   each free agent, Preview one whom an agent has chosen. SMS campaigns have no mode; they rank with Agentless, because
   no agent slows them down. An undocumented or missing mode ranks as the worst.
3. Priority: the highest has the largest share of the lines. 5 is the highest, and the default.
4. Time of the instance, newest first: it has the most contacts left.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from bulkstop.model import Campaign, CampaignType

NORMAL = "normal"
"""The only execution type that the vendor documents."""
DEFAULT_PRIORITY = 5
"""The priority that the vendor assumes for a campaign without one."""

_EMERGENCY = "emergency"
_AGENTLESS = 2
_MODES = {"power": 1, "agentless": _AGENTLESS, "progressive": 3, "preview": 4}
_FACTS = {
    "executiontype": "execution_type",
    "campaignexecutiontype": "execution_type",
    "dialingmode": "dialing_mode",
    "instanceupdatedat": "instance_updated_at",
    "campaigninstanceupdatedat": "instance_updated_at",
    "updatedat": "updated_at",
}
"""The columns with facts about impact, by the letters of their names."""
_MOST_PRIORITY, _MOST_MS = 2**13, 2**43


def is_normal(execution_type: str | None) -> bool:
    """Return whether an execution type is normal or missing, so that no warning is needed."""
    return execution_type is None or execution_type.strip().casefold() in ("", NORMAL)


def execution_type_of(campaign: Campaign) -> str | None:
    """Return the execution type in a campaign's row; None if the row has none."""
    return read_facts(campaign.row).get("execution_type")


def read_facts(row: Mapping[str, object] | None) -> dict[str, str]:
    """Return a row's facts about impact, under any known column name; a result line's inner row counts too."""
    if not row:
        return {}
    inner = row.get("row")
    facts = read_facts(inner) if isinstance(inner, Mapping) else {}
    for name, value in row.items():
        if (fact := _fact_of(name)) and isinstance(value, str) and (text := value.strip()):
            facts[fact] = text
    return facts


def rank_impact(campaign: Campaign, *, is_odd: bool = False) -> int:
    """Return the rank of a campaign by impact, below 2**62; the smallest is sent first.

    With `is_odd`, for a priority that cannot be read, it ranks after all others of its kind.
    """
    facts = read_facts(campaign.row)
    priority = campaign.priority if campaign.priority is not None else DEFAULT_PRIORITY
    urgency = 0 if is_odd else max(0, min(priority, _MOST_PRIORITY - 2)) + 1
    place = _rank_type(campaign.campaign_type, facts.get("execution_type"))
    place = place * 8 + _rank_mode(campaign.campaign_type, facts.get("dialing_mode"))
    place = place * _MOST_PRIORITY + (_MOST_PRIORITY - 1 - urgency)
    at_ms = _read_ms(facts.get("instance_updated_at") or facts.get("updated_at") or "")
    return place * _MOST_MS + (_MOST_MS - 1 - at_ms)


@lru_cache(maxsize=1024)
def _fact_of(name: str) -> str | None:
    return _FACTS.get("".join(filter(str.isalnum, name)).lower())


def _rank_type(kind: CampaignType, execution_type: str | None) -> int:
    if not is_normal(execution_type):
        return 0 if _EMERGENCY in (execution_type or "").casefold() else 1
    return 2 if execution_type is None and kind is CampaignType.SMS else 3


def _rank_mode(kind: CampaignType, mode: str | None) -> int:
    if mode is None:
        return _AGENTLESS if kind is CampaignType.SMS else 0
    return _MODES.get("".join(filter(str.isalnum, mode)).lower(), 0)


def _read_ms(text: str) -> int:
    """Return a time in unix milliseconds; 0 if it cannot be read."""
    try:
        moment = datetime.fromisoformat(text)
        unix_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0
    return max(0, min(int(unix_s * 1000), _MOST_MS - 1))
