"""What is known of a plan before its first stop, from lists of several pages, where that is certain."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.errors import BulkstopError, QuotaError
from bulkstop.kore.calls import PAGE, STATUSES, Call, T
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, Campaign, CampaignType, Limit, ListedCampaign, Outcome, Scope, utc_text
from bulkstop.runs import host
from bulkstop.runs.lists.listing import Listing
from bulkstop.runs.lists.roster import Roster
from bulkstop.runs.lists.states import AT_REST
from bulkstop.runs.stop.precheck import (
    NOT_STATED,
    UNLISTED,
    ByName,
    KnownStates,
    RemainingWork,
    list_scopes,
    narrow_plan,
    read_known_states,
)
from bulkstop.runs.stop.work import make_lanes
from bulkstop.runs.wiring import Accounts
from bulkstop.settings import NO_LIMIT, Settings
from bulkstop.source.plan import Plan
from tests.virtual_time import run

VOICE, SMS = CampaignType.VOICE, CampaignType.SMS
VOICE_LIST = Scope("a1", "st-1", "st-1", VOICE)
GONE = Attempt(Outcome.UNAUTHORIZED, http_status=401, message="no such scope", error="HTTP 401: wrong token")


def campaign(campaign_id: str, kind: CampaignType = VOICE, account_id: str = "a1", stream_id: str = "st-1") -> Campaign:
    """Make a campaign of a list of one line."""
    return Campaign.of_row(campaign_id, kind, account_id, stream_id, stream_id, "list.csv", 2)


def row(campaign_id: str, status: str | None = "Active", **more: Any) -> dict[str, Any]:
    """Make a row of a list as the service gives it; by default it has a name of its own and does not recur."""
    recurs = more.pop("recurs", False)
    schedule = {} if recurs is None else {"isSchedulingEnabled": recurs, "isRecurrenceEnabled": recurs}
    return {"_id": campaign_id, "name": f"name of {campaign_id}", "status": status, "schedule": schedule} | more


@dataclass
class Service:
    """Gives lists page by page, by account, stream and type; a list that is an Attempt cannot be read."""

    lists: Mapping[tuple[str, str, CampaignType], Sequence[dict[str, Any]] | Attempt]
    latency_s: float = 0.0
    heeds_filters: bool = True
    fails_from: int | None = None
    asked: list[Scope] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer a list call."""
        group, asked = call.where, json.loads(call.body)
        assert isinstance(group, Scope)
        self.asked.append(group)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        await asyncio.sleep(self.latency_s)
        self.open -= 1
        if self.fails_from is not None and len(self.asked) >= self.fails_from:
            return GONE
        rows = self.lists.get((group.account_id, group.stream_id, group.campaign_type), ())
        if isinstance(rows, Attempt):
            return rows
        wanted = asked["filters"].get("status") if self.heeds_filters else None
        fit = [each for each in rows if not wanted or each["status"] in wanted]
        page = fit[asked["skip"] : asked["skip"] + asked["limit"]]
        data = {"results": page, "hasMore": asked["skip"] + len(page) < len(fit), "totalResults": len(fit)}
        return call.read(Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0))


def settings_for(*options: str, **more: Any) -> Settings:
    """Make settings with these options on."""
    more |= dict.fromkeys(options, True)
    return Settings(host="api.example", token="t", quota=NO_LIMIT, **more)


def planned(campaigns: Iterable[Campaign]) -> Plan:
    """Plan a run."""
    return Plan(each._replace(line=line) for line, each in enumerate(campaigns, start=2))


async def read(
    campaigns: Iterable[Campaign], service: Service, settings: Settings, ends_at: float = math.inf
) -> KnownStates:
    """Read the lists of a plan."""
    with planned(campaigns) as plan:
        found = await read_known_states(plan, settings, service.ask, Accounts(settings, None), ends_at=ends_at)
    assert isinstance(found, KnownStates)
    return found


def known(campaigns: Iterable[Campaign], service: Service, *options: str) -> KnownStates:
    """Return what is known of a plan."""
    found, _ = run(read(campaigns, service, settings_for(*(options or ("only_running",)))))
    return found


