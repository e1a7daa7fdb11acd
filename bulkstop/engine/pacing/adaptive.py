"""A limit that nobody has told: found, and held, by a rate that grows while all goes well and shrinks when throttled.

CUBIC (RFC 9438, https://www.rfc-editor.org/rfc/rfc9438.html) with calls per second in place of the window: slow start
until calls are throttled; after each decrease fast towards the rate that was too much, slowly around it, and ever
faster beyond it. Three things differ, because a throttled call is a call wasted:

- the decrease is small, and goes by the share of throttled answers only if the smaller rate is throttled as well (as
  in DCTCP, RFC 8257);
- beyond the old maximum slow start begins anew: the limit is not where it was;
- a throttled answer now and then is no event: a limit without a burst gives one to each call that was held up on its
  way. Page's CUSUM test (https://en.wikipedia.org/wiki/CUSUM) tells it from a limit that is passed.

Measured at nginx with `limit_req` 500 r/s and no burst, 64 connections, 12 s, two cores, a timer good to 0.1 ms: on a
quiet machine 0.95 to 0.97 of the limit accepted after the first 3 s, on a busy one 0.82 to 0.95; 0.013 to 0.023 of all
calls throttled. Such a limit lets nobody catch up: a call that leaves 0.4 ms late is 0.4 ms of every 2 lost. With a
timer good to 1 ms, as those of libuv and asyncio are, it is 0.80, and no steady rate that was tried gets over 0.83.
When the limit drops to a fifth for 10 s and comes back, 0.86 to 0.89 of what is permitted is accepted, from the first
call on and on a busy machine; 0.021 to 0.024 throttled; the old limit is regained after 0.9 to 1.2 s.

The figures beside the constants are the worst of six seeds in the model of nginx in
tests/engine/pacing/test_adaptive.py:
goodput as a share of the limit / throttled as a share of the calls. As the constants are, 500/s without a burst gives
0.965 / 0.017, with calls held up for 10 ms about every second 0.932 / 0.025, and 5/s gives 0.935 / 0.045.
"""

import math
from dataclasses import dataclass

from bulkstop.engine.limits.estimate import Places
from bulkstop.engine.limits.quota import LearnsNothing

START_RATE = 20.0  # reaches 500/s in less than a second; a limit of 1/s it overruns by a few calls
LEAST_RATE = 0.05  # a tenth of the smallest limit that is documented, 1800 an hour
MOST_RATE = 10_000.0

# The part of an interval that a late call need not be late for the next one: so the mean rate holds, and two calls are
# never closer than the rest. With a timer good to 1 ms, nginx at 500/s refused 3 % of the calls; with 0.25 it was 13 %.
CARRY = 0.1

# A rate is tried for a round: a round trip, this many answers and this time at least. Without the time, slow start runs
# to 2500/s before a burst of 20 is used up, and 0.020 throttled become 0.038; with 10 answers, the step loses 0.03.
ROUND_ANSWERS = 5
ROUND_S = 0.05
ROUND_GROWTH = 1.5  # at most, RFC 9438 section 4.2
USED = 0.75  # with fewer calls in a round than this part of what the rate allows, the work is the limit

# The test for an event: a throttled answer counts 1 - TOLERATED, another -TOLERATED, the sum never falls below 0; at
# EVENT it is one: two in 33. With 0.5 each is one (0.943 / 0.005, but 0.819 if held up); with 2 it is 0.958 / 0.035.
TOLERATED = 0.03
EVENT = 1.0
# Calls that left so close together were held up together if at all, and count once. Without: 0.835 if held up. No more
# calls than these, or at a high rate the tolerated share of the others would outweigh any number of throttled ones.
HICCUP_S = 0.01
HICCUP_CALLS = 5

# The decrease: RFC 9438's 0.7 gives 0.890 / 0.009, 0.9 gives 0.955 / 0.013, 0.97 gives 0.930 / 0.020.
BETA = 0.95
LEAST_BETA = 0.5
PRIOR_ANSWERS = 6  # counted as not throttled; or two throttled of two would be a share of 1 (50/s: 0.756)

# The curve, per cube of its unit of time: a cycle takes about one. FAR is where slow start begins anew, 1 unit after
# the decrease. Without FAR a limit that grew fivefold is regained after 2.6 s, with it after 1.4 s.
GROWTH = 0.7
FAR = 1.15
# The unit, in which about two calls are throttled: a second, or the time of so many calls. At 60, 5/s has 0.078
# throttled; at 200, 500/s is regained after 2 s.
UNIT_CALLS = 120
UNIT_S = 1.0
MOST_UNIT_S = 30.0

# How long the rest after refused calls in a row may become. Without a rest HAProxy's counter, which counts refused
# calls as well, takes 150 s for 120 calls at 20 per 10 s, with it 90 s, and a fixed window 74 s instead of 95 s.
MOST_REST_S = 10.0
MOST_DOUBLINGS = 20

VOUCHED_S = 0.1  # of growth, for which one answer stands; or the rate would jump after a pause


