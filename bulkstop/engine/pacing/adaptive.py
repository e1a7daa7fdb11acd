"""A pace for an unknown limit: the rate grows while all goes well and shrinks when throttled.

CUBIC (RFC 9438, https://www.rfc-editor.org/rfc/rfc9438.html) with calls per second in place of the window: slow start
until calls are throttled; after each decrease fast towards the rate that was too high, slowly around it, and ever
faster beyond it. Three things differ, because a throttled call is wasted:

- the decrease is small, and follows the share of throttled responses only if the lower rate is throttled as well (as in
  DCTCP, RFC 8257);
- beyond the old maximum slow start begins again, because the limit has changed;
- an occasional throttled response is no event: a limit without a burst throttles each call that was delayed on its way.
  Page's CUSUM test (https://en.wikipedia.org/wiki/CUSUM) tells this from an exceeded limit.

Measured at nginx with `limit_req` 500 r/s and no burst, 64 connections, 12 s, two cores, a timer exact to 0.1 ms: on a
quiet machine 0.95 to 0.97 of the limit accepted after the first 3 s, on a busy one 0.82 to 0.95; 0.013 to 0.023 of all
calls throttled. Under such a limit lost time cannot be made up: a call sent 0.4 ms late is 0.4 ms of every 2 lost. With
a timer exact to 1 ms, as in libuv and asyncio, it is 0.80, and no steady rate that was tried exceeds 0.83. When the
limit drops to a fifth for 10 s and comes back, 0.86 to 0.89 of what is permitted is accepted, from the first call on
and on a busy machine; 0.021 to 0.024 throttled; the old limit is regained after 0.9 to 1.2 s.

The figures beside the constants are the worst of six seeds in the model of nginx in
tests/engine/pacing/test_adaptive.py: goodput as a share of the limit / throttled as a share of the calls. With these
constants, 500/s without a burst gives 0.965 / 0.017, with calls delayed by 10 ms about every second 0.932 / 0.025, and
5/s gives 0.935 / 0.045.
"""

import math
from dataclasses import dataclass

from bulkstop.engine.limits.estimate import Places
from bulkstop.engine.limits.quota import LearnsNothing

START_RATE = 20.0  # reaches 500/s in less than a second; exceeds a limit of 1/s by a few calls
LEAST_RATE = 0.05  # a tenth of the smallest documented limit, 1800 an hour
MOST_RATE = 10_000.0

# The part of an interval that a call may be late without delaying the next: this keeps the mean rate, and calls no
# closer than the rest of it. With a timer exact to 1 ms, nginx at 500/s refused 3 % of the calls, with 0.25 13 %.
CARRY = 0.1

# A rate is tried for a round: at least a round trip, this many responses, this time. Without the time, slow start
# reaches 2500/s before a burst of 20 is used up: 0.038 throttled, not 0.020; with 10 responses the step loses 0.03.
ROUND_ANSWERS = 5
ROUND_S = 0.05
ROUND_GROWTH = 1.5  # at most, RFC 9438 section 4.2
USED = 0.75  # with fewer calls in a round than this part of the rate, there is too little work to test it

# The test for an event: a throttled response counts 1 - TOLERATED, another -TOLERATED, the sum never falls below 0; at
# EVENT it is one: two in 33. With 0.5 each is one (0.943 / 0.005, but 0.819 if delayed); with 2 it is 0.958 / 0.035.
TOLERATED = 0.03
EVENT = 1.0
# Calls sent this close together were delayed together, and count once. Without this: 0.835 if delayed. The number is
# bounded, or at a high rate the tolerated share of the others would outweigh any number of throttled ones.
HICCUP_S = 0.01
HICCUP_CALLS = 5

# The decrease: RFC 9438's 0.7 gives 0.890 / 0.009, 0.9 gives 0.955 / 0.013, 0.97 gives 0.930 / 0.020.
BETA = 0.95
LEAST_BETA = 0.5
PRIOR_ANSWERS = 6  # counted as not throttled; otherwise two throttled of two would be a share of 1 (50/s: 0.756)

