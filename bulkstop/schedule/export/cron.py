"""Writes a crontab."""

import shlex

from bulkstop.schedule.export.job import Job, plan_in, write_cron_times


def write_crontab(job: Job, machine_zone: str) -> dict[str, str]:
    """Return the crontab of a schedule, for a machine whose clock has that zone."""
    lines = [
        job.head,
        f"# Install it with `crontab {_name(job)}` for a user of its own. Its times are those of {machine_zone}, which",
        "# this machine must have, because cron knows no other zone. All output is about failures, and cron mails it.",
        *([f"MAILTO={job.mail_to}"] if job.mail_to else []),
        f"PATH={_path_of(job)}",
        *(f"{each.variable}={each.path}" for each in job.secrets if each.variable),
    ]
    command = f"cd {shlex.quote(job.directory)} && {shlex.join([job.program, 'schedule', 'run', job.name])}"
    command += f" --config {shlex.quote(job.config)}"
    firings = write_cron_times(plan_in(job.moments, machine_zone))
    lines += [f"{times} {_escape(command)} --quiet" for times in firings]
    preflights = write_cron_times(plan_in(job.preflights, machine_zone))
    lines += [f"{times} {_escape(command)} --preflight --if-due --quiet" for times in preflights]
    return {_name(job): "\n".join(lines) + "\n"}


def _name(job: Job) -> str:
    return f"bulkstop-{job.name}.crontab"


def _path_of(job: Job) -> str:
    return f"{job.program.rpartition('/')[0] or '/usr/local/bin'}:/usr/local/bin:/usr/bin:/bin"


def _escape(command: str) -> str:
    """Escape %, which cron reads as the end of a line."""
    return command.replace("%", "\\%")
