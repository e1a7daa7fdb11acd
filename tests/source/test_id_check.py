"""The unusual ids of a list."""

import pytest

from bulkstop.model import Campaign, CampaignType
from bulkstop.source.id_check import FIRST, UnusualIds
from bulkstop.source.plan import Plan
from bulkstop.source.protect import Protection, Rule


def campaign(campaign_id: str, name: str | None = "n") -> Campaign:
    """Make a campaign."""
    return Campaign.of_row(campaign_id, CampaignType.VOICE, "a", "st", "st", "list.csv", 2, name=name)


def looks_of(*ids: str) -> UnusualIds:
    """Look at campaigns of these ids."""
    looks = UnusualIds()
    for campaign_id in ids:
        looks.add(campaign(campaign_id))
    return looks


@pytest.mark.parametrize(
    ("campaign_id", "instances", "odd"),
    [
        ("cd-21a05e3-056f-57fb-ba03-afed8e63b43b", 0, 0),
        ("cd-1", 0, 0),
        ("cid-835ee4a-1", 1, 0),
        ("st-05205be1", 0, 1),
        ("42", 0, 1),
        ("CD-1", 0, 1),
        ("cd", 0, 1),
    ],
)
def test_an_id_is_told_by_how_it_begins(campaign_id: str, instances: int, odd: int) -> None:
    """`cd-` is a campaign id, `cid-` that of an instance, and anything else is odd."""
    looks = looks_of(campaign_id)
    assert (looks.instance_ids.count, looks.odd_ids.count) == (instances, odd)


def test_all_are_counted_and_the_first_kept() -> None:
    """All are counted, but only the first few are kept."""
    looks = looks_of(*(f"cid-{n}" for n in range(1000)))
    assert looks.instance_ids.count == 1000
    assert looks.instance_ids.first == [f"cid-{n}" for n in range(FIRST)]
    assert looks.odd_ids.first == []


def test_a_plan_looks_at_what_it_sends() -> None:
    """A plan counts the ids that will be sent, not those that are duplicates or protected."""
    rows = [campaign("cid-1"), campaign("cid-1"), campaign("x", None), campaign("y"), campaign("cd-1", None)]
    with Plan(rows, protection=Protection([Rule("keep.txt", 1, "y")])) as plan:
        assert (plan.looks.instance_ids.count, plan.looks.odd_ids.first, plan.looks.nameless) == (1, ["x"], 2)
        assert plan.to_send == 3


def test_a_plan_holds_back_what_is_protected() -> None:
    """A protected campaign is not sent however often it is listed, and its line names the rule."""
    rows = [campaign("cd-1"), campaign("cd-2"), campaign("cd-1")]
    with Plan(rows, protection=Protection([Rule("keep.txt", 7, "cd-1*")])) as plan:
        held = list(plan.held_results())
        assert [each.campaign_id for each in plan.campaigns("a")] == ["cd-2"]
        assert [(each.outcome, each.error) for each in held] == [
            ("protected", "protected by keep.txt line 7 (cd-1*)")
        ] * 2
        assert plan.rows == 3
