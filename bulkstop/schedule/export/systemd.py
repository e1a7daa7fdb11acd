"""Writes units of systemd: a service, its timer, and the unit that is started when it fails."""

from collections.abc import Iterable
from datetime import datetime

from bulkstop.schedule.export.job import Job, SecretFile, format_utc, plan_in

STATE = "/var/lib/"
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077"""


def write_units(job: Job) -> dict[str, str]:
    """Return the units of a schedule, by name."""
    unit = f"bulkstop-{job.name}"
    run = f"schedule run {job.name} --config {_quote(job.config)}"
    units = {
        f"{unit}.service": _write_service(job, run, f"Stop campaigns: {job.at}"),
        f"{unit}.timer": _write_timer(job, job.moments, f"When campaigns are stopped: {job.at}", "yes"),
        f"{unit}-failed.service": _write_failed(job),
    }
    if job.preflights:
        run += " --preflight --if-due"
        units[f"{unit}-preflight.service"] = _write_service(job, run, f"Try what a stop will need: {job.at}")
        units[f"{unit}-preflight.timer"] = _write_timer(
            job, job.preflights, f"Before campaigns are stopped: {job.at}", "no"
        )
    return units


def _write_service(job: Job, run: str, about: str) -> str:
    credentials = [line for each in job.needed for line in _write_credential(each)]
    possible = [f"#{line}" for each in job.possible for line in _write_credential(each)]
    return "\n".join(
        [
            job.head,
            "[Unit]",
            f"Description={about}",
            "Documentation=man:systemd.service(5)",
            "Wants=network-online.target",
            "After=network-online.target",
            f"OnFailure=bulkstop-{job.name}-failed.service",
            "",
            "[Service]",
            "Type=oneshot",
            *_write_owner(job),
            f"WorkingDirectory={_escape(job.directory)}",
            *(
                [
                    "# Only root reads these; the service has a copy of each for as long as it runs (systemd 250).",
                    *credentials,
                ]
                if credentials
                else []
            ),
            *(
                ["# Its list may name these profiles: remove the # for those that it names.", *possible]
                * bool(possible)
            ),
            f"ExecStart={_quote(job.program)} {run}",
            "# Longer than what is in flight may take: it gets its line before the service is killed.",
            f"TimeoutStopSec={job.stop_s}s",
            f"TimeoutStartSec={int(job.longest_s)}s",
            "",
            _HARDENING,
            "",
        ]
    )


def _write_credential(secret: SecretFile) -> tuple[str, str]:
    """Return the lines that give the service its copy of a secret, named by a variable or mounted at its path."""
    where, path = f"%d/{secret.name}", _escape(secret.path)
    copy = (
        f"Environment={secret.variable}={where}"
        if secret.variable
        else f"BindReadOnlyPaths={_enclose(f'{where}:{path}')}"
    )
    return f"LoadCredential={secret.name}:{path}", copy


def _write_owner(job: Job) -> list[str]:
    if job.results.startswith(STATE):
        folder = job.results.removeprefix(STATE)
        return [
            "DynamicUser=yes",
            f"StateDirectory={folder}",
            "StateDirectoryMode=0700",
            f"Environment=XDG_STATE_HOME={STATE}{folder}",
        ]
    results = _escape(job.results)
    state = _enclose(f"XDG_STATE_HOME={results}")
    return [f"User={job.user}", f"ReadWritePaths={_enclose(results)}", f"Environment={state}"]


def _write_timer(job: Job, moments: Iterable[datetime], about: str, persistent: str) -> str:
    triggers = plan_in(moments, job.zone)
    lines = [job.head, "[Unit]", f"Description={about}", "", "[Timer]"]
    for weekly in triggers.weekly:
        days = "" if len(weekly.weekdays) == 7 else ",".join(_WEEKDAYS[day] for day in weekly.weekdays) + " "
        lines.append(f"OnCalendar={days}*-*-* {weekly.at:%H:%M:%S} {triggers.zone}")
    if triggers.dated or triggers.doubled:
        lines.append("# On these dates clocks change: systemd leaves out a time that they do not show.")
    lines += [
        f"OnCalendar=*-{each.month:02}-{each.day:02} {each.at:%H:%M:%S} {triggers.zone}" for each in triggers.dated
    ]
    lines += [f"OnCalendar={format_utc(each)}" for each in triggers.doubled]
    note = (
        "# A firing that was missed, as the machine was off, is tried once it is on; catch_up says how late it may run."
    )
    wanted = ["", "[Install]", "WantedBy=timers.target", ""]
    return "\n".join([*lines, "AccuracySec=1s", note, f"Persistent={persistent}", *wanted])


def _write_failed(job: Job) -> str:
    unit = f"bulkstop-{job.name}"
    if job.mail_to:
        mail = f'systemctl status --full {unit} {unit}-preflight | mail -s "bulkstop {job.name} failed" {job.mail_to}'
        start = f"/bin/sh -c '{mail}'"
    else:
        text = f"bulkstop {job.name} failed: see journalctl -u {unit}"
        start = f"/usr/bin/systemd-cat --identifier=bulkstop --priority=alert /bin/echo {_quote(text)}"
    return "\n".join(
        [
            "# Started where a stop, or its preflight, has failed; put here the command that alerts your people.",
            "[Unit]",
            f"Description=Report that the stop {job.name} failed",
            "",
            "[Service]",
            "Type=oneshot",
            f"ExecStart={start}",
            "",
        ]
    )


def _escape(text: str) -> str:
    """Return the text with each % doubled, so that systemd does not expand it."""
    return text.replace("%", "%%")


def _enclose(word: str) -> str:
    """Return the text in quotes if it has blanks, so that systemd reads it as one word."""
    return f'"{word}"' if " " in word else word


def _quote(word: str) -> str:
    """Return a word as systemd parses it."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    return (
        escaped
        if escaped.isascii() and not set(escaped) & set(" \t\"'\\;")
        else '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
