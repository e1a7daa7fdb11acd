"""How the states of campaigns are read: by list, individually, until when, and for any response."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.caller import Caller
from bulkstop.engine.guards.scopes import FIRST
from bulkstop.engine.limits.quota import NoQuota
from bulkstop.engine.retry import Retry
from bulkstop.errors import BulkstopError, CredentialsError, QuotaError
from bulkstop.kore.calls import STATUSES, Call, T
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Attempt, Campaign, CampaignType, Limit, ListedCampaign, Outcome, RetryHint, Scope, State
from bulkstop.report.lists.verification import Verification
from bulkstop.runs.lists.states import Targets, state_of, status_at_rest
from bulkstop.runs.lists.survey import IN_A_ROW, NEW_A_PAGE, Survey
from tests.kore.test_calls import PAGES, VALUES

VOICE, SMS = CampaignType.VOICE, CampaignType.SMS
Row = dict[str, Any]
"""A campaign as in a list, without its id."""
REFUSED = Response(405, b"no such method", 1.0)
GONE = Response(404, b"not here", 1.0)


class Service:
    """A service with campaigns in one state each; `lists` and `singles` are answered instead of what it knows."""

    def __init__(
        self,
        campaigns: Mapping[str, Row | str] = {},
        *,
        lists: Response | TransportFailure | None = None,
        singles: Response | TransportFailure | None = None,
        hidden: set[str] = frozenset(),  # type: ignore[assignment] # empty
    ) -> None:
        self.campaigns = {
            name: {"status": row} if isinstance(row, str) else dict(row) for name, row in campaigns.items()
        }
        self.lists, self.singles, self.hidden = lists, singles, hidden
        self.asked: list[str] = []
        self.before: Callable[[str], None] = lambda what: None

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer a list call or a status call."""
        path = call.target.partition("?")[0].split("/")
        what = "list" if path[-1] == "getAllCampaignDetails" else path[-2]
        self.before(what)
        self.asked.append(what)
        answer = self._page(json.loads(call.body)) if what == "list" else self._status(what)
        return call.read(answer)

    def _page(self, asked: dict[str, Any]) -> Response | TransportFailure:
        if self.lists is not None:
            return self.lists
        rows = [{"_id": name, **row} for name, row in self.campaigns.items() if name not in self.hidden]
        part = rows[asked["skip"] : asked["skip"] + asked["limit"]]
        more = asked["skip"] + asked["limit"] < len(rows)
        data = {"results": part, "hasMore": more, "totalResults": len(rows)}
        return Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0)

    def _status(self, name: str) -> Response | TransportFailure:
        if self.singles is not None:
            return self.singles
        if name not in self.campaigns:
            return GONE
        data = {"id": name, "status": self.campaigns[name].get("status"), "name": f"Name of {name}"}
        return Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0)


def campaign(name: str, account: str = "a1", kind: CampaignType = VOICE) -> Campaign:
    """Make a campaign that can be looked for."""
    return Campaign.of_row(name, kind, account, "st-1", "st-1", "", 0)


def targets(*names: str, protected: str = "") -> Targets:
    """Look for these; the protected ones have their names in one text."""
    found = Targets()
    for name in names:
        found.add(campaign(name), Outcome.STOPPED)
    for name in protected.split():
        found.add(campaign(name), Outcome.PROTECTED)
    return found


async def survey(perform: Any, wanted: Targets, caller: Caller, **how: Any) -> Verification:
    """Ask for the states of targets, all of them by one caller."""
    running = Survey(wanted, **how)
    return running.verification(fault=await running.run(perform, lambda account_id: caller))


def look(service: Any, wanted: Targets, **how: Any) -> Verification:
    """Ask a service for the states of targets."""
    drained = how.pop("drained", None)
    caller = Caller(NoQuota(), retry=Retry(1), drained=drained)
    return asyncio.run(survey(service.ask, wanted, caller, **how))


def found_as(service: Any, wanted: Targets, **how: Any) -> dict[str, State]:
    """Return the state of each campaign that is not at rest."""
    return {each.item.campaign_id: each.state for each in look(service, wanted, **how).findings}


