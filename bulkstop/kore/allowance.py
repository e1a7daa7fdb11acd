"""The allowance that a service states in the headers of a response.

Pure functions. There is no standard, but a draft, "RateLimit header fields for HTTP"
(https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/), each of whose versions is in use, and older
headers, named alike by GitHub, X, Kong, Envoy, Spring Cloud Gateway and others, but with different meanings:

    RateLimit-Limit: 20              RateLimit: limit=20, remaining=3, reset=2      X-RateLimit-Limit: 20, 20;w=5
    RateLimit-Remaining: 3           RateLimit-Policy: 20;w=5                       X-RateLimit-Remaining: 3
    RateLimit-Reset: 2                                                              X-RateLimit-Reset: 1796000000
                                     RateLimit: "default";r=3;t=2                   X-RateLimit-Limit-Minute: 60
                                     RateLimit-Policy: "default";q=20;w=5           X-RateLimit-Remaining-Minute: 3

Headers that make no sense are ignored.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

from bulkstop.model import Allowance

FIELDS_KEPT = 32
"""The most headers kept of a response; Kong, which counts by several windows, sends up to 15."""
VALUE_CHARS = 512
"""The longest value that is read; in a truncated one a number could be incomplete."""

_NAME = re.compile(r"(?:x-)?(?P<vendor>amzn-)?rate-?limit(?:-(?P<what>[a-z-]{1,32}))?", re.ASCII)
_WINDOWS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "month": 30 * 86400, "year": 365 * 86400}
_RESETS = frozenset({"reset", "resettime", "reset-time"})
_BUCKET = frozenset({"burst-capacity", "replenish-rate", "requested-tokens"})

_MOST_CALLS = 10**9
_MOST_S = 400 * 86400.0
_EPOCH_S, _EPOCH_MS = (1e9, 1e10), (1e12, 1e13)  # the years from 2001 to 2286
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_LIST_ITEM = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
_PARAMETER = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*"?)+')
_PAIR = re.compile(r"(limit|remaining|reset)\s*=\s*(.+)", re.DOTALL)


def pick_rate_limit(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the headers that may state an allowance, up to FIELDS_KEPT and none longer than VALUE_CHARS.

    Several of one name form one list (RFC 9110 5.3).
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
    """Return the allowance of the limit with the least remaining; None if the headers state none.

    A time in them is compared with `date`, the response's own header, else with this machine's clock.
    """
    limits = _merge([fact for name, value in headers[:FIELDS_KEPT] for fact in _read_header(name, value)])
    now_s = 0.0
    for each in limits:
        if each.until_s is not None:
            now_s = ((date and _read_date(date)) or wall()).timestamp()
            break
    return _choose([_complete(each, limits, now_s) for each in limits])


class _Fact(NamedTuple):
    """What a header says of the limit called `name`; `until_s` is when it resets, in seconds since 1970."""

    name: str
    remaining: int | None = None
    reset_s: float | None = None
    limit: int | None = None
    window_s: float | None = None
    until_s: float | None = None
    number: float | None = None
    is_foreign: bool = False  # it does not count requests


@lru_cache(maxsize=1024)  # most headers of a service repeat, or contain a small number
def _read_header(name: str, value: str) -> tuple[_Fact, ...]:
    """Return what a header says; nothing if it makes no sense."""
    match = _NAME.fullmatch(name)
    if match is None or len(value) > VALUE_CHARS or not value.isascii():
        return ()
    what = match["what"] or ""
    kind, _, unit = what.rpartition("-")
    if kind in ("limit", "remaining", "reset") and unit in _WINDOWS_S:
        return (_read_fact(unit, kind, value)._replace(window_s=float(_WINDOWS_S[unit])),)
    if what == "limit":
        return _read_rate(value) if match["vendor"] else _read_limits(value)
    if what == "policy":
        return tuple(fact for item in _split(_LIST_ITEM, value) for fact in _read_policy(*_read_item(item)))
    if what == "":
        return tuple(fact for item in _split(_LIST_ITEM, value) for fact in _read_service_limit(item))
    if what in _BUCKET:
        return (_Fact(what, number=_read_number(value)),)
    return (_read_fact("", "reset" if what in _RESETS else what, value),)


def _read_fact(name: str, kind: str, value: str) -> _Fact:
    if kind == "limit":
        return _Fact(name, limit=_read_count(value) or None)
    if kind == "remaining":
        counts = [count for each in _split(_LIST_ITEM, value) if (count := _read_count(each)) is not None]
        return _Fact(name, remaining=min(counts, default=None))
    return _read_reset(name, value) if kind == "reset" else _Fact(name)


def _read_reset(name: str, value: str) -> _Fact:
    """Parse seconds, a time in seconds or milliseconds since 1970, or a date; sizes tell them apart."""
    if (date := _read_date(value)) is not None and _read_number(value) is None:
        return _Fact(name, until_s=date.timestamp())
    number = max((each for part in _split(_LIST_ITEM, value) if (each := _read_number(part)) is not None), default=None)
    if number is None or number <= _MOST_S:
        return _Fact(name, reset_s=number)
    if _EPOCH_S[0] <= number < _EPOCH_S[1]:
        return _Fact(name, until_s=number)
    return _Fact(name, until_s=number / 1000 if _EPOCH_MS[0] <= number < _EPOCH_MS[1] else None)


def _read_rate(value: str) -> tuple[_Fact, ...]:
    """Parse calls per second, as sent by Amazon, which may be below one."""
    rate = _read_number(value)
    if rate is None or not 1e-6 <= rate <= _MOST_CALLS:
        return ()
    calls = max(1, int(rate))
    return (_Fact("rate", limit=calls, window_s=calls / rate),)


def _read_limits(value: str) -> tuple[_Fact, ...]:
    """Parse a limit and the limits with windows that may follow it."""
    items = [_read_item(item) for item in _split(_LIST_ITEM, value)]
    limits = [fact for head, parameters in items for fact in _read_policy(head, parameters)]
    return (_Fact("", limit=_read_count(items[0][0]) or None), *limits) if items else ()


def _read_policy(head: str, parameters: Mapping[str, str]) -> tuple[_Fact, ...]:
    """Parse `20;w=5` or `"default";q=20;w=5`."""
    if parameters.get("qu", "requests").strip('"') != "requests":
        return (_Fact(head, is_foreign=True),)
    window_s, calls = _read_window(parameters.get("w")), _read_count(parameters.get("q", head))
    if not calls or ("q" not in parameters and window_s is None):
        return ()
    return (_Fact(head, limit=calls, window_s=window_s),)


def _read_service_limit(item: str) -> tuple[_Fact, ...]:
    """Parse `limit=20`, `remaining=3` or `"default";r=3;t=2`."""
    pairs = [pair for part in _split(_PARAMETER, item) if (pair := _PAIR.fullmatch(part))]
    if pairs:
        return tuple(_read_fact("", pair[1], pair[2]) for pair in pairs)
    head, parameters = _read_item(item)
    remaining = _read_count(parameters.get("r", ""))
    if remaining is None:
        return ()
    return (_Fact(head, remaining=remaining), _read_reset(head, parameters.get("t", "")))


def _merge(facts: Sequence[_Fact]) -> list[_Fact]:
    """Return one fact for each limit."""
    merged: dict[str, _Fact] = {}
    for fact in facts:
        before = merged.get(fact.name)
        merged[fact.name] = fact if before is None else _join(before, fact)
    _empty_bucket(merged)
    return [each for each in merged.values() if not each.is_foreign]


def _join(one: _Fact, other: _Fact) -> _Fact:
    """Return the union of two facts about a limit; of two counts the lower one."""
    remaining = one.remaining
    if remaining is None or (other.remaining is not None and other.remaining < remaining):
        remaining = other.remaining
    return _Fact(
        one.name,
        remaining,
        other.reset_s if one.reset_s is None else one.reset_s,
        one.limit or other.limit,
        one.window_s or other.window_s,
        one.until_s or other.until_s,
        is_foreign=one.is_foreign or other.is_foreign,
    )


def _empty_bucket(facts: dict[str, _Fact]) -> None:
    """Add the facts of Spring's token bucket: each call takes some tokens, and some return each second."""
    if facts.keys().isdisjoint(_BUCKET):
        return
    numbers = {name: fact.number for name in _BUCKET if (fact := facts.pop(name, None)) is not None}
    capacity, rate = numbers.get("burst-capacity") or 0.0, numbers.get("replenish-rate") or 0.0
    tokens = numbers.get("requested-tokens") or 1.0
    if not (0 < rate <= _MOST_CALLS and 1 <= tokens <= capacity <= min(_MOST_CALLS, rate * _MOST_S)):
        return
    fact = facts.get("", _Fact(""))
    remaining = None if fact.remaining is None else int(fact.remaining // tokens)
    reset_s = max(1.0, tokens / rate) if fact.reset_s is None else fact.reset_s  # it refills by whole seconds
    facts[""] = _Fact("", remaining, reset_s, int(capacity // tokens), capacity / rate)


def _complete(fact: _Fact, facts: Sequence[_Fact], now_s: float) -> Allowance:
    """Return a fact completed by others about the same limit: Kong splits window and time over two headers."""
    _, remaining, reset_s, limit, window_s, until_s, *_ = fact
    policies = [each for each in facts if each.remaining is None and each.limit and each.window_s]
    if limit is None and len(policies) == 1:
        limit = policies[0].limit
    for other in facts:
        if limit is not None and other.limit == limit and other.remaining in (None, remaining):
            window_s = window_s or other.window_s
            if reset_s is None and until_s is None:
                reset_s, until_s = other.reset_s, other.until_s
    if until_s is not None:
        reset_s = _keep_wait(until_s - now_s)
    return Allowance(remaining, reset_s, limit, window_s)


def _choose(allowances: Sequence[Allowance]) -> Allowance | None:
    """Return the allowance with the fewest calls for the longest time, else the limit with the lowest rate."""
    counted = [(each.remaining, -(each.reset_s or 0.0), each) for each in allowances if each.remaining is not None]
    if counted:
        return min(counted, key=lambda each: each[:2])[2]
    rates = [(each.limit / each.window_s, each) for each in allowances if each.limit and each.window_s]
    return min(rates, key=lambda each: each[0])[1] if rates else None


def _split(pattern: re.Pattern[str], value: str) -> Iterator[str]:
    """Yield the parts of a list; quoted text is not split."""
    return (part for match in pattern.finditer(value) if (part := match[0].strip()))


def _read_item(item: str) -> tuple[str, Mapping[str, str]]:
    """Return the value and the parameters of an item of a structured field (RFC 9651)."""
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
    """Return a plausible wait, at least 0; None for any other."""
    return max(0.0, round(seconds, 3)) if -86400 < seconds <= _MOST_S else None


def _read_date(text: str) -> datetime | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = parse(text.strip())
        except (ValueError, IndexError, OverflowError, TypeError):
            continue
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None
