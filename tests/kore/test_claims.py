"""What the words of a response claim about a campaign: a proof that it is at rest, a mere claim, or nothing."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.kore.exchange import Response
from bulkstop.kore.interpret import interpret
from bulkstop.model import Attempt, Outcome, RetryHint

ID = "cd-835ee4a-6c1d-5b2e-8f90-1a2b3c4d5e6f"

AT_REST = [
    "Campaign already stopped",
    "Campaign is already stopped.",
    "Campaign has already been stopped",
    "Campaign has been stopped already",
    "The campaign was already in stopped state",
    "Already stopped",
    "Campaign is not active, already stopped",
    "Campaign already completed",
    "Campaign already completed successfully",
    "This campaign has already ended",
    "Sorry, this campaign has already ended.",
    "The campaign is already finished!",
    "Voice campaign already stopped",
    "Campaign is already in COMPLETED status",
    "Campaign was already stopped at 2025-12-05T12:01:35Z",
    "Campaign already stopped or completed",
    "Cannot stop campaign: it is already completed",
    "Cannot stop campaign: already stopped",
    "Unable to stop campaign - already stopped",
    "Campaign can\u2019t be stopped: already ended",
    "Campaign could not be stopped because it has already ended",
    "Failed to stop the campaign. It is already stopped.",
    "Error: Campaign already stopped",
    "HTTP 409 Conflict: campaign already stopped",
    f"campaign {ID} has already been stopped",
    f"Campaign with id {ID} is already stopped",
    f"Campaign '{ID}' already stopped",
    f"Campaign ({ID}) is already stopped",
    f"{ID}: already stopped",
    f"campaignId={ID} already stopped",
    "Campaign 'Active sale' is already stopped",
    "ALREADY_STOPPED",
    "CAMPAIGN_ALREADY_STOPPED",
    "campaign_already_completed",
    "campaign-already-stopped",
    "campaign.already.stopped",
    "CampaignAlreadyStopped",
    "Campaign is already 'Stopped'",
]
AT_REST_BY_STATUS = [
    "Campaign has ended",
    "Campaign has been stopped",
    "Campaign is in Stopped state",
    "Campaign status is Completed",
    "Campaign is stopped and no longer active",
]
"""Under a 2xx these may speak of what the call has just done, or will do."""
CLAIMS = [
    "Campaign is not active",
    "CAMPAIGN NOT ACTIVE",
    "Campaign is not currently running",
    "Campaign isn't running",
    "Campaign isn\u2019t active",
    f"campaign {ID} is no longer active",
    "Campaign is no longer running",
    "Campaign 'Summer sale' is not running",
    'Campaign "Account renewal" is not active',
    "Campaign 'cd-99 again' is not active",
    f"Campaign with id {ID} is not in active state",
    "The campaign instance is not running",
    "The campaign is not in a running state",
    "Cannot stop campaign: it is not active",
    "Campaign cannot be stopped because it is not active. Only an active campaign can be stopped.",
    "Campaign is not active for account 5f8d",
    "Campaign is inactive",
    "No active campaign found",
    f"No active campaign found with id {ID}",
    "There is no active campaign",
    "No running campaign",
    "No campaign is running",
    "Campaign is not in progress",
    "Campaign has not started",
    "CAMPAIGN_NOT_ACTIVE",
    "campaignNotActive",
    "campaign-not-running",
    "CAMPAIGN_INACTIVE",
    "NOT_RUNNING",
    "Campaign Stopped",
    "Campaign status: STOPPED",
    "Campaign cannot be stopped in its current state: Completed",
    "Cannot stop a completed campaign",
    "Cannot stop a campaign that is already stopped",
    "Error: already stopped",
    # the claim's own words put it in doubt
    "Campaign is not in active state: PREPARING",
    "Campaign is not active: Scheduled",
    "Campaign is not active yet, it starts at 18:00",
    "Campaign is Scheduled, not active",
    "campaign is not running on this node",
    "Campaign was not running but has been restarted",
    "Campaign was stopped but has resumed",
    "Campaign already stopped on this node",
    "Campaign is already stopped in region eu",
    "Campaign already stopped for this session",
    "Campaign already stopped, restarts at 18:00",
    "Campaign already stopped, it starts at 18:00",
    "Campaign already stopped yet still active",
    "Campaign is already stopped and scheduled again",
    "Campaign already stopped. Paused.",
    "campaign already stopped; try again",
    "Campaign already completed 3 of 5 runs",
    "Campaign has already completed validation",
    "Campaign has stopped responding",
    "Campaign already stopped: false",
    "Campaign already stopped by another user",
    "Campaign already stopped <but restarted>",
    "No campaigns are running",
    "Campaign already stopped. " + "x " * 2000,
    "Campaign already stopped." + " " * 2000 + "Restarted.",
]
NOTHING = [
    "",
    "Campaigns",
    "No campaign licence is active",
    "campaign could not be stopped",
    "Campaign couldn't be stopped",
    "Campaign stop failed",
    "Campaign is active",
    "Campaign is Scheduled",
    "PREPARING",
    "Campaign is not stopped",
    "Campaign is not already stopped",
    "Campaign has never been stopped",
    "Campaign cannot be inactive",
    "Campaign will be stopped",
    "Campaign would be already stopped",
    "Campaign is being stopped",
    "Campaign cannot be stopped because it has not ended",
    # another thing than the campaign
    "App not active",
    "token not active",
    "Account is not active",
    "ACCOUNT_NOT_ACTIVE",
    "SESSION_ALREADY_ENDED",
    "DIALER_ALREADY_STOPPED",
    "Session already ended",
    "The node has already stopped",
    "The stream is not active",
    "Campaign account is not active",
    "Campaign schedule is not active",
    "Campaign service is not running",
    "Campaign Management is not active for this app",
    "Scope Campaign Management not active",
    "No active campaign management licence",
    "The token of this campaign is not active",
    "Dialer of this campaign already stopped",
    "Campaign could not be stopped: account is not active",
    "Campaign could not be stopped. User is not active",
    "Campaign could not be stopped: the dialer has already stopped responding",
    "The service has already stopped accepting requests, try again later",
    "Batch job already stopped; campaign is still Active",
    "Stop request already completed",
    "Validation already completed",
    "SMS message already ended",
    "Nothing already stopped",
    'The "dialer" has already stopped',
    # another campaign
    "Parent campaign already stopped",
    "Another campaign is already stopped",
    "campaign cd-OTHER already stopped",
    "campaign 'cd-OTHER' already stopped",
    "Campaign already stopped: cd-9f",
    f"campaign {ID}0 already stopped",
    f"campaign {ID.upper()} already stopped",
    "campaign cd-1 is not active",
    "campaign 12345 already stopped",
    "campaignId=65a1b already stopped",
    # left open
    "Is the campaign already stopped?",
    "Check whether the campaign is already stopped",
    "Campaign can be stopped unless it is already stopped",
    "Campaign can be stopped if it is already stopped",
    "Campaign is not stopped until it is not running",
    "Campaign not found or already stopped",
    "Campaign could not be found, already stopped",
    "Campaign does not exist or is not active",
    "No such campaign, or it is already stopped",
    "Invalid campaign id: campaign is not active",
]


WORDS = [
    *(
        "campaign",
        "already",
        "is",
        "has",
        "been",
        "not",
        "stopped",
        "active",
        "the",
        "of",
        "it",
        "cd-1",
        "no",
        "if",
        "or",
    ),
    *(":", ".", ",", "?", "(", "<p>", "="),
]


def answered(body: object, status: int = 409, campaign_id: str | None = ID) -> Attempt:
    """Return what an answer means; a body that is not bytes is written as JSON."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return interpret(Response(status, data, 1.0), campaign_id=campaign_id)


