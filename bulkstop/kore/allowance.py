"""What the headers of an answer say that the service still takes.

Pure functions. There is no standard, but a draft, "RateLimit header fields for HTTP"
(https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/), each of whose versions is in use, and older
headers, named alike by GitHub, X, Kong, Envoy, Spring Cloud Gateway and others, that mean different things:

    RateLimit-Limit: 20              RateLimit: limit=20, remaining=3, reset=2      X-RateLimit-Limit: 20, 20;w=5
    RateLimit-Remaining: 3           RateLimit-Policy: 20;w=5                       X-RateLimit-Remaining: 3
    RateLimit-Reset: 2                                                              X-RateLimit-Reset: 1796000000
                                     RateLimit: "default";r=3;t=2                   X-RateLimit-Limit-Minute: 60
                                     RateLimit-Policy: "default";q=20;w=5           X-RateLimit-Remaining-Minute: 3

What makes no sense says nothing.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bulkstop.model import Allowance

FIELDS_KEPT = 32
"""How many fields of an answer are kept; Kong, which counts by several windows, sends up to 15."""
VALUE_CHARS = 512
"""The longest value that is kept, and read: of a part of one a number might be a part."""

_NAME = re.compile(r"(?:x-)?(?P<vendor>amzn-)?rate-?limit(?:-(?P<what>[a-z-]{1,32}))?", re.ASCII)
_WINDOWS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "month": 30 * 86400, "year": 365 * 86400}
_RESETS = frozenset({"reset", "resettime", "reset-time"})

_MOST_CALLS = 10**9
_MOST_S = 400 * 86400.0
_EPOCH_S, _EPOCH_MS = (1e9, 1e10), (1e12, 1e13)  # the years from 2001 to 2286
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_LIST_ITEM = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')
_PARAMETER = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*")+')
_PAIR = re.compile(r"(limit|remaining|reset)\s*=\s*(.+)", re.DOTALL)


def pick_rate_limit(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return those of some headers that may say what a service still takes: not too many, and none that is too long.

    Several of one name are one list (RFC 9110 5.3).
    """
    picked: dict[str, str] = {}
    for name, value in headers:
        if "imit" in name and _NAME.fullmatch(name := name.lower()) and len(picked) < FIELDS_KEPT:
            picked[name] = f"{picked[name]}, {value}" if name in picked else value
    return tuple((name, value) for name, value in picked.items() if len(value) <= VALUE_CHARS) if picked else ()


