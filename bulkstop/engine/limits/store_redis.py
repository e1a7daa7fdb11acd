"""The windows in a Redis server, shared by machines.

Imported when such a store is opened, not before: the package redis is an extra, and takes as long as aiohttp.
"""

import asyncio
import hashlib
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis.asyncio
from pyrate_limiter import Decision, Rate, RateItem, RedisBucket
from pyrate_limiter.buckets.redis_bucket import LuaScript
from redis import exceptions
from redis._parsers import _AsyncRESP2Parser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bulkstop.engine.limits.windows import StoreUnavailableError, Window, key_of, suggest_store
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.redact import encodings
from bulkstop.text import shorten

ANSWER_S = 2.0
"""How long the server may take to accept a connection, and how long to answer."""
ASK_S = 5.0
"""How long a question may take in all: to connect and log in, to ask, and to ask again."""
MOST_BYTES = 64 * 1024
"""The longest text that an answer may have; those to our scripts are numbers."""
CONNECTIONS = 16
FORM = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss://... or unix:///PATH"
INSTEAD = "another server or a path"
MAY_PASS = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    OSError,
)
WILL_NOT = (exceptions.AuthenticationError, exceptions.AuthorizationError)
"""What redis-py counts among the connection errors, but no waiting helps against."""
GARBAGE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""What redis-py and pyrate-limiter raise at an answer that no Redis server gives."""

# `calls` is the log of an account, `notes` says how far its time is ahead of the server's clock and for how long its
# calls are kept: for the longest window that anybody has asked for. The time is read where the calls are counted, so
# no delay comes between, and it is never behind a call that was counted, so a clock that is set back does no harm.
READ_TIME = """
local calls, notes = KEYS[1], KEYS[1] .. ':notes'
local time = redis.call('TIME')
local noted = redis.call('HMGET', notes, 'ahead', 'keep')
local ahead, keep = tonumber(noted[1]) or 0, tonumber(noted[2]) or 0
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ahead
local newest = tonumber(redis.call('ZRANGE', calls, -1, -1, 'WITHSCORES')[2]) or now
if newest > now then
    ahead, now = ahead + newest - now, newest
end
"""

ORIGIN_MS = 2**52
"""What pyrate-limiter is told the time is: whatever is about as large is a time, and is moved to the server's."""

# pyrate-limiter's own script, in the middle, gets its times and its answer moved.
CLAIM = f"""
local ORIGIN = {ORIGIN_MS}
{READ_TIME}
local function text(number) return string.format('%.0f', number) end
local shift = now - ORIGIN
for i, value in ipairs(ARGV) do
    local at = tonumber(value)
    if at and at > ORIGIN / 2 then
        keep = math.max(keep, ORIGIN - at)
        ARGV[i] = text(at + shift)
    end
end
redis.call('ZREMRANGEBYSCORE', calls, '-inf', '(' .. text(now - keep))
local function put()
{LuaScript.PUT_ITEM}
end
local reply = put()
if reply[2] >= 0 then
    reply[2] = reply[2] - shift
end
redis.call('HSET', notes, 'ahead', text(ahead), 'keep', text(keep))
redis.call('PEXPIRE', calls, text(keep + 1000))
redis.call('PEXPIRE', notes, text(keep + 1000))
return reply
"""

CLAIM_SHA1 = hashlib.sha1(CLAIM.encode(), usedforsecurity=False).hexdigest()
"""What a server calls the script."""

ROOM = f"""
{READ_TIME}
local room = math.huge
for i = 1, #ARGV, 2 do
    room = math.min(room, ARGV[i] - redis.call('ZCOUNT', calls, now - ARGV[i + 1], '+inf'))
end
return math.max(room, 0)
"""

AGES = f"""
{READ_TIME}
local ages = {{}}
local found = redis.call('ZRANGEBYSCORE', calls, now - ARGV[1], '+inf', 'WITHSCORES')
for i = 2, #found, 2 do
    ages[#ages + 1] = now - tonumber(found[i])
end
return ages
"""


