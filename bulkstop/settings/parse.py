"""Parsers of settings: each returns the value of a text, or raises ValueError with the reason."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from bulkstop.model import CampaignType, FailureCap, Limit
from bulkstop.text import strip_secret
from bulkstop.units import BYTES, in_seconds, parse_percentage

W = TypeVar("W", bound=str)
YES = ("true", "yes", "on", "1", "t", "y")
NO = ("false", "no", "off", "0", "f", "n")
ALGORITHMS = ("HS256", "HS512", "RS256", "RS512")
UNITS_S = in_seconds("ms", "s", "m", "min", "h") | {"": 1.0}
COLUMNS = (
    *("campaign_id", "campaign_type", "account_id", "stream_id", "iid", "priority", "name", "profile"),
    *("stop_at", "timezone"),
)
"""The fields of a list that a column can be chosen for."""
_PLACES = ("{streamId}", "{iid}", "{accountId}")
"""The placeholders of any path template."""
LONGEST_S = 3600.0 * 100_000
"""The longest time, eleven years, because a longer one is a typing mistake."""

_FIELDS = f"the fields are {', '.join(COLUMNS)}"


class TransportName(StrEnum):
    """The transport of calls."""

    AIOHTTP = "aiohttp"
    WIRE = "wire"


def parse_seconds(text: str) -> float:
    """Return a time above zero in seconds, from `30`, `30s`, `500ms`, `5m` or `2h`."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([^\W\d_]*)", text.strip())
    if match and match[2] not in UNITS_S:
        raise ValueError(f"{text!r}: write a time in {', '.join(filter(None, UNITS_S))}, such as 30s, 500ms or 5m")
    value = float(match[1]) * UNITS_S[match[2]] if match else 0.0
    if not value > 0:
        raise ValueError(f"{text!r} is not a time above zero such as 30, 500ms or 5m")
    if value > LONGEST_S:
        raise ValueError(f"{text!r} is too long; the longest time is {LONGEST_S / 3600:.0f}h")
    return value


def parse_encoding(text: str) -> str:
    """Return the name of a text encoding."""
    import codecs

    try:
        name = codecs.lookup(text.strip()).name
        "\u20ac".encode(name, errors="replace")
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        raise ValueError(f"{text!r} is not a text encoding; use one such as utf-8, cp1252 or utf-16") from None
    return name


def parse_column(text: str) -> str:
    """Return `FIELD=NAME`, the column or key of a field."""
    field, is_there, name = (part.strip() for part in text.partition("="))
    fields = {"".join(filter(str.isalnum, each)): each for each in COLUMNS} | {"type": "campaign_type"}
    known = fields.get("".join(filter(str.isalnum, field.lower())))
    if not is_there or not name or known is None:
        raise ValueError(f"{text!r} does not name a field and its column, such as campaign_type=Channel; {_FIELDS}")
    return f"{known}={name}"


def parse_pause(text: str) -> float:
    """Return a time in seconds, which may be `0`; otherwise as `parse_seconds`."""
    return 0.0 if re.fullmatch(r"0(\.0)?", text.strip()) else parse_seconds(text)


def parse_limit(text: str) -> Limit | None:
    """Return a quota; `60/60s` is 60 calls in any 60 seconds, `none` means no limit."""
    if text.strip().lower() == "none":
        return None
    calls, _, window = (part.strip() for part in text.partition("/"))
    try:
        return Limit(parse_count(calls), parse_seconds(f"1{window}" if window.isalpha() else window))
    except ValueError:
        raise ValueError(f"{text!r} is not a quota such as 60/60s, 500/s or none") from None


