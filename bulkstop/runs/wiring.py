"""Makes the parts of a run from its settings: transport, tokens, limits, guards."""

import asyncio
import errno
import logging
import math
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit, urlunsplit

from bulkstop.engine.caller import Caller, OnRest, ignore_rest
from bulkstop.engine.followup import FollowUp
from bulkstop.engine.guards.admission import Admission, parse_waves
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.guards.guards import Guards
from bulkstop.engine.guards.scopes import ScopeBreaker
from bulkstop.engine.lanes import Claim, Lane, Turn
from bulkstop.engine.limits.blocks import Blocks
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.estimate import Places, Stored
from bulkstop.engine.limits.quota import AllOf, EvenPacer, NoQuota, Quota, RollingWindow
from bulkstop.engine.limits.store import is_server, open_store
from bulkstop.engine.limits.timetable import Reserve, Timetable, plan_backwards, spread_evenly
from bulkstop.engine.limits.windows import add_safety_margin
from bulkstop.engine.pacing.auto import AutoPacer
from bulkstop.engine.pacing.overload import Overload
from bulkstop.engine.rest import AccountRest
from bulkstop.engine.retry import Retry
from bulkstop.engine.tasks import import_beside
from bulkstop.errors import CredentialsError, QuotaError, SettingsError
from bulkstop.events import AttemptBroken, AttemptEnded, Observe, TokenRenewed
from bulkstop.kore import token
from bulkstop.kore.calls import DOCUMENTED, HasScope, Paths
from bulkstop.kore.exchange import Transport
from bulkstop.kore.session import Classify, Perform, make_stop
from bulkstop.model import Attempt, Campaign, Pace, Send
from bulkstop.naming import name_setting, name_variable
from bulkstop.redact import REDACTOR, find_passwords, find_url_secrets, hide_password
from bulkstop.report.log import LOG, log_event
from bulkstop.report.store import SharedBy, StoreFacts
from bulkstop.settings import Settings
from bulkstop.settings.finish_by import explain_moment
from bulkstop.settings.load import list_open_variables
from bulkstop.settings.parse import TransportName
from bulkstop.settings.targets import account_id_of, name_account
from bulkstop.source.plan import Plan
from bulkstop.text import decode_secret, format_count, shorten
from bulkstop.version import __version__

if TYPE_CHECKING:
    from bulkstop.kore.aiohttp_transport import AiohttpTransport
    from bulkstop.kore.wire.transport import WireTransport

SECRET_BYTES = 64 * 1024

MEMORY = "memory"
SAME_REST_S = 1.0
"""Two waits of an account that end within these seconds of each other are reported as one."""
LEASE_S = 5.0
"""Seconds that a call may take beyond its timeout, from taking its place in the quota.

The place may first be held in a block, and the call may wait for a token.
"""


def make_transport(settings: Settings) -> Transport:
    """Return the transport in the settings, aiohttp's by default; it connects only inside its `async with`."""
    return _transport_class(settings.transport or TransportName.AIOHTTP)(
        settings.host,
        timeout_s=settings.timeout_s,
        connect_timeout_s=min(10.0, settings.timeout_s),
        connections=settings.concurrency,
        ca=settings.ca,
        cert=settings.cert,
        key=settings.key,
        proxy=find_proxy(settings),
        user_agent=f"bulkstop/{__version__}",
    )


async def import_transport(settings: Settings) -> None:
    """Import what the transport in the settings needs, aiohttp by default, without blocking the event loop."""
    if settings.transport != TransportName.WIRE:
        await import_beside("aiohttp")


def check_tls_files(settings: Settings) -> None:
    """Raise SettingsError for an unusable file of authorities or of a client certificate."""
    if settings.ca or settings.cert:
        from bulkstop.kore.connect.tls import TlsFiles, make_tls_context  # runs without such files do not need it yet

        make_tls_context(TlsFiles(settings.ca, settings.cert, settings.key))


def find_proxy(settings: Settings) -> str | None:
    """Return the proxy's URL with its password, from whichever setting has it; raises CredentialsError."""
    password = settings.proxy_password
    if settings.proxy is None or not (password or settings.proxy_password_file):
        return settings.proxy
    password = password or _read_secret("proxy_password_file", settings.proxy_password_file or "")
    parts = urlsplit(settings.proxy)
    user, _, place = parts.netloc.rpartition("@")
    login = f"{user.removesuffix(':')}:{quote(password, safe='')}"
    proxy = urlunsplit(parts._replace(netloc=f"{login}@{place}"))
    for word in find_passwords(proxy):
        REDACTOR.add(word)
    return proxy