# The curve, per cube of its unit of time: a cycle takes about one. FAR is where slow start begins again, 1 unit after
# the decrease. Without FAR a limit that grew fivefold is regained after 2.6 s, with it after 1.4 s.
GROWTH = 0.7
FAR = 1.15
# The unit, in which about two calls are throttled: a second, or the time of so many calls. At 60, 5/s has 0.078
# throttled; at 200, 500/s is regained after 2 s.
UNIT_CALLS = 120
UNIT_S = 1.0
MOST_UNIT_S = 30.0

# The longest wait after refused calls in a row. Without a wait HAProxy's counter, which counts refused calls as well,
# takes 150 s for 120 calls at 20 per 10 s, with it 90 s, and a fixed window 74 s instead of 95 s.
MOST_REST_S = 10.0
MOST_DOUBLINGS = 20

VOUCHED_S = 0.1  # the most growth for one response, in seconds; otherwise the rate would jump after a pause


class Adaptive(LearnsNothing):
    """A quota (see engine/limits/quota.py) that spaces calls evenly at a rate that it discovers, never in a burst.

    Only successful calls raise the rate, and only while the rate is the bottleneck. `rate` stays between `least` and
    `most`, all in calls per second.
    """

    def __init__(self, rate: float = START_RATE, *, least: float = LEAST_RATE, most: float = MOST_RATE) -> None:
        self._rate = min(max(rate, least), most)
        self._least = least
        self._most = most
        self._last = self._before_last = self._taken_at = -math.inf
        self._heard_at = self._decreased_at = -math.inf
        self._proven = self._rate / 2
        self._curve: _Curve | None = None  # slow start
        self._grown_s = 0.0
        self._trouble = _Trouble()
        self._round = _Round(-math.inf, self._rate)
        self._is_calm = True
        self._is_used = True
        self._in_row, self._refused_at, self._rests_until = 0, -math.inf, -math.inf

    @property
    def rate(self) -> float:
        """The rate that is tried at present, in calls per second."""
        return self._rate

    def ready_at(self) -> float:
        """Return when the next call may be sent: one interval after the last."""
        return max(self._last + 1 / self._rate, self._rests_until)

    def take(self, now: float) -> None:
        """Send a call now; a late one delays the next, except for a small part of an interval.

        This is the generic cell rate algorithm (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm) with a
        tolerance of CARRY intervals.
        """
        if self._round.began_at == -math.inf:
            self._round = _Round(now, self._rate)
        self._round.taken += 1
        self._taken_at, self._before_last = now, self._last
        self._last = max(self.ready_at(), now - CARRY / self._rate)

    def give_back(self, taken_at: float) -> None:
        """Undo a call that was not sent; the next one may take its place unless others were sent since."""
        if taken_at == self._taken_at:
            self._round.taken -= 1
            self._last, self._taken_at = self._before_last, -math.inf

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Learn from a response: throttled, `failed` for another reason (or none arrived), or good."""
        vouched_s = min(now - self._heard_at, max(VOUCHED_S, ROUND_ANSWERS / self._rate))
        self._heard_at = now
        self._rest(now, sent_at, throttled=throttled)
        if sent_at <= self._decreased_at:
            return  # it was sent at a rate that was lowered since: the same event
        if throttled:
            self._throttled(now, sent_at)
        elif not failed:
            self._trouble.calm()
            self._grow(now, vouched_s)
            self._round.answered += 1
            if self._round.is_over(now, sent_at):
                self._end_round(now)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return the one place of the rate that is tried at present."""
        return [Places(1, 1 / self._rate, (self.ready_at(),))]

    def _rest(self, now: float, sent_at: float, *, throttled: bool) -> None:
        """Wait while calls are refused one after the other: a limit that counts refused calls would never recover."""
        if sent_at <= self._refused_at:
            return
        self._in_row = self._in_row + 1 if throttled else 0
        if throttled:
            self._refused_at = now
        if self._in_row > 1:
            self._rests_until = now + min(MOST_REST_S, 2 ** min(self._in_row - 2, MOST_DOUBLINGS) / self._rate)

    def _throttled(self, now: float, sent_at: float) -> None:
        self._trouble.throttled(sent_at, min(HICCUP_S, HICCUP_CALLS / self._rate))
        if not self._trouble.is_event:
            return
        if self._curve is None:
            proven = min(self._proven, self._rate * BETA)  # the rate before the last doubling
            self._decrease(now, max(proven, self._rate * LEAST_BETA), self._rate)
        else:
            beta = BETA if self._is_calm else max(LEAST_BETA, min(BETA, 1 - self._trouble.share))
            # A lower peak leaves room for other clients: RFC 9438 section 4.7, fast convergence.
            peak = self._rate if self._rate >= self._curve.peak else self._rate * (1 + beta) / 2
            self._decrease(now, self._rate * beta, peak)

    def _decrease(self, now: float, rate: float, peak: float) -> None:
        self._rate = max(rate, self._least)
        self._curve = _Curve.after(self._rate, peak)
        self._grown_s = 0.0
        self._trouble = _Trouble()
        self._decreased_at = now
        self._is_calm = False
        self._is_used = True
        self._round = _Round(now, self._rate)

    def _grow(self, now: float, vouched_s: float) -> None:
        if self._curve is None or not self._is_used:
            return
        self._grown_s += vouched_s
        goal = min(self._curve.at(self._grown_s), self._round.rate * ROUND_GROWTH, self._most)
        self._rate = max(self._rate, goal)
        if self._rate > self._curve.peak * FAR:
            self._proven, self._curve = self._curve.peak, None
            self._round = _Round(now, self._rate)

    def _end_round(self, now: float) -> None:
        self._is_calm = True
        self._is_used = self._round.is_used(now)
        if self._curve is None and self._is_used:
            self._proven, self._rate = self._rate, min(self._rate * 2, self._most)
        self._round = _Round(now, self._rate)


