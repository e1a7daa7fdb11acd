"""Sends notices of a firing to the webhooks and dead man's switches that its schedule names."""

import os
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from bulkstop.errors import BulkstopError
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.settings import Settings
from bulkstop.settings.load import merge_settings, open_profile

if TYPE_CHECKING:
    from bulkstop.runs import notify

CLOSE_S = 12.0
"""Seconds that the end of a firing waits for notices on their way; a notice itself gives up a little earlier."""


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


class Notifier(Protocol):
    """Sends notices of what happens in a firing; its methods return at once, and never raise.

    It may be called within an event loop, by a run that is behind its time to finish by.
    """

    def notify(self, notice: Notice) -> None:
        """Send a notice."""
        ...

    def close(self) -> None:
        """Wait for the notices on their way, for a bounded time; no notice follows."""
        ...


class Silent:
    """A notifier without receivers."""

    def notify(self, notice: Notice) -> None:
        """Send nothing."""

    def close(self) -> None:
        """Wait for nothing."""


class Background:
    """Notifies the receivers of a schedule from threads beside the run, which waits for none of them."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._threads: list[Thread] = []

    def notify(self, notice: Notice) -> None:
        """Send a notice from a new thread."""
        thread = Thread(target=self._tell, args=(notice,), name="notice", daemon=True)
        with suppress(RuntimeError):  # no thread can be started; a notice never fails a run
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Wait for the notices on their way, at most `CLOSE_S` in all."""
        until = monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic()))

    def _tell(self, notice: Notice) -> None:
        from bulkstop.runs import host, notify  # imported here because only a notice needs them

        settings = _read_receivers(self._schedule)
        host.run(notify.tell(settings, describe(notice, self._schedule, settings.host)), fast=False)


def make_notifier(schedule: Schedule) -> Notifier:
    """Return the notifier for the receivers of a schedule, in its keys `notify`, `on_success` and `on_failure`."""
    has_any = schedule.notify or schedule.on_success or schedule.on_failure
    return Background(schedule) if has_any else Silent()


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
