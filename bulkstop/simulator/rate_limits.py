"""The response headers about the remaining quota, in several drafts of a standard and older forms."""

import math
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

RateLimitHeaders = Literal["none", "draft-6", "draft-7", "draft-8", "x-ratelimit"]
HEADER_FORMS: Final = ("none", "draft-6", "draft-7", "draft-8", "x-ratelimit")


class WindowState(NamedTuple):
    """A rolling window of an account: the calls left in it, and the seconds until it admits one more."""

    calls: int
    window_s: float
    remaining: int
    reset_s: float


def format_rate_limits(form: RateLimitHeaders, windows: Sequence[WindowState]) -> tuple[tuple[str, str], ...]:
    """Return the headers of a response; a form with one window has the one with the fewest calls left."""
    if form == "none" or not windows:
        return ()
    least = min(windows, key=lambda each: each.remaining)
    limit, remaining, reset_s = least.calls, least.remaining, math.ceil(least.reset_s)
    policies = ", ".join(f"{each.calls};w={_whole(each.window_s)}" for each in windows)
    match form:
        case "draft-6":
            return (
                ("RateLimit-Limit", str(limit)),
                ("RateLimit-Remaining", str(remaining)),
                ("RateLimit-Reset", str(reset_s)),
                ("RateLimit-Policy", policies),
            )
        case "draft-7":
            pairs = f"limit={limit}, remaining={remaining}, reset={reset_s}"
            return (("RateLimit", pairs), ("RateLimit-Policy", policies))
        case "draft-8":
            items = (f'"{_name(each)}";r={each.remaining};t={math.ceil(each.reset_s)}' for each in windows)
            named = (f'"{_name(each)}";q={each.calls};w={_whole(each.window_s)}' for each in windows)
            return (("RateLimit", ", ".join(items)), ("RateLimit-Policy", ", ".join(named)))
        case "x-ratelimit":
            return (
                ("X-RateLimit-Limit", str(limit)),
                ("X-RateLimit-Remaining", str(remaining)),
                ("X-RateLimit-Reset", str(reset_s)),
            )


def _name(window: WindowState) -> str:
    return f"{window.calls}-in-{window.window_s:g}s"


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))  # the standard has whole seconds