class RedisStore:
    """Windows in the server at `url`; a connection that breaks is made anew, and a password is never shown.

    A server that forgets its data, as one does that has no disk or too little memory, forgets the windows too. One that
    answers what our scripts do not return is not believed.
    """

    def __init__(self, url: str, server: str, windows: Sequence[Window]) -> None:
        parts = _check_url(url)
        self._shown = _show_url(parts)
        self._secrets = _secrets(parts)
        self._server = server
        self._windows = windows
        self._buckets: dict[str, RedisBucket] = {}
        try:
            self._client = _client(url)
            self._client.connection_pool.make_connection()  # which reads those settings
        except (TypeError, ValueError):  # not quoted: what is wrong may be a part of the password
            why = f"a setting in the URL is wrong; {suggest_store(INSTEAD)}"
            raise SettingsError(f" {self._shown}: {why}", setting="quota_store") from None

    async def open(self) -> None:
        """Reach the server once, before anything is sent; raises SettingsError when it cannot be used."""
        try:
            async with self._asking(SettingsError):
                await self._load_script()
        except BaseException:
            await self.close()
            raise

    async def claim(self, account_id: str) -> float:
        """Count a call or return the seconds to wait; raises StoreUnavailableError while the server does not answer."""
        bucket = self._bucket(account_id)
        async with self._asking(QuotaError):
            try:
                decision = await _put(bucket)
            except exceptions.NoScriptError:  # the server was started anew
                await self._load_script()
                decision = await _put(bucket)
            return _wait_s(decision)

    async def room(self, account_id: str) -> int:
        """Tell how many calls could leave right now; raises StoreUnavailableError while the server does not answer."""
        numbers = [number for window in self._windows for number in window]
        async with self._asking(QuotaError):
            room = int(await self._client.eval(ROOM, 1, self._bucket(account_id).bucket_key, *numbers))
        return min(max(room, 0), self._windows[0].calls)

    async def ages(self, account_id: str) -> Sequence[float]:
        """Return the seconds since each call in a window; raises StoreUnavailableError while no server answers."""
        async with self._asking(QuotaError):
            found = await self._client.eval(AGES, 1, self._bucket(account_id).bucket_key, self._windows[-1].ms)
            return [min(max(int(age), 0), self._windows[-1].ms) / 1000 for age in found]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _bucket(self, account_id: str) -> RedisBucket:
        if account_id not in self._buckets:
            rates = [Rate(*window) for window in self._windows]
            key = f"bulkstop:{{{key_of(self._server, account_id)}}}"
            self._buckets[account_id] = RedisBucket(rates, self._client, key, CLAIM_SHA1)
        return self._buckets[account_id]

    async def _load_script(self) -> None:
        name = await self._client.script_load(CLAIM)
        if name not in (CLAIM_SHA1, CLAIM_SHA1.encode()):
            raise ValueError(name)

    @asynccontextmanager
    async def _asking(self, fatal: type[SettingsError | QuotaError]) -> AsyncIterator[None]:
        """Bound the time of a question, and translate what goes wrong with it."""
        with self._faults(fatal):
            async with asyncio.timeout(ASK_S):
                yield

    @contextmanager
    def _faults(self, fatal: type[SettingsError | QuotaError]) -> Iterator[None]:
        try:
            yield
        except (exceptions.RedisError, OSError, *GARBAGE) as error:
            raise self._translate_error(error, fatal) from None

    def _translate_error(self, error: Exception, fatal: type[SettingsError | QuotaError]) -> Exception:
        reason = self._explain(error)
        if not isinstance(error, MAY_PASS) or isinstance(error, WILL_NOT):
            return fatal(f" {self._shown}: cannot be used ({reason}); {suggest_store(INSTEAD)}", setting="quota_store")
        away = StoreUnavailableError if fatal is QuotaError else fatal
        why = f"cannot be reached ({reason}); start it, or {suggest_store(INSTEAD)}"
        return away(f" {self._shown}: {why}", setting="quota_store")

    def _explain(self, error: Exception) -> str:
        """Say in a line what went wrong; the server may have written any of it."""
        if isinstance(error, GARBAGE):
            return "it answers what no Redis server does"
        if isinstance(error, exceptions.AskError):
            return "it is one of a cluster, and these calls are counted on another"
        reason = _find_reason(error)
        for secret in self._secrets:  # some servers repeat a command that they do not know
            for form in encodings(secret):
                reason = reason.replace(form, "***")
            reason = reason.replace(secret, "***")
        return shorten(reason)


class _Parser(_AsyncRESP2Parser):
    """Reads answers, none of them longer than we have use for: redis-py's own reads on while there is memory."""

    async def _read(self, length: int) -> bytes:
        if length > MOST_BYTES:
            raise exceptions.InvalidResponse(f"an answer of {length:,} bytes")
        return bytes(await super()._read(length))


def _find_reason(error: Exception) -> str:
    system = error.__context__ if isinstance(error, exceptions.ConnectionError) else None
    if isinstance(system, socket.gaierror):
        return "its name cannot be looked up"
    if isinstance(system, OSError) and system.errno is not None and system.errno > 0:
        return os.strerror(system.errno)  # asyncio's own words for it are "Connect call failed"
    return next(iter(str(error).splitlines()), "") or f"no answer within {ASK_S:g} s"


def _wait_s(decision: Decision) -> float:
    """Return the seconds to wait, at most a window; raises ValueError for what our script does not return."""
    if decision.failing_rate is None:
        return 0.0
    window_ms, wait_ms = decision.failing_rate.interval, decision.retry_after_ms
    if wait_ms is None or not 0 < wait_ms <= window_ms + 1:
        raise ValueError(wait_ms)
    return wait_ms / 1000


def _put(bucket: RedisBucket) -> Awaitable[Decision]:
    return cast("Awaitable[Decision]", bucket.put_decision(RateItem("", ORIGIN_MS)))


def _client(url: str) -> Any:
    # One more try: it is with the next command that a connection turns out to be broken.
    again = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, **_options(), retry=again, max_connections=CONNECTIONS, timeout=ANSWER_S
    )
    return redis.asyncio.Redis.from_pool(pool)


def _options() -> dict[str, Any]:
    waits = {"socket_connect_timeout": ANSWER_S, "socket_timeout": ANSWER_S}
    return {**waits, "protocol": 2, "parser_class": _Parser}


def _check_url(url: str) -> SplitResult:
    """Take a URL apart; one that is not of the form may have its password anywhere, so nothing of it is shown."""
    try:
        parts = urlsplit(url)
        at = parts.netloc.rpartition("@")[2]
        if parts.scheme == "unix":
            sound = bool(parts.path) and not at
        else:
            sound = bool(parts.hostname) and parts.port != 0 and re.fullmatch(r"(/\d*)?", parts.path) is not None
    except ValueError:
        sound = False
    if not sound or "://" not in url or parts.fragment:
        why = f"what is given for Redis (not shown: it may hold a password) is not {FORM}"
        raise SettingsError(f": {why}", setting="quota_store")
    return parts


def _show_url(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _secrets(parts: SplitResult) -> list[str]:
    query = [value for name, value in parse_qsl(parts.query) if "password" in name]
    return [secret for secret in (parts.password, unquote(parts.password or ""), *query) if secret]