def one_list(*rows: dict[str, Any]) -> Service:
    """Make a service with one list, of voice campaigns."""
    return Service({("a1", "st-1", VOICE): rows})


# --- which lists ----------------------------------------------------------------------------------------------------


def test_nothing_is_read_unasked() -> None:
    """Without an option that needs it, or without a campaign to send, no list is read."""
    service = Service({})
    for settings, campaigns in (
        (settings_for(), [campaign("cd-1")]),
        (settings_for("only_running", "disable_schedule"), []),
    ):
        with planned(campaigns) as plan:
            assert list_scopes(plan, settings) == []
            assert asyncio.run(read_known_states(plan, settings, service.ask, Accounts(settings, None))) is None
    assert service.asked == []


def test_each_list_once() -> None:
    """Each account, stream, application and type of the plan has its list, which is read once."""
    campaigns = [
        campaign("cd-1"),
        campaign("cd-2"),
        campaign("cd-3", SMS),
        campaign("cd-4", account_id="a2"),
        campaign("cd-5", stream_id="st-2"),
        campaign("cd-6")._replace(iid="app-2"),
    ]
    service = Service({})
    known(campaigns, service)
    assert sorted(service.asked) == sorted(
        [
            Scope("a1", "st-1", "st-1", VOICE),
            Scope("a1", "st-1", "st-1", SMS),
            Scope("a2", "st-1", "st-1", VOICE),
            Scope("a1", "st-2", "st-2", VOICE),
            Scope("a1", "st-1", "app-2", VOICE),
        ]
    )


def test_both_types_for_names() -> None:
    """If schedules are disabled by name, the lists of both types of a stream are read, each once."""
    service = Service({})
    known([campaign("cd-1"), campaign("cd-2", SMS)], service, "only_running", "disable_schedule")
    assert sorted(service.asked) == [Scope("a1", "st-1", "st-1", SMS), Scope("a1", "st-1", "st-1", VOICE)]
    with planned([campaign("cd-1")]) as plan:
        assert len(list_scopes(plan, settings_for("disable_schedule"))) == 2


# --- what is at rest ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heeds_filters", [True, False])
@pytest.mark.parametrize("options", [("only_running",), ("only_running", "disable_schedule")])
def test_only_two_statuses_are_sure(heeds_filters: bool, options: tuple[str, ...]) -> None:
    """Completed and Stopped are at rest; any other or missing status, and a missing campaign, may be running."""
    statuses = [*STATUSES, "Archived", "", "Completing"]
    service = one_list(*(row(f"cd-{status}", status) for status in statuses), row("cd-none", status=None))
    service.heeds_filters = heeds_filters
    found = known([campaign("cd-1")], service, *options)
    at_rest = {status for status in statuses if found.status_at_rest(campaign(f"cd-{status}")) is not None}
    assert at_rest == set(AT_REST) == {"Completed", "Stopped"}
    assert found.status_at_rest(campaign("cd-Stopped")) == "Stopped"
    for other in ("cd-none", "cd-elsewhere"):
        assert found.status_at_rest(campaign(other)) is None


def test_letter_case() -> None:
    """A status in another letter case is the same one."""
    service = one_list(row("cd-1", "COMPLETED"), row("cd-2", "stopped"))
    service.heeds_filters = False
    found = known([campaign("cd-1")], service)
    assert [found.status_at_rest(campaign(name)) for name in ("cd-1", "cd-2")] == ["Completed", "Stopped"]


@pytest.mark.parametrize("options", [("only_running",), ("only_running", "disable_schedule")])
@pytest.mark.parametrize("other", ["Active", "Paused", "Ready", "Scheduled", "Archived", None])
def test_a_campaign_that_is_listed_twice(options: tuple[str, ...], other: str | None) -> None:
    """A campaign is at rest only if all of its rows say so; a schedule of one row is a schedule of the campaign."""
    for statuses in (("Stopped", other), (other, "Stopped")):
        service = one_list(
            *(row("cd-1", status) for status in statuses),
            *(row("cd-2", status, recurs=status == "Stopped", name="Promo") for status in statuses),
            *(row("cd-3", status) for status in ("Completed", "Stopped")),
        )
        service.heeds_filters = False
        found = known([campaign("cd-1")], service, *options)
        at_rest = [found.status_at_rest(campaign(name)) is not None for name in ("cd-1", "cd-2", "cd-3")]
        assert at_rest == [False, False, True]
        if "disable_schedule" in options:
            assert found.schedule(campaign("cd-2")) == ByName("Promo")


