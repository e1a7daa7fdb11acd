"""Disables the recurring schedules of stopped campaigns by name, within the quota.

A stop ends only the current run of a campaign. The call that disables its schedule takes its own place in the quota,
and is sent before the next stop of its account and before the campaign's line is written. So at most as many campaigns
of an account wait for their line as may be in flight.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from bulkstop.engine.followup import FollowUp
from bulkstop.engine.lanes import Lane
from bulkstop.errors import BulkstopError
from bulkstop.events import Observe, WrongScheduleDisabled
from bulkstop.kore.calls import disable_schedule_call
from bulkstop.kore.interpret import Disabled
from bulkstop.kore.session import Perform
from bulkstop.model import Attempt, Campaign, Outcome, Result, ScheduleState, schedule_failure
from bulkstop.report.log import log_event
from bulkstop.runs.lists.states import describe_failure
from bulkstop.runs.stop.precheck import ByName, KnownStates
from bulkstop.runs.wiring import Accounts
from bulkstop.text import one_line

RUN_ENDED = "the run ended before"
DOUBT = "it may have been disabled"
NAMELESS = "the service does not say whose schedule it disabled"


class ScheduleCalls:
    """Decides which schedules are disabled; `perform` makes the calls."""

    def __init__(self, known_states: KnownStates, perform: Perform, observe: Observe = log_event) -> None:
        self._known = known_states
        self._perform = perform
        self._observe = observe

    def follow(self, campaign: Campaign, result: Result) -> FollowUp | Result:
        """Return the call that disables a stopped campaign's schedule; if there is none, the result that says why."""
        schedule = self._known.schedule(campaign)
        if not isinstance(schedule, ByName):
            return replace(result, schedule=schedule)
        return FollowUp(partial(self._disable, schedule.name), lambda last: _with_schedule(result, last), DOUBT)

    def lanes_at_rest(
        self, campaigns: Mapping[str, Iterable[Campaign]], accounts: Accounts, run_id: str
    ) -> Iterator[Lane]:
        """Yield a lane for each account with its campaigns at rest, which get no stop."""

        def follow(campaign: Campaign) -> FollowUp:
            follow_up = self.follow(campaign, self._known.result(campaign, run_id))
            assert isinstance(follow_up, FollowUp)  # noqa: S101 - all of these campaigns have one
            return follow_up

        for account_id, own in campaigns.items():
            yield accounts.lane(account_id, own, follow_up=follow)

    async def _disable(self, name: str, campaign: Campaign) -> Attempt:
        """Disable a schedule; an error does not change the outcome of the campaign."""
        try:
            answer = await self._perform(disable_schedule_call(campaign, name))
        except BulkstopError as error:
            return Attempt(Outcome.REJECTED, error=str(error))
        return answer if isinstance(answer, Attempt) else self._interpret(answer, campaign, name)

    def _interpret(self, answer: Disabled, campaign: Campaign, name: str) -> Attempt:
        if answer.campaign_id == one_line(campaign.campaign_id):
            return Attempt(Outcome.STOPPED)
        if answer.campaign_id is None:
            return Attempt(Outcome.UNCONFIRMED, error=NAMELESS)
        self._observe(WrongScheduleDisabled(campaign.campaign_id, answer.campaign_id, name))
        error = f"the service disabled the schedule of another campaign of that name: {answer.campaign_id}"
        return Attempt(Outcome.UNCONFIRMED, error=error)


def _with_schedule(result: Result, last: Attempt) -> Result:
    if last.outcome is Outcome.STOPPED:
        return replace(result, schedule=ScheduleState.DISABLED)
    if last.outcome is Outcome.NOT_SENT:
        return replace(result, schedule=schedule_failure(RUN_ENDED))
    return replace(result, schedule=schedule_failure(describe_failure(last)))
