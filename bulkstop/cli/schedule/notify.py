"""Who is told how a firing goes: the webhooks and dead man's switches that its schedule names."""

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
"""How long the end of a firing waits for what is still on its way; a notifier itself gives up a little earlier."""


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
    """Tells somebody of what happens in a firing; it returns at once, and never raises.

    It may be called within an event loop: while a run is behind its time to finish by.
    """

    def notify(self, notice: Notice) -> None:
        """Tell of one thing."""
        ...

    def close(self) -> None:
        """Give what is on its way a moment to arrive: nothing more is told."""
        ...


class Silent:
    """Tells nobody."""

    def notify(self, notice: Notice) -> None:
        """Tell nobody."""

    def close(self) -> None:
        """Wait for nothing."""


class Background:
    """Notifies the receivers of a schedule from threads beside the run, so that the run waits for none of them."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._threads: list[Thread] = []

    def notify(self, notice: Notice) -> None:
        """Send a notice."""
        thread = Thread(target=self._tell, args=(notice,), name="notice", daemon=True)
        with suppress(RuntimeError):  # the machine has no thread left; a notice never fails a run
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Wait for what is on its way, at most `CLOSE_S` in all."""
        until = monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic()))

    def _tell(self, notice: Notice) -> None:
        from bulkstop.runs import host, notify  # what nobody is told of need not wait for them

        settings = _read_receivers(self._schedule)
        host.run(notify.tell(settings, describe(notice, self._schedule, settings.host)), fast=False)


def make_notifier(schedule: Schedule) -> Notifier:
    """Return who is told of a schedule's firings, by its keys `notify`, `on_success` and `on_failure`."""
    has_any = schedule.notify or schedule.on_success or schedule.on_failure
    return Background(schedule) if has_any else Silent()


def describe(notice: Notice, schedule: Schedule, host: str = "") -> "notify.Notice":
    """Return a notice of a firing as receivers are sent it: `missed` and `preflight_failed` are failures."""
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
    """Return what reaches the receivers: the proxy and the authorities of the profile, where they can be read."""
    reach: dict[str, Any] = {}
    try:
        values = merge_settings({}, {}, open_profile(schedule.profile, schedule.path))
        reach = {name: values[name] for name in _REACH if name in values}
    except BulkstopError:  # what is wrong with the profile is just what has to be told
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
