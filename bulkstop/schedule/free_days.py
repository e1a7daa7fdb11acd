"""Days on which a schedule does not run as usual: public holidays, and the operator's own dates."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from bulkstop.text import write_install
from bulkstop.text.likeness import suggest_near

REQUIREMENT = "holidays>=0.80"
ESTIMATED = "estimated"
_OWN = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\s+(.*))?", re.ASCII)


class FreeDay(NamedTuple):
    """The name of a free day; one that `is_estimated` depends on the moon, and may be a day earlier or later."""

    name: str
    is_estimated: bool = False


@dataclass(frozen=True)
class FreeDays:
    """The free days of regions, such as DE or DE-BY, and own dates with their names."""

    regions: tuple[str, ...] = ()
    own: Mapping[date, str] = field(default_factory=dict)

    def find(self, day: date) -> FreeDay | None:
        """Return the free day of a date; None if there is none."""
        if (name := self.own.get(day)) is not None:
            return FreeDay(name or "an own date")
        for region in self.regions:
            if name := _open_region(region).get(day):
                is_estimated = ESTIMATED in name
                return FreeDay(name.replace("(estimated)", "").strip(), is_estimated)
        return None


_OPEN: dict[str, Any] = {}


def _open_region(region: str) -> Any:
    """Return the holidays of a region, by date; each year is computed when it is first needed."""
    if region not in _OPEN:
        import holidays  # most schedules have none, and its data is large

        country, _, part = region.partition("-")
        language = "en_US" if "en_US" in _languages(holidays, country) else None
        _OPEN[region] = holidays.country_holidays(country, subdiv=part or None, language=language)
    return _OPEN[region]


def _languages(library: Any, country: str) -> Iterable[str]:
    languages: Iterable[str] = library.list_localized_countries().get(country, ())
    return languages


def check_region(region: str) -> str:
    """Return a country or region as the holidays library names it; raises ValueError for an unknown one."""
    try:
        import holidays
    except ModuleNotFoundError:
        raise ValueError(f"needs the package holidays: {write_install(REQUIREMENT)}") from None

    known = holidays.list_supported_countries(include_aliases=True)
    country, _, part = region.strip().partition("-")
    country = country.upper()
    if country not in known:
        raise ValueError(f"{region[:40]!r} is not a country with known holidays; write its code, such as DE or US-CA")
    parts = {each.upper(): each for each in known[country]}
    if part and part.upper() not in parts:
        near = suggest_near(part.upper(), parts)
        raise ValueError(f"{country} has no part {part[:20]!r}{near or '; it has ' + ', '.join(known[country])}")
    return f"{country}-{parts[part.upper()]}" if part else country


def parse_own_dates(path: str, text: str) -> Mapping[date, str]:
    """Return own dates, one a line, followed by a name; raises ValueError with the file and the line."""
    dates: dict[date, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        try:
            match = _OWN.fullmatch(content)
            if match is None:
                raise ValueError  # noqa: TRY301 - reported in one place
            dates[date.fromisoformat(match[1])] = (match[2] or "").strip()
        except ValueError:
            raise ValueError(
                f"{path} line {number}: {content[:40]!r} is not a date; write 2026-12-24 Christmas Eve"
            ) from None
    return dates