class Adaptive(LearnsNothing):
    """A quota (see engine/limits/quota.py) that paces calls evenly at a rate it finds by itself, never in a burst.

    Only calls that went well let the rate grow, and only while the rate is what holds the work back. `rate` stays
    between `least` and `most`, all in calls per second.
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
        """The calls per second that are tried at present."""
        return self._rate

    def ready_at(self) -> float:
        """Return the clock time from which the next call may leave: one interval after the last."""
        return max(self._last + 1 / self._rate, self._rests_until)

    def take(self, now: float) -> None:
        """Let a call leave now; one that is late moves the schedule, but for a small part of an interval.

        That is the generic cell rate algorithm (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm) with a
        tolerance of CARRY intervals.
        """
        if self._round.began_at == -math.inf:
            self._round = _Round(now, self._rate)
        self._round.taken += 1
        self._taken_at, self._before_last = now, self._last
        self._last = max(self.ready_at(), now - CARRY / self._rate)

    def give_back(self, taken_at: float) -> None:
        """Let a call be as if it had not been; the next one may leave in its place unless others have left since."""
        if taken_at == self._taken_at:
            self._round.taken -= 1
            self._last, self._taken_at = self._before_last, -math.inf

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Learn from an answer: throttled, `failed` for another reason (also when none came), or untroubled."""
        vouched_s = min(now - self._heard_at, max(VOUCHED_S, ROUND_ANSWERS / self._rate))
        self._heard_at = now
        self._rest(now, sent_at, throttled=throttled)
        if sent_at <= self._decreased_at:
            return  # it left at a rate that is given up already: the same event
        if throttled:
            self._throttled(now, sent_at)
        elif not failed:
            self._trouble.calm()
            self._grow(now, vouched_s)
            self._round.answered += 1
            if self._round.is_over(now, sent_at):
                self._end_round(now)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return the one place of a rate: the one that is tried at present."""
        return [Places(1, 1 / self._rate, (self.ready_at(),))]

    def _rest(self, now: float, sent_at: float, *, throttled: bool) -> None:
        """Rest while one call after the other is refused: a limit that counts refused calls as well would never end."""
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
            proven = min(self._proven, self._rate * BETA)  # the one before the last doubling
            self._decrease(now, max(proven, self._rate * LEAST_BETA), self._rate)
        else:
            beta = BETA if self._is_calm else max(LEAST_BETA, min(BETA, 1 - self._trouble.share))
            # A peak below the one before makes room for others: RFC 9438 section 4.7, fast convergence.
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
    """RFC 9438's cubic function: up to `peak` after `rise_s`, flat there, and beyond."""

    peak: float
    rise_s: float
    unit_s: float

    @classmethod
    def after(cls, rate: float, peak: float) -> "_Curve":
        """Return the curve that begins at `rate`."""
        unit_s = min(MOST_UNIT_S, max(UNIT_S, UNIT_CALLS / rate))
        return cls(peak, math.cbrt(max(0.0, 1 - rate / peak) / GROWTH) * unit_s, unit_s)

    def at(self, passed_s: float) -> float:
        """Return the rate after some time."""
        return self.peak * (1 + GROWTH * ((passed_s - self.rise_s) / self.unit_s) ** 3)


@dataclass(slots=True)
class _Trouble:
    """Page's CUSUM of throttled answers above the tolerated share, and what it has seen since it last was zero."""

    excess: float = 0.0
    mishap_at: float = -math.inf
    seen: int = 0
    seen_throttled: int = 0

    def calm(self) -> None:
        """Count an answer that was not throttled."""
        self.excess -= TOLERATED
        self.seen += 1
        if self.excess <= 0:
            self.excess, self.seen, self.seen_throttled = 0.0, 0, 0

    def throttled(self, sent_at: float, hiccup_s: float) -> None:
        """Count one that was; those sent within a hiccup count as one."""
        if sent_at > self.mishap_at + hiccup_s:
            self.mishap_at = sent_at
            self.excess += 1 - TOLERATED
        self.seen += 1
        self.seen_throttled += 1

    @property
    def is_event(self) -> bool:
        """Tell whether this is more than is tolerated."""
        return self.excess >= EVENT

    @property
    def share(self) -> float:
        """Estimate the throttled share of the calls: what it would take off the rate to have none."""
        return self.seen_throttled / (self.seen + PRIOR_ANSWERS)


@dataclass(slots=True)
class _Round:
    """The calls made since `began_at`, when the rate was `rate`."""

    began_at: float
    rate: float
    taken: int = 0
    answered: int = 0

    def is_over(self, now: float, sent_at: float) -> bool:
        """Tell whether the rate has been tried: by a round trip, and by enough answers."""
        return sent_at >= self.began_at and self.answered >= ROUND_ANSWERS and now >= self.began_at + ROUND_S

    def is_used(self, now: float) -> bool:
        """Tell whether the calls were about as many as the rate allowed."""
        return self.taken >= USED * self.rate * (now - self.began_at)
