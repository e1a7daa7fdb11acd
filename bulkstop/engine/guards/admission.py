"""The guard that counts campaigns: a cap on failures, and waves that must each pass."""

import itertools
import math
import re
from collections.abc import Sequence

from bulkstop.errors import GuardError
from bulkstop.events import Observe, WavePassed, ignore
from bulkstop.model import FAILED, FailureCap, Outcome, Wait, WaitReason, share_of_whole
from bulkstop.naming import name_setting
from bulkstop.text import format_count, shorten
from bulkstop.units import parse_percentage

FAILURES = FAILED - {Outcome.INVALID}
"""The outcomes that count against a cap or a wave; an invalid row was never sent, so it does not count."""

_COUNT = re.compile(r"\d{1,12}", re.ASCII)


class Admission:
    """Decides when another campaign may begin; further attempts of one that has begun are always allowed.

    A campaign is admitted only while failures and campaigns under way together are below the cap. So the cap holds even
    if all campaigns under way fail, whatever the concurrency; near the cap fewer are under way.

    A wave begins `soak_s` after the previous one has ended and passed. A wave passes if none of it failed; with a cap,
    if the cap is not reached and not all of it failed. After the last wave nothing follows, so only a cap ends it.
    """

    def __init__(
        self,
        cap: FailureCap | None = None,
        *,
        waves: Sequence[int] = (),
        soak_s: float = 0.0,
        observe: Observe = ignore,
    ) -> None:
        """Take the waves as `parse_waves` returns them."""
        self.fault: GuardError | None = None
        self._cap = cap
        self._allowed = math.inf if cap is None else cap.allows(0)
        self._waves = (*waves[:-1], math.inf)  # the last wave takes all the rest, however many they are
        self._wave_ends = self._waves[0]
        self._soak_s = soak_s
        self._observe = observe
        self._opens_at = -math.inf
        self._admitted = self._settled = self._failed = 0
        self._settled_before = self._failed_before = 0  # counts at the start of the wave
        self._first = self._first_of_wave = ""
        self.wave = 1

    def ready_at(self) -> float:
        """Return when a campaign may be admitted; -inf means now, inf means not before a campaign ends."""
        at_worst = self._failed + self._admitted - self._settled
        is_full = at_worst >= self._allowed or self._admitted >= self._wave_ends
        return math.inf if is_full or self.fault is not None else self._opens_at

    def find_wait(self, now: float) -> Wait | None:
        """Return why no campaign may begin now; None if one may."""
        if self._opens_at > now:
            return Wait(WaitReason.SOAK, self._opens_at)
        if self.ready_at() <= now:
            return None
        return Wait(WaitReason.WAVE if self._admitted >= self._wave_ends else WaitReason.CAP, math.inf)

    def list_stages(self) -> list[tuple[float, float]]:
        """Return how many campaigns may still begin in this wave and in each later one, and the soak after each."""
        ends = (self._admitted, *self._waves[self.wave - 1 :])
        sizes = [end - before for before, end in itertools.pairwise(ends)]
        return [(size, self._soak_s if size < math.inf else 0.0) for size in sizes]

    def admit(self) -> None:
        """Count a campaign that begins: it is drawn for the first time."""
        self._admitted += 1

    def released(self) -> None:
        """Remove an admitted campaign that will never be sent from the count."""
        self._admitted -= 1

    def settled(self, outcome: Outcome, now: float, campaign_id: str, error: str | None = None) -> None:
        """Count an admitted campaign that has ended; sets `fault` if the run must end."""
        self._settled += 1
        fails = outcome in FAILURES
        if fails:
            self._failed += 1
            self._first_of_wave = self._first_of_wave or _describe(outcome, campaign_id, error)
            self._first = self._first or self._first_of_wave
        if self._cap is not None:
            self._allowed = self._cap.allows(self._settled)
        if (fails or self._settled >= self._wave_ends) and self.fault is None:
            self._judge(now)

    def _judge(self, now: float) -> None:
        if self._failed >= self._allowed:
            self.fault = self._cap_reached()
        elif self.wave < len(self._waves):
            has_ended = self._settled == self._admitted >= self._wave_ends
            if self._wave_fails(has_ended=has_ended):
                self.fault = self._wave_failed()
            elif has_ended:
                self._begin_wave(now)

    def _wave_fails(self, *, has_ended: bool) -> bool:
        failed = self._failed - self._failed_before
        if self._cap is None:
            return failed > 0
        return has_ended and failed == self._settled - self._settled_before

    def _begin_wave(self, now: float) -> None:
        self._observe(WavePassed(self.wave, len(self._waves), self._settled, self._failed, self._soak_s))
        self.wave += 1
        self._wave_ends = self._waves[self.wave - 1]
        self._opens_at = now + self._soak_s
        self._settled_before, self._failed_before = self._settled, self._failed
        self._first_of_wave = ""

    def _cap_reached(self) -> GuardError:
        where = f" in wave {self.wave} of {len(self._waves)}" if len(self._waves) > 1 else ""
        option = str(self._cap)
        if self._cap is not None and self._cap.share is not None and self._settled < self._cap.sample:
            option += f" (of at least {self._cap.sample})"
        counts = f"{self._failed:,} of {format_count(self._settled, 'campaign')} failed{where}, {self._first}"
        return GuardError(f" {option}: {counts}; {_advise()}", setting="max_failures")

    def _wave_failed(self) -> GuardError:
        failed, settled = self._failed - self._failed_before, self._settled - self._settled_before
        which = f"wave {self.wave} of {len(self._waves)} did not pass"
        counts = f"{failed:,} of its first {format_count(settled, 'campaign')} failed, {self._first_of_wave}"
        return GuardError(f": {which}: {counts}; {_advise()}", setting="waves")


def _advise() -> str:
    way_on = f"go on with {name_setting('resume', True)}"
    return f"nothing more was sent: read the result lines, correct the cause, then {way_on}"


def parse_waves(text: str, total: int) -> list[int]:
    """Parse `1,10%,100%` into the number of campaigns, of `total`, at which each wave ends; percentages round down.

    In a short list each wave has at least one campaign more than the one before, and waves beyond the list are dropped.
    Raises ValueError for text that cannot be parsed, numbers that do not rise, and waves that do not cover the list.
    """
    sizes: list[int] = []
    before = {False: 0.0, True: 0.0}  # the last number and the last share
    for word in text.split(","):
        number, is_share = _parse_wave(word.strip())
        if number <= before[is_share]:
            raise ValueError(f"{word.strip()!r} is not more than the wave before; write waves as 1,10%,100%")
        before[is_share] = number
        size = share_of_whole(number, total) if is_share else int(number)
        least = sizes[-1] + 1 if sizes else 1
        if least <= total:
            sizes.append(min(max(size, least), total))
    if sizes and sizes[-1] < total:
        raise ValueError(f"the last wave ends at {sizes[-1]:,} of {format_count(total, 'campaign')}; end with 100%")
    return sizes


def _describe(outcome: Outcome, campaign_id: str, error: str | None) -> str:
    return f"the first {shorten(campaign_id)}: {outcome}" + (f" ({shorten(error)})" if error else "")


def _parse_wave(word: str) -> tuple[float, bool]:
    """Return a wave's number or share, and whether it is a share."""
    share = parse_percentage(word)
    if share is None and not _COUNT.fullmatch(word):
        raise ValueError(f"{word!r} is neither a number of campaigns nor a percentage; write waves as 1,10%,100%")
    number = float(word) if share is None else share
    if not number or (share is not None and share > 1):
        raise ValueError(f"{word!r}: a wave has at least one campaign and at most 100%")
    return number, share is not None