def kind(attempt: Attempt) -> str:
    """Return what an answer counts as: a proof, a claim or nothing; and make sure that no other field contradicts."""
    if attempt.outcome is Outcome.ALREADY_STOPPED:
        assert attempt.again is RetryHint.NO
        return "proof"
    assert (attempt.again is RetryHint.READ_BACK) == ("proves nothing by itself" in (attempt.error or ""))
    if attempt.again is RetryHint.READ_BACK:
        assert attempt.outcome is Outcome.UNCONFIRMED
        return "claim"
    return "nothing"


@pytest.mark.parametrize("text", AT_REST)
def test_at_rest(text: str) -> None:
    """Words that only say that this campaign is at rest are a proof under any status."""
    for status in [200, 400, 401, 403, 404, 408, 409, 412, 422, 423, 500, 503]:
        found = answered({"status": "failure", "message": text}, status)
        assert kind(found) == "proof"
        assert found.error == f"HTTP {status}: the service says that the campaign was at rest before"


@pytest.mark.parametrize("text", AT_REST_BY_STATUS)
def test_at_rest_after_an_error(text: str) -> None:
    """Without "already" the words are a proof only where the call has failed."""
    assert kind(answered({"message": text}, 409)) == "proof"
    assert kind(answered({"status": "success", "message": text}, 200)) == "claim"