# --- what a state is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "schedule", "state"),
    [
        ("Active", None, State.RUNNING),
        ("Preparing", None, State.RUNNING),
        ("Paused", None, State.RUNNING),
        ("Throttled", None, State.RUNNING),
        ("Scheduled", None, State.SCHEDULED),
        ("RESCHEDULED", (False, False), State.SCHEDULED),
        ("Stopped", None, State.NOT_RUNNING),
        ("stopped", (True, False), State.NOT_RUNNING),
        ("Stopped", (True, True), State.RUNS_AGAIN),
        ("Stopped", (None, True), State.RUNS_AGAIN),
        ("Stopped", (False, True), State.NOT_RUNNING),
        ("Completed", (True, True), State.RUNS_AGAIN),
        ("Completed", (True, False), State.NOT_RUNNING),
        ("Ready", None, State.NOT_RUNNING),
        ("Ready", (True, False), State.SCHEDULED),
        ("Active", (True, True), State.RUNNING),
        (None, (True, True), State.UNKNOWN),
        ("", None, State.UNKNOWN),
    ],
)
def test_state(status: str | None, schedule: tuple[bool | None, bool | None] | None, state: State) -> None:
    """A campaign is at rest only by a documented status, and without a schedule that starts it again."""
    is_scheduled, is_recurring = schedule or (None, None)
    item = ListedCampaign("cd-1", VOICE, status=status, is_scheduled=is_scheduled, is_recurring=is_recurring)
    assert state_of(item) is state


@pytest.mark.parametrize("status", [*STATUSES, *map(str.upper, STATUSES), "Archived", "", None])
def test_what_has_ended_does_not_run(status: str | None) -> None:
    """What is at rest for a run is at rest for `verify`, which also counts saved campaigns as not running."""
    item = ListedCampaign("cd-1", VOICE, status=status)
    is_saved = (status or "").lower() == "ready"
    assert (state_of(item) is State.NOT_RUNNING) == (status_at_rest(item) is not None or is_saved)


def test_every_documented_status_is_told() -> None:
    """No status of the vendor's pages is unknown."""
    assert all(state_of(ListedCampaign("cd-1", VOICE, status=status)) is not State.UNKNOWN for status in STATUSES)


# --- by list --------------------------------------------------------------------------------------------------------


def test_states_by_list() -> None:
    """The list tells the states of all targets; those of others do not matter."""
    rows: dict[str, Row | str] = {
        "cd-1": "Active",
        "cd-2": {"status": "Stopped", "schedule": {"isSchedulingEnabled": True, "isRecurrenceEnabled": True}},
        "cd-3": {"status": "Stopped", "schedule": {"isSchedulingEnabled": False, "isRecurrenceEnabled": False}},
        "cd-4": "Scheduled",
        "other": "Active",
    }
    service = Service(rows)
    seen = look(service, targets("cd-1", "cd-2", "cd-3", "cd-4"))
    assert {each.item.campaign_id: each.state for each in seen.findings} == {
        "cd-1": State.RUNNING,
        "cd-2": State.RUNS_AGAIN,
        "cd-4": State.SCHEDULED,
    }
    assert seen.states == {State.RUNNING: 1, State.SCHEDULED: 1, State.RUNS_AGAIN: 1, State.NOT_RUNNING: 1}
    assert (seen.calls, seen.exit_code, seen.notes, service.asked) == (1, 1, (), ["list"])


def test_nothing_runs() -> None:
    """If all are at rest there are no findings, and that is a proof."""
    seen = look(Service({"cd-1": "Stopped", "cd-2": "Completed"}), targets("cd-1", "cd-2"))
    assert (seen.findings, seen.to_stop, seen.exit_code) == ((), (), 0)
    assert seen.notes == (
        "2 campaigns that do not run may have a schedule that starts them again: the service does not say",
    )


@pytest.mark.parametrize(("last", "calls"), [(0, 1), (49, 1), (50, 2), (600, 15), (1199, 29)])
def test_a_list_is_read_no_further_than_needed(last: int, calls: int) -> None:
    """A list is one call a page, and ends with the page on which the last target was seen."""
    service = Service({f"cd-{number}": "Stopped" for number in range(1200)})
    assert look(service, targets("cd-0", f"cd-{last}")).exit_code == 0
    assert service.asked == ["list"] * calls
    assert calls <= last // NEW_A_PAGE + 1


def test_groups() -> None:
    """Each account, stream and type has a list of its own."""
    wanted = Targets()
    for account in ("a1", "a2"):
        for kind in (VOICE, SMS):
            wanted.add(campaign("cd-1", account, kind), Outcome.STOPPED)
    service = Service({"cd-1": "Active"})
    seen = look(service, wanted)
    assert service.asked == ["list"] * 4
    assert {each.scope for each in seen.findings} == set(wanted.by_scope)
    assert len(seen.findings) == 4


