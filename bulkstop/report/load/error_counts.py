"""The errors of a load test, counted by text in bounded memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.text import printable

DISTINCT = 20
"""The most texts with a row each; a server whose every response differs must not fill the memory."""
CHARS = 200
SHOWN = 3
OTHER = "other"


class ErrorCount(NamedTuple):
    """An error, and how many requests ended with it."""

    outcome: Outcome
    error: str
    requests: int

    def __str__(self) -> str:
        """Return it as text for a person."""
        return f"{self.requests:,} {self.outcome.value}: {printable(self.error)}"


@dataclass(slots=True)
class ErrorCounts:
    """Counts errors by outcome and text, up to DISTINCT of them; all others are `other`."""

    _counts: Counter[tuple[Outcome, str]] = field(default_factory=Counter)

    def add(self, outcome: Outcome, error: str, requests: int = 1) -> None:
        """Count requests with this error."""
        key = outcome, error[:CHARS]
        if key not in self._counts and len(self._counts) >= DISTINCT:
            key = outcome, OTHER
        self._counts[key] += requests

    def merge(self, other: "ErrorCounts") -> None:
        """Add another's counts."""
        for count in other.most():
            self.add(*count)

    def most(self) -> list[ErrorCount]:
        """Return all errors, the most frequent first."""
        return [ErrorCount(*key, requests) for key, requests in self._counts.most_common()]


def format_error_counts(counts: ErrorCounts) -> list[tuple[str, str]]:
    """Return the most frequent errors in two columns."""
    most = counts.most()
    rows = [("reason", str(each)) for each in most[:SHOWN]]
    if rest := most[SHOWN:]:
        rows.append(("reason", f"{sum(each.requests for each in rest):,} for {len(rest):,} others"))
    return rows


def error_counts_to_json(counts: ErrorCounts) -> list[dict[str, object]]:
    """Return the errors as JSON objects."""
    return [{"outcome": each.outcome.value, "error": each.error, "requests": each.requests} for each in counts.most()]
