"""From settings to what holds a run back: how many campaigns, failures, waves, and how long an outage."""

from typing import NamedTuple

from bulkstop.engine.guards.admission import Admission, wave_sizes
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.guards.scopes import Groups
from bulkstop.engine.lanes import Turn
from bulkstop.errors import SettingsError
from bulkstop.settings import Settings


class Guards(NamedTuple):
    """What a pool asks before a campaign is begun, or a call leaves."""

    admission: Admission | None
    breaker: Breaker
    groups: Groups[Turn]


def guards_of(settings: Settings, to_send: int) -> Guards:
    """Make the guards of one run; raises SettingsError for waves that do not fit."""
    waves = waves_of(settings, to_send)
    admission = None
    if settings.max_failures is not None or len(waves) > 1:
        admission = Admission(settings.max_failures, waves=waves, soak_s=settings.soak_s)
    return Guards(admission, Breaker(bound_s=settings.max_outage_s), Groups(can_list=True))


def waves_of(settings: Settings, to_send: int) -> list[int]:
    """Give the campaigns that each wave ends at, all in one without `--waves`; raises SettingsError."""
    if settings.waves is None:
        return [to_send]
    try:
        return wave_sizes(settings.waves, to_send)
    except ValueError as error:
        raise SettingsError(f"--waves: {error}") from None


def check_size(settings: Settings, listed: int) -> None:
    """Raise SettingsError when a list has more campaigns to stop than the settings allow."""
    if settings.max_campaigns is not None and listed > settings.max_campaigns:
        raise SettingsError(
            f"--max-campaigns {settings.max_campaigns}: the list has {listed:,} campaigns to stop; nothing was sent"
        )