def test_the_latest_counts() -> None:
    """A campaign that is met twice while it changes is as it was last."""
    rows: dict[str, Row | str] = {f"cd-{number}": "Stopped" for number in range(60)}
    service = Service(rows)

    def change(what: str) -> None:
        """Let the one at the edge of both pages change between them."""
        service.campaigns["cd-49"]["status"] = "Stopped" if service.asked else "Active"

    service.before = change
    assert look(service, targets("cd-49", "cd-59")).exit_code == 0
    assert service.asked == ["list"] * 2


# --- more than once -------------------------------------------------------------------------------------------------


class Twice(Service):
    """A service whose list has rows as they are given, the same campaign several times among them."""

    def __init__(self, *rows: tuple[str, Row | str | None], singles: Mapping[str, str] = {}) -> None:
        super().__init__(dict(singles))
        self.rows = [
            {"_id": name, **(row if isinstance(row, dict) else {"status": row, "schedule": AT_ONCE})}
            for name, row in rows
        ]

    def _page(self, asked: dict[str, Any]) -> Response | TransportFailure:
        part = self.rows[asked["skip"] : asked["skip"] + asked["limit"]]
        more = asked["skip"] + asked["limit"] < len(self.rows)
        data = {"results": part, "hasMore": more, "totalResults": len(self.rows)}
        return Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0)


AT_ONCE = {"isSchedulingEnabled": False, "isRecurrenceEnabled": False}
RECURS: Row = {"status": "Stopped", "schedule": {"isSchedulingEnabled": True, "isRecurrenceEnabled": True}}
PAIRS = [
    ("Stopped", "Active", State.RUNNING),
    ("Stopped", "Throttled", State.RUNNING),
    ("Scheduled", "Active", State.RUNNING),
    ("Completed", "Scheduled", State.SCHEDULED),
    (RECURS, "Active", State.RUNNING),
    (RECURS, "Rescheduled", State.SCHEDULED),
    (RECURS, "Stopped", State.RUNS_AGAIN),
    (RECURS, "Ready", State.SCHEDULED),
    (RECURS, None, State.RUNS_AGAIN),
    ("Stopped", None, State.UNKNOWN),
]
"""Two rows of a campaign, and the state of both together."""


def test_a_paused_one_does_not_run_beside_ours() -> None:
    """Others count as running where they run, as for `discover`: one that is paused does not."""
    beside = [("other-1", "Paused"), ("other-2", "Active"), ("other-3", "Scheduled"), ("other-4", "Rerun")]
    seen = look(Service(dict([("cd-1", "Stopped"), *beside])), targets("cd-1"), others_count=True)
    assert seen.others == {State.RUNNING: 2, State.SCHEDULED: 1}


def others(first: int, last: int) -> list[tuple[str, str]]:
    """Return rows of campaigns that are no targets."""
    return [(f"other-{number}", "Completed") for number in range(first, last)]


@pytest.mark.parametrize(("one", "other", "state"), PAIRS)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("before", "between", "behind"), [(0, 0, 0), (3, 20, 9), (49, 0, 5), (10, 90, 60), (49, 48, 9)]
)
def test_the_worse_of_two(
    one: Row | str, other: Row | str | None, state: State, turned: bool, before: int, between: int, behind: int
) -> None:
    """A campaign with two rows, on one page or two, has the state of the row that may call somebody."""
    pair = [other, one] if turned else [one, other]
    rows = [*others(0, before), ("cd-1", pair[0]), *others(100, 100 + between), ("cd-1", pair[1])]
    rows += [*others(300, 300 + behind), ("cd-last", "Stopped")]
    singles = {"cd-1": "Stopped"} if one is RECURS else {}
    seen = look(Twice(*rows, singles=singles), targets("cd-1", "cd-last"))
    found = {each.item.campaign_id: each.state for each in seen.findings}
    if state is State.UNKNOWN:  # the list does not tell, and the status call knows no such campaign
        state = State.NOT_FOUND
    assert (found, seen.exit_code) == ({"cd-1": state}, 1)
    assert "the list has 1 campaign more than once; the state in which it may call somebody counts" in str(seen.notes)


def test_two_that_are_alike() -> None:
    """A campaign that the list has twice in one state is in that state."""
    assert look(Twice(("cd-1", "Stopped"), ("cd-1", "Completed")), targets("cd-1")).exit_code == 0


