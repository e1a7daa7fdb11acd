"""Reads the schedules that a command needs."""

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from bulkstop.cli.options import ParsedText
from bulkstop.errors import SettingsError
from bulkstop.runs.schedule.settings import Schedule, Schedules, find_schedule, read_schedules
from bulkstop.settings.load import CONFIG

with_config: Callable[[Any], Any] = click.option(
    "--config",
    default=CONFIG,
    show_default=True,
    type=ParsedText(str, "FILE"),
    metavar="FILE",
    envvar="BULKSTOP_CONFIG",
    help="File of profiles and schedules.",
)


def is_config_named(ctx: click.Context) -> bool:
    """Return whether --config names the file; otherwise it was found in the folder."""
    return ctx.get_parameter_source("config") is not ParameterSource.DEFAULT


def read_all(ctx: click.Context) -> Schedules:
    """Return the schedules of the command's file; raises SettingsError."""
    return read_schedules(ctx.params["config"], is_named=is_config_named(ctx))


def read_one(ctx: click.Context, name: str) -> Schedule:
    """Return one schedule of the command's file; raises SettingsError."""
    return find_schedule(read_all(ctx), name, ctx.params["config"])


def choose(ctx: click.Context, names: Sequence[str]) -> list[Schedule]:
    """Return the schedules of these names, or all; raises SettingsError for an invalid one."""
    schedules = read_all(ctx)
    if names:
        return [find_schedule(schedules, name, ctx.params["config"]) for name in names]
    if schedules.faults:
        count = len(schedules.faults) - 1
        more = f" (and {count} more; see bulkstop schedule check)" if count else ""
        raise SettingsError(f"{schedules.faults[0]}{more}")
    return list(schedules.found.values())