@pytest.mark.parametrize("text", CLAIMS)
def test_claims(text: str) -> None:
    """A bare "not active", or a response that contains doubt, must be read back and counts as unconfirmed."""
    for status in [200, 400, 409, 412, 422]:
        assert kind(answered({"status": "failure", "message": text}, status)) == "claim"


@pytest.mark.parametrize("text", NOTHING)
def test_nothing(text: str) -> None:
    """Words about another thing or another campaign, and those that leave it open, change nothing."""
    for status in [200, 400, 401, 404, 409, 500]:
        found = answered({"status": "failure", "message": text}, status)
        assert found._replace(message=None) == answered({"status": "failure"}, status)
        assert kind(found) == "nothing"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Campaign is not active: Scheduled", "not active"),
        ("Campaign isn't running", "not running"),
        ("CAMPAIGN_INACTIVE", "inactive"),
        ("No active campaign found", "no active campaign"),
        ("Campaign already stopped on this node", "already stopped"),
    ],
)
def test_the_claim_is_named(text: str, words: str) -> None:
    """The error says in plain words what is claimed, and that it proves nothing; the message has the service's own."""
    found = answered({"message": text})
    assert found.error == f'HTTP 409: the service claims "{words}", which proves nothing by itself'
    assert found.message == text


@pytest.mark.parametrize(
    ("status", "text", "outcome", "again"),
    [
        (401, "Campaign is not active", Outcome.UNAUTHORIZED, RetryHint.NO),
        (403, "Campaign is not active", Outcome.UNAUTHORIZED, RetryHint.NO),
        (302, "Campaign already stopped", Outcome.REJECTED, RetryHint.NO),
        (429, "Campaign already stopped", Outcome.THROTTLED, RetryHint.THROTTLED),
        (409, "Campaign already stopped. Rate limit exceeded.", Outcome.THROTTLED, RetryHint.THROTTLED),
        (500, "Campaign is not active", Outcome.UNCONFIRMED, RetryHint.READ_BACK),
        (503, "Campaign is not active, try again later", Outcome.SERVER_ERROR, RetryHint.LATER),
        (500, "Campaign already stopped on this node", Outcome.SERVER_ERROR, RetryHint.LATER),
        (500, "Campaign Stopped", Outcome.SERVER_ERROR, RetryHint.LATER),
        (404, "Campaign Stopped", Outcome.NOT_FOUND, RetryHint.NO),
        (404, "Campaign already stopped on this node", Outcome.UNCONFIRMED, RetryHint.READ_BACK),
    ],
)
def test_statuses_that_say_otherwise(status: int, text: str, outcome: Outcome, again: RetryHint) -> None:
    """A claim is not a way past a refused token; a limit and a redirect count for more than any words."""
    found = answered({"message": text}, status)
    assert (found.outcome, found.again) == (outcome, again)


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (200, {"status": "Completed"}, "claim"),
        (200, {"status": "ENDED"}, "claim"),
        (200, {"status": "Inactive"}, "claim"),
        (200, {"status": "Not Running"}, "claim"),
        (200, {"status": "not_active"}, "claim"),
        (200, {"data": {"status": "Stopped"}}, "claim"),
        (200, {"status": "success", "message": "Campaign Stopped"}, "claim"),
        (409, {"state": "ENDED"}, "claim"),
        (409, {"status": "Stopped"}, "claim"),
        (409, {"campaignStatus": "Completed", "message": "Cannot stop campaign"}, "claim"),
        (200, {"status": "Active"}, "nothing"),
        (200, {"status": "Scheduled"}, "nothing"),
        (409, {"status": "Active", "message": "Campaign already stopped"}, "claim"),
        (409, {"data": {"status": "Scheduled"}, "message": "Campaign already stopped"}, "claim"),
        (409, {"code": "ALREADY_STOPPED"}, "proof"),
        (409, {"errorCode": "campaign_already_stopped", "message": "Conflict"}, "proof"),
        (409, {"error": "CAMPAIGN_NOT_ACTIVE"}, "claim"),
        (409, {"error": {"code": "NOT_RUNNING", "message": "Cannot stop campaign"}}, "claim"),
        (409, {"error": {"message": "Campaign already stopped", "code": 4009}}, "proof"),
        (409, {"errors": [{"msg": "Campaign already stopped", "code": 4009}]}, "proof"),
        (409, {"errors": [{"code": 1}, {"msg": "Campaign is not active"}]}, "claim"),
        (409, {"errors": {"msg": "Campaign is not active"}}, "claim"),
        (409, {"errors": ["Campaign is not active"]}, "claim"),
        (400, {"message": "Bad request", "errors": [{"msg": "Campaign is not active"}]}, "claim"),
        (404, {"statusCode": 404, "error": "Not Found", "message": "Campaign already stopped"}, "proof"),
        (404, {"error": "Not Found", "message": "Campaign not found"}, "nothing"),
        (500, {"error": "Internal Server Error", "message": "Campaign already stopped"}, "proof"),
        (409, {"type": "about:blank", "title": "Conflict", "detail": "Campaign already stopped"}, "proof"),
        (409, {"campaignId": ID, "message": "Campaign already stopped"}, "proof"),
        (409, {"campaign_id": "cd-2", "message": "Campaign already stopped"}, "nothing"),
        (409, {"data": {"_id": "cd-2"}, "message": "Campaign already stopped"}, "nothing"),
        (409, b"Campaign already stopped", "proof"),
        (409, b"Campaign is not active", "claim"),
        (409, "Campaign already stopped", "proof"),
        (409, [{"msg": "Campaign already stopped"}], "proof"),
        (409, b"<html><title>Conflict</title><body><p>Campaign already stopped</p></body></html>", "proof"),
        (409, b"<html><body><p class='a'>Campaign is not active</p></body></html>", "claim"),
        (200, b"Campaign already stopped", "nothing"),
        (409, {"errors": ["Campaign already stopped", *["x"] * 300]}, "claim"),
        (409, {"message": "Campaign already stopped".ljust(1200), "status": "Active"}, "claim"),
        (409, b"Campaign already stopped".ljust(5000) + b"on this node", "claim"),
        (409, {"a": "Campaign already stopped"}, "nothing"),
        (409, {"message": ["Campaign already stopped", {"status": "Active"}]}, "claim"),
        (409, b"\xff", "nothing"),
        (409, None, "nothing"),
    ],
)
def test_shapes(status: int, body: object, wanted: str) -> None:
    """Words count in every shape seen, in fields that name a state or a code too, and each of them can raise doubt."""
    assert kind(answered(body, status)) == wanted


