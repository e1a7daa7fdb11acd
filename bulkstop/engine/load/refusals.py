"""The cause of a refusal: the rate of its own requests, or earlier requests; arithmetic without a clock."""

from dataclasses import dataclass, field

ALIKE = 0.9
"""Counts whose ratio is above this are alike."""
GROWTH = 1.1


@dataclass(slots=True)
class Refusals:
    """Remembers how many requests the service accepted at each rate, to tell whether earlier ones still count.

    However a service counts, what it accepts at a rate it also accepts at a lower one, if it starts with nothing
    counted. If it accepts fewer, either earlier requests still count, or its window was in another phase; a longer rest
    decides: afterwards it accepts more, or no more.
    """

    rest_s: float
    """The pause after a rate that gave way."""
    is_enough: bool = False
    """Whether a longer pause did not increase what was accepted."""
    _taken: list[tuple[float, int]] = field(default_factory=list)
    _tried: tuple[float, int] | None = None

    def record(self, rate: float, taken: int) -> None:
        """Record how many requests in a row were accepted at a rate."""
        self._taken.append((rate, taken))

    def is_of_earlier(self, rate: float, taken: int, *, was_rested: bool, most_s: float) -> bool:
        """Return whether a refusal after `taken` requests may be due to earlier ones; then wait `rest_s`.

        It doubles if there was such a rest before; if some were accepted, only up to `most_s`.
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
        """Return whether a longer rest would not help."""
        return not grew and (self.is_enough or self._tried is not None or self.rest_s >= most_s)

    def _expects_more(self, rate: float, taken: int) -> bool:
        most = max((number for at, number in self._taken if at >= rate), default=0)
        if not taken:
            return any(number for _, number in self._taken)
        return taken < ALIKE * most - 1
