"""Notifies the receivers in the settings when a command that stops campaigns ends, however it ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import click

from bulkstop.errors import BulkstopError, unforeseen
from bulkstop.model import Outcome
from bulkstop.runs import host
from bulkstop.runs.notify import Notice, NoticeEvent, find_finish_by, has_receivers, tell
from bulkstop.settings import Settings

_END = "bulkstop.end"


@dataclass(slots=True)
class CommandEnd:
    """How a command ended, with the run's id and counts if a run began."""

    run_id: str | None = None
    text: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


def run_and_tell(ctx: click.Context, settings: Settings, run: Callable[[], int], profile: str | None) -> int:
    """Run a command and notify the receivers in the settings of its end; return its exit code."""
    if not has_receivers(settings):
        return run()
    end = ctx.meta[_END] = CommandEnd()
    try:
        code = run()
    except BulkstopError as fault:
        _tell(ctx, settings, end, 2, str(fault), profile)
        raise
    except (click.Abort, KeyboardInterrupt):
        _tell(ctx, settings, end, 130, "ended by a signal", profile)
        raise
    except Exception as error:
        _tell(ctx, settings, end, 3, unforeseen(error), profile)
        raise
    _tell(ctx, settings, end, code, end.text or f"ended with exit code {code}", profile)
    return code


def note_end(text: str, run_id: str | None = None, counts: Mapping[str, int] | None = None) -> None:
    """Store what the notice says when the running command ends."""
    end: CommandEnd | None = click.get_current_context().meta.get(_END)
    if end is not None:
        end.text, end.run_id, end.counts = text, run_id, counts or {}


def name_outcomes(outcomes: Mapping[Outcome, int]) -> dict[str, int]:
    """Return the number of rows with each outcome, by the outcome's name."""
    return {outcome.value: count for outcome, count in outcomes.items()}


def _tell(ctx: click.Context, settings: Settings, end: CommandEnd, code: int, text: str, profile: str | None) -> None:
    notice = Notice(
        event=NoticeEvent.END,
        text=text,
        host=settings.host,
        run_id=end.run_id,
        profile=profile,
        exit_code=code,
        counts=end.counts,
        finish_by=find_finish_by(ctx.find_object(Settings) or settings),
    )
    by_guard = [replace(notice, event=NoticeEvent.GUARD)] if code == 3 and end.run_id is not None else []
    host.run(tell(settings, *by_guard, notice), fast=False)