def test_without_an_id() -> None:
    """If the campaign's id is unknown, a response that names an id is not a proof."""
    assert kind(answered({"message": "Campaign already stopped"}, campaign_id=None)) == "proof"
    assert kind(answered({"message": f"Campaign {ID} already stopped"}, campaign_id=None)) == "claim"
    assert kind(answered({"message": "Campaign already stopped", "campaignId": ID}, campaign_id=None)) == "claim"


def test_one_answer_for_many() -> None:
    """The same answer means the same to all that it does not name, and another thing to the one that it names."""
    body = {"message": "Campaign cd-2 already stopped"}
    assert [kind(answered(body, campaign_id=f"cd-{n}")) for n in (1, 2, 3, 2, 1)] == [
        *("nothing", "proof", "nothing", "proof", "nothing"),
    ]


def test_an_id_that_is_a_word() -> None:
    """An id that looks like a word of the text proves nothing more."""
    assert kind(answered({"message": "Campaign summer already stopped"}, campaign_id="summer")) == "proof"
    assert kind(answered({"message": "The dialer already stopped"}, campaign_id="dialer")) == "nothing"
    assert kind(answered({"message": "Campaign already stopped"}, campaign_id="already")) == "claim"


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=30),
    doubt=st.sampled_from(
        ["scheduled", "preparing", "paused", "resumes", "starts", "restarted", "yet", "still", "job"]
    ),
    at=st.integers(0, 30),
)
def test_a_word_of_doubt_anywhere(words: list[str], doubt: str, at: int) -> None:
    """With one word of doubt, no response proves anything."""
    text = " ".join([*words[:at], doubt, *words[at:]])
    assert kind(answered({"message": text}, campaign_id="cd-1")) != "proof"
