"""The pace of an account whose quota is known, but not how the service counts it: whole bursts, or an even pace.

"60 calls in any 60 seconds" is counted in half a dozen ways. A sliding log, a fixed window and a token bucket accept
all 60 at once; a sliding counter (HAProxy's `http_req_rate`) accepts what the previous window has left, and the generic
cell rate algorithm (nginx's `limit_req`) its burst. All of them accept evenly spaced calls. So:

- Calls are sent in bursts, within the quota, until one is refused. Few are in flight until two whole windows were
  accepted: so few calls hit a limit.
- A refused call shows how many are accepted at once. From then on calls are evenly spaced at the full rate, from a
  bucket of that depth (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm): only calls that the quota has
  delayed are sent at once.
- The rate itself is lowered only if evenly spaced calls are refused. It rises slowly to where it was refused, and
  faster beyond.
- A refused call has used its place in the quota, and delays the account by a step: the service may count it.
- The allowance that a service states in its responses (see headroom.py) shows the same without a refusal.

The figures beside the constants are those of the models of such limiters in tests/engine/pacing/test_auto.py.
"""

import json
import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from bulkstop.engine.limits.estimate import Places
from bulkstop.engine.limits.quota import RollingWindow
from bulkstop.engine.pacing.headroom import ROUNDED_S, Headroom
from bulkstop.engine.pacing.overload import Meaning, Overload
from bulkstop.model import Allowance, Limit, PaceFinding

# The calls of a burst in flight before its shape is known: as few as complete the burst in this part of the window, and
# at most this part of the quota, because each may be refused.
BURST_SHARE = 0.05
MOST_UNPROVEN = 1 / 8
# The same once this many whole windows were accepted.
MOST_PROVEN = 1 / 4
PROVEN_WINDOWS = 2
# After waiting this long for a response another call may be in flight, so that a call that hangs delays no account.
PATIENCE_S = 0.5

# Even steps are longer by this part than the rate requires: a sliding counter of 20 calls that counted as many in the
# previous window refuses a call in the first twentieth of the next. With 0 it refuses 3.5 % of 120, so 2.6 %.
SLACK = 0.025
# When evenly spaced calls are refused, the steps grow by the variation of response times, up to this part.
MOST_SLACK = 0.04
# A second refused burst leaves this part of the depth: what was accepted the first time may have been chance.
DEEPER = 0.8
# A bucket fuller than this was filled by a burst, not by even steps.
AT_ONCE = 1.5

# The part of the rate left after evenly spaced calls were refused: at the full rate, at a lower one, twice in a row,
# and while it rises.
FIRST, AGAIN, IN_ROW, RISING = 0.75, 0.89, 0.85, 0.88
LEAST_SHARE = 0.02
MOST_DOUBLINGS = 20
SLOWED = 2
# The rate holds for this many windows; then rises, per window, by this part of the refused rate until slightly above
# it; then grows e-fold this often. With a second client that takes a third of 20 calls, 0.05 has 5.5 % of ours refused.
HOLD_WINDOWS, SLOW_RISE, PASSED, FAST_RISE = 0.25, 0.04, 1.03, 3.0
# Page's CUSUM test (https://en.wikipedia.org/wiki/CUSUM): at the full rate two refused calls in 33 are not chance.
TOLERATED, TOLERATED_LOWERED, EVENT = 0.03, 0.06, 1.9
# What another process has learnt is valid for this many windows.
KNOWN_WINDOWS = 20
# A limit is lower than stated if before this many refusals the windows had the same number of calls, to this part.
STEADY_COUNTS, STEADY_PART = 5, 0.05