def test_ids_that_are_almost_alike() -> None:
    """An id in another letter case, or with blanks around it, is no proof for the campaign that was to be stopped."""
    for name in ("CD-1", " cd-1", "cd-1 "):
        seen = look(Twice((name, "Stopped")), targets("cd-1"))
        assert (seen.states, seen.exit_code) == ({State.UNKNOWN: 1}, 3) or seen.states == {State.NOT_FOUND: 1}
        assert seen.exit_code != 0


# --- protected ones -------------------------------------------------------------------------------------------------


def test_protected_ones() -> None:
    """Protected campaigns may run: they are counted separately, and cause no failure, list or call."""
    rows = {"cd-1": "Stopped", "cd-2": "Active", "cd-3": "Active"}
    service = Service(rows, hidden={"cd-3"})
    seen = look(service, targets("cd-1", protected="cd-2 cd-3"))
    assert (seen.campaigns, seen.exit_code, seen.to_stop, service.asked) == (1, 0, (), ["list"])
    assert seen.protected == {State.RUNNING: 1, State.UNKNOWN: 1}
    assert [(each.item.campaign_id, each.outcome) for each in seen.findings] == [("cd-2", Outcome.PROTECTED)]


def test_nothing_but_protected_ones() -> None:
    """If all are protected, no call is made, and there is no fault."""
    service = Service()
    seen = look(service, targets(protected="cd-1 cd-2"))
    assert (service.asked, seen.exit_code, seen.findings) == ([], 0, ())


# --- one by one -----------------------------------------------------------------------------------------------------


def test_what_the_list_does_not_have() -> None:
    """Campaigns missing in the list, or without a status, are read individually, after a message with their number."""
    rows: dict[str, Row | str] = {"cd-1": "Stopped", "cd-2": "Active", "cd-3": {"status": None}, "cd-4": "Stopped"}
    service, said = Service(rows, hidden={"cd-2", "cd-4"}), list[str]()
    service.before = lambda what: said.append(what)
    seen = look(service, targets("cd-1", "cd-2", "cd-3", "cd-4", "cd-5"), say=said.append, quota=[Limit(2, 60.0)])
    assert said == [
        "list",
        (
            "voice campaigns of account a1: not all of them are in the list; reading each campaign by itself: "
            "4 calls, at least 60 s"
        ),
        *("cd-2", "cd-3", "cd-4", "cd-5"),
    ]
    assert {each.item.campaign_id: each.state for each in seen.findings} == {
        "cd-2": State.RUNNING,
        "cd-3": State.UNKNOWN,
        "cd-5": State.NOT_FOUND,
    }
    assert [each.item.name for each in seen.findings] == ["Name of cd-2", None, None]
    assert [each.item.campaign_id for each in seen.to_stop] == ["cd-2", "cd-3"]
    assert seen.findings[1].error == "HTTP 200, but the answer tells no status"


@pytest.mark.parametrize(
    "lists",
    [
        GONE,
        REFUSED,
        Response(500, b"", 1.0),
        Response(200, b"<html>", 1.0),
        TransportFailure(Outcome.TIMEOUT, "late", 1.0),
    ],
)
def test_a_list_that_cannot_be_read(lists: Response | TransportFailure) -> None:
    """If the list call fails, each campaign is read individually, with a note that schedules are unknown."""
    said = list[str]()
    service = Service({"cd-1": "Stopped", "cd-2": "Active"}, lists=lists)
    seen = look(service, targets("cd-1", "cd-2"), say=said.append)
    assert service.asked == ["list", "cd-1", "cd-2"]
    assert seen.states == {State.RUNNING: 1, State.NOT_RUNNING: 1}
    assert said[0].startswith("voice campaigns of account a1: the list cannot be read (")
    assert said[0].endswith("; reading each campaign by itself: 2 calls")
    assert seen.notes == (
        "1 campaign that does not run may have a schedule that starts them again: the service does not say",
    )


def test_a_list_that_breaks_off() -> None:
    """The campaigns of a list before its failure are kept; only the others are read individually."""
    service = Service({f"cd-{number}": "Stopped" for number in range(120)})
    service.before = lambda what: setattr(service, "lists", REFUSED if service.asked else None)
    assert look(service, targets("cd-0", "cd-119")).exit_code == 0
    assert service.asked == ["list", "list", "cd-119"]


