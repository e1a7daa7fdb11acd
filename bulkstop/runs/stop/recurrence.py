"""Disable the recurring schedules of stopped campaigns: by name, within the quota, before their lines are written.

A stop ends what runs now. The call that follows it takes a place in the quota of its own, and goes before the next stop
of its account: so at most as many campaigns wait for their line as may be in flight.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from bulkstop.engine.caller import Caller
from bulkstop.engine.followup import FollowUp
from bulkstop.engine.pool import NOT_TRIED
from bulkstop.engine.rest import log_throttled
from bulkstop.engine.retry import Retry
from bulkstop.errors import BulkstopError
from bulkstop.events import WrongScheduleDisabled
from bulkstop.kore.calls import disable_schedule_call
from bulkstop.kore.interpret import Disabled
from bulkstop.kore.session import Perform
from bulkstop.model import SCHEDULE_DISABLED, SCHEDULE_FAILED, Attempt, Campaign, Outcome, Result
from bulkstop.report.log import log_event
from bulkstop.runs.lists.states import describe_failure
from bulkstop.runs.stop.precheck import ByName, KnownStates
from bulkstop.runs.wiring import Accounts
from bulkstop.text import one_line

RUN_ENDED = "the run ended before"
BROKEN = "the call failed inside this program; it may have been disabled"
CUT_OFF = "in flight when the run was cut off; it may have been disabled"
NAMELESS = "the service does not say whose schedule it disabled"


class ScheduleCalls:
    """Makes the calls that disable schedules; `drained`, once set, lets none leave any more, and may be set here."""

    def __init__(
        self,
        known_states: KnownStates,
        accounts: Accounts,
        perform: Perform,
        *,
        retry: Retry,
        drained: asyncio.Event,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known_states
        self._accounts = accounts
        self._perform = perform
        self._retry = retry
        self._drained = drained
        self._now = now

    async def follow(self, campaign: Campaign) -> FollowUp:
        """Disable the schedule of a campaign at rest, if that can be; what goes wrong is said and not raised."""
        schedule = self._known.schedule(campaign)
        if not isinstance(schedule, ByName):
            return FollowUp(schedule)
        caller = self._caller(campaign.account_id)
        said, fault = await self._disable(campaign, schedule.name, caller)
        return FollowUp(said, caller.calls, fault)

    def at_rest(self, campaigns: Iterable[Campaign], run_id: str) -> Iterator[tuple[Campaign, Result]]:
        """Yield each of the campaigns to which no stop is sent with its result."""
        return ((campaign, self._known.result(campaign, run_id)) for campaign in campaigns)

    def _caller(self, account_id: str) -> Caller:
        return Caller(
            self._accounts.quota(account_id),
            self._accounts.claim(account_id),
            retry=self._retry,
            paces_itself=self._accounts.paced,
            rest=self._accounts.rest(account_id),
            drained=self._drained,
            throttled=partial(log_throttled, account_id, is_paced=self._accounts.paced),
            now=self._now,
        )

    async def _disable(self, campaign: Campaign, name: str, caller: Caller) -> tuple[str, Exception | None]:
        """Disable a schedule and say how that went; the campaign is stopped, whatever becomes of this."""
        try:
            found = await caller.call(partial(self._perform, disable_schedule_call(campaign, name)))
        except BulkstopError as error:
            return f"{SCHEDULE_FAILED}{error}", None
        except asyncio.CancelledError:  # kept from the worker: it has a line to write, and then finds that all is over
            self._drained.set()
            return f"{SCHEDULE_FAILED}{CUT_OFF}", None
        except Exception as fault:  # noqa: BLE001 - whatever it is, the line comes first
            return f"{SCHEDULE_FAILED}{BROKEN}", fault
        return _interpret(found, campaign, name), None


def _interpret(found: Disabled | Attempt, campaign: Campaign, name: str) -> str:
    if isinstance(found, Attempt):
        return f"{SCHEDULE_FAILED}{_explain(found)}"
    if found.campaign_id == one_line(campaign.campaign_id):
        return SCHEDULE_DISABLED
    if found.campaign_id is None:
        return f"{SCHEDULE_FAILED}{NAMELESS}"
    log_event(WrongScheduleDisabled(campaign.campaign_id, found.campaign_id, name))
    return f"{SCHEDULE_FAILED}the service disabled the schedule of another campaign of that name: {found.campaign_id}"


def _explain(attempt: Attempt) -> str:
    if attempt.outcome is Outcome.NOT_SENT and attempt.error == NOT_TRIED:
        return RUN_ENDED
    return describe_failure(attempt)
