"""Whether stopped campaigns still call: the requests, the clock that counts, and any response."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import pytest

from bulkstop.engine.caller import Caller
from bulkstop.engine.limits.quota import NoQuota
from bulkstop.engine.retry import Retry
from bulkstop.errors import CredentialsError
from bulkstop.kore.calls import Call, T
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, CampaignType, Outcome, Result, Scope, utc_text
from bulkstop.report.lists.contacts import ContactFacts
from bulkstop.runs.lists.contacts import ContactSurvey, ServiceClock
from bulkstop.runs.lists.stop_times import StopTimes

SCOPE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)
STOP_S = datetime(2026, 2, 16, 18, 2, 5, tzinfo=UTC).timestamp()
NOW_S = STOP_S + 600


class Service:
    """A service with contacts (campaign, start, end); answers by its own clock, as it is documented unless said."""

    def __init__(self, *contacts: tuple[str, float, float | None], now_s: float = NOW_S) -> None:
        self.contacts = list(contacts)
        self.now_s = now_s
        self.asked: list[tuple[str, str, int]] = []
        self.offsets_count_rows = False
        self.zone_s = 0.0
        self.answer: Callable[[], Response] | None = None
        self.info: Callable[[str], dict[str, object]] = lambda name: {"campaigninfo": {"campaignId": name}}

    async def perform(self, call: Call[T], /) -> T | Attempt:
        """Answer a call."""
        target, body = call.target, json.loads(call.body)
        path, _, query = target.partition("?")
        assert path == "/agentassist/api/public/analytics/account/a1/v2/interactionDetails"
        assert (body["direction"], body["selectedFields"], body["timeZoneOffset"]) == ("Outbound", ["campaigninfo"], 0)
        offset, limit = (int(parse_qs(query)[name][0]) for name in ("offset", "limit"))
        assert limit == 100
        self.asked.append((body["startDate"], body["endDate"], offset))
        if self.answer is not None:
            return call.read(self.answer())
        begin_s, end_s = (
            datetime.strptime(body[name], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
            for name in ("startDate", "endDate")
        )
        assert end_s - begin_s <= 7 * 86400
        await asyncio.sleep(0)
        found = [each for each in self.contacts if begin_s <= int(each[1]) <= end_s]
        first = offset if self.offsets_count_rows else offset * limit
        page = [self.row(*each) for each in found[first : first + limit]]
        return call.read(self.respond({"numResults": len(page), "data": page}))

    def respond(self, body: object, status: int = 200) -> Response:
        """Make an answer with the service's time."""
        date = format_datetime(datetime.fromtimestamp(self.now_s, UTC), usegmt=True)
        return Response(status, json.dumps(body).encode(), 1.0, date=date)

    def row(self, name: str, start_s: float, end_s: float | None) -> dict[str, object]:
        """Return a contact as in a response."""
        return {
            "sessionId": f"{name} {start_s}",
            "sessionStartTime": self.write(start_s),
            "sessionEndTime": self.write(end_s),
            **self.info(name),
        }

    def write(self, at_s: float | None) -> str | None:
        """Write a time."""
        if at_s is None:
            return None
        return datetime.fromtimestamp(at_s + self.zone_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def result(name: str = "cd-1", outcome: Outcome = Outcome.STOPPED, at_s: float = STOP_S, **more: Any) -> Result:
    """Make the result of a stop that was answered a second after the service did it."""
    times = {"updated_at": utc_text(at_s), "started_at": utc_text(at_s - 1), "finished_at": utc_text(at_s + 1)}
    return Result(name, CampaignType.VOICE, "a1", "st-1", outcome, **(times | more))


def look(service: Service, *results: Result, ahead_s: float = 0.0) -> ContactFacts:
    """Look for contacts with a clock ahead of the service's by a known difference."""
    stops = StopTimes()
    for each in results or (result(),):
        stops.note(SCOPE, each)
    stops.settle()
    clock = ServiceClock(wall=lambda: service.now_s + ahead_s)
    clock.note(service.respond({}))
    caller = Caller(NoQuota(), retry=Retry(1))
    return asyncio.run(ContactSurvey(stops, clock).run(clock.watch(service.perform), lambda account_id: caller))


def test_quiet() -> None:
    """Contacts of before the stop that have ended prove it quiet, since the last of them ended, or the last stop."""
    facts = look(Service(("cd-1", STOP_S - 30, STOP_S + 6), ("cd-1", STOP_S - 90, STOP_S - 60), ("cd-9", STOP_S, None)))
    assert (facts.since_s, facts.calling, facts.is_in_the_way) == (STOP_S + 6, (), False)
    assert (facts.campaigns, facts.contacts) == (1, 2)
    assert look(Service(), result(), result("cd-2", at_s=STOP_S + 60)).since_s == STOP_S + 60


def test_what_is_asked_for() -> None:
    """Asked for is the time from half an hour before the first stop until now, once for all of an application."""
    service = Service()
    look(service, result(), result("cd-2", at_s=STOP_S + 60))
    assert service.asked == [("2026-02-16 17:32:05", "2026-02-16 18:13:05", 0)]


@pytest.mark.parametrize(
    ("start_s", "end_s", "started", "lasting"),
    [(60, 70, 1, 0), (60, None, 1, 1), (-60, None, 0, 1), (4, 20, 0, 0)],
)
def test_still_calls(start_s: float, end_s: float | None, started: int, lasting: int) -> None:
    """Contacts that started after the stop count, except those in progress before, and those that last."""
    facts = look(Service(("cd-1", STOP_S + start_s, None if end_s is None else STOP_S + end_s)))
    assert [each[:2] + each[3:] for each in facts.calling] == (
        [(SCOPE, "cd-1", started, lasting, STOP_S + start_s)] if started or lasting else []
    )
    assert facts.is_in_the_way is bool(started or lasting)


def test_each_by_its_own_stop() -> None:
    """A contact counts by the stop of its own campaign, and of two stops by the later one."""
    service = Service(("cd-1", STOP_S + 60, STOP_S + 61), ("cd-2", STOP_S + 60, STOP_S + 61))
    facts = look(service, result(), result("cd-2", at_s=STOP_S + 90))
    assert [each.campaign_id for each in facts.calling] == ["cd-1"]
    again = result(at_s=STOP_S + 99), result("cd-2", at_s=STOP_S + 99)
    assert not look(service, result(), result("cd-2"), *again).calling


def test_instance() -> None:
    """A contact that names the instance alone is of the campaign whose instance was stopped."""
    service = Service(("cid-7", STOP_S + 60, None))
    service.info = lambda name: {"campaigninfo": {"campaignInstanceId": name}}
    facts = look(service, result(campaign_instance_id="cid-7"))
    assert [each.campaign_id for each in facts.calling] == ["cd-1"]


@pytest.mark.parametrize("ahead_s", [0, 3600, -3600])
@pytest.mark.parametrize("has_own_time", [True, False])
def test_clocks(ahead_s: float, has_own_time: bool) -> None:
    """With any clock of this machine, a contact counts by the service's."""
    times: dict[str, Any] = {} if has_own_time else {"updated_at": None}
    stop = result(finished_at=utc_text(STOP_S + 1 + ahead_s), started_at=utc_text(STOP_S + ahead_s), **times)
    assert not look(Service(("cd-1", STOP_S - 60, STOP_S - 50)), stop, ahead_s=ahead_s).calling
    assert look(Service(("cd-1", STOP_S + 60, STOP_S + 70)), stop, ahead_s=ahead_s).calling


def test_clock_that_was_set_since() -> None:
    """The service's time of a stop has precedence over a wrong local clock, unless it is of another day."""
    stop = result(finished_at=utc_text(STOP_S + 3600))
    assert look(Service(("cd-1", STOP_S + 60, STOP_S + 70)), stop).calling
    old = result(updated_at=utc_text(STOP_S - 9 * 86400))
    assert not look(Service(("cd-1", STOP_S - 60, STOP_S - 50)), old).calling
    rest = result(outcome=Outcome.ALREADY_STOPPED, updated_at=utc_text(STOP_S - 3600))
    assert not look(Service(("cd-1", STOP_S - 60, STOP_S - 50)), rest).calling


@pytest.mark.parametrize(
    "outcome", [Outcome.TIMEOUT, Outcome.UNCONFIRMED, Outcome.SERVER_ERROR, Outcome.UNKNOWN, Outcome.ALREADY_STOPPED]
)
def test_stops_that_may_have_arrived(outcome: Outcome) -> None:
    """A campaign whose stop may have taken effect is looked at, too, by when its call ended, or began."""
    service = Service(("cd-1", STOP_S + 60, None))
    assert look(service, result(outcome=outcome)).calling
    assert look(service, result(outcome=outcome, finished_at=None, updated_at=None)).calling


@pytest.mark.parametrize("outcome", [Outcome.NOT_SENT, Outcome.REJECTED, Outcome.UNAUTHORIZED, Outcome.THROTTLED])
def test_never_stopped(outcome: Outcome) -> None:
    """Campaigns that were never stopped are counted without calls; a later stop counts."""
    service = Service(("cd-1", STOP_S + 60, None))
    facts = look(service, result(outcome=outcome))
    assert (service.asked, facts.unstopped, facts.since_s, facts.is_in_the_way) == ([], 1, None, False)
    assert look(Service(), result(outcome=outcome), result()).unstopped == 0


def test_stop_without_a_time() -> None:
    """A stop without a time in the results is reported, and proves nothing."""
    facts = look(Service(), result("cd-2", updated_at=None, started_at=None, finished_at=None), result())
    assert facts.faults == ("the results do not say when 1 campaign was stopped",)
    assert facts.is_in_the_way
    future = look(Service(), result(updated_at=utc_text(NOW_S + 999), started_at=None, finished_at=None))
    assert future.faults == ("account a1, stream st-1: the service reports stops in the future",)


@pytest.mark.parametrize("offsets_count_rows", [False, True])
@pytest.mark.parametrize("count", [99, 100, 101, 250, 1099, 1100, 1101, 2500])
def test_pages(count: int, offsets_count_rows: bool) -> None:
    """All contacts are found, however many, whether an offset counts pages or contacts, in at most two calls a page."""
    service = Service(*(("cd-1", STOP_S - 1700 + number / 2, STOP_S) for number in range(count)))
    service.offsets_count_rows = offsets_count_rows
    facts = look(service)
    assert (facts.contacts, facts.faults) == (count, ())
    assert len(service.asked) <= 6 + 2 * count / 100


def test_too_many_in_a_second() -> None:
    """More contacts in one second than the service returns are reported, and prove nothing."""
    facts = look(Service(*(("cd-1", STOP_S + 60 + number / 5000, STOP_S + 70) for number in range(1300))))
    assert facts.faults == (
        "account a1, stream st-1: more contacts started at 2026-02-16T18:03:05+00:00 than the service gives",
    )


def test_a_page_that_repeats() -> None:
    """A service that always returns the same page is read to an end."""
    service = Service()
    rows = [service.row("cd-1", STOP_S - number, STOP_S) for number in range(100)]
    service.answer = lambda: service.respond({"numResults": 100, "data": rows})
    assert look(service).is_in_the_way
    assert len(service.asked) < 100


def test_stopped_long_ago() -> None:
    """A request covers at most seven days."""
    service = Service(("cd-1", NOW_S - 60, None))
    facts = look(service, result(at_s=NOW_S - 20 * 86400))
    assert len(service.asked) == 4
    assert facts.calling


@pytest.mark.parametrize("zone_s", [19800.0, -18000.0])
def test_other_zone(zone_s: float) -> None:
    """A service whose times are those of another zone proves nothing."""
    service = Service(*(("cd-1", STOP_S - 60 * number, STOP_S) for number in range(1, 10)))
    service.zone_s = zone_s
    (fault,) = look(service).faults
    assert fault.endswith(": its times may be in another time zone")


def test_an_end_to_come() -> None:
    """A contact that has ended in the future is not believed."""
    (fault,) = look(Service(("cd-1", STOP_S - 60, NOW_S + 3600))).faults
    assert "reports a contact in the future" in fault


def test_no_contact_at_all() -> None:
    """If no contact is known, even from before the stops, a message says so."""
    (note,) = look(Service()).notes
    assert note.startswith("no contact of the stopped campaigns is known, not even from before their stops")
    assert look(Service(("cd-1", STOP_S - 60, STOP_S - 50))).notes == ()


def test_times_that_cannot_be_read() -> None:
    """A contact whose times cannot be read is one that may be after the stop."""
    service = Service()
    row = {**service.row("cd-1", STOP_S, None), "sessionStartTime": "yesterday"}
    service.answer = lambda: service.respond({"data": [row]})
    assert look(service).faults == ("account a1, stream st-1: the times of 1 contact cannot be read",)


def test_contacts_without_a_campaign() -> None:
    """Contacts that name no campaign are in the way where they are after a stop, and may be of a stopped campaign."""
    service = Service(("", STOP_S + 60, STOP_S + 61), ("", STOP_S - 60, STOP_S - 59))
    service.info = lambda name: {}
    assert look(service).faults == (
        "account a1, stream st-1: 1 contact names no campaign, and may belong to a stopped one",
    )
    service.info = lambda name: {"campaigninfo": {"attempt": ""}}  # an agent's own call
    assert not look(service).is_in_the_way


def test_missing_scope() -> None:
    """A missing scope is reported, but does not prevent the proof by states."""
    service = Service()
    service.answer = lambda: service.respond({"errors": [{"msg": "no scope", "code": 4002}]}, 401)
    facts = look(service)
    assert (facts.is_in_the_way, facts.since_s) == (False, None)
    (why,) = facts.without_scope
    assert why.startswith('account a1, stream st-1: the scope "SmartAssist Analytics" is missing')
    assert facts.as_dict()["no_contact_since"] is None


@pytest.mark.parametrize("status", [404, 500, 412, 200])
def test_other_failures(status: int) -> None:
    """Any other failure to read contacts prevents the proof."""
    service = Service()
    service.answer = lambda: service.respond({}, status)
    facts = look(service)
    assert facts.is_in_the_way
    assert len(facts.faults) == 1
    assert facts.as_dict()["no_contact_since"] is None


def test_no_token_any_more() -> None:
    """An error that ends all calls is among the faults of the result."""

    async def fail(call: Call[T], /) -> T | Attempt:
        raise CredentialsError("no token")

    service = Service()
    service.perform = fail  # type: ignore[method-assign]
    assert look(service).faults == ("no token",)
