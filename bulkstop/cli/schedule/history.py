"""`bulkstop schedule history`: shows earlier firings, and how each ended."""

import json
from dataclasses import asdict

import click

from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.schedule.reading import choose, with_config
from bulkstop.cli.terminal import print_last
from bulkstop.runs.schedule.journal import Entry, Event, Journal

EXAMPLE = """\b
Example:
  bulkstop schedule history eod -n 20

\b
Exit codes:
  0  the firings were shown
  2  usage is wrong, a schedule is not valid, or the journal cannot be read
  3  standard output cannot be written
"""


@click.command("history", cls=GroupedCommand, main=("count", "as_json", "config"), epilog=EXAMPLE)
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    default=20,
    metavar="N",
    show_default=True,
    help="Number of firings, latest last.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the lines of the journal to standard output, as JSON.")
@with_config
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], count: int, *, as_json: bool, **_: object) -> int:
    """Show each firing: when it began, how it ended, its exit code, and where its results are."""
    entries = [entry for each in choose(ctx, names) for entry in Journal(each.results, each.name).read()]
    entries.sort(key=lambda each: each.at)
    if as_json:
        return print_last("\n".join(json.dumps(asdict(each)) for each in entries[-count:]), 0)
    lines = format_history(entries, count)
    return print_last("\n".join(lines) or "no firing yet", 0, is_for_a_person=True)


def format_history(entries: list[Entry], count: int) -> list[str]:
    """Return one line for each firing."""
    firings: dict[tuple[str, str, bool], list[Entry]] = {}
    for each in entries:
        firings.setdefault((each.schedule, each.firing, each.event is Event.PREFLIGHT), []).append(each)
    return [_format(told) for told in list(firings.values())[-count:]]


def _format(told: list[Entry]) -> str:
    first, last = told[0], told[-1]
    ended = next((each for each in reversed(told) if each.event is Event.ENDED), last)
    code = next((each.exit_code for each in (ended, last) if each.exit_code is not None), 0)
    what = (
        f"{ended.event}, exit code {code}"
        if ended.event in (Event.ENDED, Event.INTERRUPTED, Event.PREFLIGHT)
        else ended.event
    )
    read = next((each for each in told if each.event is Event.VERIFIED), None)
    parts = [
        what,
        ""
        if read is None
        else "read back: nothing still runs"
        if not read.exit_code
        else "read back: something still runs",
        *dict.fromkeys((ended.note, last.note)),
        last.results or ended.results or "",
    ]
    return f"{first.schedule}  {first.firing}  began {first.at}  " + "; ".join(filter(None, parts))