class AutoPacer:
    """A quota (see quota.py) that keeps its limits exactly, and sends no more at once than the service accepts.

    `overload`, shared by all accounts of a service, knows the meaning of its 503.
    """

    def __init__(self, limits: Sequence[Limit], overload: Overload | None = None) -> None:
        shortest = min(limits, key=lambda limit: limit.window_s)
        self._window = RollingWindow(limits)
        self._calls, self._window_s = shortest.calls, shortest.window_s
        self._bucket = _Bucket()
        self._headroom = Headroom(limits)
        self._rate = _Rate(shortest.window_s)
        self._latency = _Latency()
        self._slack = SLACK
        self._in_flight = 0
        self._let_through = 0
        self._rests_until = self._refused_at = self._left_at = -math.inf
        self._in_row = 0
        self._taken: deque[float] | None = None  # made at the first refusal: there may be thousands of accounts
        self._counts = list[int]()
        self._overload = overload or Overload()
        self._slowed_at = math.inf
        self._has_learnt_of_503 = False

    @property
    def interval_s(self) -> float:
        """The seconds between two calls at an even pace."""
        interval_s = max(self._window_s / self._calls, self._headroom.interval_s)
        return interval_s * (1 + self._slack) / self._rate.share * (SLOWED if self._is_slowed else 1)

    def ready_at(self) -> float:
        """Return when the quota, the bucket, the service's allowance and the last refusal permit a call."""
        if self._has_learnt_of_503 and self._overload.meaning is Meaning.FAULT:
            self._forget()
        ready_at = max(self._window.ready_at(), self._rests_until, self._headroom.ready_at(self._in_flight))
        if self._bucket.depth < math.inf:
            return max(ready_at, self._bucket.ready_at(self.interval_s))
        if self._in_flight < self._most_in_flight():
            return ready_at
        return max(ready_at, self._left_at + PATIENCE_S)

    def take(self, now: float) -> None:
        """Use one place in the quota and in the bucket."""
        self._window.take(now)
        self._headroom.take(now)
        self._in_flight += 1
        self._left_at = now
        self._bucket.take(now, self.interval_s)

    def give_back(self, taken_at: float) -> None:
        """Return the place of a call that was not sent."""
        self._window.give_back(taken_at)
        self._headroom.give_back(taken_at)
        self._in_flight -= 1
        self._bucket.give_back()

    def note_unavailable(self, sent_at: float) -> bool:
        """Return whether a 503 counts as a limit; if so, slow the account down until the meaning is known."""
        is_limit = self._overload.note_unavailable(is_slowed=sent_at > self._slowed_at)
        if is_limit and self._slowed_at == math.inf:
            self._slowed_at = sent_at
        self._has_learnt_of_503 |= is_limit
        return is_limit

    def note_allowance(
        self, now: float, sent_at: float, said: Allowance | None, *, throttled: bool = False, most_s: float = math.inf
    ) -> None:
        """Note the allowance in a response, before `answered`; no wait is longer than `most_s`."""
        headroom, refill_s, is_binding = self._headroom, None, False
        if said is not None and said.remaining is not None:
            if not throttled:
                headroom.watch_refill(now, sent_at, said.remaining, said.reset_s)
            if headroom.is_gradual or self._refills_soon(now, sent_at, said.reset_s):
                refill_s = self.interval_s
            is_shaped = self._bucket.depth < math.inf
            # The limits kept anyway must be at least as strict for as long as this one applies.
            until = sent_at + max(0.0, (said.reset_s or 0.0) - ROUNDED_S)
            is_binding = self._window.has_places(said.remaining + 1, until) and not (is_shaped and refill_s)
            if is_binding and not is_shaped and not throttled and said.remaining == 0:
                self._bucket.limit(self._taken_at_once(now, sent_at))
                refill_s = None  # only after the stated wait: a service that rounds up may have a lower limit
        headroom.note(
            now,
            sent_at,
            said,
            is_refused=throttled,
            is_binding=is_binding,
            in_flight=self._in_flight,
            refill_s=refill_s,
            most_s=most_s,
        )

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Learn from a response; only an accepted call proves something about the limit."""
        self._headroom.answered(now, sent_at)
        self._window.answered(now, sent_at, throttled=False)  # in any case its place counts from now on
        self._in_flight -= 1
        self._latency.add(now - sent_at)
        self._bucket.drain(now, self.interval_s)
        if throttled:
            self._refuse(now, sent_at)
        elif not failed:
            self._overload.note_available(is_slowed=sent_at > self._slowed_at)
            self._let_through += 1
            if self._taken is not None:
                self._taken.append(now)
            if sent_at > self._refused_at:
                self._in_row = 0
            self._rate.note_let_through(now)

    def finding(self) -> PaceFinding | None:
        """Return what refused calls have shown; None if none was refused."""
        if self._bucket.depth == math.inf:
            return None
        return PaceFinding(int(self._bucket.depth), self.interval_s, self._rate.share, self._find_steady())

    def remember(self, wall_s: float) -> str | None:
        """Return how many calls are accepted at once, the part of the rate, and when that was learnt, as JSON."""
        if self._bucket.depth == math.inf:
            return None
        known = {"at_once": int(self._bucket.depth), "share": round(self._rate.share, 3), "at": round(wall_s)}
        return json.dumps(known, separators=(",", ":"))

    def recall(self, text: str, wall_s: float) -> None:
        """Start with an even pace if another process had to; its rate may be out of date."""
        known = _read_note(text)
        if known is None or self._bucket.depth < math.inf or abs(wall_s - known.at) > KNOWN_WINDOWS * self._window_s:
            return
        self._bucket.depth = min(known.at_once, self._calls)
        self._bucket.fill()
        if known.share < 1.0:
            self._rate.begin(known.share)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return the places of the quota, and at an even pace also the one that is taken until the next call."""
        places = self._window.places(now, latency_s) + self._headroom.places(now, latency_s)
        if self._bucket.depth < math.inf:
            taken_until = max(self._bucket.ready_at(self.interval_s), self._rests_until)
            places.append(Places(1, self.interval_s, (taken_until,)))
        return places

    def _find_steady(self) -> int | None:
        """Return how many calls a window accepts, if that was the same at each refusal."""
        if self._rate.share == 1.0 or len(self._counts) < STEADY_COUNTS:
            return None
        is_steady = max(self._counts) - min(self._counts) <= max(1, STEADY_PART * self._calls)
        return min(self._counts) if is_steady else None

    @property
    def _is_slowed(self) -> bool:
        return self._slowed_at < math.inf and self._overload.meaning is Meaning.UNKNOWN

    def _forget(self) -> None:
        """Return to bursts: the refusals had another cause."""
        self._has_learnt_of_503, self._slowed_at = False, math.inf
        self._bucket = _Bucket()
        self._rate = _Rate(self._window_s)
        self._slack, self._in_row = SLACK, 0
        self._rests_until = -math.inf

    def _most_in_flight(self) -> int:
        """Return how many calls of a burst may be in flight, any of which may be refused."""
        if not self._latency.answers:
            return 1
        wanted = math.ceil(self._calls * self._latency.mean_s / (BURST_SHARE * self._window_s))
        unproven = max(1, min(wanted, int(self._calls * MOST_UNPROVEN)))
        if self._let_through < PROVEN_WINDOWS * self._calls:
            return unproven
        return max(unproven, int(self._calls * MOST_PROVEN))

    def _refills_soon(self, now: float, sent_at: float, reset_s: float | None) -> bool:
        """Return whether a service accepts calls again as soon as the full rate needs them: it has a small bucket.

        Otherwise its limit is lower, or another client uses it. Most services round their seconds up.
        """
        depth = min(self._bucket.depth, self._taken_at_once(now, sent_at))
        return reset_s is None or reset_s <= math.ceil(depth * self.interval_s)

    def _taken_at_once(self, now: float, sent_at: float) -> float:
        """Return the level of a bucket that holds the calls up to the one last answered."""
        self._bucket.drain(now, self.interval_s)
        return self._bucket.level - (self._in_flight - 1) + (now - sent_at) / 2 / self.interval_s

    def _refuse(self, now: float, sent_at: float) -> None:
        if sent_at <= self._refused_at:  # sent before the last refusal was known, so it shows nothing new
            self._rests_until = max(self._rests_until, now) + self.interval_s
            return
        self._refused_at = now
        self._in_row += 1
        self._taken = self._taken or deque(maxlen=self._calls)
        # The bucket's level at the refusal: without this call, those in flight, and what was drained on the way back.
        at_once = self._bucket.level - 1 - self._in_flight + (now - sent_at) / 2 / self.interval_s
        is_burst = self._bucket.depth == math.inf or (
            self._bucket.depth > 1 and at_once >= AT_ONCE and self._in_row == 1
        )
        if is_burst:
            self._bucket.limit(at_once)
        else:
            if self._rate.share == 1.0:
                self._slack = max(self._slack, min(MOST_SLACK, self._latency.spread_s * self._calls / self._window_s))
            self._rate.note_refused(now, is_in_row=self._in_row > 1)
            if self._in_row == 1:
                count = sum(taken_at > now - self._window_s for taken_at in self._taken)
                self._counts = [*self._counts[1 - STEADY_COUNTS :], count]
        self._bucket.fill()
        self._rests_until = now + min(self._window_s, self.interval_s * 2 ** min(self._in_row - 1, MOST_DOUBLINGS))


