"""Disable the recurring schedules of stopped campaigns: by name, within the quota, before their lines are written.

A stop ends what runs now. The call that follows it takes a place in the quota of its own, and goes before the next stop
of its account: so at most as many campaigns wait for their line as may be in flight.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from bulkstop.engine.caller import Caller
from bulkstop.engine.limits.quota import Quota
from bulkstop.engine.pool import NOT_TRIED, Pool, run_concurrently
from bulkstop.engine.retry import Retry
from bulkstop.errors import BulkstopError
from bulkstop.kore.calls import disable_schedule_call
from bulkstop.kore.interpret import Disabled
from bulkstop.kore.session import Perform
from bulkstop.model import (
    DONE,
    SCHEDULE_DISABLED,
    SCHEDULE_FAILED,
    Attempt,
    Campaign,
    CampaignType,
    Outcome,
    Result,
    Row,
    Send,
)
from bulkstop.report.log import log_event
from bulkstop.runs.stop.precheck import ByName, KnownStates
from bulkstop.runs.wiring import Accounts
from bulkstop.text import one_line

RUN_ENDED = "the run ended before"
BROKEN = "the call failed inside this program; it may have been disabled"
CUT_OFF = "in flight when the run was cut off; it may have been disabled"
NAMELESS = "the service does not say whose schedule it disabled"


class Places:
    """The limits of an account as its lane sees them, while its workers have a second call to make.

    A worker that goes on to the second call has its first place back at once: that call has its answer. And no stop
    leaves before the second calls have: else those could wait for as long as there is something to stop.
    """

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._second = self._given_back = 0

    def ready_at(self) -> float:
        """Return the time of the next stop, inf while a second call is due: its end makes the lane look again."""
        return math.inf if self._second else self._quota.ready_at()

    def take(self, now: float) -> None:
        """Use one place."""
        self._quota.take(now)

    def give_back(self) -> None:
        """Free one place that was not used."""
        self._quota.give_back()

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Let one place age, unless it does so already."""
        if self._given_back:
            self._given_back -= 1
        else:
            self._quota.answered(now, sent_at, throttled=throttled, failed=failed)

    @contextmanager
    def second_call(self, now: float, sent_at: float) -> Iterator[None]:
        """Put back the place of a stop that was answered `now`; the block makes the second call.

        After the block the stop must be reported as answered before anything else happens, as the pool does it.
        """
        self._quota.answered(now, sent_at, throttled=False)
        self._second += 1
        try:
            yield
        finally:
            self._second -= 1
            self._given_back += 1


