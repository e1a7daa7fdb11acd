"""What a person reads of a verification."""

from typing import Any

from bulkstop.model import CampaignType, ListedCampaign, Outcome, Scope, State
from bulkstop.report.lists.verification import Finding, Unread, Verification, format_hint, format_verification

VOICE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)


def finding(campaign_id: str, state: State, outcome: Outcome = Outcome.STOPPED, **more: Any) -> Finding:
    """Make a finding of a voice campaign."""
    error = more.pop("error", None)
    return Finding(VOICE, ListedCampaign(campaign_id, CampaignType.VOICE, **more), state, outcome, error)


def verification(*findings: Finding, **more: Any) -> Verification:
    """Make a verification with these findings and three campaigns at rest."""
    states = {State.NOT_RUNNING: 3} | {each.state: 1 for each in findings if each.outcome is not Outcome.PROTECTED}
    facts: dict[str, Any] = {"protected": {}, "invalid": 0, "unlisted": 0, "notes": (), "calls": 1, "elapsed_s": 0.5}
    return Verification(states, findings=findings, **(facts | more))


def test_lines() -> None:
    """States are counted, and what may call somebody or is not known has a line; texts of others cannot steer it."""
    found = verification(
        finding("cd-2", State.RUNNING, name="a \x1b[2Jname\u202e", status="Dialling"),
        finding("cd-gone", State.NOT_FOUND),
        finding("cd-4", State.UNKNOWN, Outcome.UNKNOWN, error=f"HTTP 500 {'x' * 200}"),
        finding("cd-5", State.RUNNING, Outcome.PROTECTED),
        protected={State.RUNNING: 1, State.UNKNOWN: 1},
        invalid=12,
        unread=(Unread("list.csv", 4, "", "no campaign id"),),
        unlisted=7,
    )
    assert format_verification(found) == [
        "Verification",
        "  still running  1",
        "  not running    3",
        "  not found      1",
        "  not told       1",
        "  campaigns      6",
        "  protected      2, as they are; 1 was seen running",
        "  invalid rows   12, which name no campaign",
        "                 list.csv line 4: no campaign id",
        "                 and 11 more",
        "  without line   7 rows: their run was killed, or goes on; --resume it first",
        "  asked          1 call in 0.5 s",
        "",
        "state          status    campaign  type   account  result   name",
        "still running  Dialling  cd-2      voice  a1       stopped  a \ufffd[2Jname\ufffd",
        "not found      -         cd-gone   voice  a1       stopped",
        f"not told       -         cd-4      voice  a1       unknown  (HTTP 500 {'x' * 91})",
    ]


def test_ended_early() -> None:
    """After a signal only what was seen running is listed: the others would be a long list of nothing."""
    found = verification(finding("cd-1", State.UNKNOWN), finding("cd-2", State.RUNNING), signum=2)
    lines = format_verification(found)
    assert "  ended          before all was told" in lines
    assert [line.split()[3] for line in lines if "cd-" in line] == ["cd-2"]


def test_way_on() -> None:
    """What is to be stopped again has its command, and what a schedule starts again is told."""
    found = verification(finding("cd-1", State.RUNNING), finding("cd-2", State.RUNS_AGAIN))
    assert format_hint(found, "bulkstop stop LIST") == (
        "To stop them (a schedule starts 1 of them again; --disable-schedule ends that): bulkstop stop LIST"
    )
