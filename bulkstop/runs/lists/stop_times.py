"""When campaigns were stopped, by their result lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkstop.kore.details.contacts import read_time
from bulkstop.model import DONE, WORTH_A_RETRY, Outcome, Result, Scope

MAY_HAVE_STOPPED = (DONE | WORTH_A_RETRY) - {Outcome.THROTTLED}
"""Outcomes of stops that took effect, or may have."""
STALE_S = 24 * 3600.0
"""Seconds before the response beyond which the service's time of a stop belongs to another stop."""
CLOCK_S = 60.0
"""Seconds that a time may be ahead of the service's clock and still be valid."""


class StopTime(NamedTuple):
    """When a campaign was stopped, by the service's clock and by this machine's; None if its line does not say.

    `instance_id` is the instance that was stopped.
    """

    by_service_s: float | None
    by_us_s: float | None
    instance_id: str | None

    def at(self, ahead_s: float, now_s: float) -> float | None:
        """Return the time of the stop by the service's clock, which reads `now_s`.

        This machine's is `ahead_s` ahead of it. The service's own time has precedence, because this machine's clock may
        have been set since.
        """
        ours = None if self.by_us_s is None else self.by_us_s - ahead_s
        if self.by_service_s is None or self.by_service_s > now_s + CLOCK_S:
            return ours
        return ours if ours is not None and ours - self.by_service_s > STALE_S else self.by_service_s


@dataclass(slots=True)
class StopTimes:
    """The campaigns of result files that were stopped, or may have been; of two lines the later stop counts.

    `unstopped` are campaigns that got no stop, `timeless` were stopped at an unknown time.
    """

    by_scope: dict[Scope, dict[str, StopTime]] = field(default_factory=dict)
    unstopped: set[tuple[Scope, str]] = field(default_factory=set)
    timeless: set[tuple[Scope, str]] = field(default_factory=set)

    def note(self, scope: Scope, result: Result) -> None:
        """Record the stop in a result line."""
        key = scope, result.campaign_id
        stop = _read_stop(result)
        if stop is not None:
            known = self.by_scope.setdefault(scope, {})
            before = known.get(result.campaign_id)
            known[result.campaign_id] = stop if before is None else max(before, stop, key=_order)
        elif result.outcome is Outcome.STOPPED:
            self.timeless.add(key)
        elif result.outcome not in (Outcome.PROTECTED, Outcome.DUPLICATE):
            self.unstopped.add(key)

    def settle(self) -> None:
        """Drop campaigns from `unstopped` and `timeless` if another line has their stop or its time."""
        for places in (self.unstopped, self.timeless):
            places -= {place for place in places if place[1] in self.by_scope.get(place[0], {})}
        self.unstopped -= self.timeless


def _read_stop(result: Result) -> StopTime | None:
    if result.outcome not in MAY_HAVE_STOPPED:
        return None
    # For a campaign already at rest, the service's time is when it came to rest, not when it was stopped.
    by_service_s = read_time(result.updated_at) if result.outcome is Outcome.STOPPED else None
    by_us_s = read_time(result.finished_at) or read_time(result.started_at)
    if by_service_s is None and by_us_s is None:
        return None
    return StopTime(by_service_s, by_us_s, result.campaign_instance_id)


def _order(stop: StopTime) -> float:
    return stop.by_us_s or stop.by_service_s or 0.0


def list_instances(stops: Mapping[str, StopTime]) -> dict[str, str]:
    """Return the campaign of each stopped instance."""
    return {stop.instance_id: campaign_id for campaign_id, stop in stops.items() if stop.instance_id}
