"""Describes how the inputs of a plan were read, and refuses doubtful ones."""

from collections.abc import Sequence

from bulkstop.errors import InputError
from bulkstop.naming import name_setting
from bulkstop.report.stop.reading import Met, ReadingFacts
from bulkstop.settings import Settings
from bulkstop.source.due.stop_at import is_time_column
from bulkstop.source.plan import Plan
from bulkstop.source.understood import CLEANINGS, Finding, Understood
from bulkstop.text import format_count, printable

FEW_CELLS = 2
"""Least impossible ids that count against a column; they must also be more than half of its rows."""
_FILLED = {"campaign_type": "type", "account_id": "account_id", "stream_id": "stream_id"}


def describe_reading(understood: Sequence[Understood], settings: Settings) -> tuple[ReadingFacts, ...]:
    """Return how each input was read."""
    return tuple(_describe(each, settings) for each in understood)


def _describe(of: Understood, settings: Settings) -> ReadingFacts:
    met = {
        kind.value: Met(count, *of.examples.get(kind, (0,))) for kind in Finding if (count := of.counts.get(kind, 0))
    }
    return ReadingFacts(
        name=of.label,
        form=str(of.form or ""),
        form_from=str(of.form_from or ""),
        packing=of.packing,
        encoding=of.encoding or "",
        delimiter=of.delimiter,
        sheet=of.sheet,
        has_header=of.has_header,
        columns=dict(of.columns),
        carried=tuple(name for name in of.others if not is_time_column(name, of.others)),
        not_taken=of.id_not_taken,
        is_filled=any(field not in of.columns and getattr(settings, name) for field, name in _FILLED.items()),
        met=met,
    )


def check_columns(plan: Plan) -> None:
    """Raise InputError for an input in which most ids are impossible: that is another column, or another list."""
    for each in plan.understood:
        digest = plan.digests.get(each.label)
        bad = each.counts[Finding.IMPOSSIBLE_IDS]
        if digest is None or plan.settled or bad < FEW_CELLS or 2 * bad <= digest.rows:
            continue
        first = each.examples[Finding.IMPOSSIBLE_IDS]
        column = each.columns.get("campaign_id")
        cells = (
            f"{format_count(digest.rows, 'cell')} of column {column!r}" if column else format_count(digest.rows, "row")
        )
        reason = first.before.partition("; ")[0]
        why = f"{bad:,} of {cells} cannot be campaign ids (first line {first.line}: {reason})"
        remedy = f"name the right column by {name_setting('id_column', 'NAME')}, or correct the list"
        raise InputError(printable(f"{each.label}: {why}; {remedy}; nothing was sent"))


def check_clean(plan: Plan) -> None:
    """Raise InputError if an id of the plan was cleaned, or a line was split."""
    for each in plan.understood:
        if cleaned := sum(each.counts[kind] for kind in CLEANINGS):
            first = min(each.examples[kind] for kind in CLEANINGS if kind in each.examples)
            count = format_count(cleaned, "row holds more than an id", "rows hold more than an id")
            where = f"{each.label} line {first.line}: {first.before!r}"
            raise InputError(printable(f": {count} (first {where}); nothing was sent"), setting="strict")
