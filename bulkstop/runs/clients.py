"""The profiles of a run: the client that makes the calls of each, and the accounts that each reaches.

A client belongs to a profile: its settings, transport, tokens and paths. Quota, back-off, claim and lane belong to an
account, in `Accounts` (wiring.py). Each call names its profile, and so its client; code that has a campaign or a list
to call for need not know that there are several.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from bulkstop.errors import BulkstopError, CredentialsError, SettingsError
from bulkstop.events import Observe
from bulkstop.kore.calls import Call, HasScope
from bulkstop.kore.exchange import Transport
from bulkstop.kore.session import Perform, make_perform
from bulkstop.kore.token import Tokens
from bulkstop.model import Attempt, Outcome, RetryHint, Scope
from bulkstop.redact import REDACTOR
from bulkstop.runs.wiring import (
    Terms,
    find_proxy,
    import_transport,
    list_secrets,
    make_paths,
    make_tokens,
    open_quota_store,
)
from bulkstop.settings import Settings
from bulkstop.settings.targets import Profiles
from bulkstop.source.plan import Plan

T = TypeVar("T")
Connect = Callable[[Settings], Transport]
"""Makes a transport with `settings.concurrency` connections."""


@dataclass(frozen=True, slots=True)
class Others:
    """The profiles of a run besides its own, by name."""

    profiles: Mapping[str, Settings] = field(default_factory=dict)
    is_own_used: bool = True
    """Whether any call uses the credentials of the run's own profile."""


class ListedTargets(NamedTuple):
    """The lists of a command's targets, and the profiles besides its own that read them."""

    scopes: Sequence[Scope]
    others: Others


class Client(NamedTuple):
    """Makes the calls of one profile."""

    settings: Settings
    tokens: Tokens
    perform: Perform


def choose_others(profiles: Profiles, where: Iterable[HasScope]) -> Others:
    """Return the profiles of these scopes that are not the command's own."""
    used = {each.profile for each in where}
    others = {name: settings for name, settings in profiles.others.items() if name in used}
    return Others(others, is_own_used=any(name not in others for name in used))


def plan_others(profiles: Profiles, plan: Plan) -> Others | None:
    """Return the profiles that the campaigns of a plan name; None if they name only the command's own."""
    if not profiles.others:
        return None
    first = map(plan.first, plan.accounts)
    return replace(choose_others(profiles, first), profiles=dict(profiles.others))


async def open_clients(
    others: Others, settings: Settings, connect: Connect, observe: Observe, opened: AsyncExitStack
) -> Mapping[str, "Client | SettingsError | CredentialsError"]:
    """Open a client for each other profile; profiles with the same connection settings share a transport.

    A profile without usable credentials maps to its error, so that it does not stop the others.
    """
    transports: dict[object, Transport] = {}
    clients: dict[str, Client | SettingsError | CredentialsError] = {}
    for name, its in others.profiles.items():
        for word in list_secrets(its):
            REDACTOR.add(word)
        its_own = replace(its, concurrency=settings.concurrency, transport=its.transport or settings.transport)
        try:
            way = (its.host, its.timeout_s, its.ca, its.cert, its.key, find_proxy(its), its_own.transport)
            tokens = make_tokens(its, observe)
            if way not in transports:
                await import_transport(its_own)
                transports[way] = await opened.enter_async_context(connect(its_own))
        except (SettingsError, CredentialsError) as fault:
            clients[name] = fault
            continue
        clients[name] = Client(its, tokens, make_perform(transports[way].post, tokens, make_paths(its)))
    return clients


async def open_terms(
    others: Others, settings: Settings, observe: Observe, opened: AsyncExitStack
) -> Mapping[str, Terms]:
    """Open the limits of the other profiles, by name; profiles of the same service share one store."""
    by_service: dict[object, Terms] = {}
    terms: dict[str, Terms] = {}
    for name, its in others.profiles.items():
        its_own = replace(its, quota_store=settings.quota_store)
        service = (its.host, its.quota, its.pace, its.adaptive, its.timeout_s, its.attempts, its.max_retry_after_s)
        if service not in by_service:
            store = await opened.enter_async_context(open_quota_store(its_own, observe))
            by_service[service] = Terms(its_own, store)
        terms[name] = by_service[service]
    return terms


def route_calls(own: Perform, clients: Mapping[str, "Client | SettingsError | CredentialsError"]) -> Perform:
    """Return a function that sends each call through its profile's client; without a token only these calls fail."""

    async def perform(call: Call[T], /) -> T | Attempt:
        name = call.where.profile
        client = None if name is None else clients.get(name)
        try:
            if isinstance(client, BulkstopError):
                raise client
            answer = await (own if client is None else client.perform)(call)
        except (CredentialsError, SettingsError) as fault:
            whose = f"profile {name}: " if client is not None else ""
            return Attempt(Outcome.UNAUTHORIZED, error=f"{whose}{fault}", has_left=False)
        if isinstance(answer, Attempt) and answer.again is RetryHint.NEVER:  # others may have a token
            return answer._replace(again=RetryHint.NO)
        return answer

    return perform
