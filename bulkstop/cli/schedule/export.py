"""`bulkstop schedule export`: writes the files that systemd, cron or Kubernetes need."""

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.schedule.next import parse_moment
from bulkstop.cli.schedule.reading import choose, with_config
from bulkstop.cli.schedule.secrets import list_secret_files
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.cli.words.naming import WordChoice
from bulkstop.errors import SettingsError
from bulkstop.files.whole import AtomicFile
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.export.job import Job
from bulkstop.schedule.firings import find_next
from bulkstop.schedule.triggers import begin_of_year, list_moments
from bulkstop.schedule.zones import find_version, open_zone
from bulkstop.version import __version__

TARGETS = ("systemd", "cron", "kubernetes")
UNBOUNDED_S = 43_200.0
"""Longest duration of a firing without finish_by, in seconds."""
EXAMPLE = """\b
Example:
  bulkstop schedule export systemd eod -o units
  bulkstop schedule export cron eod --zone Etc/UTC > eod.crontab

\b
Exit codes:
  0  the files were written
  2  usage is wrong, a schedule is not valid, or a file exists
  3  standard output cannot be written
"""


@click.command("export", cls=GroupedCommand, main=("output", "overwrite", "config"), epilog=EXAMPLE)
@click.argument("target", type=WordChoice(TARGETS), metavar="systemd|cron|kubernetes")
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("-o", "--output", metavar="FOLDER", help="Folder for the files; default: standard output.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option(
    "--directory",
    metavar="FOLDER",
    help="Folder of the file of profiles on the target machine; default: the same as here.",
)
@click.option("--program", metavar="PATH", help="Path of bulkstop on the target machine; default: the same as here.")
@click.option("--zone", metavar="ZONE", help="Time zone of the machine that runs cron; default: that of this machine.")
@click.option(
    "--user",
    default="bulkstop",
    show_default=True,
    metavar="USER",
    help="User that runs it, unless the results are in /var/lib.",
)
@click.option("--mail-to", metavar="ADDRESS", help="Address to which cron or systemd mails failures.")
@click.option(
    "--image",
    default=f"bulkstop:{__version__}",
    show_default=True,
    metavar="IMAGE",
    help="Container image that Kubernetes runs.",
)
@click.option(
    "--from",
    "since",
    metavar="TIME",
    callback=parse_moment,
    help="Time of the first trigger; default: the start of this year.",
)
@with_config
@click.pass_context
def command(
    ctx: click.Context,
    /,
    target: str,
    names: tuple[str, ...],
    output: str | None,
    *,
    overwrite: bool,
    since: datetime,
    **more: Any,
) -> int:
    """Write complete files for systemd, cron or Kubernetes, which call `bulkstop schedule run` at each firing.

    They contain extra triggers where a scheduler would skip a firing: for the next ten years, each firing has a trigger
    within five minutes. The same schedule gives the same files.
    """
    if ctx.get_parameter_source("since") is ParameterSource.DEFAULT:
        since = begin_of_year(since)
    files: dict[str, str] = {}
    for schedule in choose(ctx, names):
        job = make_job(ctx, schedule, target, since, more)
        files |= write_files(job, target, more["zone"])
    if output is None:
        text = (
            "\n".join(f"# {name}\n{text}" for name, text in files.items())
            if len(files) > 1
            else "".join(files.values())
        )
        return print_last(text.rstrip("\n"), 0)
    save(files, output, overwrite=overwrite)
    return 0


def save(files: dict[str, str], folder: str, *, overwrite: bool) -> None:
    """Write files into a folder, which is created if it is missing."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"-o {folder}: cannot be made ({error.strerror}); give -o with another folder") from None
    written = [(AtomicFile(str(Path(folder, name)), overwrite=overwrite), text) for name, text in files.items()]
    for file, text in written:
        file.save(text.encode())
    for name in files:
        print_err(f"written: {Path(folder, name)}")


def write_files(job: Job, target: str, zone: str | None) -> dict[str, str]:
    """Return the files of a job by name."""
    if target == "systemd":
        from bulkstop.schedule.export.systemd import write_units  # only one of the three is needed

        return write_units(job)
    if target == "kubernetes":
        from bulkstop.schedule.export.kubernetes import write_manifests

        return write_manifests(job)
    from bulkstop.schedule.export.cron import write_crontab

    try:
        return write_crontab(job, open_zone(zone or find_machine_zone()).key)
    except ValueError as error:
        raise SettingsError(f"--zone: {error}") from None


def find_machine_zone() -> str:
    """Return the name of this machine's time zone, from TZ, /etc/localtime or /etc/timezone; UTC if none names it."""
    if name := os.environ.get("TZ", "").removeprefix(":"):
        return name
    where = os.path.realpath("/etc/localtime")
    if "zoneinfo/" in where:
        return where.rpartition("zoneinfo/")[2]
    try:
        return Path("/etc/timezone").read_text().strip() or "UTC"
    except OSError:
        return "UTC"


def make_job(ctx: click.Context, schedule: Schedule, target: str, since: datetime, more: dict[str, Any]) -> Job:
    """Return a schedule as a job for its scheduler."""
    default = "/etc/bulkstop" if target == "kubernetes" else str(Path(schedule.path).absolute().parent)
    directory = more["directory"] or default
    table = schedule.timetable
    before = None if schedule.preflight_s is None else timedelta(seconds=schedule.preflight_s)
    moments = list_moments(table, since)
    at = f"{schedule.name} at {', '.join(f'{each:%H:%M}' for each in table.at)} {table.zone}"
    return Job(
        name=schedule.name,
        at=at,
        zone=table.zone,
        moments=tuple(moments),
        preflights=tuple(moment - before for moment in moments) if before else (),
        program=more["program"] or find_program(),
        directory=directory,
        config=str(Path(directory, Path(schedule.path).name)),
        results=str(Path(directory, schedule.results)),
        secrets=tuple(list_secret_files(ctx, schedule, directory)),
        grace_s=_find_grace(schedule),
        catch_up_s=schedule.catch_up_s,
        longest_s=_find_longest(schedule, since),
        user=more["user"],
        mail_to=more["mail_to"],
        image=more["image"],
        zone_data=find_version() or "unknown",
    )


def find_program() -> str:
    """Return the path of this program."""
    found = shutil.which("bulkstop", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    return str(Path(found).absolute()) if found else "/usr/local/bin/bulkstop"


def _find_grace(schedule: Schedule) -> float:
    from bulkstop.settings.parse import parse_seconds  # the reader of the option itself

    given = next((each.partition("=")[2] for each in schedule.options if each.startswith("--grace=")), None)
    return parse_seconds(given) if given else 20.0


def _find_longest(schedule: Schedule, since: datetime) -> float:
    """Return the longest duration of a firing in seconds: its delay, until finish_by, drain and verification."""
    firing = find_next(schedule.timetable, since.astimezone(UTC))
    deadline = schedule.find_deadline(firing) if firing else None
    most = (deadline - firing.moment).total_seconds() if deadline and firing else UNBOUNDED_S
    return most + schedule.catch_up_s + (schedule.verify_s or 0) + _find_grace(schedule) + 600
