"""Checks with one page of each list what the settings can reach."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from bulkstop.errors import BulkstopError
from bulkstop.kore.calls import DOCUMENTED, Call, Paths, find_page, get_call, list_call, status_call
from bulkstop.kore.exchange import BODY, BODY_CAP, Response, Transport, TransportFailure
from bulkstop.kore.interpret import Page
from bulkstop.kore.session import Perform, make_perform
from bulkstop.model import ApiVersion, Attempt, CampaignType, Outcome, Scope
from bulkstop.naming import name_setting
from bulkstop.report.lists.check import CheckFacts, InputFacts, ScopeFacts
from bulkstop.runs import host
from bulkstop.runs.clients import ListedTargets
from bulkstop.runs.lists.discover import choose_types, list_scopes
from bulkstop.runs.lists.roster import run_by_account
from bulkstop.runs.lists.states import RUNNING_STATUSES, describe_failure, describe_scope, runs_now, scope_of
from bulkstop.runs.parts import Hooks, Parts, open_parts
from bulkstop.runs.stop.reading import describe_reading
from bulkstop.runs.wiring import describe_store, make_paths, make_transport
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.text import format_count

T = TypeVar("T")

FIRST_IDS = 5
"""Number of an input's ids that are shown."""
MOST_SCOPES = 8
"""Number of lists that a check reads; each takes a call from the quota of the campaigns to be stopped."""
_UNANSWERED = frozenset({Outcome.CONNECTION_ERROR, Outcome.TIMEOUT})


def check(settings: Settings, scopes: Sequence[Scope] = ()) -> dict[str, object]:
    """Return the results of reading a page of each list, as fields of `CheckFacts`.

    They include which API paths respond; an error is the `fault`.
    """
    facts: dict[str, object] = {}
    try:
        if not scopes or (settings.account_id and settings.stream_id):
            scopes = list(dict.fromkeys([*list_scopes(settings, choose_types(settings)), *scopes]))
        facts["more_scopes"] = len(scopes[MOST_SCOPES:])
        transport = DatedTransport(make_transport(settings))  # made outside the loop, which its imports would block
        host.run(_check(settings, transport, scopes[:MOST_SCOPES], facts), fast=False)
    except BulkstopError as fault:
        facts["fault"] = str(fault)
    return facts


def check_targets(settings: Settings, targets: ListedTargets) -> dict[str, object]:
    """Return the results of reading a page of each target's list, all accounts at once; the first error is `fault`.

    At most MOST_SCOPES lists of an account are read.
    """
    by_account: dict[tuple[str, str | None], list[Scope]] = {}
    for scope in targets.scopes:
        by_account.setdefault((scope.account_id, scope.profile), []).append(scope)
    asked = [scope for own in by_account.values() for scope in own[:MOST_SCOPES]]
    facts: dict[str, object] = {"more_scopes": len(targets.scopes) - len(asked)}
    try:
        pages = host.run(_check_all(settings, asked, targets), fast=False)
    except BulkstopError as fault:
        return facts | {"fault": str(fault)}
    facts["scopes"] = pages
    if faults := [page for page in pages if page.fault]:
        many = f"{len(faults)} of {format_count(len(pages), 'list')} cannot be read; the first: "
        facts["fault"] = f"{many}{faults[0].fault} ({faults[0].name})"
    return facts


async def _check_all(settings: Settings, scopes: Sequence[Scope], targets: ListedTargets) -> tuple[ScopeFacts, ...]:
    pages: dict[Scope, ScopeFacts] = {}
    async with open_parts(replace(settings, attempts=1), Hooks(others=targets.others)) as parts:

        async def read(scope: Scope) -> None:
            pages[scope] = _describe_page(scope, await _read_page(parts, scope))

        jobs = [(parts.accounts.name(scope), partial(read, scope)) for scope in scopes]
        await run_by_account(jobs, max(1, len(jobs)))
    return tuple(pages[scope] for scope in scopes)


def describe_settings(settings: Settings) -> CheckFacts:
    """Return what the settings alone say."""
    paths = make_paths(settings)
    stops = {CampaignType.VOICE: paths.voice, CampaignType.SMS: paths.sms}
    is_tls = settings.host.startswith("https")
    trust = f"TLS, verified against {settings.ca or 'the usual authorities'}"
    return CheckFacts(
        host=settings.host,
        tls=trust if is_tls else "plain http",
        api=settings.api,
        paths=tuple(f"{kind}: {path}" for kind, path in stops.items() if settings.type in (None, kind)),
        more_paths={
            "list": paths.list,
            "status": paths.status,
            "get": paths.get,
            "schedule": paths.schedule,
        },
        quota_store=describe_store(settings),
        way=(),
    )


def describe_inputs(plan: Plan, settings: Settings) -> tuple[InputFacts, list[Scope]]:
    """Return what `stop` would read of the inputs, and the scopes of its campaigns."""
    campaigns = [partial(plan.campaigns, account_id) for account_id in plan.accounts]
    first = islice((campaign for give in campaigns for campaign in give()), FIRST_IDS)
    scopes = list(dict.fromkeys(scope_of(campaign) for give in campaigns for campaign in give()))
    facts = InputFacts(
        rows=plan.rows,
        to_stop=plan.to_send,
        invalid=plan.held_invalid,
        held=sum(plan.held.values()) - plan.held.get(Outcome.INVALID, 0),
        first_ids=tuple(campaign.campaign_id for campaign in first),
        first_invalid=str(plan.first_invalid) if plan.held_invalid else None,
        forms=describe_reading(plan.understood, settings),
    )
    return facts, scopes


