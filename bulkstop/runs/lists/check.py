"""Find out by one page of a list what the settings reach."""

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
from bulkstop.model import Attempt, Outcome
from bulkstop.report.lists.check import CheckFacts, InputFacts
from bulkstop.runs import host
from bulkstop.runs.lists.discover import USUAL_STATUS, choose_types, list_scopes
from bulkstop.runs.lists.states import describe_failure, describe_scope
from bulkstop.runs.parts import open_parts
from bulkstop.runs.stop.plan import make_plan
from bulkstop.runs.wiring import describe_store, make_transport
from bulkstop.settings import Settings

FIRST_IDS = 5
"""How many ids of an input are shown."""


def check(settings: Settings, inputs: Sequence[str] = (), *, fmt: str | None = None) -> dict[str, object]:
    """Return what one page of the list of the settings tells, as fields of `CheckFacts`; one call at most is made.

    Raises a BulkstopError for inputs that cannot be read; whatever else is in the way is the `fault`.
    """
    facts: dict[str, object] = {"read": read_inputs(inputs, settings, fmt)} if inputs else {}
    try:
        facts |= host.run(_check(settings, facts), fast=False)
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
        scope=None,
        paths=tuple(f"{kind}: {path}" for kind, path in paths.items() if settings.type in (None, kind)),
        quota_store=describe_store(settings),
        way=(),
    )


def read_inputs(inputs: Sequence[str], settings: Settings, fmt: str | None) -> InputFacts:
    """Return what `stop` would read of the inputs; raises InputError for what cannot be read to its end."""
    with make_plan(inputs, settings, fmt=fmt) as plan:
        campaigns = (campaign for account_id in plan.accounts for campaign in plan.campaigns(account_id))
        first = list(islice(campaigns, FIRST_IDS))
        return InputFacts(
            rows=plan.rows,
            to_stop=plan.to_send,
            invalid=plan.held_invalid,
            held=sum(plan.held.values()) - plan.held.get(Outcome.INVALID, 0),
            first_ids=tuple(campaign.campaign_id for campaign in first),
            first_invalid=str(plan.first_invalid) if plan.held_invalid else None,
            columns=tuple(first[0].row or ()) if first else (),
        )


async def _check(settings: Settings, facts: dict[str, object]) -> dict[str, object]:
    scope = list_scopes(settings, choose_types(settings))[0]
    facts["scope"] = f"{describe_scope(scope)}, stream {scope.stream_id}"
    dated: list[DatedTransport] = []

    def connect(of: Settings) -> Transport:
        dated.append(DatedTransport(make_transport(of)))
        return dated[0]

    async with open_parts(replace(settings, attempts=1), connect=connect) as parts:
        token = await parts.tokens.get()
        facts["is_renewable"] = not settings.token
        facts["expires_in_s"] = None if token.expires_at is None else token.expires_at - time.time()
        call = list_call(scope, find_page(0), (USUAL_STATUS,), any_id=settings.any_id)
        page = await parts.accounts.of_run().caller(scope.account_id).call(partial(parts.perform, call))
        facts["clock_s"] = dated[0].clock_s
    if isinstance(page, Attempt):
        return {"fault": describe_failure(page)}
    running = sum((item.status or "").lower() == USUAL_STATUS.lower() for item in page.items)
    return {"is_listed": True, "running": running, "has_more": page.more}


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
