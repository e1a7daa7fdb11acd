"""`bulkstop schedule next`: shows when schedules fire, and which days they skip."""

import heapq
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import click

from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.schedule.reading import choose, with_config
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.schedule.firings import Firing, list_firings
from bulkstop.schedule.zones import explain_age, find_version

EXAMPLE = """\b
Example:
  bulkstop schedule next eod -n 10
  bulkstop schedule next --from 2027-03-27T00:00Z --json

\b
With --json, each line has `schedule`, `fires` (false for a skipped day), `at` (UTC), `local` (with its offset),
`zone` and `note`.

\b
Exit codes:
  0  the firings were shown
  2  usage is wrong, or a schedule is not valid
  3  standard output cannot be written
"""


def parse_moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime:
    """Return a moment; a text without an offset is UTC."""
    if value is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time; write it as 2027-03-27 or 2027-03-27T18:00+01:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command("next", cls=GroupedCommand, main=("count", "since", "as_json", "config"), epilog=EXAMPLE)
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option(
    "-n", "count", type=click.IntRange(1, 10_000), default=10, metavar="N", show_default=True, help="Number of firings."
)
@click.option(
    "--from",
    "since",
    metavar="TIME",
    callback=parse_moment,
    help="Start at this time; it is UTC unless it has an offset.  [default: now]",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line to standard output.")
@with_config
@click.pass_context
def command(
    ctx: click.Context, /, names: tuple[str, ...], count: int, since: datetime, *, as_json: bool, **_: object
) -> int:
    """Show when schedules fire next, in their own zone and in UTC, and why days are skipped."""
    tables = [schedule.timetable for schedule in choose(ctx, names)]
    merged = heapq.merge(*(list_firings(table, since) for table in tables), key=lambda each: each.moment)
    firings = list(_take(merged, count))
    version = find_version()
    if age := explain_age(version, datetime.now(UTC).date()):
        print_err(f"warning: {age}")
    lines = [json.dumps(as_dict(each)) for each in firings] if as_json else format_firings(firings, version)
    return print_last("\n".join(lines), 0, is_for_a_person=not as_json)


def _take(firings: Iterator[Firing], count: int) -> Iterator[Firing]:
    """Yield `count` firings, and the skipped days before them."""
    fired = 0
    for firing in firings:
        yield firing
        fired += firing.fires
        if fired >= count:
            return


def as_dict(firing: Firing) -> dict[str, object]:
    """Return a firing as a JSON object."""
    return {
        "schedule": firing.schedule,
        "fires": firing.fires,
        "at": f"{firing.moment:%Y-%m-%dT%H:%M:%SZ}",
        "local": firing.local.isoformat(),
        "zone": firing.zone,
        "note": firing.note,
    }


def format_firings(firings: Sequence[Firing], version: str | None) -> list[str]:
    """Return firings as a table of local time, UTC, zone and note."""
    rows = [
        (each.schedule, f"{each.local:%a %Y-%m-%d %H:%M %z}", f"{each.moment:%Y-%m-%d %H:%M}Z", each.zone, each.note)
        for each in firings
    ]
    head = ("SCHEDULE", "LOCAL", "UTC", "ZONE", "NOTE")
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(4)]
    lines = [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in [head, *rows]
    ]
    return [*lines, f"Time zones: {version or 'version unknown'}"]
