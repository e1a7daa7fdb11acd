"""A plan for machines."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkstop.model import Campaign, CampaignType, FailureCap, Limit, Order, Outcome, Result, Row
from bulkstop.report.stop.plan import Forecast, format_plan, plan_to_json
from bulkstop.runs.stop.forecast import forecast_accounts
from bulkstop.runs.stop.plan import describe_plan, make_plan
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.source.protect import Protection, Rule

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC).timestamp()


def campaign(number: int, account_id: str = "a", kind: CampaignType = CampaignType.VOICE) -> Campaign:
    """Make a campaign."""
    return Campaign.of_row(f"cd-{number}", kind, account_id, "st-1", "st-1", "list.csv", number)


def settings(**more: object) -> Settings:
    """Make settings that remember no calls."""
    return Settings(**{"host": "platform.example.com", "quota_store": "memory", **more})  # type: ignore[arg-type]


def planned(rows: list[Row], given: Settings, seconds_left: float | None = None, **more: Any) -> dict[str, Any]:
    """Return the plan of these rows at noon, as a machine reads it."""
    with Plan(rows, protection=Protection([Rule("keep.txt", 1, "cd-9*")])) as plan:
        forecasts = forecast_accounts(plan, given, seconds_left)
        facts = describe_plan(plan, given, "out.jsonl", forecasts=forecasts, begins_at=NOON, **more)
    read: dict[str, Any] = json.loads(json.dumps(plan_to_json(facts)))
    return read


def test_a_plan_as_a_machine_reads_it() -> None:
    """Every number of the plan has a key of its own, and times are UTC."""
    rows: list[Row] = [
        *(campaign(n) for n in range(1, 8)),
        campaign(1),
        campaign(90),
        campaign(10, "b", CampaignType.SMS),
        Result("", None, None, None, Outcome.INVALID, error="no campaign id", source="list.csv", line=11),
    ]
    found = planned(rows, settings(quota=(Limit(3, 60.0),)), warnings=["look twice"])
    assert found == {
        "host": "https://platform.example.com",
        "config": None,
        "profile": None,
        "proxy": None,
        "ca": None,
        "cert": None,
        "hosts": {},
        "inputs": [],
        "rows": 11,
        "to_send": 8,
        "types": {"voice": 7, "sms": 1},
        "running": None,
        "not_normal": [],
        "duplicates": 1,
        "invalid": 1,
        "protected": 1,
        "unusable": [
            {
                "source": "list.csv",
                "line": 11,
                "reason": "no campaign id",
                "remedy": "correct the row, or take it out of the list",
            }
        ],
        "ended_before": {},
        "quota": ["3/60s"],
        "quota_store": None,
        "quota_store_shared_by": None,
        "pace": "auto",
        "adaptive": False,
        "order": "input",
        "accounts": [
            {
                "account_id": "a",
                "campaigns": 7,
                "calls_left_now": None,
                "first_stop": "2026-01-02T12:00:00.000Z",
                "last_stop": "2026-01-02T12:02:00.299Z",
            },
            {
                "account_id": "b",
                "campaigns": 1,
                "calls_left_now": None,
                "first_stop": "2026-01-02T12:00:00.000Z",
                "last_stop": "2026-01-02T12:00:00.000Z",
            },
        ],
        "first_stop": "2026-01-02T12:00:00.000Z",
        "last_stop": "2026-01-02T12:02:00.299Z",
        "timetable": [],
        "finish_by": None,
        "confirmation": {"type": 8, "expect": 8},
        "guards": {
            "protect": [],
            "max_campaigns": None,
            "max_failures": None,
            "waves": None,
            "soak_s": None,
            "max_outage_s": 300.0,
        },
        "only_running": False,
        "disable_schedule": False,
        "warnings": ["look twice"],
        "output": "out.jsonl",
    }


def test_guards_are_named() -> None:
    """The plan names the guards, with the waves as the campaigns at which each ends."""
    guards = {"max_campaigns": 50, "max_failures": FailureCap(share=0.1), "waves": "1,50%,100%", "soak_s": 60.0}
    found = planned([campaign(n) for n in range(1, 8)], settings(protect=("keep.txt",), **guards))
    assert found["guards"] == {
        "protect": ["keep.txt"],
        "max_campaigns": 50,
        "max_failures": "10%",
        "waves": [1, 3, 7],
        "soak_s": 60.0,
        "max_outage_s": 300.0,
    }


def test_finish_by_has_a_verdict() -> None:
    """The time to finish by is given in UTC, with whether it can be met and how many will be left over."""
    rows: list[Row] = [campaign(n) for n in range(1, 8)]
    given = settings(quota=(Limit(3, 60.0),), finish_by="13:01", tz="Europe/Berlin")
    assert planned(rows, given, 60.0)["finish_by"] == {
        "time": "13:01",
        "tz": "Europe/Berlin",
        "at": "2026-01-02T12:01:00.000Z",
        "can_be_met": False,
        "not_sent_by_then": 4,
    }
    assert planned(rows[:3], given, 60.0)["finish_by"]["can_be_met"] is True


def test_an_account_without_calls_left_has_its_first_stop_later() -> None:
    """The first stop is given for when a place becomes free."""
    forecasts = [Forecast("a", 1, 0, 30.0, 1, first_s=30.0)]
    with Plan([campaign(1)]) as plan:
        facts = describe_plan(plan, settings(), "-", forecasts=forecasts, begins_at=NOON)
    found = plan_to_json(facts)
    assert found["first_stop"] == "2026-01-02T12:00:30.000Z"
    assert found["accounts"][0]["first_stop"] == "2026-01-02T12:00:30.000Z"


def test_what_ended_before_is_counted_for_expect_alone() -> None:
    """In a resumed run, `--expect` counts the whole list, and what is typed only what will be sent."""
    ended = {1: Outcome.STOPPED, 2: Outcome.NOT_FOUND, 3: Outcome.PROTECTED}
    rows: list[Row] = [campaign(n) for n in range(1, 6)]
    with Plan(rows, settled=lambda row: ended.get(row.line or 0)) as plan:
        found = plan_to_json(describe_plan(plan, settings(), "-"))
    assert found["ended_before"] == {"stopped": 1, "not_found": 1, "protected": 1}
    assert found["confirmation"] == {"type": 2, "expect": 4}


def test_nothing_to_send_needs_no_confirmation(tmp_path: Path) -> None:
    """If all campaigns are protected there is nothing to confirm and no duration."""
    (tmp_path / "list.txt").write_text("cd-1\ncd-2\n")
    (tmp_path / "keep.txt").write_text("*\n")
    given = settings(type=CampaignType.VOICE, account_id="a", stream_id="st-1", protect=(str(tmp_path / "keep.txt"),))
    with make_plan([str(tmp_path / "list.txt")], given) as plan:
        found = plan_to_json(describe_plan(plan, given, "-", forecasts=forecast_accounts(plan, given, None)))
    assert (found["to_send"], found["protected"]) == (0, 2)
    assert (found["confirmation"], found["first_stop"], found["last_stop"], found["accounts"]) == (None, None, None, [])


def test_what_is_not_normal_is_named() -> None:
    """The plan of any list names the campaigns of another execution type, ten at most, and a machine gets all."""
    rows: list[Row] = [campaign(n)._replace(row={"executionType": "Normal"}) for n in range(1, 4)]
    rows += [campaign(n)._replace(name="Alarm", row={"campaignExecutionType": "EMERGENCY"}) for n in range(4, 16)]
    with Plan(rows, order=Order.IMPACT) as plan:
        lines = format_plan(describe_plan(plan, settings(order=Order.IMPACT), "-"))
        everything = plan_to_json(describe_plan(plan, settings(), "-", unusable=None))["not_normal"]
        assert [each.campaign_id for each in plan.campaigns("a")][-3:] == ["cd-1", "cd-2", "cd-3"]
    named = [line.split(None, 2)[2] for line in lines if line.startswith("  not NORMAL")]
    assert (len(named), named[0]) == (10, "cd-4 (Alarm): execution type EMERGENCY, account a")
    assert any("and 2 more; " in line for line in lines)
    assert any(line.startswith("  order") and "most harmful first" in line for line in lines)
    assert [each["campaign_id"] for each in everything] == [f"cd-{n}" for n in range(4, 16)]


def test_the_first_unusable_rows_are_named() -> None:
    """The plan names five with place, reason and remedy, and counts the others; a machine gets all."""
    reasons = ["no campaign id", "no account_id in the row; give account_id for all rows without one"]
    rows: list[Row] = [campaign(1)]
    rows += [
        Result("", None, None, None, Outcome.INVALID, error=reasons[n % 2], source="list.csv", line=n)
        for n in range(2, 9)
    ]
    with Plan(rows) as plan:
        lines = format_plan(describe_plan(plan, settings(), "-"))
        everything = describe_plan(plan, settings(), "-", unusable=None)
    named = [line.split(None, 1)[1] for line in lines if line.startswith("  unusable")]
    assert named[:2] == [
        "list.csv line 2: no campaign id; correct the row, or take it out of the list",
        "list.csv line 3: no account_id in the row; give account_id for all rows without one",
    ]
    assert len(named) == 5
    assert any("and 2 more; " in line for line in lines)
    assert [each["line"] for each in plan_to_json(everything)["unusable"]] == list(range(2, 9))
