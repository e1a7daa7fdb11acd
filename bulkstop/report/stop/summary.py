"""What a person reads: the plan before a run, the counts after it; plain text, a list of lines."""

from collections.abc import Mapping

from bulkstop.model import Outcome
from bulkstop.report.stop.stats import Stats
from bulkstop.text import format_duration, format_table, printable


def format_summary(
    stats: Stats, *, rows: int, settled: Mapping[Outcome, int], calls: int, elapsed_s: float, ended: str, lost: int = 0
) -> list[str]:
    """Tell how a run went: outcomes, time, tries, the slowest, and whether every row has its line.

    `settled` counts the rows that had ended in an earlier run of the same result file, `lost` the lines that were
    written and are not in it any more.
    """
    told = format_counts(stats.outcomes)
    rate = calls / elapsed_s if elapsed_s > 0 else 0.0
    told += [
        ("ended", ended),
        ("elapsed", f"{format_duration(elapsed_s)}, {calls:,} calls, {rate:,.1f} calls/s"),
        ("attempts", f"{stats.attempts:,} for {stats.sent:,} campaigns"),
    ]
    if slowest := stats.slowest:
        told.append(("slowest", ", ".join(f"{ms:,.0f} ms {printable(name)}" for ms, name in slowest)))
    if stats.schedules:
        told.append(("schedules", ", ".join(f"{number:,} {name}" for name, number in sorted(stats.schedules.items()))))
    before = sum(settled.values())
    if before:
        told.append(("ended before", ", ".join(f"{number} {name}" for name, number in format_counts(settled))))
    lines = f"{before:,} + {stats.lines:,}" if before else f"{stats.lines:,}"
    is_sum = rows == before + stats.lines and not lost
    gone = f", {lost:,} of them gone" if lost else ""
    told.append(("rows = lines", f"{rows:,} = {lines}" if is_sum else f"{rows:,} rows but {lines} lines{gone}"))
    return format_table("Summary", told)


def format_counts(outcomes: Mapping[Outcome, int]) -> list[tuple[str, str]]:
    """Name every outcome that occurred, with its number."""
    return [(outcome.value, f"{outcomes[outcome]:,}") for outcome in Outcome if outcomes.get(outcome)]