def make_paths(settings: Settings) -> Paths:
    """Return the paths of calls: those in the settings, else the documented ones of the API version."""
    documented = DOCUMENTED[settings.api]
    return documented._replace(
        voice=settings.voice_path or documented.voice,
        sms=settings.sms_path or documented.sms,
        list=settings.list_path or documented.list,
        status=settings.status_path or documented.status,
        get=settings.get_path or documented.get,
        schedule=settings.schedule_path or documented.schedule,
    )


def make_send(perform: Perform, classify: Classify | None = None) -> Send:
    """Return the function that stops campaigns; it logs each attempt at debug level."""
    send = make_stop(perform, classify=classify)
    return observe_attempts(send, log_event) if LOG.isEnabledFor(logging.DEBUG) else send


def observe_attempts(send: Send, observe: Observe) -> Send:
    """Return a `Send` that reports every attempt to an observer."""

    async def send_and_observe(campaign: Campaign) -> Attempt:
        ids = campaign.campaign_id, campaign.account_id, campaign.campaign_type.value
        try:
            attempt = await send(campaign)
        except BaseException as error:
            observe(AttemptBroken(*ids, type(error).__name__))
            raise
        observe(
            AttemptEnded(
                *ids,
                outcome=attempt.outcome.value,
                http_status=attempt.http_status,
                latency_ms=attempt.latency_ms,
                again=attempt.again.value,
                retry_after_s=attempt.retry_after_s,
                message=attempt.message,
                error=attempt.error,
            )
        )
        return attempt

    return send_and_observe


def _transport_class(name: TransportName) -> "type[AiohttpTransport] | type[WireTransport]":
    # Imported where needed: aiohttp alone takes longer than the rest of a start-up.
    if name == TransportName.WIRE:
        from bulkstop.kore.wire.transport import WireTransport

        return WireTransport
    from bulkstop.kore.aiohttp_transport import AiohttpTransport

    return AiohttpTransport


def make_tokens(settings: Settings, observe: Observe = log_event) -> token.Tokens:
    """Return the tokens of the settings; raises SettingsError without credentials."""
    if settings.token:
        return token.Tokens(token.static_source(settings.token, name_variable("token")), renewable=False)
    if settings.token_file:
        return token.Tokens(watch_tokens(token.file_source(settings.token_file), observe), renewable=True)
    if settings.token_command:
        source = token.command_source(settings.token_command, environment=list_open_variables())
        return token.Tokens(watch_tokens(source, observe), renewable=True)
    if settings.client_id and (settings.client_secret or settings.client_secret_file):
        return token.Tokens(_make_signing_source(settings, settings.client_id), single_use=settings.jti, renewable=True)
    variable, client_id, secret = map(name_variable, ("token", "client_id", "client_secret"))
    file, command, secret_file = map(name_setting, ("token_file", "token_command", "client_secret_file"))
    raise SettingsError(
        f"no credentials: set {variable}, give {file} or {command}, or set {client_id} with {secret} or {secret_file}"
    )


def has_token_command(settings: Settings) -> bool:
    """Return whether tokens come from a command."""
    return bool(settings.token_command and not settings.token and not settings.token_file)


def check_token_command(settings: Settings) -> None:
    """Raise CredentialsError if the program of the token command does not exist; it is not run."""
    token.check_command(settings.token_command or "", environment=list_open_variables())


async def open_and_close(part: AbstractAsyncContextManager[object]) -> None:
    """Open and close a part, and raise the error that prevents it."""
    async with part:
        pass


def watch_tokens(source: token.TokenSource, observe: Observe) -> token.TokenSource:
    """Hide each new token from all output, and report when it differs from the one before."""
    last = ""

    async def mint() -> str:
        nonlocal last
        value = await source()
        REDACTOR.add(value)
        if last not in ("", value):
            observe(TokenRenewed())
        last = value
        return value

    return mint


def _make_signing_source(settings: Settings, client_id: str) -> token.TokenSource:
    secret = settings.client_secret or _read_secret("client_secret_file", settings.client_secret_file or "")
    algorithm = cast("token.Algorithm", settings.jwt_alg)
    sign = token.signing_source(client_id, secret, algorithm, settings.jwt_sub, jti=settings.jti)

    async def mint() -> str:
        await import_beside("jwt")
        return await sign()

    return mint