def read_allowance(
    headers: Sequence[tuple[str, str]],
    date: str | None = None,
    *,
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Allowance | None:
    """Return what headers say of the limit of which the least remains; None where they say nothing of use.

    A time in them is held against `date`, the answer's own header, else against this machine's clock.
    """
    reader = _Reader(date, wall)
    for name, value in headers[:FIELDS_KEPT]:
        match = _NAME.fullmatch(name)
        if match is not None and value.isascii() and len(value) <= VALUE_CHARS:
            reader.read(match["what"] or "", value, is_rate=match["vendor"] is not None)
    return _choose(reader.allowances())


@dataclass(slots=True)
class _Group:
    """What headers of one kind say of one limit; `policies` are the limits with a window that stand beside it."""

    remaining: int | None = None
    reset_s: float | None = None
    limit: int | None = None
    window_s: float | None = None
    policies: list[tuple[int, float]] = field(default_factory=list)

    def as_allowance(self) -> Allowance:
        """Return it with the window of the policy that it is about."""
        limit, window_s = self.limit, self.window_s
        if window_s is None and len(self.policies) == 1 and limit in (None, self.policies[0][0]):
            limit, window_s = self.policies[0]
        elif window_s is None:
            window_s = next((each_s for quota, each_s in self.policies if quota == limit), None)
        return Allowance(self.remaining, self.reset_s, limit, window_s)


class _Reader:
    """Collects what the headers of an answer say, limit by limit."""

    def __init__(self, date: str | None, wall: Callable[[], datetime]) -> None:
        self._date, self._wall = date, wall
        self._groups: dict[str, _Group] = {}
        self._policies: dict[str, tuple[int | None, float | None]] = {}  # by name
        self._items: list[tuple[str, int | None, float | None]] = []  # a policy's name, what remains, until when
        self._foreign: set[str] = set()  # policies that count something else than requests
        self._bucket: dict[str, float] = {}

    def read(self, what: str, value: str, *, is_rate: bool) -> None:
        """Take in a header, `what` being the end of its name."""
        kind, _, unit = what.rpartition("-")
        if kind in ("limit", "remaining", "reset") and unit in _WINDOWS_S:
            group = self._group(unit)
            group.window_s = float(_WINDOWS_S[unit])
            self._set(group, kind, value)
        elif what == "limit" and is_rate:
            self._read_rate(value)
        elif what == "limit":
            self._read_limit(value)
        elif what == "policy":
            self._read_policies(value)
        elif what in ("burst-capacity", "replenish-rate", "requested-tokens"):
            self._bucket[what] = _read_number(value) or 0.0
        elif what == "":
            self._read_items(value)
        else:
            self._set(self._group(""), "reset" if what in _RESETS else what, value)

    def allowances(self) -> list[Allowance]:
        """Return what is said of each limit."""
        self._read_bucket()
        read = [group.as_allowance() for group in self._groups.values()]
        for name, remaining, reset_s in self._items:
            if name not in self._foreign:
                read.append(Allowance(remaining, reset_s, *self._policies.get(name, (None, None))))
        named = {name for name, _, _ in self._items} | self._foreign
        read += [Allowance(None, None, *policy) for name, policy in self._policies.items() if name not in named]
        return [_complete(each, read) for each in read]

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def _set(self, group: _Group, kind: str, value: str) -> None:
        if kind == "limit":
            group.limit = _read_count(value) or None
        elif kind == "remaining":
            least = [group.remaining, *map(_read_count, _split(_LIST_ITEM, value))]
            group.remaining = min((count for count in least if count is not None), default=None)
        elif kind == "reset":
            # A date has a comma of its own.
            resets = [self._read_reset(each) for each in (value, *_split(_LIST_ITEM, value))]
            group.reset_s = max((reset_s for reset_s in resets if reset_s is not None), default=None)

    def _read_rate(self, value: str) -> None:
        """Read calls a second, as Amazon has them, of which there may be less than one."""
        rate = _read_number(value)
        if rate is not None and 1e-6 <= rate <= _MOST_CALLS:
            group = self._group("rate")
            group.limit = max(1, int(rate))
            group.window_s = group.limit / rate

    def _read_limit(self, value: str) -> None:
        """Read a limit, and those with a window that may stand behind it."""
        group = self._group("")
        for number, item in enumerate(_split(_LIST_ITEM, value)):
            head, parameters = _read_item(item)
            quota, window_s = _read_count(head), _read_window(parameters.get("w"))
            if quota and window_s:
                group.policies.append((quota, window_s))
            if quota and (number == 0 or group.limit is None):
                group.limit = quota

    def _read_policies(self, value: str) -> None:
        for item in _split(_LIST_ITEM, value):
            head, parameters = _read_item(item)
            window_s, quota = _read_window(parameters.get("w")), _read_count(head)
            if parameters.get("qu", "requests").strip('"') != "requests":
                self._foreign.add(head)
            elif quota and window_s:
                self._group("").policies.append((quota, window_s))
            elif quota is None and (quota := _read_count(parameters.get("q", ""))):
                self._policies[head] = quota, window_s

    def _read_items(self, value: str) -> None:
        """Read what is left, as pairs or by the names of policies."""
        for item in _split(_LIST_ITEM, value):
            pairs = [pair for part in _split(_PARAMETER, item) if (pair := _PAIR.fullmatch(part))]
            for pair in pairs:
                self._set(self._group(""), pair[1], pair[2])
            head, parameters = _read_item(item)
            remaining, reset = _read_count(parameters.get("r", "")), parameters.get("t")
            if not pairs and remaining is not None:
                self._items.append((head, remaining, None if reset is None else self._read_reset(reset)))

    def _read_bucket(self) -> None:
        """Read what Spring says of its token bucket: each call takes some tokens, and some come back each second."""
        capacity, rate = self._bucket.get("burst-capacity", 0.0), self._bucket.get("replenish-rate", 0.0)
        tokens = self._bucket.get("requested-tokens", 1.0)
        if not (0 < rate <= _MOST_CALLS and 1 <= tokens <= capacity <= _MOST_CALLS):
            return
        group = self._group("")
        group.limit, group.window_s = int(capacity // tokens), capacity / rate
        if group.remaining is not None:
            group.remaining = int(group.remaining // tokens)
        if group.reset_s is None:
            group.reset_s = max(1.0, tokens / rate)  # it fills up by whole seconds

    def _read_reset(self, value: str) -> float | None:
        """Read seconds, a time of day as seconds or milliseconds since 1970, or a date: told apart by their size."""
        number = _read_number(value)
        if number is None:
            until = _read_date(value)
            return None if until is None else _keep_wait(until.timestamp() - self._now())
        if _EPOCH_S[0] <= number < _EPOCH_S[1]:
            return _keep_wait(number - self._now())
        if _EPOCH_MS[0] <= number < _EPOCH_MS[1]:
            return _keep_wait(number / 1000 - self._now())
        return _keep_wait(number)

    def _now(self) -> float:
        date = None if self._date is None else _read_date(self._date)
        return (date or self._wall()).timestamp()


def _choose(allowances: Sequence[Allowance]) -> Allowance | None:
    """Return the one of which the fewest calls remain, for the longest; else the limit with the lowest rate."""
    counted = [(each.remaining, -(each.reset_s or 0.0), each) for each in allowances if each.remaining is not None]
    if counted:
        return min(counted, key=lambda each: each[:2])[2]
    rates = [(each.limit / each.window_s, each) for each in allowances if each.limit and each.window_s]
    return min(rates, key=lambda each: each[0])[1] if rates else None


def _complete(allowance: Allowance, others: Sequence[Allowance]) -> Allowance:
    """Add what another header says of the same limit: Kong has the window in one, and the time in another."""
    for other in others:
        if (other.remaining, other.limit) == (allowance.remaining, allowance.limit):
            if allowance.reset_s is None:
                allowance = allowance._replace(reset_s=other.reset_s)
            if allowance.window_s is None:
                allowance = allowance._replace(window_s=other.window_s)
    return allowance


def _split(pattern: re.Pattern[str], value: str) -> Iterator[str]:
    """Yield the parts of a list; what stands between quotes is not taken apart."""
    return (part for match in pattern.finditer(value) if (part := match[0].strip()))


def _read_item(item: str) -> tuple[str, Mapping[str, str]]:
    """Split an item of a structured field (RFC 9651) into what it is and its parameters."""
    head, *rest = list(_split(_PARAMETER, item)) or [""]
    pairs = (part.partition("=") for part in rest)
    return head.strip('"'), {key.strip().lower(): value.strip() for key, _, value in pairs}


def _read_number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _read_count(text: str) -> int | None:
    number = _read_number(text)
    return int(number) if number is not None and number <= _MOST_CALLS else None


def _read_window(text: str | None) -> float | None:
    number = None if text is None else _read_number(text)
    return number if number is not None and 0 < number <= _MOST_S else None


def _keep_wait(seconds: float) -> float | None:
    """Return a wait that makes sense; what was over a moment ago is over."""
    if not -86400 < seconds <= _MOST_S or math.isnan(seconds):
        return None
    return max(0.0, round(seconds, 3))


def _read_date(text: str) -> datetime | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = parse(text.strip())
        except (ValueError, IndexError, OverflowError, TypeError):
            continue
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None
