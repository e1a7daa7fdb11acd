"""Single calls of an account, one after the other, within what it may do.

What the pool is for a list of campaigns, this is for the few calls around it: the same Quota and Claim, the same
Retry, the same AccountRest after being throttled. Nothing here makes tasks; `run_concurrently` (tasks.py) lets accounts
go at the same time.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from bulkstop.engine.lanes import Claim
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.quota import Quota
from bulkstop.engine.pacing.overload import read_unavailable
from bulkstop.engine.rest import AccountRest
from bulkstop.engine.results import unfinished_attempt
from bulkstop.engine.retry import Rest, Retry, RetryAt, Settle, Tries
from bulkstop.engine.tasks import CLOCK_AGAIN_S
from bulkstop.errors import BulkstopError
from bulkstop.model import Allowance, Attempt, RetryHint

T = TypeVar("T")
OnRest = Callable[[float, str], object]
"""Told before each wait how many seconds it takes, and why."""
USED_UP = "its quota is used up"

LOOK_AGAIN_S = 0.25
"""How soon to look again for a place in the quota that only another call's answer can free."""
LEAST_S = 0.001
"""The shortest sleep; event loops count in milliseconds."""


def ignore_rest(seconds: float, why: str) -> None:
    """Do nothing."""


class Caller:
    """Makes the calls of one account, each until it has its answer or Retry gives it up.

    Use it from one task at a time. `drained`, once set, lets nothing more leave and ends every wait; a call in flight
    is waited for. `rests` is told of each wait before it begins; `now` is a monotonic clock in seconds.
    """

    def __init__(
        self,
        quota: Quota,
        claim: Claim | None = None,
        *,
        retry: Retry,
        paces_itself: bool = False,
        rest: AccountRest | None = None,
        drained: asyncio.Event | None = None,
        rests: OnRest = ignore_rest,
        now: Callable[[], float] = elapsed_s,
    ) -> None:
        self.calls = 0
        self._quota = quota
        self._claim = claim
        self._retry = retry
        self._paces_itself = paces_itself
        self._drained = drained or asyncio.Event()
        self._rests = rests
        self._now = now
        self._rest = rest or AccountRest()

    async def call(self, make: Callable[[], Awaitable[T | Attempt]]) -> T | Attempt:
        """Try `make` until it gives a value, and give that; else the Attempt that failed last, or `not_sent`.

        Raises only what `make` or the quota store raises: a BulkstopError.
        """
        tries, due, last, why = Tries(), -math.inf, unfinished_attempt(None), ""
        while await self._has_place(due, why):
            sent_at = self._now()
            answer = await self._try(make, sent_at)
            if not isinstance(answer, Attempt):
                return answer
            step = self._plan_next(tries, answer, sent_at)
            if isinstance(step, Settle):
                return answer
            tries, due = step.tries, step.at if isinstance(step, RetryAt) else -math.inf
            last, why = unfinished_attempt(answer), f"{answer.error or answer.outcome}; it is tried again"
        return last

    def _plan_next(self, tries: Tries, attempt: Attempt, sent_at: float) -> Settle | RetryAt | Rest:
        """Return what follows an answer, and let the account rest if it is told to."""
        now = self._now()
        event = self._rest.count_throttled(now, sent_at) if attempt.again is RetryHint.THROTTLED else 0
        step = tries.after(attempt, now, self._retry, event=event, is_paced=self._paces_itself)
        if not isinstance(step, RetryAt):
            self._rest.extend(step.rests_until)
        return step

    async def _has_place(self, due: float, why: str) -> bool:
        """Wait until `due`, which has its reason, and for a place in the quota; take it, or return False at the end."""
        while not self._drained.is_set():
            now = self._now()
            waits = (due, why), (self._rest.until, "the service asks to wait"), (self._quota.ready_at(), USED_UP)
            until, reason = max(waits, key=lambda wait: wait[0])
            wait_s = until - now
            if wait_s <= 0:
                wait_s, reason = await self._take(now), USED_UP
                if wait_s <= 0:
                    return True
            await self._sleep(LOOK_AGAIN_S if wait_s == math.inf else wait_s, reason)
        return False

    async def _take(self, now: float) -> float:
        """Take a place, here and in the shared store; more than 0.0 are the seconds after which to ask again."""
        wait_s = claimed_s = math.inf
        self._quota.take(now)
        try:
            claimed_s = 0.0 if self._claim is None else await self._claim.take(1)
            wait_s = max(claimed_s, self._rest.until - self._now())  # another call may be throttled meanwhile
        finally:
            if wait_s > 0 or self._drained.is_set():
                self._quota.give_back(now)
                if self._claim is not None and claimed_s <= 0:
                    self._claim.give_back()
        return math.inf if self._drained.is_set() else wait_s

    async def _sleep(self, seconds: float, why: str) -> None:
        self._rests(seconds, why)
        until, left_s = self._now() + seconds, max(seconds, LEAST_S)
        while left_s >= LEAST_S and not self._drained.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, CLOCK_AGAIN_S)):
                    await self._drained.wait()
            left_s = until - self._now()

    async def _try(self, make: Callable[[], Awaitable[T | Attempt]], sent_at: float) -> T | Attempt:
        again: RetryHint | None = RetryHint.LATER  # also of a call that is cut off
        said: Allowance | None = None
        has_left = True
        try:
            answer = await make()
            if isinstance(answer, Attempt):
                answer = read_unavailable(answer, self._quota, sent_at)
                again, has_left = answer.again, answer.has_left
            else:
                again = None
            said = getattr(answer, "allowance", None)  # answers are of many kinds, and most can tell
        except BulkstopError:  # for want of a token
            has_left = False
            raise
        finally:
            self.calls += 1
            now, throttled = self._now(), again is RetryHint.THROTTLED
            if self._claim is not None:
                self._claim.answered() if has_left else self._claim.give_back()
            if has_left:
                self._quota.note_allowance(now, sent_at, said, throttled=throttled, most_s=self._retry.most_stated_s)
                self._quota.answered(now, sent_at, throttled=throttled, failed=again is RetryHint.LATER)
            else:
                self._quota.give_back(sent_at)
            if not throttled:
                self._rest.note_let_through(sent_at)
        return answer
