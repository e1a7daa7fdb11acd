"""Which campaign does the most harm: the order of a run by impact."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.impact import is_normal, rank_impact, read_facts
from bulkstop.model import Campaign, CampaignType

VOICE, SMS = CampaignType.VOICE, CampaignType.SMS
IN_ORDER = [
    (SMS, 1, {"execution_type": "EMERGENCY"}),
    (SMS, 5, {"execution_type": "Retry"}),
    (SMS, 5, {}),
    (VOICE, 1, {"dialing_mode": "Predictive"}),
    (VOICE, 1, {"dialing_mode": "POWER"}),
    (VOICE, 5, {"dialing_mode": "Agentless", "execution_type": "NORMAL"}),
    (SMS, 4, {"execution_type": "NORMAL"}),
    (VOICE, None, {"dialing_mode": "Progressive", "instance_updated_at": "2025-12-06T00:00:00Z"}),
    (VOICE, 5, {"dialing_mode": "Progressive", "instance_updated_at": "2025-12-05T00:00:00.000Z"}),
    (VOICE, 5, {"dialing_mode": "Progressive", "instance_updated_at": "soon"}),
    (VOICE, 1, {"dialing_mode": "Progressive"}),
    (VOICE, 5, {"dialing_mode": "Preview"}),
]


def rank(kind: CampaignType, priority: int | None, row: Mapping[str, object]) -> int:
    """Return the place of a campaign."""
    return rank_impact(Campaign("cd-1", kind, "a1", "st-1", priority=priority, row=row))


def test_what_harms_most_is_first() -> None:
    """By execution type, then dialing mode, priority and newest instance; unknown values count as the worst."""
    ranks = [rank(*each) for each in IN_ORDER]
    assert ranks == sorted(set(ranks))


@given(
    st.sampled_from(CampaignType),
    st.none() | st.integers(-(10**30), 10**30),
    st.dictionaries(st.text() | st.sampled_from(["dialingMode", "updatedAt"]), st.text() | st.integers()),
    st.booleans(),
)
def test_any_row_has_a_place(kind: CampaignType, priority: int | None, row: Mapping[str, object], is_odd: bool) -> None:
    """For any row, its sort key fits into 63 bits."""
    campaign = Campaign("cd-1", kind, "a1", "st-1", priority=priority, row=row)
    assert 0 <= rank_impact(campaign, is_odd=is_odd) < 2**62


@pytest.mark.parametrize(
    "row",
    [
        {"execution_type": "EMERGENCY"},
        {"campaignExecutionType": "EMERGENCY"},
        {"Execution Type": " EMERGENCY "},
        {"campaign_execution_type": None, "row": {"execution_type": "EMERGENCY"}},
    ],
)
def test_columns_by_their_letters(row: Mapping[str, object]) -> None:
    """The column is known by its letters alone: in our lists, in answers of the service, in result lines."""
    assert read_facts(row) == {"execution_type": "EMERGENCY"}


def test_normal() -> None:
    """NORMAL in any letter case, and a missing value, cause no warning."""
    assert [is_normal(kind) for kind in (None, "", "normal", "NORMAL", "EMERGENCY", "x")] == [*[True] * 4, False, False]
