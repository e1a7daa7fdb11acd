"""The text of a verification."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bulkstop.model import CampaignType, ListedCampaign, Outcome, Scope, State
from bulkstop.report.lists.contacts import Calling, ContactFacts
from bulkstop.report.lists.verification import (
    Finding,
    Unread,
    Verification,
    format_hint,
    format_verdict,
    format_verification,
)

VOICE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)


def finding(campaign_id: str, state: State, outcome: Outcome = Outcome.STOPPED, **more: Any) -> Finding:
    """Make a finding of a voice campaign."""
    error = more.pop("error", None)
    return Finding(VOICE, ListedCampaign(campaign_id, CampaignType.VOICE, **more), state, outcome, error)


def verification(*findings: Finding, **more: Any) -> Verification:
    """Return a verification with these findings and three campaigns at rest."""
    states = {State.NOT_RUNNING: 3} | {each.state: 1 for each in findings if each.outcome is not Outcome.PROTECTED}
    facts: dict[str, Any] = {"protected": {}, "invalid": 0, "unlisted": 0, "notes": (), "calls": 1, "elapsed_s": 0.5}
    return Verification(states, findings=findings, **(facts | more))


def test_lines() -> None:
    """States are counted, and each running or unknown campaign has a line; foreign texts cannot steer it."""
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
        "  not known      1",
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
        f"not known      -         cd-4      voice  a1       unknown  (HTTP 500 {'x' * 91})",
    ]


def test_ended_early() -> None:
    """After a signal only what was seen running is listed: the others would be a long list of nothing."""
    found = verification(finding("cd-1", State.UNKNOWN), finding("cd-2", State.RUNNING), signum=2)
    lines = format_verification(found)
    assert "  ended          before everything was read" in lines
    assert [line.split()[3] for line in lines if "cd-" in line] == ["cd-2"]


def test_way_on() -> None:
    """There is a command for campaigns that need another stop, and a message about those that a schedule starts."""
    found = verification(finding("cd-1", State.RUNNING), finding("cd-2", State.RUNS_AGAIN))
    assert format_hint(found, "bulkstop stop LIST") == (
        "To stop them (a schedule starts 1 of them again; --disable-schedule ends that): bulkstop stop LIST"
    )


STOPPED_S = 1771264925.0
QUIET = ContactFacts(3, 9, STOPPED_S - 1800, STOPPED_S + 600, STOPPED_S + 6)
CALLING = Calling(VOICE, "cd-7", STOPPED_S, 2, 1, STOPPED_S + 60)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times in UTC, in any zone of this machine."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("contacts", "code", "verdict"),
    [
        (QUIET, 0, "DONE: none of 3 runs; no contact since 2026-02-16 18:02:11 UTC"),
        (
            ContactFacts(3, 9, 1.0, 2.0, STOPPED_S, without_scope=("account a2 ...",)),
            0,
            "DONE: none of 3 runs; no contact (but for 1 account) since 2026-02-16 18:02:05 UTC",
        ),
        (
            ContactFacts(0, without_scope=("account a1 ...",)),
            0,
            "DONE: none of 3 runs; contacts were not read, because the scope is missing",
        ),
        (ContactFacts(0, unstopped=3), 0, "DONE: none of 3 runs; contacts were not read, because no stop is known"),
        (ContactFacts(3, calling=(CALLING,)), 1, "NOT STOPPED: 1 of 3 stopped still calls"),
        (ContactFacts(3, faults=("HTTP 404",)), 1, "NOT PROVEN: contacts that could not be read"),
    ],
)
@pytest.mark.usefixtures("utc")
def test_contacts_decide(contacts: ContactFacts, code: int, verdict: str) -> None:
    """A campaign that calls is not stopped, and one that could not be checked is unproven, except without scope."""
    found = verification(contacts=contacts)
    assert (found.exit_code, found.is_done, format_verdict(found)) == (code, code == 0, verdict)


@pytest.mark.usefixtures("utc")
def test_what_calls() -> None:
    """A campaign that calls has a line with its times, and is worth another stop, once."""
    found = verification(contacts=ContactFacts(3, 9, STOPPED_S - 1800, STOPPED_S + 600, STOPPED_S, (CALLING,)))
    assert format_verification(found)[3:] == [
        "  contacts     9 contacts of 3 stopped campaigns, from 2026-02-16 17:32:05 UTC to 2026-02-16 18:12:05 UTC",
        "  asked        1 call in 0.5 s",
        "",
        "still calls  type   account  stopped                  started since  last start               lasting",
        "cd-7         voice  a1       2026-02-16 18:02:05 UTC  2              2026-02-16 18:03:05 UTC  1",
    ]
    assert [each.item.campaign_id for each in found.to_stop] == ["cd-7"]
    runs = verification(finding("cd-7", State.RUNNING), contacts=found.contacts)
    assert [each.item.campaign_id for each in runs.to_stop] == ["cd-7"]
    assert "1 of 3 stopped still calls" in format_verdict(runs)


def test_contacts_as_json() -> None:
    """The JSON has times in UTC, and no time of silence while something calls."""
    told = verification(contacts=QUIET).as_dict()["contacts"]
    assert (told["no_contact_since"], told["from"]) == ("2026-02-16T18:02:11.000Z", "2026-02-16T17:32:05.000Z")
    told = verification(contacts=ContactFacts(3, 9, 1.0, 2.0, STOPPED_S, (CALLING,))).as_dict()["contacts"]
    assert told["no_contact_since"] is None
    assert told["calling"] == [
        {
            "campaign_id": "cd-7",
            "campaign_type": "voice",
            "account_id": "a1",
            "stream_id": "st-1",
            "stopped": "2026-02-16T18:02:05.000Z",
            "started_since": 2,
            "lasting": 1,
            "last_start": "2026-02-16T18:03:05.000Z",
        }
    ]
