"""Why requests failed: counted by their texts, in bounded memory."""

import pickle

from bulkstop.model import Outcome
from bulkstop.report.load.error_counts import (
    CHARS,
    DISTINCT,
    OTHER,
    ErrorCount,
    ErrorCounts,
    error_counts_to_json,
    format_error_counts,
)


def many(number: int) -> ErrorCounts:
    """Count errors of which each has a text of its own, and the first is the most frequent."""
    found = ErrorCounts()
    for each in range(number):
        found.add(Outcome.SERVER_ERROR, f"HTTP 500 of {each}")
    found.add(Outcome.SERVER_ERROR, "HTTP 500 of 0")
    return found


def test_most_frequent_first() -> None:
    """The same text is another reason with another outcome; the most frequent comes first."""
    found = ErrorCounts()
    for outcome in (Outcome.TIMEOUT, Outcome.CONNECTION_ERROR, Outcome.CONNECTION_ERROR):
        found.add(outcome, "too slow")
    assert found.most() == [
        ErrorCount(Outcome.CONNECTION_ERROR, "too slow", 2),
        ErrorCount(Outcome.TIMEOUT, "too slow", 1),
    ]
    assert error_counts_to_json(found)[0] == {"outcome": "connection_error", "error": "too slow", "requests": 2}


def test_bounded() -> None:
    """A server that words each answer anew fills no memory: what is too much is counted together."""
    found = many(1000)
    found.add(Outcome.REJECTED, "x" * 10_000)
    assert len(found.most()) == DISTINCT + 2
    assert found.most()[0] == ErrorCount(Outcome.SERVER_ERROR, OTHER, 1000 - DISTINCT)
    assert sum(each.requests for each in found.most()) == 1002
    early = ErrorCounts()
    early.add(Outcome.REJECTED, "x" * 10_000)
    assert len(early.most()[0].error) == CHARS


def test_merged() -> None:
    """Merged counts take no more memory and count everything, also after a transfer between processes."""
    whole = ErrorCounts()
    for part in (many(15), many(30), many(3)):
        whole.merge(pickle.loads(pickle.dumps(part)))
    assert len(whole.most()) <= DISTINCT + 1
    assert sum(each.requests for each in whole.most()) == 15 + 30 + 3 + 3
    assert whole.most()[0] == ErrorCount(Outcome.SERVER_ERROR, OTHER, 10 + 1)  # which takes a place of its own
    assert whole.most()[1] == ErrorCount(Outcome.SERVER_ERROR, "HTTP 500 of 0", 6)


def test_for_a_person() -> None:
    """The text lists the most frequent, on one line each for any text, and the number of others."""
    found = ErrorCounts()
    for number, text in enumerate(("a", "b", "c\nd\x1b[2J", "e", "f")):
        found.add(Outcome.TIMEOUT, text, number + 1)
    told = format_error_counts(found)
    assert told == [
        ("reason", "5 timeout: f"),
        ("reason", "4 timeout: e"),
        ("reason", "3 timeout: c\N{REPLACEMENT CHARACTER}d\N{REPLACEMENT CHARACTER}[2J"),
        ("reason", "3 for 2 others"),
    ]
    assert format_error_counts(ErrorCounts()) == []