def test_a_campaign_is_that_of_its_list() -> None:
    """The same id in another account, stream or type, or for another application, is another campaign."""
    found = known([campaign("cd-1")], one_list(row("cd-1", "Stopped")))
    assert found.status_at_rest(campaign("cd-1")) == "Stopped"
    for other in (
        campaign("cd-1", SMS),
        campaign("cd-1", account_id="a2"),
        campaign("cd-1", stream_id="st-2"),
        campaign("cd-1")._replace(iid="app-2"),
    ):
        assert found.status_at_rest(other) is None


@pytest.mark.parametrize("count", [PAGE, PAGE + 1, 12 * PAGE])
def test_all_pages(count: int) -> None:
    """A list of any length is read to its last page, and its calls are reported."""
    service = one_list(*(row(f"cd-{n}", "Completed" if n % 2 else "Active") for n in range(count)))
    found = known([campaign("cd-1")], service, "only_running", "disable_schedule")
    assert sum(found.status_at_rest(campaign(f"cd-{n}")) is not None for n in range(count)) == count // 2
    assert found.calls == len(service.asked) >= 1 + count / PAGE


def test_running_ones_cost_no_pages() -> None:
    """If only statuses are needed, the service is asked only for campaigns at rest."""
    service = one_list(*(row(f"cd-{n}") for n in range(500)), row("cd-x", "Stopped"))
    assert known([campaign("cd-1")], service).calls == len(service.asked) == 1


def test_only_ids_are_kept() -> None:
    """Only ids of campaigns at rest stay in memory, without names, and nothing of the plan."""
    rows = [*(row(f"cd-{n}") for n in range(200)), row("cd-x", "Stopped", updatedAt="2025-12-05")]
    found = known([campaign("cd-1")], one_list(*rows))
    assert list(found.roster.rows()) == [
        (VOICE_LIST, ListedCampaign("cd-x", VOICE, None, "Stopped", None, False, False))
    ]


def test_accounts_side_by_side() -> None:
    """Accounts are read at the same time, the lists of one account one after the other."""
    campaigns = [campaign("cd-1", kind, f"a{n}") for n in range(20) for kind in CampaignType]
    service = Service({}, latency_s=1.0)
    _, took_s = run(read(campaigns, service, settings_for("only_running")))
    assert (service.most_open, took_s) == (8, 6.0)


# --- what recurs ----------------------------------------------------------------------------------------------------


def schedules(*rows: dict[str, Any], sms: Sequence[dict[str, Any]] = ()) -> dict[str, ByName | str | None]:
    """Return what is known of the schedules of the voice campaigns of a list."""
    service = Service({("a1", "st-1", VOICE): rows, ("a1", "st-1", SMS): sms})
    found = known([campaign("cd-1")], service, "disable_schedule")
    return {each["_id"]: found.schedule(campaign(each["_id"])) for each in rows}


def test_what_recurs_is_known_by_name() -> None:
    """A recurring campaign can be disabled by name, with any status; another one needs nothing."""
    rows = [row("cd-1", recurs=True), row("cd-2", "Stopped", recurs=True), row("cd-3", "Scheduled")]
    found = schedules(*rows, row("cd-4", schedule={"isSchedulingEnabled": False, "isRecurrenceEnabled": True}))
    assert found == {"cd-1": ByName("name of cd-1"), "cd-2": ByName("name of cd-2"), "cd-3": "none", "cd-4": "none"}


