"""Chooses how the progress of a run is shown, and reports a run that will miss its time to finish by."""

import sys
from collections.abc import Callable
from typing import TextIO, cast

import click

from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.terminal import can_redraw, err_stream, print_err
from bulkstop.engine.tasks import import_beside
from bulkstop.report.log import log_event
from bulkstop.report.stop.progress import Bar, Lines, LoggedProgress, Progress
from bulkstop.report.stop.snapshot import Snapshot

BEHIND = "bulkstop.behind"
"""Key of a click context: the function to call once when a run will miss its time to finish by."""


async def choose_progress(options: StopOptions) -> Progress | None:
    """Return a bar for a terminal, lines for other outputs, events for --log-json, None for --quiet.

    A bar writes to the stream that this event loop has for standard error, so that a closed terminal is no fault.
    """
    if options.log_json:
        return LoggedProgress(log_event)
    if options.quiet:
        return None
    if not can_redraw():
        return Lines(print_err)
    for name in ("rich.live", "rich.progress_bar", "rich.table"):
        await import_beside(name)
    return Bar(cast("TextIO", err_stream() or sys.stderr))


def watch_deadline(progress: Progress | None) -> Progress | None:
    """Return a progress that also reports a run that is behind, if the context has a function for that."""
    behind = click.get_current_context().meta.get(BEHIND)
    return progress if behind is None else DeadlineWatch(progress, behind)


class DeadlineWatch:
    """Shows a run's progress, and calls `behind` once when it will miss its time to finish by."""

    def __init__(self, shown: Progress | None, behind: Callable[[], object]) -> None:
        self._shown, self._behind = shown, behind
        self._is_told = False
        self.every_s = getattr(shown, "every_s", 1.0)

    def show(self, run: Snapshot) -> None:
        """Show the state of a run."""
        if self._shown is not None:
            self._shown.show(run)
        if run.ends_at_deadline and not self._is_told:
            self._is_told = True
            self._behind()

    def close(self) -> None:
        """Close the progress that is shown."""
        if self._shown is not None:
            self._shown.close()