def parse_count(text: str) -> int:
    """Return a whole number of at least 1."""
    if not re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def parse_size(text: str) -> int:
    """Return a size of at least 1 in bytes, from `4GB`, `500MB`, `1.5GiB` or a number of bytes."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([^\W\d_]*)", text.strip())
    if match and match[2].upper() not in (*BYTES, ""):
        raise ValueError(f"{text!r}: write a size in KB, MB, GB or TB, such as 4GB")
    size = int(float(match[1]) * BYTES.get(match[2].upper(), 1)) if match else 0
    if not 0 < size < 2**63:
        raise ValueError(f"{text!r} is not a size such as 4GB or 500MB")
    return size


def parse_failure_cap(text: str) -> FailureCap:
    """Return a failure cap: `10` campaigns, or `5%` of those that have ended."""
    share = parse_percentage(text)
    if share is None and not re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is neither a number of campaigns nor a percentage such as 10 or 5%")
    try:
        return FailureCap(int(text)) if share is None else FailureCap(share=share)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def one_of(*words: W) -> Callable[[str], W]:
    """Return a parser of these words, in any letter case."""

    def parse_word(text: str) -> W:
        for word in words:
            if text.strip().lower() == word.lower():
                return word
        from bulkstop.text.likeness import suggest_near  # only a mistake needs it

        raise ValueError(f"{str(text)!r} is not one of {', '.join(words)}{suggest_near(text, words)}")

    return parse_word


parse_campaign_type = one_of(*CampaignType)


def parse_flag(text: str) -> bool:
    """Return true or false, from the words that a variable may have."""
    return one_of(*YES, *NO)(text) in YES


def parse_path(text: str) -> str:
    """Return the name of a file unchanged."""
    with suppress(ValueError):
        if b"\0" not in os.fsencode(text):
            return text
    raise ValueError("has a character that no file name can have")  # not shown, because a URL may contain a password


def parse_secret(text: str) -> str:
    """Return a secret or an id without byte order mark, line ends and blanks around it."""
    if not (secret := strip_secret(text)):
        raise ValueError("is empty; give it a value")
    return secret


def parse_waves(text: str) -> str:
    """Return the ends of waves, `1,10%,100%`; whether they fit depends on the list."""
    for part in text.split(","):
        share = parse_percentage(part)
        if share is None and not re.fullmatch(r"\d{1,12}", part.strip(), re.ASCII):
            raise ValueError(f"{part.strip()!r} is neither a number of campaigns nor a percentage, such as 1,10%,100%")
    return text


def parse_zone(text: str) -> str:
    """Return the name of a time zone."""
    try:
        ZoneInfo(text.strip())
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError(f"{text!r} is not a time zone such as Europe/Berlin{_suggest_zone(text)}") from None
    return text.strip()


def _suggest_zone(text: str) -> str:
    from bulkstop.text.likeness import find_near, suggest_near  # only a mistake needs these

    zones = available_timezones()
    cities = {zone.rpartition("/")[2]: zone for zone in sorted(zones)}
    near = find_near(text, cities, 0.8)  # for `Berlin` alone
    return suggest_near(text, [cities[near]] if near else zones, 0.0 if near else 0.8)


def parse_address(text: str) -> str:
    """Return a host, with or without `https://`; it may end with a path that precedes the API's own."""
    url = text.strip().rstrip("/")
    url = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("https", "http") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or "@" in parts.netloc or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ValueError(f"{text!r} is not a host such as platform.kore.ai or https://host:8443")
    return url


def parse_proxy_address(text: str) -> str:
    """Return a proxy's URL; an error does not repeat it, because it may contain a password."""
    try:
        parts = urlsplit(text.strip())
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if re.match(r"\s*socks", text, re.IGNORECASE):
        raise ValueError("a SOCKS proxy is not supported; use one with http:// or https://")
    if not sound:
        raise ValueError("what is given (not shown: it may hold a password) is not a URL such as http://proxy:3128")
    return text.strip()


def parse_notify_url(text: str) -> str:
    """Return the URL of a receiver of notices; an error does not repeat it, because it may contain a secret."""
    url = text.strip()
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and (parts.port is None or parts.port > 0) and not parts.fragment
    except ValueError:
        sound = False
    if not sound or parts.scheme not in ("https", "http") or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ValueError(
            "what is given (not shown: it may hold a secret) is not a URL such as https://hooks.example/eod"
        )
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("plain http shows what is in the URL to the network; give an https:// address")
    return url


def parse_template(text: str) -> str:
    """Return a path template."""
    if fault := template_fault(text):
        raise ValueError(f"{text!r} {fault}")
    return text


def parse_list_template(text: str) -> str:
    """Return the path template of a call without a campaign in its path."""
    if fault := template_fault(text, of_campaign=False):
        raise ValueError(f"{text!r} {fault}")
    return text


def template_fault(text: str, *, of_campaign: bool = True) -> str | None:
    """Return why a path template, of a call on a campaign or not, cannot be used; None if it can."""
    if not text.startswith("/") or not re.fullmatch(r"[\x21-\x7e]+", text) or re.search(r"[?#]", text):
        return "is not a path that starts with '/' and has no query"
    used = set(re.findall(r"\{[^{}]*\}|[{}]", text))
    if used - {"{campaignId}", *_PLACES}:
        also = "{campaignId}, " if of_campaign else ""
        return f"may only contain {also}{', '.join(_PLACES[:-1])} and {_PLACES[-1]} in braces"
    if of_campaign and "{campaignId}" not in used:
        return "does not contain {campaignId}"
    return None if of_campaign or "{campaignId}" not in used else "contains {campaignId}, which this call has not"
