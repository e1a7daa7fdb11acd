"""All guards of a run behind one interface, so that callers need not know which ones are active."""

import math
from typing import Generic

from bulkstop.engine.guards.admission import Admission
from bulkstop.engine.guards.breaker import UNANSWERED, Breaker
from bulkstop.engine.guards.scopes import L, ScopeBreaker, Unwatched
from bulkstop.errors import GuardError, RefusedError
from bulkstop.model import Attempt, RetryHint

SHOWN_SCOPES = 3
"""The closed groups named in the error that ends a run."""


class Guards(Generic[L]):
    """Delegates each question to the guard that can answer it; an absent guard permits everything.

    A call may be sent from `leaves_at()` on, and a campaign may begin from `begins_at()` on. `Admission`, `Breaker` and
    `ScopeBreaker` describe the other functions.
    """

    def __init__(
        self,
        admission: Admission | None = None,
        breaker: Breaker | None = None,
        scope_breaker: ScopeBreaker[L] | None = None,
    ) -> None:
        self._admission = admission or Admission()
        self._breaker = breaker or Breaker(math.inf)
        self._scopes: ScopeBreaker[L] = scope_breaker or Unwatched()
        self.begins_at, self.admit = self._admission.ready_at, self._admission.admit
        self.find_wait, self.list_stages = self._admission.find_wait, self._admission.list_stages
        self.released, self.settled = self._admission.released, self._admission.settled
        self.leaves_at, self.left = self._breaker.ready_at, self._breaker.left
        self.unleft, self.lets_leave = self._breaker.unleft, self._breaker.lets_leave
        self.group_of, self.may_renew = self._scopes.of, self._scopes.may_renew
        self.limit_of = self._scopes.limit_of
        self.claimed, self.end_account = self._scopes.claimed, self._scopes.end_account
        self.reviewed, self.flush = self._scopes.reviewed, self._scopes.flush
        self.to_review = self._scopes.to_review

    def answered(self, now: float, sent_at: float, attempt: Attempt) -> Attempt:
        """Note the response to a call sent at `sent_at`, and return its meaning for the campaign.

        After `RetryHint.NEVER` a call without a response is retried if others were answered, because the cause may be
        fixed meanwhile; a call with a response is not, even if a `Classify` returned that hint.
        """
        is_lasting = attempt.again is RetryHint.NEVER and attempt.outcome in UNANSWERED
        self._breaker.answered(now, sent_at, attempt.outcome, attempt.error, is_lasting=is_lasting)
        if attempt.again is not RetryHint.NEVER or (is_lasting and not self._breaker.has_answered):
            return attempt
        return attempt._replace(again=RetryHint.LATER if is_lasting else RetryHint.NO)

    def ended(self, line: L, attempt: Attempt, now: float) -> list[tuple[L, bool]]:
        """Note how a campaign that was sent has ended.

        Returns the lines that can be written now, each with whether its row has ended.
        """
        self.settled(attempt.outcome, now, line.campaign.campaign_id, attempt.error)
        return self._scopes.note(line, attempt)

    @property
    def fault(self) -> GuardError | None:
        """The reason why the run must end; None if it may continue."""
        return self._admission.fault or self._breaker.fault

    @property
    def closed_fault(self) -> GuardError | None:
        """The error about the closed groups of a run that has otherwise ended well; None without any."""
        faults = self._scopes.faults()
        more = [f"and {len(faults) - SHOWN_SCOPES:,} more groups"] if len(faults) > SHOWN_SCOPES else []
        return RefusedError("; ".join(faults[:SHOWN_SCOPES] + more)) if faults else None