async def _check(
    settings: Settings, transport: "DatedTransport", scopes: Sequence[Scope], facts: dict[str, object]
) -> None:
    """Add the claims of the token, and a page of each list, to the facts."""
    async with open_parts(replace(settings, attempts=1), connect=lambda _: transport) as parts:
        token = await parts.tokens.get()
        facts["is_renewable"] = not settings.token
        facts["expires_in_s"] = None if token.expires_at is None else token.expires_at - time.time()
        pages: list[ScopeFacts] = []
        is_answered, answering = True, None
        campaign: tuple[Scope, str] | None = None
        for scope in scopes:
            page = await _read_page(parts, scope) if is_answered else None
            is_answered = is_answered and not (isinstance(page, Attempt) and page.outcome in _UNANSWERED)
            pages.append(_describe_page(scope, page))
            facts["scopes"] = tuple(pages)
            if isinstance(page, Attempt) and not any(each.fault for each in pages[:-1]):
                answering = await _find_version(parts, transport, scope, page)
            elif isinstance(page, Page) and page.items and campaign is None:
                campaign = scope, page.items[0].campaign_id
        facts["answers"] = await _try_campaign(parts, *campaign) if campaign else None
        facts["clock_s"] = transport.clock_s
    if fault := next((page for page in pages if page.fault), None):
        facts["fault"] = f"{fault.fault} ({fault.name})" if is_answered else fault.fault
    if answering is not None:
        facts["answering"] = answering.value
        remedy = _explain_version(settings, answering)
        facts["fault"] = f"the API answers as {answering}: {remedy}; {facts['fault']}"


async def _read_page(parts: Parts, scope: Scope, perform: Perform | None = None) -> Page | Attempt:
    call = list_call(scope, find_page(0), RUNNING_STATUSES, any_id=parts.settings.any_id)
    return await _call(parts, scope, call, perform)


async def _call(parts: Parts, scope: Scope, call: Call[T], perform: Perform | None = None) -> T | Attempt:
    caller = parts.accounts.of_run().caller_of(scope)
    return await caller.call(partial(perform or parts.perform, call))


async def _find_version(parts: Parts, transport: "DatedTransport", scope: Scope, failure: Attempt) -> ApiVersion | None:
    """Return the API version whose documented list path responds, if that of the settings failed for a reason but load.

    Raises a BulkstopError when no further call can be made.
    """
    if failure.http_status is None or failure.outcome is Outcome.THROTTLED:
        return None
    own = make_paths(parts.settings)
    for version, paths in reversed(DOCUMENTED.items()):
        if (paths.list, paths.is_account_named) != (own.list, own.is_account_named):
            page = await _read_page(parts, scope, _at(parts, transport, paths))
            if isinstance(page, Page):
                return version
    return None


def _explain_version(settings: Settings, answering: ApiVersion) -> str:
    """Return how to call the version that responds."""
    option, path = name_setting("api", answering), name_setting("list_path")
    if settings.list_path is None:
        return f"give {option}"
    return f"leave out {path}" if settings.api is answering else f"give {option}, and leave out {path}"


def _at(parts: Parts, transport: "DatedTransport", paths: Paths) -> Perform:
    return make_perform(transport.post, parts.tokens, paths)


async def _try_campaign(parts: Parts, scope: Scope, campaign_id: str) -> dict[str, str]:
    """Return for each call on one campaign, by name, whether its path responds."""
    status = await _call(parts, scope, status_call(scope, campaign_id))
    whole = await _call(parts, scope, get_call(scope, campaign_id))
    return {"status": _describe_reply(status), "get": _describe_reply(whole)}


def _describe_reply(reply: object) -> str:
    return describe_failure(reply) if isinstance(reply, Attempt) else "answers"


def _describe_page(scope: Scope, page: Page | Attempt | None) -> ScopeFacts:
    name = f"{describe_scope(scope)}, stream {scope.stream_id}"
    if page is None:
        return ScopeFacts(name)
    if isinstance(page, Attempt):
        return ScopeFacts(name, fault=describe_failure(page))
    running = sum(map(runs_now, page.items))
    return ScopeFacts(name, running, page.more)


class DatedTransport:
    """Wraps a transport, and measures how far this machine's clock is ahead of the service's."""

    def __init__(self, transport: Transport) -> None:
        self.clock_s: float | None = None
        self._transport = transport

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = BODY, cap: int = BODY_CAP
    ) -> Response | TransportFailure:
        """Make one exchange, and read its `Date` header."""
        response = await self._transport.post(target, headers, body, cap)
        if isinstance(response, Response) and response.date:
            self.clock_s = read_clock(response.date, time.time())
        return response


def read_clock(date: str, now: float) -> float | None:
    """Return the seconds that `now` is ahead of a `Date` header; None if the header is not a date."""
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, IndexError, OverflowError):
        return None
    return now - (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