def _read_secret(name: str, path: str) -> str:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            secret = decode_secret(file.read(SECRET_BYTES + 1))
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise CredentialsError(f" {path}: cannot be read ({said})", setting=name) from None
    REDACTOR.add(secret)
    if not 0 < len(secret) <= SECRET_BYTES:
        raise CredentialsError(f" {path}: is empty, or not a secret", setting=name)
    return secret


def _open_at_once(path: str, flags: int) -> int:
    """Open a regular file; others are refused, because reading them might block or never end."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def list_secrets(settings: Settings) -> list[str]:
    """Return the secrets in settings: credentials, and the passwords in URLs."""
    given = (settings.token, settings.client_secret, settings.token_command, settings.proxy_password)
    addresses = (settings.proxy, settings.quota_store)
    receivers = (*settings.notify, *settings.on_success, *settings.on_failure)
    return [
        *filter(None, given),
        *(word for url in addresses if url for word in find_passwords(url)),
        *(word for url in receivers for word in find_url_secrets(url)),
    ]


def make_guards(
    settings: Settings,
    to_send: int,
    observe: Observe = log_event,
    account_of: Callable[[Campaign], str] = attrgetter("account_id"),
) -> Guards[Turn]:
    """Return the guards of one run; raises SettingsError for impossible waves."""
    waves = plan_waves(settings, to_send)
    admission = None
    if settings.max_failures is not None or len(waves) > 1:
        admission = Admission(settings.max_failures, waves=waves, soak_s=settings.soak_s, observe=observe)
    breaker = Breaker(bound_s=settings.max_outage_s, observe=observe, awake_s=time.monotonic)
    return Guards(admission, breaker, ScopeBreaker(can_list=True, account_of=account_of))


def plan_waves(settings: Settings, to_send: int) -> list[int]:
    """Return the number of campaigns at the end of each wave, without waves a single one; raises SettingsError."""
    if settings.waves is None:
        return [to_send]
    try:
        return parse_waves(settings.waves, to_send)
    except ValueError as error:
        raise SettingsError(f": {error}", setting="waves") from None


def check_time(settings: Settings) -> float | None:
    """Return the seconds left to finish by, None without a deadline; raises SettingsError when it has passed."""
    now = datetime.now(UTC)
    if settings.finish_by is not None and (fault := explain_moment(settings.finish_by, settings.tz, now)):
        raise SettingsError(f" {fault}; nothing was sent", setting="finish_by")
    return settings.seconds_left(now)


def find_end(settings: Settings) -> float:
    """Return the moment to finish by in unix seconds, inf without one; raises SettingsError when it has passed.

    Compare it with the wall clock repeatedly: a timer does not notice a clock that is set, or a machine that sleeps.
    """
    seconds_left = check_time(settings)
    return math.inf if seconds_left is None else time.time() + seconds_left


def check_size(settings: Settings, listed: int) -> None:
    """Raise SettingsError for a list with more campaigns to stop than the settings allow."""
    if settings.max_campaigns is not None and listed > settings.max_campaigns:
        raise SettingsError(
            f" {settings.max_campaigns}: the list has {format_count(listed, 'campaign')} to stop; nothing was sent",
            setting="max_campaigns",
        )


def check_accounts(settings: Settings, accounts: Collection[str]) -> None:
    """Raise SettingsError for a list with campaigns of more accounts than expected."""
    if settings.expect_accounts is not None and len(accounts) > settings.expect_accounts:
        named = ", ".join(map(shorten, islice(accounts, settings.expect_accounts + 1)))
        raise SettingsError(
            f" {settings.expect_accounts}: the list has campaigns of {format_count(len(accounts), 'account')} ({named}"
            f"{', ...' if len(accounts) > settings.expect_accounts + 1 else ''}); nothing was sent",
            setting="expect_accounts",
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits of an account's calls: the settings of its profile, and the store of its calls.

    `overload` detects whether the service is overloaded, for all of its accounts.
    """

    settings: Settings
    store: Blocks | None
    overload: Overload = field(default_factory=Overload)

    @property
    def is_paced(self) -> bool:
        """Whether a quota of these accounts learns its pace."""
        settings = self.settings
        return settings.adaptive or (bool(settings.quota) and settings.pace == Pace.AUTO)