def test_singly() -> None:
    """With --singly, all are read individually from the beginning."""
    service = Service({"cd-1": "Stopped", "cd-2": "Scheduled"})
    assert found_as(service, targets("cd-1", "cd-2"), singly=True) == {"cd-2": State.SCHEDULED}
    assert service.asked == ["cd-1", "cd-2"]


def test_a_list_that_is_long() -> None:
    """The length of a long list, and the alternative, are reported once, after the first page."""
    service, said = Service({f"cd-{number}": "Stopped" for number in range(1200)}), list[str]()
    look(service, targets("cd-1199", "cd-3"), say=said.append, quota=[Limit(10, 60.0)])
    singly = "singly takes 2, but does not read schedules"
    assert said == [f"voice campaigns of account a1: a list of 1,200: about 30 calls, at least 2 min; {singly}"]


# --- until when -----------------------------------------------------------------------------------------------------


def names(count: int) -> list[str]:
    """Return as many ids."""
    return [f"cd-{number}" for number in range(count)]


def test_a_stream_that_is_not_there() -> None:
    """When neither the list nor any campaign is found, the group is given up: nothing tells which of them is wrong."""
    service = Service(lists=GONE)
    seen = look(service, targets(*names(100)))
    assert service.asked == ["list", *names(FIRST)]
    assert (seen.states, seen.exit_code) == ({State.UNKNOWN: 100}, 3)
    said = "HTTP 404: no such campaign, or the path of the status call is another here (api, status_path) (not here)"
    assert seen.notes == (f"voice campaigns of account a1: given up after {FIRST} of 100 calls: {said}",)
    assert {each.error for each in seen.findings[:FIRST]} == {said}
    assert {each.error for each in seen.findings[FIRST:]} == {f"not read, because the calls before it failed: {said}"}


def test_a_list_without_any_of_them() -> None:
    """If the list has only other campaigns and our first are not found, that is reported, and the rest skipped."""
    service = Service({"other": "Active"})
    seen = look(service, targets(*names(100)))
    assert len(service.asked) == 1 + FIRST
    assert (seen.states, seen.exit_code) == ({State.NOT_FOUND: FIRST, State.UNKNOWN: 100 - FIRST}, 1)


def test_a_campaign_that_is_gone() -> None:
    """A campaign that neither the list nor the status call knows is not found: no proof, but nothing to stop."""
    for service in (Service(), Service({"cd-1": "Stopped"}, lists=REFUSED)):
        seen = look(service, targets("cd-0", "cd-1"))
        assert State.NOT_FOUND in seen.states
        assert (State.UNKNOWN in seen.states, seen.to_stop, seen.exit_code) == (False, (), 1)


def test_many_that_are_gone() -> None:
    """While the stream is known to exist, any number of campaigns may be gone."""
    service = Service({"cd-99": "Stopped"})
    assert look(service, targets(*names(100))).states == {State.NOT_FOUND: 99, State.NOT_RUNNING: 1}
    assert len(service.asked) == 100


def test_status_calls_that_all_fail() -> None:
    """Status calls that all fail from the first are given up; the results of the list remain."""
    service = Service({"cd-0": "Stopped"}, singles=REFUSED)
    seen = look(service, targets(*names(100)))
    assert len(service.asked) == 1 + IN_A_ROW
    assert (seen.states, seen.exit_code) == ({State.NOT_RUNNING: 1, State.UNKNOWN: 99}, 1)


def test_status_calls_that_fail_now_and_then() -> None:
    """Single failures do not prevent the calls for the others."""
    service = Service(dict.fromkeys(names(50), "Stopped"), lists=REFUSED)
    service.before = lambda what: setattr(service, "singles", REFUSED if what.endswith("3") else None)
    assert look(service, targets(*names(50))).states == {State.NOT_RUNNING: 45, State.UNKNOWN: 5}


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (Response(401, b"", 1.0), "HTTP 401: wrong token, stream id or scope"),
        (Response(403, b"no scope", 1.0), "HTTP 403: wrong token, stream id or scope (no scope)"),
        (TransportFailure(Outcome.CONNECTION_ERROR, "refused", 1.0), "refused"),
    ],
)
def test_what_would_be_of_no_use(lists: Response | TransportFailure, said: str) -> None:
    """Without a network or permission, campaigns are not read individually."""
    service = Service({"cd-1": "Stopped"}, lists=lists)
    seen = look(service, targets("cd-1", "cd-2"))
    assert (service.asked, seen.exit_code) == (["list"], 3)
    assert seen.notes == ()
    assert {each.error for each in seen.findings} == {said}


