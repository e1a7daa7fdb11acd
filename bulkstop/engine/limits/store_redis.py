"""The windows in a Redis server, shared by machines.

Import it only to open such a store: the package redis is an extra, and takes as long to import as aiohttp.
"""

import asyncio
import hashlib
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import orjson
import redis.asyncio
from redis import exceptions
from redis._parsers import _AsyncRESP2Parser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bulkstop.engine.limits.windows import Change, Grant, StoreUnavailableError, Take, Window, key_of, suggest_store
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.events import Observe, QuotaStoreEmptied, ignore
from bulkstop.redact import encodings
from bulkstop.text import shorten

ANSWER_S = 2.0
"""The timeout for connecting to the server, and for each response."""
ASK_S = 5.0
"""The timeout for a whole operation: connect, log in, ask, and ask once more."""
MOST_BYTES = 1024 * 1024
"""The longest text accepted in a response."""
MOST_AGES = 20_000
"""The most calls whose ages are requested at once."""
ID_CHARS = 64
LATEST_MS = 2**53
CONNECTIONS = 2
UNUSED_MS = 86_400_000
"""A server's data is kept this long after its last call has left the windows."""
META = "bulkstop:meta"
"""The key of the data about all accounts together."""
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
"""Errors that redis-py counts as connection errors, although waiting does not help."""
GARBAGE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""The exceptions that a response raises which no Redis server would send."""

# A batch is passed and returned as one JSON text. KEYS[1] describes the whole: `id` identifies the server's data,
# `seen` is the last time counted, `ahead` is how far it is ahead of the server's clock, `keep` is how long all data is
# kept. So the time is never before a counted call, and setting the clock back does no harm. The time is read where the
# calls are counted, so there is no delay in between. A client that finds another `id`, or an older time, than before
# knows that the server has lost calls: it was emptied, or restored from an old copy. Then each window is full for one
# window, for all clients.
READ_TIME = """
local job = cjson.decode(ARGV[1])
local function text(number) return string.format('%.0f', number) end
local known = redis.call('HMGET', KEYS[1], 'id', 'seen', 'ahead', 'keep', 'lost')
local id, seen, ahead, lost = known[1], tonumber(known[2]) or 0, tonumber(known[3]) or 0, tonumber(known[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ahead
local is_corrected = seen > now
if is_corrected then
    ahead, now = ahead + seen - now, seen
end
"""

SETTLE = f"""
{READ_TIME}
local is_lost = job.id ~= '' and (id ~= job.id or seen < job.seen)
if is_lost then lost = now end
id = id or (job.id ~= '' and job.id or job.new)
local is_written = is_lost or is_corrected or job.id == ''
local keep = math.max(tonumber(known[4]) or 0, job.keep + job.lease)

for _, change in ipairs(job.changes) do
    local calls, place, age = KEYS[change[1]], job.run .. ':' .. change[2], change[3]
    if age < 0 then
        redis.call('ZREM', calls, place)
    elseif redis.call('ZADD', calls, text(now - age), place) > 0 then  -- a new one: it had been lost
        redis.call('PEXPIRE', calls, text(keep + 1000))
    end
    is_written = true
end
for _, note in ipairs(job.notes) do
    local notes = KEYS[note[1]] .. ':notes'
    redis.call('HSET', notes, 'note', note[2])
    redis.call('PEXPIRE', notes, text(keep + 1000))
end

local grants = {{}}
for i, take in ipairs(job.takes) do
    local calls, notes, want = KEYS[take[1]], KEYS[take[1]] .. ':notes', take[2]
    local room, wait, busy = want, 0, 0
    for _, window in ipairs(job.windows) do
        local most, ms = window[1], window[2]
        local left = most - redis.call('ZCOUNT', calls, text(now - ms), '+inf')
        if lost and now <= lost + ms then left = 0 end
        room = math.min(room, math.max(left, 0))
    end
    local kept = redis.call('HMGET', notes, 'keep', 'note')
    if room > 0 then
        local mine = math.max(tonumber(kept[1]) or 0, job.keep)
        for n = 0, room - 1 do
            redis.call('ZADD', calls, text(now + job.lease), job.run .. ':' .. (take[3] + n))
        end
        redis.call('ZREMRANGEBYSCORE', calls, '-inf', '(' .. text(now - mine))
        redis.call('HSET', notes, 'keep', text(mine))
        redis.call('PEXPIRE', calls, text(mine + job.lease + 1000))
        redis.call('PEXPIRE', notes, text(mine + job.lease + 1000))
        is_written = true
    end
    if room < want then
        for _, window in ipairs(job.windows) do
            local most, ms = window[1], window[2]
            local last = redis.call('ZREVRANGE', calls, most - 1, most - 1, 'WITHSCORES')[2]
            if last then wait = math.max(wait, math.min(tonumber(last), now) + ms + 1 - now) end
            if lost and now <= lost + ms then wait = math.max(wait, lost + ms + 1 - now) end
        end
        busy = redis.call('ZCOUNT', calls, '(' .. text(now), '+inf')
    end
    grants[i] = {{room, wait, busy, kept[2]}}
end

if is_written then
    seen = now
    redis.call('HSET', KEYS[1], 'id', id, 'seen', text(seen), 'ahead', text(ahead), 'keep', text(keep))
    if lost then redis.call('HSET', KEYS[1], 'lost', text(lost)) end
    redis.call('PEXPIRE', KEYS[1], text(keep + {UNUSED_MS}))
end
return cjson.encode({{id, seen, is_lost and job.keep or 0, grants}})
"""

AGES = f"""
{READ_TIME}
local found = {{}}
for i = 2, #KEYS do
    local ages = {{}}
    local calls = redis.call('ZRANGEBYSCORE', KEYS[i], text(now - job.keep), '+inf', 'WITHSCORES')
    for n = 2, #calls, 2 do
        ages[#ages + 1] = math.max(0, now - tonumber(calls[n]))
    end
    found[i - 1] = ages
end
return cjson.encode(found)
"""

SETTLE_SHA1 = hashlib.sha1(SETTLE.encode(), usedforsecurity=False).hexdigest()
"""The name of the script on a server."""


class RedisStore:
    """The windows in the server at `url`; a broken connection is replaced, and a password is never shown.

    `run` prefixes the places of this process. If a server loses its data, as after a restart without a disk, its
    windows count as full for one window after that is noticed. A response that our scripts cannot return is an error.
    """

    def __init__(
        self, url: str, server: str, windows: Sequence[Window], lease_s: float, run: str, observe: Observe = ignore
    ) -> None:
        parts = _check_url(url)
        self._shown = _show_url(parts)
        self._secrets = _secrets(parts)
        self._server = server
        self._windows = windows
        self._lease_ms = round(lease_s * 1000)
        self._run = run
        self._observe = observe
        self._keys: dict[str, str] = {}
        self._places = 0
        self._id, self._seen_ms = "", 0
        try:
            self._client = _client(url)
            self._client.connection_pool.make_connection()  # this reads the settings
        except (TypeError, ValueError):  # not quoted, because it may contain part of the password
            why = f"a setting in the URL is wrong; {suggest_store(INSTEAD)}"
            raise SettingsError(f" {self._shown}: {why}", setting="quota_store") from None

    async def open(self) -> None:
        """Connect to the server once, before anything is sent; raises SettingsError if it cannot be used."""
        try:
            async with self._asking(SettingsError):
                await self._load_script()
                await self._settle(_Batch(self._key))
        except BaseException:
            await self.close()
            raise

    async def settle(
        self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]
    ) -> Sequence[Grant]:
        """Run all of it in one script; raises StoreUnavailableError while the server does not respond."""
        batch = _Batch(self._key)
        for account_id, place, answered_s in changes:
            batch.changes.append((batch.at(account_id), place, -1 if answered_s is None else int(answered_s * 1000)))
        for account_id, text in notes.items():
            batch.notes.append((batch.at(account_id), text))
        for account_id, want in takes:
            batch.takes.append((batch.at(account_id), want, self._places))
            self._places += want
        async with self._asking(QuotaError):
            return await self._settle(batch)

    async def ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        """Return the seconds since each call in a window; raises StoreUnavailableError while no server responds."""
        most_ms, ages = self._windows[-1].ms, list[Sequence[float]]()
        step = max(1, MOST_AGES // self._windows[-1].calls)
        for first in range(0, len(account_ids), step):
            batch = _Batch(self._key)
            for account_id in account_ids[first : first + step]:
                batch.at(account_id)
            async with self._asking(QuotaError):
                job = orjson.dumps({"keep": most_ms})
                found = orjson.loads(await self._client.eval(AGES, len(batch.keys), *batch.keys, job))
                if len(found) != len(batch.keys) - 1:
                    raise ValueError(found)
                ages += [[min(max(int(age), 0), most_ms) / 1000 for age in each] for each in found]
        return ages

    async def load_note(self, account_id: str) -> str | None:
        """Return an account's note; raises StoreUnavailableError while the server does not respond."""
        async with self._asking(QuotaError):
            note = await self._client.hget(f"{self._key(account_id)}:notes", "note")
            return None if note is None else bytes(note).decode()

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _settle(self, batch: "_Batch") -> list[Grant]:
        job = {
            "id": self._id,
            "new": self._run,
            "run": self._run,
            "seen": self._seen_ms,
            "lease": self._lease_ms,
            "keep": self._windows[-1].ms,
            "windows": [[*window] for window in self._windows],
            "changes": batch.changes,
            "notes": batch.notes,
            "takes": batch.takes,
        }
        asked = (SETTLE_SHA1, len(batch.keys), *batch.keys, orjson.dumps(job))
        try:
            reply = await self._client.evalsha(*asked)
        except exceptions.NoScriptError:  # the server was restarted
            await self._load_script()
            reply = await self._client.evalsha(*asked)
        identity, seen_ms, full_ms, found = orjson.loads(reply)
        grants = self._read_grants(batch, found)
        self._id, self._seen_ms = str(identity)[:ID_CHARS], min(max(int(seen_ms), 0), LATEST_MS)
        if full_ms:
            self._observe(QuotaStoreEmptied(self._windows[-1].ms / 1000))
        return grants

    def _read_grants(self, batch: "_Batch", found: Any) -> list[Grant]:
        """Return what was granted; raises ValueError for anything that our script does not return."""
        found = found or []  # Lua cannot tell an empty list from an empty table
        if len(found) != len(batch.takes):
            raise ValueError(found)
        return [self._read_grant(take, *each) for take, each in zip(batch.takes, found, strict=True)]

    def _read_grant(self, take: tuple[int, int, int], calls: int, wait_ms: int, busy: int, note: Any) -> Grant:
        _, want, first = take
        is_short = calls < want
        if not (0 <= calls <= want and (not is_short or 0 < wait_ms <= self._windows[-1].ms + 1)):
            raise ValueError(calls, wait_ms)
        text = note if isinstance(note, str) else None
        return Grant(tuple(range(first, first + int(calls))), wait_ms / 1000 if is_short else 0.0, int(busy), text)

    def _key(self, account_id: str) -> str:
        if (key := self._keys.get(account_id)) is None:
            key = self._keys[account_id] = f"bulkstop:{{{key_of(self._server, account_id)}}}"
        return key

    async def _load_script(self) -> None:
        name = await self._client.script_load(SETTLE)
        if name not in (SETTLE_SHA1, SETTLE_SHA1.encode()):
            raise ValueError(name)

    @asynccontextmanager
    async def _asking(self, fatal: type[SettingsError | QuotaError]) -> AsyncIterator[None]:
        """Limit the time of an operation, and translate its errors."""
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
        """Return an error as one line; any part of it may come from the server."""
        if isinstance(error, GARBAGE):
            return "it answers what no Redis server does"
        if isinstance(error, exceptions.AskError):
            return "it is one of a cluster, and these calls are counted on another"
        reason = _find_reason(error)
        for secret in self._secrets:  # some servers repeat an unknown command
            for form in encodings(secret):
                reason = reason.replace(form, "***")
            reason = reason.replace(secret, "***")
        return shorten(reason)


class _Batch:
    """One request to the server; accounts are numbered by the positions of their keys."""

    def __init__(self, key: Callable[[str], str]) -> None:
        self.keys = [META]
        self.changes: list[tuple[int, int, int]] = []
        self.notes: list[tuple[int, str]] = []
        self.takes: list[tuple[int, int, int]] = []
        self._key = key
        self._at: dict[str, int] = {}

    def at(self, account_id: str) -> int:
        """Return the position of an account's key, counted from 1 as in Lua."""
        if account_id not in self._at:
            self.keys.append(self._key(account_id))
            self._at[account_id] = len(self.keys)
        return self._at[account_id]


class _Parser(_AsyncRESP2Parser):
    """Parses responses up to a length limit; redis-py's own parser reads on while there is memory."""

    async def _read(self, length: int) -> bytes:
        if length > MOST_BYTES:
            raise exceptions.InvalidResponse(f"an answer of {length:,} bytes")
        return bytes(await super()._read(length))


def _find_reason(error: Exception) -> str:
    system = error.__context__ if isinstance(error, exceptions.ConnectionError) else None
    if isinstance(system, socket.gaierror):
        return "its name cannot be looked up"
    if isinstance(system, OSError) and system.errno is not None and system.errno > 0:
        return os.strerror(system.errno)  # asyncio words it "Connect call failed"
    return next(iter(str(error).splitlines()), "") or f"no answer within {ASK_S:g} s"


def _client(url: str) -> Any:
    # One retry, because only the next command shows that a connection is broken.
    again = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, **_options(), retry=again, max_connections=CONNECTIONS, timeout=ANSWER_S
    )
    return redis.asyncio.Redis.from_pool(pool)


def _options() -> dict[str, Any]:
    waits = {"socket_connect_timeout": ANSWER_S, "socket_timeout": ANSWER_S}
    return {**waits, "protocol": 2, "parser_class": _Parser}


def _check_url(url: str) -> SplitResult:
    """Parse a URL; if it is malformed the password may be anywhere, so no part of it is shown."""
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