class Accounts:
    """The limits, store claim and back-off of each account, in one place for all of its calls.

    An account is identified by its `name`, which is one per account and host, whichever profiles reach it. `drained`,
    once set, ends the waits of every caller; `rests` gets each wait. `terms` are those of the other profiles, by name;
    an account has the terms of the profile that names it first.
    """

    def __init__(
        self,
        settings: Settings,
        store: Blocks | None,
        *,
        drained: asyncio.Event | None = None,
        rests: OnRest = ignore_rest,
        terms: Mapping[str, Terms] | None = None,
    ) -> None:
        self._own = Terms(settings, store)
        self._profiles = terms or {}
        self._terms: dict[str, Terms] = {}
        self._drained = drained
        self._rests = rests
        self._quotas: dict[str, Quota] = {}
        self._account_rests: dict[str, AccountRest] = {}
        self._callers: dict[str, Caller] = {}
        self._told_rests: dict[tuple[str, str], float] = {}

    def of_run(self, *, drained: asyncio.Event | None = None, rests: OnRest = ignore_rest) -> "Accounts":
        """Return the same accounts for one of several runs: limits are shared, callers are its own."""
        own = Accounts(self._own.settings, None, drained=drained, rests=rests, terms=self._profiles)
        own._quotas, own._account_rests, own._own = self._quotas, self._account_rests, self._own
        own._terms = self._terms
        return own

    def reopen(self, store: Blocks | None, terms: Mapping[str, Terms] | None = None) -> "Accounts":
        """Return the same accounts for other calls of the process, counted in newly opened stores."""
        own = Accounts(self._own.settings, store, terms=terms)
        own._quotas, own._account_rests = self._quotas, self._account_rests
        own._own = replace(self._own, store=store)
        return own

    def name(self, where: HasScope) -> str:
        """Return the name of the account of a call."""
        if not self._profiles:
            return where.account_id
        terms = self._own if where.profile is None else self._profiles.get(where.profile, self._own)
        name = name_account(where.account_id, terms.settings, self._own.settings)
        self._terms.setdefault(name, terms)
        return name

    def note_first(self, plan: Plan) -> None:
        """Record which profile reaches each account of a plan."""
        for name in plan.accounts if self._profiles else ():
            self.name(plan.first(name))

    def terms(self, account_id: str) -> Terms:
        """Return the terms of an account."""
        return self._terms.get(account_id, self._own)

    def quota(self, account_id: str) -> Quota:
        """Return the quota of an account, always the same object."""
        if account_id not in self._quotas:
            terms = self.terms(account_id)
            self._quotas[account_id] = make_quota(terms.settings, terms.overload)
        return self._quotas[account_id]

    def read_ages(self, account_id: str) -> list[float]:
        """Return the ages in seconds of the calls of an account that its quota still counts."""
        now = elapsed_s()
        shared = [each for each in self.quota(account_id).places(now, 0.0) if each.is_shared]
        longest = max(shared, key=lambda each: each.hold_s, default=None)
        return [] if longest is None else [now - (until - longest.hold_s) for until in longest.taken_until]

    def claim(self, account_id: str) -> Claim | None:
        """Return the account's claim on the store; None without a store."""
        store = self.terms(account_id).store
        return None if store is None else store.account(account_id_of(account_id))

    async def read_stored(self, account_ids: Iterable[str], now: Callable[[], float]) -> dict[str, Stored]:
        """Return the calls of these accounts in the store; omit those without a store, or with one that fails."""
        by_store: dict[Blocks, list[str]] = {}
        for account_id in account_ids:
            if (store := self.terms(account_id).store) is not None:
                by_store.setdefault(store, []).append(account_id)
        stored: dict[str, Stored] = {}
        for store, asked in by_store.items():
            with suppress(QuotaError):  # the first claim reports it
                ages, at = await store.read_ages(list(map(account_id_of, asked))), now()
                stored |= {
                    account_id: Stored(at, tuple(at - age for age in each))
                    for account_id, each in zip(asked, ages, strict=True)
                }
        return stored

    def rest(self, account_id: str) -> AccountRest:
        """Return the back-off of an account, always the same object."""
        return self._account_rests.setdefault(account_id, AccountRest())

    def lane(
        self,
        account_id: str,
        campaigns: Iterable[Campaign],
        *,
        left: int = 0,
        follow_up: Callable[[Campaign], FollowUp] | None = None,
        due_of: Callable[[Campaign], float] | None = None,
        timetable: Timetable | None = None,
    ) -> Lane:
        """Return a lane of an account, within its limits; it leaves places for the calls of a timetable."""
        quota, claim, rest = self.quota(account_id), self.claim(account_id), self.rest(account_id)
        if timetable is not None:
            quota = AllOf((quota, Reserve(quota, timetable, elapsed_s, time.time)))
        return Lane(
            account_id,
            campaigns,
            quota,
            claim,
            left=left,
            paces_itself=self.terms(account_id).is_paced,
            rest=rest,
            follow_up=follow_up,
            due_of=due_of,
        )

    def plan_backwards(self, account_id: str, moments: Sequence[float]) -> Sequence[float]:
        """Return when the calls of an account with these moments must be sent, by the quota of its profile."""
        return plan_backwards(moments, list_planned_places(self.terms(account_id).settings))

    def caller_of(self, where: HasScope) -> Caller:
        """Return the caller for the account of a scope or a campaign."""
        return self.caller(self.name(where))

    def caller(self, account_id: str) -> Caller:
        """Return the caller of single calls for an account, always the same object."""
        if account_id not in self._callers:
            terms = self.terms(account_id)
            self._callers[account_id] = Caller(
                self.quota(account_id),
                self.claim(account_id),
                retry=Retry(terms.settings.attempts, max_retry_after_s=terms.settings.max_retry_after_s),
                paces_itself=terms.is_paced,
                rest=self.rest(account_id),
                drained=self._drained,
                rests=partial(self._tell_rest, account_id),
            )
        return self._callers[account_id]

    def _tell_rest(self, account_id: str, seconds: float, why: str) -> None:
        """Report a wait of an account, unless one with the same reason and about the same end was reported."""
        until = elapsed_s() + seconds
        if until > self._told_rests.get((account_id, why), 0.0) + SAME_REST_S:
            self._told_rests[account_id, why] = until
            self._rests(seconds, f"account {account_id}: {why}")


