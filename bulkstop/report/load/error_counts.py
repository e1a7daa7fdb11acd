"""Why requests of a load test failed: the texts of their errors, counted in bounded memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.text import printable

DISTINCT = 20
"""Most different texts that get a row each; a server whose every answer differs must not fill the memory."""
CHARS = 200
SHOWN = 3
OTHER = "other"


class ErrorCount(NamedTuple):
    """An error, and how many requests ended with it."""

    outcome: Outcome
    error: str
    requests: int

    def __str__(self) -> str:
        """Write it for a person."""
        return f"{self.requests:,} {self.outcome.value}: {printable(self.error)}"


@dataclass(slots=True)
class ErrorCounts:
    """Counts errors by outcome and text, the first so many of them; all further ones are `other`."""

    _counts: Counter[tuple[Outcome, str]] = field(default_factory=Counter)

    def add(self, outcome: Outcome, error: str, requests: int = 1) -> None:
        """Count requests that ended so."""
        key = outcome, error[:CHARS]
        if key not in self._counts and len(self._counts) >= DISTINCT:
            key = outcome, OTHER
        self._counts[key] += requests

    def merge(self, other: "ErrorCounts") -> None:
        """Add what another has counted."""
        for count in other.most():
            self.add(*count)

    def most(self) -> list[ErrorCount]:
        """Return all of them, the most frequent first."""
        return [ErrorCount(*key, requests) for key, requests in self._counts.most_common()]


def format_error_counts(counts: ErrorCounts) -> list[tuple[str, str]]:
    """Write the most frequent ones in two columns."""
    most = counts.most()
    rows = [("reason", str(each)) for each in most[:SHOWN]]
    if rest := most[SHOWN:]:
        rows.append(("reason", f"{sum(each.requests for each in rest):,} for {len(rest):,} others"))
    return rows


def error_counts_to_json(counts: ErrorCounts) -> list[dict[str, object]]:
    """Return them as JSON objects."""
    return [{"outcome": each.outcome.value, "error": each.error, "requests": each.requests} for each in counts.most()]
