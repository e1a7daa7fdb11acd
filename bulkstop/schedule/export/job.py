"""The content of an export: a schedule as its scheduler must run it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from bulkstop.schedule.triggers import Triggers, plan_triggers


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that only the service may read: its name, its path, and the variable that names it.

    Without a variable, a profile names the path, so the service must find the file there. `is_sure` says that every
    firing needs the file; otherwise a firing may need it.
    """

    name: str
    path: str
    variable: str | None = None
    is_sure: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """A schedule, and the machine that runs it."""

    name: str
    at: str
    """The times of day and the zone, for a person."""
    zone: str
    moments: tuple[datetime, ...]
    """The moments at which it may fire in the coming years."""
    preflights: tuple[datetime, ...]
    program: str
    directory: str
    config: str
    results: str
    secrets: tuple[SecretFile, ...]
    grace_s: float
    catch_up_s: float
    longest_s: float
    """Longest duration of a firing in seconds, including the verification."""
    user: str = "bulkstop"
    mail_to: str | None = None
    image: str = "bulkstop"
    zone_data: str = "unknown"

    @property
    def head(self) -> str:
        """The comment at the top of each file."""
        last = max(self.moments).year if self.moments else 0
        return (
            f"# {self.at}: written by `bulkstop schedule export`; by time-zone data {self.zone_data} each firing until "
            f"{last}\n# has a trigger, and surplus triggers end as not due. Write it anew when zones get other rules."
        )

    @property
    def needed(self) -> list[SecretFile]:
        """The secrets that every firing needs."""
        return [each for each in self.secrets if each.is_sure]

    @property
    def possible(self) -> list[SecretFile]:
        """The secrets that a firing needs only if its list, which is made later, names their profiles."""
        return [each for each in self.secrets if not each.is_sure]

    @property
    def stop_s(self) -> int:
        """Seconds that a scheduler waits for the end of a firing, more than calls in flight may take."""
        return int(self.grace_s) + 25


def write_cron_times(triggers: Triggers) -> list[str]:
    """Return triggers as lines with the five time fields of cron, as few as possible.

    Cron cannot address the second of two equal local hours, so such a day has a trigger every five minutes.
    """
    lines = []
    for minute, days, hours in _merge(
        (each.at, tuple((day + 1) % 7 for day in each.weekdays)) for each in triggers.weekly
    ):
        lines.append(f"{minute} {_list(hours)} * * {_list_days(days)}")
    by_date = _merge((each.at, (each.month, each.day)) for each in triggers.dated)
    for minute, (month, day), hours in by_date:
        lines.append(f"{minute} {_list(hours)} {day} {month} *")
    zone = ZoneInfo(triggers.zone)
    second = {(at.month, at.day) for at in (each.astimezone(zone) for each in triggers.doubled) if at.fold}
    return lines + [f"*/5 * {day} {month} *" for month, day in sorted(second)]


def _merge(times: Iterable[tuple[time, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...], list[int]]]:
    """Merge the hours with the same minute and the same days."""
    found: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for at, days in times:
        found.setdefault((at.minute, days), []).append(at.hour)
    return [(minute, days, sorted(hours)) for (minute, days), hours in sorted(found.items())]


def _list(numbers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def _list_days(days: tuple[int, ...]) -> str:
    if len(days) == 7:
        return "*"
    return "1-5" if sorted(days) == [1, 2, 3, 4, 5] else _list(days)


def plan_in(moments: Iterable[datetime], zone: str) -> Triggers:
    """Return the triggers by the clock of a zone."""
    return plan_triggers(moments, ZoneInfo(zone))


def format_utc(moment: datetime) -> str:
    """Return a moment in the format of systemd."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
