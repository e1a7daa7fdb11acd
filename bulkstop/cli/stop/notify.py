"""Notifies the receivers in the settings when a command that stops campaigns ends, however it ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import click

from bulkstop.cli.again import COURIERS, VERDICT
from bulkstop.errors import BulkstopError, unforeseen
from bulkstop.events import Warned
from bulkstop.model import Outcome
from bulkstop.report.log import log_event
from bulkstop.runs.courier import Courier, close_all
from bulkstop.runs.notify import Notice, NoticeEvent, RunNotices, find_finish_by, has_receivers
from bulkstop.settings import Settings

_END = "bulkstop.end"


@dataclass(slots=True)
class CommandEnd:
    """How a command ended, with the run's id and counts if a run began, and the courier of its notices."""

    courier: Courier
    run_id: str | None = None
    text: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


def run_and_tell(ctx: click.Context, settings: Settings, run: Callable[[], int], profile: str | None) -> int:
    """Run a command and notify the receivers in the settings of its end; return its exit code."""
    if not has_receivers(settings):
        return run()
    end = ctx.meta[_END] = CommandEnd(Courier(lambda: settings))
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
    meta = click.get_current_context().meta
    meta[VERDICT] = text
    end: CommandEnd | None = meta.get(_END)
    if end is not None:
        end.text, end.run_id, end.counts = text, run_id, counts or {}


def make_notices(settings: Settings, run_id: str, profile: str | None) -> RunNotices | None:
    """Return the sender of the notices of a run, except that of its end; None if the settings name no receivers."""
    end: CommandEnd | None = click.get_current_context().meta.get(_END)
    return None if end is None else RunNotices(end.courier, settings, run_id, profile=profile, tells_end=False)


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
    for each in (*by_guard, notice):
        end.courier.post(each)
    if (couriers := ctx.meta.get(COURIERS)) is not None:
        couriers.append(end.courier)
        return
    for fault in close_all([end.courier]):
        log_event(Warned(fault))
