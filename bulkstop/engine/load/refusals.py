"""What a refusal tells: of the rate of its own requests, or of requests before them; arithmetic, no clock."""

from dataclasses import dataclass, field

ALIKE = 0.9
"""Numbers of requests that differ by less tell the same."""
GROWTH = 1.1


@dataclass(slots=True)
class Refusals:
    """Remembers how many requests the service took at each rate, to tell whether it still counts earlier ones.

    However a service counts, what it took at a rate it takes at a lower one as well, if it begins with nothing to
    remember. If it takes fewer, either requests before are still counted, or the phase of its window was another;
    a longer rest tells which: after it more are taken, or no more.
    """

    rest_s: float
    """How long nothing is sent after a rate that gave way."""
    is_enough: bool = False
    """Tells that a longer rest had no more requests taken."""
    _taken: list[tuple[float, int]] = field(default_factory=list)
    _tried: tuple[float, int] | None = None

    def record(self, rate: float, taken: int) -> None:
        """Remember how many requests were taken at a rate, in a row."""
        self._taken.append((rate, taken))

    def is_of_earlier(self, rate: float, taken: int, *, was_rested: bool, most_s: float) -> bool:
        """Tell whether a refusal after so many requests may come of earlier ones; then `rest_s` is to be waited.

        It doubles if a rest of this length came before already; where some were taken, up to `most_s` only.
        """
        if self._tried is not None and self._tried[0] != rate:
            self._tried = None
        grew = self._tried is not None and taken > GROWTH * self._tried[1]
        if self._expects_more(rate, taken) and not (taken and was_rested and self._is_known(grew, most_s)):
            if was_rested:
                self._tried = rate, taken
                self.rest_s *= 2
            return True
        if was_rested and taken and self._tried is not None and not grew:
            self.rest_s, self.is_enough = self.rest_s / 2, True
        self._tried = None
        return False

    def _is_known(self, grew: bool, most_s: float) -> bool:
        """Tell whether a longer rest would bring no more."""
        return not grew and (self.is_enough or self._tried is not None or self.rest_s >= most_s)

    def _expects_more(self, rate: float, taken: int) -> bool:
        most = max((number for at, number in self._taken if at >= rate), default=0)
        if not taken:
            return any(number for _, number in self._taken)
        return taken < ALIKE * most - 1