def test_what_nobody_knows_is_a_failure() -> None:
    """If the list does not say whether a campaign recurs, or lacks it, it is never reported as not recurring."""
    assert schedules(row("cd-1", recurs=None)) == {"cd-1": NOT_STATED}
    assert known([campaign("cd-1")], one_list(), "disable_schedule").schedule(campaign("cd-1")) == UNLISTED
    assert NOT_STATED.startswith("failed: ")
    assert UNLISTED.startswith("failed: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "failed: the campaign has no name"),
        ("", "failed: the campaign has no name"),
        ("a\nb", "failed: the name holds a control character or half a surrogate pair"),
        ("n" * 2000, "failed: the campaign has no name"),
    ],
)
def test_names_that_cannot_be_sent(name: str | None, said: str) -> None:
    """A campaign whose name fits no request fails, with the reason."""
    assert schedules(row("cd-1", name=name, recurs=True)) == {"cd-1": said}


def test_shared_names() -> None:
    """A name that other campaigns of the stream have, of either type and recurring or not, is never sent."""
    rows = [row("cd-1", name="Promo", recurs=True), row("cd-2", name="Promo"), row("cd-3", name="other", recurs=True)]
    assert schedules(*rows) == {"cd-1": "failed: 2 campaigns have that name", "cd-2": "none", "cd-3": ByName("other")}
    found = schedules(*rows, sms=[row("cd-4", name="Promo"), row("cd-5", name="other", recurs=True)])
    assert found["cd-1"] == "failed: 3 campaigns have that name"
    assert found["cd-3"] == "failed: 2 campaigns have that name"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Daily Reminder", "daily reminder"),
        ("Daily", " Daily "),
        ("Daily  x", "Daily\u00a0x"),
        ("Caf\u00e9", "Cafe\u0301"),
        ("Don't", "Don\u2019t"),
        ("A - b", "A \u2013 b"),
        ("Daily", "Da\u200bily"),
        ("Stra\u00dfe", "STRASSE"),
    ],
)
def test_names_that_a_service_may_confuse(name: str, other: str) -> None:
    """A name that a service which trims, or takes no heed of letter case, has twice is that of two campaigns."""
    rows = [row("cd-1", name=name, recurs=True), row("cd-2", name=other)]
    assert schedules(*rows) == {"cd-1": "failed: 2 campaigns have that name", "cd-2": "none"}


def test_one_campaign_in_two_lists() -> None:
    """A service that gives the same list for both types shares no name with itself."""
    rows = [row("cd-1", name="Promo", recurs=True)]
    assert schedules(*rows, sms=rows) == {"cd-1": ByName("Promo")}
    campaigns = [campaign("cd-1"), campaign("cd-2")._replace(iid="app-2")]
    found = known(campaigns, one_list(*rows, row("cd-2", recurs=True)), "disable_schedule")
    assert [found.schedule(each) for each in campaigns] == [ByName("Promo"), ByName("name of cd-2")]


def test_names_of_other_streams() -> None:
    """The same name in another stream or account is another schedule."""
    rows = [row("cd-1", name="Promo", recurs=True)], [row("cd-2", name="Promo", recurs=True)]
    campaigns = [campaign("cd-1"), campaign("cd-2", stream_id="st-2"), campaign("cd-2", account_id="a2")]
    service = Service({("a1", "st-1", VOICE): rows[0], ("a1", "st-2", VOICE): rows[1], ("a2", "st-1", VOICE): rows[1]})
    found = known(campaigns, service, "disable_schedule")
    assert [found.schedule(each) for each in campaigns] == [ByName("Promo")] * 3


def test_no_status_is_known_unasked() -> None:
    """Without `--only-running` every campaign is sent, whatever the list for schedules says."""
    found = known([campaign("cd-1")], one_list(row("cd-1", "Stopped")), "disable_schedule")
    assert found.status_at_rest(campaign("cd-1")) is None


# --- lists that cannot be read --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (("only_running",), "only_running"),
        (("disable_schedule",), "disable_schedule"),
        (("only_running", "disable_schedule"), "only_running disable_schedule"),
    ],
)
def test_a_list_that_cannot_be_read(options: tuple[str, ...], flags: str) -> None:
    """One list that fails ends it all, in one line that names the option, the list, the reason and what to do."""
    service = Service({("a1", "st-1", VOICE): [row("cd-1", "Stopped")], ("a1", "st-1", SMS): GONE})
    with pytest.raises(BulkstopError) as caught:
        known([campaign("cd-1"), campaign("cd-2", SMS)], service, *options)
    assert str(caught.value) == (
        f"{flags}: the list of sms campaigns of account a1, stream st-1 cannot be read completely: "
        f"HTTP 401: wrong token (no such scope); nothing was sent; try again, or leave out {flags}"
    )


