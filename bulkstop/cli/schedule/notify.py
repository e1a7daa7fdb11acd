"""Sends notices of a firing to the webhooks and dead man's switches that its schedule names."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bulkstop.errors import BulkstopError
from bulkstop.runs.courier import Courier, close_all
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.settings import Settings
from bulkstop.settings.load import merge_settings, open_profile

if TYPE_CHECKING:
    from bulkstop.runs import notify

_EVENTS = {
    NoticeKind.STARTED: "start",
    NoticeKind.GUARD_ENDED: "guard",
    NoticeKind.BEHIND: "behind",
    NoticeKind.ENDED: "end",
    NoticeKind.PREFLIGHT_FAILED: "preflight_failed",
    NoticeKind.MISSED: "missed",
}
_SAID = {
    NoticeKind.STARTED: "a firing begins",
    NoticeKind.GUARD_ENDED: "a guard ended the run",
    NoticeKind.BEHIND: "the run is behind",
    NoticeKind.ENDED: "the firing has ended",
    NoticeKind.PREFLIGHT_FAILED: "the preflight failed",
    NoticeKind.MISSED: "the firing did not run",
}
_REACH = ("host", "proxy", "proxy_password", "proxy_password_file", "proxy_password_command", "ca", "insecure_http")


class Teller:
    """Sends notices of a firing to the receivers of its schedule without delaying it; without receivers, sends none.

    It may be called within an event loop, by a run that is behind its time to finish by.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        has_any = schedule.notify or schedule.on_success or schedule.on_failure
        self._courier = Courier(lambda: _read_receivers(schedule)) if has_any else None

    def notify(self, notice: Notice) -> None:
        """Send a notice; return at once, and raise nothing."""
        if self._courier is not None:
            self._courier.post_made(lambda settings: describe(notice, self._schedule, settings.host))

    def close(self, couriers: Sequence[Courier] = ()) -> list[str]:
        """Wait a bounded time for all notices, with those of other couriers; return a message for each lost notice."""
        return close_all([*couriers, *([] if self._courier is None else [self._courier])])


def describe(notice: Notice, schedule: Schedule, host: str = "") -> "notify.Notice":
    """Return a firing's notice in the form that receivers get; `missed` and `preflight_failed` are failures."""
    from bulkstop.runs import notify

    title = f"schedule {notice.schedule}, {notice.firing}" if notice.firing else f"schedule {notice.schedule}"
    code = "" if notice.exit_code is None else f" with exit code {notice.exit_code}"
    said = f"{title}: {_SAID[notice.kind]}{code}"
    return notify.Notice(
        event=notify.NoticeEvent(_EVENTS[notice.kind]),
        text=f"{said}: {notice.text}" if notice.text else said,
        host=host,
        schedule=notice.schedule,
        profile=schedule.profile,
        exit_code=notice.exit_code,
    )


def _read_receivers(schedule: Schedule) -> Settings:
    """Return settings that reach the receivers, with the proxy and authorities of the profile if it is readable."""
    reach: dict[str, Any] = {}
    try:
        values = merge_settings({}, {}, open_profile(schedule.profile, schedule.path))
        reach = {name: values[name] for name in _REACH if name in values}
    except BulkstopError:  # the notice may be about this very fault of the profile
        pass
    reach.setdefault("host", os.environ.get("BULKSTOP_HOST", "localhost"))
    receivers: dict[str, Any] = {
        "notify": schedule.notify,
        "on_success": (schedule.on_success,) if schedule.on_success else (),
        "on_failure": (schedule.on_failure,) if schedule.on_failure else (),
    }
    try:
        return Settings(**reach, **receivers)
    except BulkstopError:
        return Settings(host="localhost", **receivers)