@pytest.mark.parametrize("status", [401, 403])
def test_the_right_to_ask_is_lost(status: int) -> None:
    """A refused status call ends the group: the others would be refused as well."""
    service = Service(lists=REFUSED, singles=Response(status, b"", 1.0))
    look(service, targets(*names(10)))
    assert service.asked == ["list", "cd-0"]


def test_a_drained_run() -> None:
    """After a drain no call is made, and the remaining states are unknown."""

    async def drained() -> Verification:
        event = asyncio.Event()
        service = Service(dict.fromkeys(names(9), "Stopped"), lists=REFUSED)
        service.before = lambda what: event.set() if what == "cd-3" else None
        caller = Caller(NoQuota(), retry=Retry(1), drained=event)
        seen = await survey(service.ask, targets(*names(9)), caller)
        assert service.asked[-1] == "cd-3"
        return seen

    seen = asyncio.run(drained())
    assert (seen.states, seen.exit_code) == ({State.NOT_RUNNING: 4, State.UNKNOWN: 5}, 1)
    assert {each.error for each in seen.findings if each.item.campaign_id != "cd-4"} == {
        "not read, because the calls before it failed: not read: the run ended before"
    }


@pytest.mark.parametrize("fault", [QuotaError("the store is gone"), CredentialsError("no token")])
def test_a_run_that_cannot_go_on(fault: BulkstopError) -> None:
    """A lost token or quota store ends the reading; earlier results remain, with the reason."""
    service = Service(dict.fromkeys(names(120), "Stopped"))

    def fail(what: str) -> None:
        if service.asked:
            raise fault

    service.before = fail
    seen = look(service, targets(*names(120)))
    assert (seen.states, seen.fault, seen.exit_code) == (
        {State.NOT_RUNNING: 50, State.UNKNOWN: 70},
        fault,
        1,
    )


# --- any answer -----------------------------------------------------------------------------------------------------

ANSWERS = st.builds(
    lambda status, value: Response(status, json.dumps(value).encode(), 1.0),
    st.sampled_from([200, 200, 200, 401, 404, 405, 500]),
    VALUES | PAGES,
)


class Erratic:
    """A service that gives the answers of a list in turn."""

    def __init__(self, answers: list[Response]) -> None:
        self._answers = answers
        self.calls = 0

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer with the next one."""
        self.calls += 1
        found = call.read(self._answers[self.calls % len(self._answers)])
        return found._replace(again=RetryHint.NO) if isinstance(found, Attempt) else found


@settings(max_examples=200)
@given(answers=st.lists(ANSWERS, min_size=1, max_size=5))
def test_any_answers(answers: list[Response]) -> None:
    """For any responses, each campaign has one state, and all that are not at rest are findings."""
    service, wanted = Erratic(answers), targets("c1", "x", *names(31), protected="p1")
    seen = look(service, wanted)
    assert seen.campaigns == wanted.campaigns - 1 == 33
    told = Counter(each.state for each in seen.findings if each.outcome is not Outcome.PROTECTED)
    assert told == Counter(seen.states) - Counter({State.NOT_RUNNING: 33})
    assert seen.calls == service.calls < 200
    assert (seen.exit_code == 0) is (seen.states == {State.NOT_RUNNING: 33})
    assert all(each.error for each in seen.findings if each.state is State.UNKNOWN)


def test_an_endless_list() -> None:
    """An endless list is left after a few pages, and the campaigns are read individually."""
    row = b'{"status":"success","data":{"results":[{"_id":"other","status":"Active"}],"hasMore":true}}'
    service = Service({"cd-1": "Stopped"}, lists=Response(200, row, 1.0))
    assert look(service, targets("cd-1")).exit_code == 0
    assert service.asked[-1] == "cd-1"
    assert len(service.asked) < 12


def test_types_are_told_apart() -> None:
    """The same id may be a campaign of each type; each keeps its own state."""
    group = Scope("a1", "st-1", "st-1", VOICE)
    wanted = targets("cd-1")
    wanted.add(campaign("cd-1", kind=SMS), Outcome.STOPPED)
    service = Service()
    service.before = lambda what: service.campaigns.update(
        {"cd-1": {"status": ["Active", "Stopped"][len(service.asked)]}}
    )
    assert [each.scope for each in look(service, wanted).findings] == [group]