def test_a_list_that_breaks_off() -> None:
    """A list that fails on its last page is as good as none."""
    service = one_list(*(row(f"cd-{n}", "Stopped") for n in range(3 * PAGE)))
    service.fails_from = 3
    with pytest.raises(BulkstopError, match="cannot be read completely"):
        known([campaign("cd-1")], service)


def test_what_the_service_says_is_one_line() -> None:
    """Terminal escapes of accounts and answers do not reach the terminal."""
    bad = GONE._replace(error="\x1b[2Jgone", message="a\x9bb")
    with pytest.raises(BulkstopError) as caught:
        known([campaign("cd-1")], Service({("a1", "st-1", VOICE): bad}))
    assert str(caught.value).isprintable()


def test_no_call_can_be_made() -> None:
    """A fault that prevents every call is reported unchanged."""
    service = one_list()

    async def broken(call: Call[T], /) -> T | Attempt:
        raise QuotaError("the store is gone")

    service.ask = broken  # type: ignore[method-assign]
    with pytest.raises(QuotaError, match="the store is gone"):
        known([campaign("cd-1")], service)


def test_a_doubtful_list_is_used(caplog: pytest.LogCaptureFixture) -> None:
    """A list that may be incomplete is used, because missing campaigns are sent; the doubt is logged."""
    service = one_list(row("cd-1", "Stopped"))

    async def counts_more(call: Call[T], /) -> T | Attempt:
        rows = [row("cd-1", "Stopped")]
        data = {"results": rows, "hasMore": False, "totalResults": 3}
        return call.read(Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0))

    service.ask = counts_more  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "bulkstop"):
        found = known([campaign("cd-1")], service)
    assert found.status_at_rest(campaign("cd-1")) == "Stopped"
    assert "the service counts 3 but gives 1" in caplog.records[0].__dict__["fields"]["message"]