def list_planned_places(settings: Settings) -> list[Places]:
    """Return the limits that planned calls of an account must keep; they are spread evenly if bursts may be refused."""
    places = make_quota(settings).places(0.0, 0.0) if settings.quota else []
    if settings.pace == Pace.AUTO:
        places = spread_evenly(places)
    return [*places, Places(settings.concurrency, 1.0)]


def make_quota(settings: Settings, overload: Overload | None = None) -> Quota:
    """Return the quota of one account; `overload` is shared by all accounts of a service."""
    quotas: list[Quota] = []
    if settings.quota:
        limits = [add_safety_margin(limit) for limit in settings.quota]
        is_learnt = settings.pace == Pace.AUTO and not settings.adaptive
        quotas.append(AutoPacer(limits, overload) if is_learnt else RollingWindow(limits))
        if settings.pace == Pace.EVEN:
            quotas.append(EvenPacer(settings.quota))
    if settings.adaptive:
        from bulkstop.engine.pacing.adaptive import Adaptive  # short runs need not import it

        quotas.append(Adaptive())
    if len(quotas) > 1:
        return AllOf(quotas)
    return quotas[0] if quotas else NoQuota()


def describe_store(settings: Settings) -> StoreFacts | None:
    """Return where calls are counted, and who shares that; None without a quota."""
    where = settings.quota_store or MEMORY
    if not settings.quota:
        return None
    if where == MEMORY:
        return StoreFacts(MEMORY, SharedBy.RUN)
    if is_server(where):
        return StoreFacts(hide_password(where).partition("?")[0], SharedBy.SERVER)
    from bulkstop.engine.limits.store_file import is_shared

    return StoreFacts(where, SharedBy.GROUP if is_shared(where) else SharedBy.USER)


@asynccontextmanager
async def open_quota_store(settings: Settings, observe: Observe = log_event) -> AsyncIterator[Blocks | None]:
    """Open the store of calls, None if there is no quota to store; raises SettingsError."""
    if not settings.quota or settings.quota_store in (None, MEMORY):
        yield None
        return
    where, host, lease_s = settings.quota_store, settings.host, settings.timeout_s + LEASE_S
    blocks = Blocks(
        await open_store(where, host=host, limits=settings.quota, lease_s=lease_s, observe=observe), observe
    )
    try:
        yield blocks
    finally:
        await blocks.close()
