"""A run of a schedule, by its calendar or by hand, with its key and the names of its files."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bulkstop.schedule.firings import Firing
from bulkstop.schedule.zones import open_zone

RESULTS = ".results.jsonl"
BY_HAND = "-by-hand"


@dataclass(frozen=True, slots=True)
class Occasion:
    """A due firing, or a start `by_hand`."""

    firing: Firing
    by_hand: bool = False

    @property
    def key(self) -> str:
        """The key of the occasion within its schedule."""
        return f"{self.firing.nominal:%Y-%m-%dT%H:%M:%S}{BY_HAND}" if self.by_hand else self.firing.key

    @property
    def stem(self) -> str:
        """The beginning of its file names: schedule, date and time."""
        form = f"%Y-%m-%d-%H%M%S{BY_HAND}" if self.by_hand else "%Y-%m-%d-%H%M"
        return f"{self.firing.schedule}-{self.firing.nominal.strftime(form)}"

    @property
    def title(self) -> str:
        """The name of the occasion for a person."""
        when = f"{self.firing.nominal:%Y-%m-%d %H:%M} {self.firing.zone}"
        return f"{self.firing.schedule}, by hand at {when}" if self.by_hand else f"{self.firing.schedule} of {when}"

    def results(self, folder: str) -> str:
        """Return the name of the result file."""
        return str(Path(folder, f"{self.stem}{RESULTS}"))


def start_by_hand(schedule: str, zone: str, now: datetime) -> Occasion:
    """Return a start by hand."""
    local = now.astimezone(open_zone(zone)).replace(tzinfo=None, microsecond=0)
    return Occasion(Firing(schedule, local, zone, now.replace(microsecond=0)), by_hand=True)


def match_files(schedule: str) -> re.Pattern[str]:
    """Return a pattern for the file names of a schedule; its groups are the stem and the date."""
    return re.compile(rf"({re.escape(schedule)}-(\d{{4}}-\d{{2}}-\d{{2}})-\d{{4}}(?:\d{{2}}{BY_HAND})?)\..+")