@dataclass(frozen=True, slots=True)
class _Curve:
    """RFC 9438's cubic function: it rises to `peak` until `rise_s`, is flat there, and then rises again."""

    peak: float
    rise_s: float
    unit_s: float

    @classmethod
    def after(cls, rate: float, peak: float) -> "_Curve":
        """Return the curve that starts at `rate`."""
        unit_s = min(MOST_UNIT_S, max(UNIT_S, UNIT_CALLS / rate))
        return cls(peak, math.cbrt(max(0.0, 1 - rate / peak) / GROWTH) * unit_s, unit_s)

    def at(self, passed_s: float) -> float:
        """Return the rate after `passed_s`."""
        return self.peak * (1 + GROWTH * ((passed_s - self.rise_s) / self.unit_s) ** 3)


@dataclass(slots=True)
class _Trouble:
    """Page's CUSUM of throttled responses above the tolerated share, with counts since it was last zero."""

    excess: float = 0.0
    mishap_at: float = -math.inf
    seen: int = 0
    seen_throttled: int = 0

    def calm(self) -> None:
        """Count a response that was not throttled."""
        self.excess -= TOLERATED
        self.seen += 1
        if self.excess <= 0:
            self.excess, self.seen, self.seen_throttled = 0.0, 0, 0

    def throttled(self, sent_at: float, hiccup_s: float) -> None:
        """Count a throttled response; those sent within a hiccup count as one."""
        if sent_at > self.mishap_at + hiccup_s:
            self.mishap_at = sent_at
            self.excess += 1 - TOLERATED
        self.seen += 1
        self.seen_throttled += 1

    @property
    def is_event(self) -> bool:
        """Whether the sum exceeds what is tolerated."""
        return self.excess >= EVENT

    @property
    def share(self) -> float:
        """The estimated share of throttled calls, by which to lower the rate."""
        return self.seen_throttled / (self.seen + PRIOR_ANSWERS)


@dataclass(slots=True)
class _Round:
    """The calls made since `began_at`, when the rate was `rate`."""

    began_at: float
    rate: float
    taken: int = 0
    answered: int = 0

    def is_over(self, now: float, sent_at: float) -> bool:
        """Return whether the rate has been tried: for a round trip, and with enough responses."""
        return sent_at >= self.began_at and self.answered >= ROUND_ANSWERS and now >= self.began_at + ROUND_S

    def is_used(self, now: float) -> bool:
        """Return whether the calls came close to what the rate permitted."""
        return self.taken >= USED * self.rate * (now - self.began_at)