class ScheduleCalls:
    """Makes the second calls of a run, and knows what is to be said of each until its line is written."""

    def __init__(
        self,
        known_states: KnownStates,
        accounts: Accounts,
        perform: Perform,
        *,
        retry: Retry,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calls = 0
        self.fault: Exception | None = None
        self._known = known_states
        self._accounts = accounts
        self._perform = perform
        self._retry = retry
        self._now = now
        self._drained = asyncio.Event()
        self._places: dict[str, Places] = {}
        self._said: dict[tuple[str, CampaignType | None, str | None, str | None], str] = {}

    def places(self, account_id: str) -> Places:
        """Return what the lane of an account goes by, always the same object."""
        if account_id not in self._places:
            self._places[account_id] = Places(self._accounts.quota(account_id))
        return self._places[account_id]

    def after(self, send: Send) -> Send:
        """Make the Send that also disables the schedule of what it has stopped."""

        async def send_and_disable(campaign: Campaign) -> Attempt:
            sent_at = self._now()
            attempt = await send(campaign)
            schedule = self._known.schedule(campaign) if attempt.outcome in DONE else None
            if isinstance(schedule, ByName):
                with self.places(campaign.account_id).second_call(self._now(), sent_at):
                    schedule = await self._disabled(campaign, schedule.name)
            if schedule is not None:
                self._said[_key(campaign)] = schedule
            return attempt

        return send_and_disable

    def add_schedule(self, result: Result) -> Result:
        """Return a result with what is to be said of its schedule, if anything is."""
        said = self._said.pop(_key(result), None)
        return result if said is None else replace(result, schedule=said)

    async def follow(self, campaign: Campaign) -> None:
        """Disable the schedule of a campaign that a list has at rest, as the service had claimed."""
        schedule = self._known.schedule(campaign)
        said = await self._disabled(campaign, schedule.name) if isinstance(schedule, ByName) else schedule
        if said is not None:
            self._said[_key(campaign)] = said

    def drain(self) -> None:
        """Let no call leave any more; one in flight is waited for."""
        self._drained.set()

    async def at_rest(self, campaign: Campaign, run_id: str) -> Result:
        """Disable the schedule of a campaign to which no stop is sent, and give its result."""
        schedule = self._known.schedule(campaign)
        said = await self._disabled(campaign, schedule.name) if isinstance(schedule, ByName) else schedule
        return replace(self._known.result(campaign, run_id), schedule=said)

    async def _disabled(self, campaign: Campaign, name: str) -> str:
        """Disable a schedule and say how that went; the campaign is stopped, whatever becomes of this."""
        caller = Caller(
            self._accounts.quota(campaign.account_id),
            self._accounts.claim(campaign.account_id),
            retry=self._retry,
            paces_itself=self._accounts.paced,
            rest=self._accounts.rest(campaign.account_id),
            drained=self._drained,
            now=self._now,
        )
        try:
            found = await caller.call(partial(self._perform, disable_schedule_call(campaign, name)))
        except BulkstopError as error:
            return f"{SCHEDULE_FAILED}{error}"
        except asyncio.CancelledError:  # kept from the worker: it has a line to write, and then finds that all is over
            self.drain()
            return f"{SCHEDULE_FAILED}{CUT_OFF}"
        except Exception as fault:  # noqa: BLE001 - whatever it is, the line comes first
            self.fault = fault
            return f"{SCHEDULE_FAILED}{BROKEN}"
        finally:
            self.calls += caller.calls
        return _interpret(found, campaign, name)


class DisablingPool(Pool):
    """A pool whose lines say what became of the schedules, and whose end is that of the calls for them.

    When all is sent it disables the schedules of campaigns that needed no stop, `at_rest`; each of them gets its line,
    whatever ends the run.
    """

    def __init__(
        self, *args: Any, schedules: ScheduleCalls, at_rest: Callable[[], Iterable[Campaign]], **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self._schedules = schedules
        self._at_rest = at_rest
        self._cut: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Do what a pool does, then see to what is at rest."""
        try:
            await super().run()
        finally:
            await self._finish()
            self.calls += self._schedules.calls
        if self.fault is not None:
            raise self.fault

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for."""
        super().drain()
        self._schedules.drain()

    def abort(self) -> None:
        """Cut off what is in flight."""
        super().abort()
        if self._cut is not None:
            self._cut.reschedule(asyncio.get_running_loop().time())
            self._cut = None

    async def _finish(self) -> None:
        jobs = (partial(self._disable, campaign) for campaign in self._at_rest())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as self._cut:
                    await run_concurrently(jobs, self._concurrency)
        finally:
            self._cut = None

    async def _follow(self, campaign: Campaign) -> None:
        await self._schedules.follow(campaign)

    async def _disable(self, campaign: Campaign) -> None:
        self._write(await self._schedules.at_rest(campaign, self._run_id or ""))

    def _write(self, result: Result) -> None:
        super()._write(self._schedules.add_schedule(result))
        if self._schedules.fault is not None:
            self._end_early(self._schedules.fault)


def _interpret(found: Disabled | Attempt, campaign: Campaign, name: str) -> str:
    if isinstance(found, Attempt):
        return f"{SCHEDULE_FAILED}{_explain(found)}"
    if found.campaign_id == one_line(campaign.campaign_id):
        return SCHEDULE_DISABLED
    if found.campaign_id is None:
        return f"{SCHEDULE_FAILED}{NAMELESS}"
    said = {"campaign_id": campaign.campaign_id, "disabled": found.campaign_id, "name": name}
    log_event("schedule_of_another_disabled", logging.ERROR, **said)
    return f"{SCHEDULE_FAILED}the service disabled the schedule of another campaign of that name: {found.campaign_id}"


def _explain(attempt: Attempt) -> str:
    if attempt.outcome is Outcome.NOT_SENT and attempt.error == NOT_TRIED:
        return RUN_ENDED
    said = f" ({attempt.message})" if attempt.message else ""
    return f"{attempt.error or attempt.outcome}{said}"


def _key(of: Row) -> tuple[str, CampaignType | None, str | None, str | None]:
    return of.campaign_id, of.campaign_type, of.account_id, of.stream_id
