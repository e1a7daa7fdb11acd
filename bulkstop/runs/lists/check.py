"""Find out by a page of each list what the settings reach."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

from bulkstop.errors import BulkstopError
from bulkstop.kore.calls import SMS_PATH, VOICE_PATH, find_page, list_call
from bulkstop.kore.exchange import BODY, BODY_CAP, Response, Transport, TransportFailure
from bulkstop.kore.interpret import Page
from bulkstop.model import Attempt, Outcome, Scope
from bulkstop.report.lists.check import CheckFacts, InputFacts, ScopeFacts
from bulkstop.runs import host
from bulkstop.runs.lists.discover import choose_types, list_scopes
from bulkstop.runs.lists.states import RUNNING_STATUSES, describe_failure, describe_scope, runs_now, scope_of
from bulkstop.runs.parts import Parts, open_parts
from bulkstop.runs.stop.reading import describe_reading
from bulkstop.runs.wiring import describe_store, make_transport
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

FIRST_IDS = 5
"""How many ids of an input are shown."""
MOST_SCOPES = 8
"""Lists of which a page is read: a call each, out of the quota with which campaigns are to be stopped."""
_UNANSWERED = frozenset({Outcome.CONNECTION_ERROR, Outcome.TIMEOUT})


def check(settings: Settings, scopes: Sequence[Scope] = ()) -> dict[str, object]:
    """Return what a page of each list tells, as fields of `CheckFacts`: those of the settings, and of an input.

    Whatever is in the way is the `fault`.
    """
    facts: dict[str, object] = {}
    try:
        if not scopes or (settings.account_id and settings.stream_id):
            scopes = list(dict.fromkeys([*list_scopes(settings, choose_types(settings)), *scopes]))
        facts["more_scopes"] = len(scopes[MOST_SCOPES:])
        transport = DatedTransport(make_transport(settings))  # not in the loop, which its imports would hold up
        host.run(_check(settings, transport, scopes[:MOST_SCOPES], facts), fast=False)
    except BulkstopError as fault:
        facts["fault"] = str(fault)
    return facts


def describe_settings(settings: Settings) -> CheckFacts:
    """Return what the settings alone say."""
    paths = {"voice": settings.voice_path or VOICE_PATH, "sms": settings.sms_path or SMS_PATH}
    is_tls = settings.host.startswith("https")
    trust = f"TLS, verified against {settings.ca or 'the usual authorities'}"
    return CheckFacts(
        host=settings.host,
        tls=trust if is_tls else "plain http",
        paths=tuple(f"{kind}: {path}" for kind, path in paths.items() if settings.type in (None, kind)),
        quota_store=describe_store(settings),
        way=(),
    )


def describe_inputs(plan: Plan, settings: Settings) -> tuple[InputFacts, list[Scope]]:
    """Return what `stop` would read of the inputs, and the lists that have its campaigns."""
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
    """Add to the facts what the token says of itself, and a page of each list."""
    async with open_parts(replace(settings, attempts=1), connect=lambda _: transport) as parts:
        token = await parts.tokens.get()
        facts["is_renewable"] = not settings.token
        facts["expires_in_s"] = None if token.expires_at is None else token.expires_at - time.time()
        pages: list[ScopeFacts] = []
        is_answered = True
        for scope in scopes:
            page = await _read_page(parts, scope) if is_answered else None
            is_answered = is_answered and not (isinstance(page, Attempt) and page.outcome in _UNANSWERED)
            pages.append(_describe_page(scope, page))
            facts["scopes"] = tuple(pages)
        facts["clock_s"] = transport.clock_s
    if fault := next((page for page in pages if page.fault), None):
        facts["fault"] = f"{fault.fault} ({fault.name})" if is_answered else fault.fault


async def _read_page(parts: Parts, scope: Scope) -> Page | Attempt:
    call = list_call(scope, find_page(0), RUNNING_STATUSES, any_id=parts.settings.any_id)
    return await parts.accounts.of_run().caller(scope.account_id).call(partial(parts.perform, call))


def _describe_page(scope: Scope, page: Page | Attempt | None) -> ScopeFacts:
    name = f"{describe_scope(scope)}, stream {scope.stream_id}"
    if page is None:
        return ScopeFacts(name)
    if isinstance(page, Attempt):
        return ScopeFacts(name, fault=describe_failure(page))
    running = sum(map(runs_now, page.items))
    return ScopeFacts(name, running, page.more)


class DatedTransport:
    """Carries calls as another transport does, and notes how far this machine's clock is ahead of the service's."""

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
        """Make one exchange."""
        response = await self._transport.post(target, headers, body, cap)
        if isinstance(response, Response) and response.date:
            self.clock_s = read_clock(response.date, time.time())
        return response


def read_clock(date: str, now: float) -> float | None:
    """Return the seconds that `now` is ahead of a `Date` header; None when that is none."""
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, IndexError, OverflowError):
        return None
    return now - (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