class _Note(NamedTuple):
    """What a process has learnt, and when, in unix seconds."""

    at_once: int
    share: float
    at: float


def _read_note(text: str) -> _Note | None:
    """Return a parsed note; None if it has another version or origin."""
    try:
        known = json.loads(text)
        note = _Note(int(known["at_once"]), float(known["share"]), float(known["at"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    return note if note.at_once >= 1 and LEAST_SHARE <= note.share <= 1 else None


class _Bucket:
    """The calls sent faster than the even pace: `level` is their number, `depth` the most."""

    __slots__ = ("_at", "depth", "level")

    def __init__(self) -> None:
        self.depth = math.inf
        self.level = 0.0
        self._at = 0.0

    def drain(self, now: float, interval_s: float) -> None:
        """Drain what the even pace has permitted meanwhile."""
        if now > self._at:
            self.level = max(0.0, self.level - (now - self._at) / interval_s)
            self._at = now

    def ready_at(self, interval_s: float) -> float:
        """Return when there is room for one more call."""
        over = self.level + 1 - self.depth
        return self._at + over * interval_s if over > 0 else -math.inf

    def take(self, now: float, interval_s: float) -> None:
        """Add a call."""
        self.drain(now, interval_s)
        self.level += 1

    def give_back(self) -> None:
        """Remove a call."""
        self.level = max(0.0, self.level - 1)

    def limit(self, at_once: float) -> None:
        """Limit the depth to what was accepted at once, and reduce it each time that this is too much."""
        if self.depth < math.inf:
            at_once = min(at_once, self.depth - 1, int(self.depth * DEEPER))
        self.depth = max(1, round(at_once))

    def fill(self) -> None:
        """Permit no call until as much has drained."""
        self.level = max(self.level, self.depth)


class _Rate:
    """The part of the full rate in use: lowered when evenly spaced calls are refused, raised after some time."""

    __slots__ = ("_began", "_refused", "_rises_from", "_trouble", "_window_s", "share")

    def __init__(self, window_s: float) -> None:
        self.share = 1.0
        self._window_s = window_s
        self._trouble = 0.0
        self._began = self._refused = 1.0
        self._rises_from = math.inf

    def note_let_through(self, now: float) -> None:
        """Raise the rate if it is time."""
        self._trouble = max(0.0, self._trouble - (TOLERATED if self.share == 1.0 else TOLERATED_LOWERED))
        if self._rises_from == -math.inf:
            self._rises_from = now
        if self.share < 1.0 and now > self._rises_from:
            self.share = min(1.0, self._risen((now - self._rises_from) / self._window_s))

    def note_refused(self, now: float, *, is_in_row: bool) -> None:
        """Lower the rate unless the refusal may be chance; while the rate rises none is."""
        self._trouble += 1
        if self.share < 1.0 and now > self._rises_from:
            self._lower(now, RISING)
        elif is_in_row:
            self._lower(now, IN_ROW)
        elif self._trouble >= EVENT:
            self._lower(now, FIRST if self.share == 1.0 else AGAIN)

    def begin(self, share: float) -> None:
        """Start with a part that was not refused here: it rises after the first accepted call."""
        self.share = self._began = self._refused = share
        self._rises_from = -math.inf

    def _lower(self, now: float, part: float) -> None:
        self._refused = self.share
        self.share = self._began = max(LEAST_SHARE, self.share * part)
        self._rises_from = now + HOLD_WINDOWS * self._window_s
        self._trouble = 0.0

    def _risen(self, windows: float) -> float:
        passed = self._refused * PASSED
        slow = (passed - self._began) / (SLOW_RISE * self._refused)
        if windows <= slow:
            return self._began + SLOW_RISE * self._refused * windows
        return passed * math.exp(FAST_RISE * (windows - slow))


class _Latency:
    """The mean and the spread of response times."""

    __slots__ = ("_least_s", "_most_s", "answers", "mean_s")

    def __init__(self) -> None:
        self.answers = 0
        self.mean_s = 0.0
        self._least_s, self._most_s = math.inf, 0.0

    def add(self, latency_s: float) -> None:
        """Add a response time."""
        self.answers += 1
        self.mean_s += (latency_s - self.mean_s) / min(self.answers, 5)
        self._least_s, self._most_s = min(self._least_s, latency_s), max(0.98 * self._most_s, latency_s)

    @property
    def spread_s(self) -> float:
        """The most by which the interval between two calls may change on their way."""
        return self._most_s - self._least_s
