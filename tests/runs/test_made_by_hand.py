"""Campaigns made by hand: held to the same rules as rows of a file."""

import asyncio

import pytest

from bulkstop.errors import SettingsError
from bulkstop.model import Campaign, CampaignType, Order, Outcome, Result
from bulkstop.runs.stop.plan import make_plan
from bulkstop.settings import Settings
from tests.runs.scene import Service, make_engine

CAMPAIGN = Campaign.of_row("cd-1", CampaignType.SMS, "a", "st-1", "st-1", "script", 1)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("campaign_id", "cd-0/../cd-1", "campaign id 'cd-0/../cd-1' holds U+002F SOLIDUS"),
        ("campaign_id", "\ud800", "U+D800 HALF OF A SURROGATE PAIR"),
        ("campaign_id", "..", "campaign id '..' is a path step"),
        ("account_id", "a\ud800", "U+D800 HALF OF A SURROGATE PAIR"),
        ("stream_id", "st/1", "stream_id 'st/1' holds U+002F SOLIDUS"),
        ("iid", "%2e", "iid '%2e' holds U+0025 PERCENT SIGN"),
    ],
)
def test_ids(field: str, value: str, why: str) -> None:
    """One with an id that is not possible is an invalid line that can be written, with any_id as well."""
    for any_id in (False, True):
        rows = [CAMPAIGN._replace(**{field: value}), CAMPAIGN]  # type: ignore[arg-type]
        with make_plan(rows, Settings(host="h", any_id=any_id)) as plan:
            (held,) = plan.held_results()
            assert why in (held.error or "")
            assert plan.to_send == 1


def test_any_id() -> None:
    """The setting allows what ids do not have and no gateway makes another path of."""
    odd = CAMPAIGN._replace(campaign_id="cd 1é", account_id="a:b")
    for any_id in (False, True):
        with make_plan([odd], Settings(host="h", any_id=any_id)) as plan:
            assert plan.to_send == any_id


@pytest.mark.parametrize("priority", ["high", 1.5, ["x"]])
def test_priority(priority: object) -> None:
    """A priority that is not a number makes no campaign unusable: it is carried along, and the campaign goes last."""
    rows = [CAMPAIGN._replace(priority=priority, row={"tag": 1}), CAMPAIGN._replace(campaign_id="cd-2", line=2)]  # type: ignore[arg-type]
    with make_plan(rows, Settings(host="h", order=Order.PRIORITY)) as plan:
        second, first = plan.campaigns("a")
        assert (second.line, first.line, first.priority, first.row) == (2, 1, None, {"tag": 1, "priority": priority})


@pytest.mark.parametrize("name", ["account_id", "stream_id", "iid"])
@pytest.mark.parametrize(
    ("value", "any_id", "why"),
    [
        ("a b", False, r"'a b' holds U\+0020 SPACE"),
        ("a\u00a0", False, r"'a\\xa0' holds U\+00A0 NO-BREAK SPACE"),
        ("a:b", False, r"'a:b' holds U\+003A COLON; .*; any_id=True allows it"),
        ("a/b", True, r"'a/b' holds U\+002F SOLIDUS, which is never sent"),
        ("é", True, r"'é' holds U\+00E9 .*, which cannot stand in a header"),
        ("..", True, "'..' is a path step"),
        ("", False, "is empty"),
    ],
)
def test_settings(name: str, value: str, any_id: bool, why: str) -> None:
    """A setting that is an id is checked like those of rows, and the error names the option and the character."""
    with pytest.raises(SettingsError, match=rf"^{name}: {why}"):
        Settings(host="h", any_id=any_id, **{name: value})


def test_settings_with_any_id() -> None:
    """With any_id a setting may have other visible characters."""
    assert Settings(host="h", account_id="a:b", any_id=True).account_id == "a:b"


def test_order() -> None:
    """An order is read from a text as well, and one that does not exist is refused."""
    assert Settings(host="h", order="priority-ascending").order is Order.PRIORITY_ASCENDING
    with pytest.raises(
        SettingsError, match=r"^order: 'random' is not one of input, priority, priority-ascending, impact$"
    ):
        Settings(host="h", order="random")


def test_stop_at() -> None:
    """A campaign made by hand may have a time: one that has passed is stopped at once, and known as late."""
    results: list[Result] = []

    async def work() -> None:
        async with make_engine(Service()) as engine:
            past = Campaign("cd-1", stop_at="2020-01-01T18:00+01:00")
            plan = await engine.plan([past, Campaign("cd-2"), Campaign("cd-3", stop_at="banana")])
            assert any("has passed" in each for each in plan.warnings)
            assert any("no stop_at" in each for each in plan.warnings)
            await engine.run(plan, results.append)

    asyncio.run(work())
    states = {each.campaign_id: (each.outcome, each.stop_at, each.is_late) for each in results}
    assert states["cd-1"] == (Outcome.STOPPED, "2020-01-01T17:00:00.000Z", True)
    assert states["cd-2"] == (Outcome.STOPPED, None, False)
    assert states["cd-3"] == (Outcome.INVALID, None, False)