def test_ended_while_reading() -> None:
    """Being cancelled ends the reading at once."""

    async def cut_off() -> None:
        service = Service({}, latency_s=60.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await read([campaign("cd-1")], service, settings_for("only_running"))

    assert run(cut_off())[1] == 1.0


def test_the_time_to_finish_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time left to read the list, nothing is sent."""
    settings = settings_for("only_running", finish_by="18:00")
    monkeypatch.setattr(host, "time", SimpleNamespace(time=lambda: asyncio.get_running_loop().time()))
    service = Service({}, latency_s=60.0)
    with pytest.raises(BulkstopError, match="finish_by 18:00: passed before the list was read; nothing was sent"):
        run(read([campaign("cd-1")], service, settings, ends_at=5.0))


def test_lists_count_against_the_quota() -> None:
    """Pages take places of the very quota that the stops will have."""

    async def then_wait() -> float:
        settings = Settings(host="api.example", token="t", quota=(Limit(2, 3600.0),), only_running=True)
        accounts = Accounts(settings, None)
        with planned([campaign("cd-1"), campaign("cd-2", SMS)]) as plan:
            await read_known_states(plan, settings, Service({}).ask, accounts)
        return accounts.quota("a1").ready_at() - accounts.quota("a2").ready_at()

    assert asyncio.run(then_wait()) > 0


# --- what is sent ---------------------------------------------------------------------------------------------------


def sorted_out(
    statuses: str, *, recurs: str = "", only_running: bool = True
) -> tuple[RemainingWork, list[str], KnownStates, Plan]:
    """Sort campaigns 1, 2, 3 ... out whose statuses begin with these letters; those in `recurs` recur."""
    items = {
        f"cd-{n}": ListedCampaign(
            f"cd-{n}", VOICE, "x", "Stopped" if letter == "S" else "Active", is_recurring=str(n) in recurs
        )
        for n, letter in enumerate(statuses, 1)
    }
    roster = Roster({VOICE_LIST: Listing(VOICE_LIST, items)})
    found = KnownStates(roster, only_running=only_running, disable_schedule=bool(recurs))
    plan, told = planned(map(campaign, items)), list[str]()
    return narrow_plan(plan, found, lambda each: told.append(each.campaign_id)), told, found, plan


def test_only_running_ones_are_sent() -> None:
    """Campaigns at rest are reported and left out; the others keep their order, and are counted."""
    running, told, _, plan = sorted_out("ASSAS")
    with plan:
        assert (running.to_send, running.accounts, told) == (2, {"a1": 2}, ["cd-2", "cd-3", "cd-5"])
        assert [each.campaign_id for each in running.campaigns("a1")] == ["cd-1", "cd-4"]
        assert list(running.recurring("a1")) == []


def test_lanes_know_what_is_left() -> None:
    """A lane counts what it has to send, not what the plan has, because the forecast depends on that."""
    running, _, _, plan = sorted_out("ASSAS")
    with plan:
        (lane,) = make_lanes(running, Accounts(settings_for("only_running"), None))
        first = lane.draw(0.0, room=1)
        assert first is not None
        assert (lane.account_id, lane.left, first.campaign.campaign_id) == ("a1", 2, "cd-1")


def test_what_is_at_rest_keeps_no_place_in_the_timetable() -> None:
    """Stops are planned backwards for running campaigns only; those at rest take no place in the quota."""
    stop_at = time.time() + 3600
    rows = [campaign(f"cd-{n}")._replace(row={"stop_at": utc_text(stop_at)}) for n in range(1, 7)]
    items = {
        each.campaign_id: ListedCampaign(each.campaign_id, VOICE, "x", status)
        for each, status in zip(rows, ("Active", *["Stopped"] * 4, "Active"), strict=True)
    }
    found = KnownStates(Roster({VOICE_LIST: Listing(VOICE_LIST, items)}), only_running=True)
    with planned(rows) as plan:
        running = narrow_plan(plan, found, lambda _: None)
        settings = Settings(host="h", quota="2/1m", pace="burst", only_running=True)
        waits = []
        for work in (plan, running):
            lane, others = make_lanes(work, Accounts(settings, None), plan.stop_times)
            assert others.left == 0
            waits.append(lane.ready_at(1) - elapsed_s())
    assert waits == [pytest.approx(3600 - 5 - 120, abs=2), pytest.approx(3600 - 5, abs=2)]


def test_nothing_runs() -> None:
    """An account of which nothing runs has nothing to send."""
    running, told, _, plan = sorted_out("SS")
    with plan:
        assert (running.to_send, running.accounts, told) == (0, {}, ["cd-1", "cd-2"])


def test_what_starts_again_waits_for_its_schedule() -> None:
    """A campaign at rest whose schedule is to be disabled is neither sent nor reported yet."""
    running, told, _, plan = sorted_out("ASS", recurs="13")
    with plan:
        assert (running.accounts, told) == ({"a1": 1}, ["cd-2"])
        assert [each.campaign_id for each in running.recurring("a1")] == ["cd-3"]


def test_all_are_sent_unasked() -> None:
    """Without `--only-running` all are sent, and nothing is reported."""
    running, told, _, plan = sorted_out("ASS", recurs="13", only_running=False)
    with plan:
        assert (running.accounts, told, list(running.recurring("a1"))) == ({"a1": 3}, [], [])
        assert len(list(running.campaigns("a1"))) == 3


def test_line_of_a_campaign_at_rest() -> None:
    """Its line says what the list has, that no call was made, and nothing that only a call could tell."""
    _, _, found, plan = sorted_out("SS", recurs="1")
    with plan:
        (first, second) = plan.campaigns("a1")
    result = found.result(second, "run-1")
    assert (result.outcome, result.attempts, result.run_id) == (Outcome.ALREADY_STOPPED, 0, "run-1")
    assert result.message == "listed as Stopped; no stop call was made"
    assert (result.source, result.line, result.schedule) == ("list.csv", 3, "none")
    assert {result.http_status, result.started_at, result.finished_at, result.error, result.latency_ms} == {None}
    assert found.result(first, "run-1").schedule is None
