"""Decides the response to each request when it arrives, without I/O."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import NAMESPACE_OID, uuid5

import orjson

from bulkstop.model import CampaignType
from bulkstop.simulator import answers
from bulkstop.simulator.answers import Answer
from bulkstop.simulator.auth import Access
from bulkstop.simulator.calls import Call, Operation, read_call
from bulkstop.simulator.campaigns import STOPPED, Campaigns, Place, Population, stamp
from bulkstop.simulator.details.calling_hours import format_strategy
from bulkstop.simulator.details.contacts import Contacts, read_contacts_call
from bulkstop.simulator.faults import Failures, RollingQuota, latency_s
from bulkstop.simulator.listing import format_row, list_page, read_listing
from bulkstop.simulator.options import SimulatorOptions
from bulkstop.simulator.rate_limits import format_rate_limits

UNAUTHORIZED_CODE: Final = 4002


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived; `body` is None if it did not arrive completely."""

    method: str
    path: str
    token: str | None
    account_id: str | None
    body: bytes | None
    iid: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A line of the log; `status` is None if the caller left before its request was complete.

    `attempt` counts the calls of this operation for this campaign, including this one.
    """

    arrived_unix_s: float
    arrived_monotonic_s: float
    method: str
    path: str
    operation: Operation | None
    account_id: str | None
    campaign_id: str | None
    status: int | None
    attempt: int


@dataclass(frozen=True, slots=True)
class _Arrival:
    request: Request
    call: Call
    account_id: str
    attempt: int
    unix_s: float
    monotonic_s: float

    @property
    def place(self) -> Place:
        """The stream of the call; without one in its path, that of the application."""
        return Place(self.account_id, self.call.stream_id or self.request.iid or "")


class Service:
    """The service without its network; `now` is the clock of the quota, `wall` that of tokens and `updatedAt`."""

    def __init__(self, options: SimulatorOptions, *, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._options = options
        self._now = now
        self._wall = wall
        self._attempts: Counter[tuple[Operation | None, str | None]] = Counter()
        self._quota = RollingQuota(options.windows)
        self._failures = Failures(rate=options.failure_rate, first_rate=options.fail_first_rate, seed=options.seed)
        self._access = Access(options.list_apps(), require_jti=options.require_jti)
        self._contacts = Contacts(
            per_minute=options.contacts_per_minute, after_stop_s=options.contacts_after_stop_s, seed=options.seed
        )
        population = Population(
            accounts=options.accounts,
            streams=options.streams,
            running=options.running,
            other_status=options.other_status,
            emergency=options.emergency,
        )
        self.campaigns = Campaigns(
            count=options.campaigns, seed=options.seed, any_id=options.unknown == "active", population=population
        )
        for campaign in self.campaigns.by_id.values():
            if campaign.is_calling:
                self._contacts.note_running(campaign.campaign_id, wall())

    def answer(self, request: Request, unreadable: Answer | None = None) -> tuple[Answer | None, Exchange]:
        """Return the response to a request and its log line; a body that could not be read gets `unreadable`."""
        arrival = self._arrive(request)
        answer = unreadable if request.body is None else self._refuse(arrival) or self._execute(arrival)
        return self._with_rate_limits(arrival, answer), _exchange(arrival, answer)

    def latency_s(self, exchange: Exchange) -> float:
        """Return the latency of the response in seconds."""
        options = self._options
        what = (exchange.operation, exchange.campaign_id, exchange.attempt)
        median_ms = options.slow.get(exchange.account_id or "", options.latency_ms)
        return latency_s(median_ms, options.latency_sigma, options.seed, *what)

    def _with_rate_limits(self, arrival: _Arrival, answer: Answer | None) -> Answer | None:
        form = self._options.rate_limit_headers
        if answer is None or form == "none":
            return answer
        states = self._quota.states(arrival.account_id, arrival.monotonic_s)
        return replace(answer, headers=format_rate_limits(form, states))

    def _arrive(self, request: Request) -> _Arrival:
        call = read_call(request.path, self._options.api)
        key = (call.operation, call.campaign_id)
        self._attempts[key] += 1
        account_id = call.query.get("accountId") or request.account_id or ""
        return _Arrival(request, call, account_id, self._attempts[key], self._wall(), self._now())

    def _refuse(self, arrival: _Arrival) -> Answer | None:
        # As at a gateway: unauthorized calls use no quota, and throttled calls cannot fail otherwise.
        call, request = arrival.call, arrival.request
        is_get = call.operation is Operation.GET
        if call.operation is None or (is_get and request.method != "GET"):
            return answers.errors(404, "no such path")
        if not is_get and request.method != "POST":
            return answers.errors(405, f"method {request.method} is not allowed")
        if fault := self._access.fault(request.token, arrival.account_id, arrival.unix_s):
            return answers.errors(401, fault, UNAUTHORIZED_CODE)
        if not self.campaigns.has(arrival.place):
            return answers.errors(401, "no such stream", UNAUTHORIZED_CODE)
        if call.operation is Operation.CONTACTS and not self._options.analytics:
            return answers.errors(401, "the app lacks the scope SmartAssist Analytics", UNAUTHORIZED_CODE)
        if not self._quota.admit(arrival.account_id, arrival.monotonic_s):
            return answers.throttled(self._options.throttle_status, self._options.retry_after_s)
        if call.operation is Operation.LIST and arrival.account_id in self._options.refused:
            return answers.errors(403, "the account does not allow this")
        if self._failures.strike(call.operation, call.campaign_id, arrival.attempt):
            return answers.out_of_order(self._options.failure_status)
        return None

    def _execute(self, arrival: _Arrival) -> Answer:
        try:
            return self._do(arrival, _read_body(arrival))
        except ValueError as error:
            return answers.errors(412, str(error))

    def _do(self, arrival: _Arrival, body: dict[str, object]) -> Answer:
        match arrival.call:
            case Call(Operation.STOP, CampaignType() as campaign_type, str(campaign_id)):
                return self._stop(arrival, campaign_type, campaign_id)
            case Call(Operation.STATUS, _, str(campaign_id)):
                return self._status(arrival, campaign_id)
            case Call(Operation.GET, _, str(campaign_id)):
                return self._get(arrival, campaign_id)
            case Call(Operation.CONTACTS):
                asked = read_contacts_call(body, arrival.call.query)
                here = {campaign.campaign_id for campaign in self.campaigns.list_in(arrival.place)}
                return answers.success(self._contacts.page(asked, arrival.unix_s, here.__contains__))
            case Call(Operation.SCHEDULE):
                return self._disable_schedule(arrival)
            case Call(Operation.LIST):
                data = list_page(read_listing(body), self.campaigns.list_in(arrival.place))
                if self._options.churn:
                    self.campaigns.churn(self._options.churn, stamp(arrival.unix_s))
                return answers.success({"status": "success", "message": "Campaigns fetched", "data": data})
        raise ValueError("campaign id is not UTF-8")

    def _stop(self, arrival: _Arrival, campaign_type: CampaignType, campaign_id: str) -> Answer:
        _expect(arrival, campaignType=campaign_type, trigger="stop")
        at = stamp(arrival.unix_s)
        campaign = self.campaigns.find_to_stop(campaign_id, campaign_type, arrival.place, at)
        if campaign is None:
            return answers.failure(404, "Campaign not found")
        if not campaign.at_rest:
            if campaign.is_calling:
                self._contacts.note_stopped(campaign_id, arrival.unix_s)
            campaign.status = STOPPED
            campaign.updated_at = at
        elif self._options.second_stop == "conflict":
            return answers.failure(409, answers.NOT_ACTIVE)
        fields: dict[str, object] = {"status": STOPPED, "message": "Campaign Stopped", "updatedAt": campaign.updated_at}
        if campaign_type is CampaignType.VOICE:
            return answers.success({**fields, "campaignInstanceId": f"cid-{uuid5(NAMESPACE_OID, campaign_id)}"})
        return answers.success({**fields, "campaignExecutionType": campaign.execution_type})

    def _status(self, arrival: _Arrival, campaign_id: str) -> Answer:
        _expect(arrival, view="status")
        campaign = self.campaigns.find(campaign_id, arrival.place, stamp(arrival.unix_s))
        if campaign is None:
            return answers.failure(404, "Campaign not found")
        data = {"id": campaign_id, "status": campaign.status, "name": campaign.name}
        return answers.success({"status": "success", "data": data})

    def _get(self, arrival: _Arrival, campaign_id: str) -> Answer:
        campaign = self.campaigns.find(campaign_id, arrival.place, stamp(arrival.unix_s))
        if campaign is None:
            return answers.failure(404, "Campaign not found")
        data = format_row(campaign) | format_strategy(self._options.calling_hours, campaign_id)
        return answers.success({"status": "success", "message": "Campaign fetched", "data": data})

    def _disable_schedule(self, arrival: _Arrival) -> Answer:
        _expect(arrival, enableSchedule="false")
        name = arrival.call.query.get("campaignName")
        if not name:
            raise ValueError("query lacks campaignName")
        at = stamp(arrival.unix_s)
        campaign = self.campaigns.find_named(name, arrival.place, at)
        if campaign is None:
            return answers.failure(404, "Campaign not found")
        campaign.scheduled = campaign.recurring = False
        campaign.updated_at = at
        return answers.success(
            {"status": "success", "message": "Campaign schedule disabled", "id": campaign.campaign_id}
        )


def _read_body(arrival: _Arrival) -> dict[str, object]:
    header, query = arrival.request.account_id, arrival.call.query.get("accountId")
    if header and query and header != query:
        raise ValueError("header accountid and query accountId differ")
    if arrival.call.operation is Operation.GET:
        return {}
    try:
        body = orjson.loads(arrival.request.body or b"")
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise ValueError("body is not a JSON object")  # noqa: TRY004 - one error for any bad request
    return body


def _expect(arrival: _Arrival, **wanted: str) -> None:
    for name, value in wanted.items():
        if arrival.call.query.get(name) != value:
            raise ValueError(f"query needs {name}={value}")


def _exchange(arrival: _Arrival, answer: Answer | None) -> Exchange:
    return Exchange(
        arrived_unix_s=arrival.unix_s,
        arrived_monotonic_s=arrival.monotonic_s,
        method=arrival.request.method,
        path=arrival.request.path,
        operation=arrival.call.operation,
        account_id=arrival.account_id or None,
        campaign_id=arrival.call.campaign_id,
        status=None if answer is None else answer.status,
        attempt=arrival.attempt,
    )
