"""No scheduler leaves a firing out: each of ten years has a trigger within five minutes after it."""

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import kubernetes_validate
import pytest
import yaml

from bulkstop.schedule.days import parse_time
from bulkstop.schedule.export.cron import write_crontab
from bulkstop.schedule.export.job import Job, SecretFile, plan_in, write_cron_times
from bulkstop.schedule.export.kubernetes import write_manifests
from bulkstop.schedule.export.systemd import write_units
from bulkstop.schedule.firings import Timetable
from bulkstop.schedule.triggers import LATEST, list_moments

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SECRETS = (
    SecretFile("client-secret", "/etc/bulkstop/client-secret", "BULKSTOP_CLIENT_SECRET_FILE"),
    SecretFile("key", "/etc/bulkstop/key.pem", "BULKSTOP_KEY"),
)


@cache
def job(zone: str, *at: str, days: str = "* *", preflight: bool = False) -> Job:
    """Return a schedule as an export has it."""
    table = Timetable("eod", tuple(map(parse_time, at)), zone, days)
    moments = list_moments(table, SINCE)
    before = tuple(each - timedelta(hours=2) for each in moments) if preflight else ()
    files = "/opt/bulkstop/bin/bulkstop", "/etc/bulkstop", "/etc/bulkstop/bulkstop.toml", "/var/lib/bulkstop"
    return Job("eod", f"eod at {at}", zone, tuple(moments), before, *files, SECRETS, 20, 600, 3600)


@cache
def fields_match(times: str, *values: int) -> bool:
    """Return whether the five fields of cron match a local time."""
    return all(value in expand(text) for text, value in zip(times.split(), values, strict=True))


@cache
def expand(text: str) -> set[int]:
    """Return the numbers of a cron field."""
    if text.startswith("*"):
        return set(range(0, 60, int(text.partition("/")[2] or 1)))
    ends = [part.split("-") for part in text.split(",")]
    return {number for each in ends for number in range(int(each[0]), int(each[-1]) + 1)}


def is_triggered_by_cron(lines: list[str], moment: datetime, zone: ZoneInfo) -> bool:
    """Return whether a strict cron has a trigger in time; fixed times fire at the first of two that look alike."""
    for minute in range(int(LATEST.total_seconds()) // 60 + 1):
        local = (moment + timedelta(minutes=minute)).astimezone(zone)
        for times in lines:
            if fields_match(times, local.minute, local.hour, local.day, local.month, (local.weekday() + 1) % 7) and (
                not local.fold or times.startswith("*")
            ):
                return True
    return False


CASES = [
    ("Europe/Berlin", ("02:30", "18:00"), "* *"),
    ("Africa/Cairo", ("00:00", "17:45"), "* SUN,MON,TUE,WED,THU"),
    ("Australia/Lord_Howe", ("02:15", "01:45"), "* *"),
    ("Asia/Kolkata", ("18:30",), "* MON,TUE,WED,THU,FRI"),
    ("America/Santiago", ("00:15",), "L *"),
]


MORE_MACHINES = [pytest.param(zone, marks=pytest.mark.full) for zone in ("Europe/Berlin", "Australia/Lord_Howe")]


@pytest.mark.parametrize("machine", ["Etc/UTC", "America/New_York", *MORE_MACHINES])
@pytest.mark.parametrize(("zone", "at", "days"), CASES)
def test_cron(zone: str, at: tuple[str, ...], days: str, machine: str) -> None:
    """In any zone of cron's machine no firing is omitted, nor by Kubernetes in the schedule's zone."""
    its = job(zone, *at, days=days)
    lines = write_cron_times(plan_in(its.moments, machine))
    assert [each for each in its.moments if not is_triggered_by_cron(lines, each, ZoneInfo(machine))] == []
    own = write_cron_times(plan_in(its.moments, zone))
    assert [each for each in its.moments if not is_triggered_by_cron(own, each, ZoneInfo(zone))] == []


@pytest.mark.parametrize(("zone", "at", "days"), CASES)
def test_systemd(zone: str, at: tuple[str, ...], days: str) -> None:
    """The timer has a trigger for each firing, also for a systemd that leaves out what the clock shows twice."""
    its = job(zone, *at, days=days)
    timer = write_units(its)["bulkstop-eod.timer"]
    assert "AccuracySec=1s" in timer
    assert "Persistent=true" in timer or "Persistent=yes" in timer
    usual = re.findall(r"OnCalendar=(?:([\w,]+) )?\*-\*-\* (\S+):00 (\S+)", timer)
    dated = set(re.findall(r"OnCalendar=\*-(\d\d-\d\d) (\S+):00 \S+", timer))
    exact = set(re.findall(r"OnCalendar=(\d{4}-\d\d-\d\d \S+) UTC", timer))
    for moment in its.moments:
        local = moment.astimezone(ZoneInfo(zone))
        clock, is_twice = f"{local:%H:%M}", local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
        has_usual = any(clock == each and (not on or WEEKDAYS[local.weekday()] in on) for on, each, _ in usual)
        is_exact = f"{moment:%Y-%m-%d %H:%M:%S}" in exact
        assert is_exact or (not is_twice and (has_usual or (f"{local:%m-%d}", clock) in dated)), moment


@pytest.mark.full
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize(("zone", "at", "days"), CASES)
def test_systemd_itself(zone: str, at: tuple[str, ...], days: str) -> None:
    """By systemd's own calendar the timer elapses within five minutes after each firing of two years."""
    its = job(zone, *at, days=days)
    elapses = set[datetime]()
    for calendar in re.findall(r"OnCalendar=(.*)", write_units(its)["bulkstop-eod.timer"]):
        words = ["systemd-analyze", "calendar", calendar, "--iterations=800", f"--base-time={SINCE:%F %T} UTC"]
        done = subprocess.run(words, env={"TZ": "UTC"}, capture_output=True, text=True, check=True, timeout=60)
        found = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", done.stdout)
        elapses |= {datetime.fromisoformat(each).replace(tzinfo=UTC) for each in found}
    firings = [each for each in its.moments if each > SINCE + timedelta(days=1) and each < SINCE.replace(year=2028)]
    assert len(firings) > 20
    minutes = [timedelta(minutes=each) for each in range(6)]
    assert [each for each in firings if not elapses & {each + later for later in minutes}] == []


def test_kubernetes() -> None:
    """Each CronJob is valid for Kubernetes 1.33, is never run again, and has its secrets by reference."""
    text = write_manifests(job("Europe/Berlin", "02:30", "18:00", preflight=True))["bulkstop-eod.yaml"]
    documents = list(yaml.safe_load_all(text))
    names = []
    for document in filter(None, documents):
        kubernetes_validate.validate(document, "1.33", strict=True)
        names.append(document["metadata"]["name"])
        if document["kind"] != "CronJob":
            continue
        spec, job_spec = document["spec"], document["spec"]["jobTemplate"]["spec"]
        pod = job_spec["template"]["spec"]
        assert (spec["concurrencyPolicy"], spec["timeZone"], spec["startingDeadlineSeconds"]) == (
            "Forbid",
            "Europe/Berlin",
            600,
        )
        assert (job_spec["backoffLimit"], job_spec["activeDeadlineSeconds"], pod["restartPolicy"]) == (0, 3600, "Never")
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"name": "BULKSTOP_KEY", "value": "/run/secrets/bulkstop/key"} in pod["containers"][0]["env"]
        assert len(document["metadata"]["name"]) <= 52
    assert names[:2] == ["bulkstop-eod", "bulkstop-eod-2"]
    assert "bulkstop-eod-pre" in names
    assert len(set(names)) == len(names)


PLACED = (
    SecretFile("north-token", "/etc/bulkstop/tokens/north"),
    SecretFile("north-key", "/srv/keys/north.pem"),
    SecretFile("south-token", "/etc/bulkstop/south.token", is_sure=False),
    SecretFile("south-key", "/srv/keys/south.pem", is_sure=False),
)


def test_secrets_of_several_profiles() -> None:
    """With several profiles, each secret file is where its profile says, and no variable names it."""
    its = replace(job("Europe/Berlin", "18:00"), secrets=PLACED)
    text = write_manifests(its)["bulkstop-eod.yaml"]
    manifest = next(each for each in yaml.safe_load_all(text) if each)
    kubernetes_validate.validate(manifest, "1.33", strict=True)
    pod = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [each["name"] for each in container["env"]] == ["XDG_STATE_HOME"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes["config"]["projected"]["sources"] == [
        {"configMap": {"name": "bulkstop"}},
        {"secret": {"name": "bulkstop", "items": [{"key": "north-token", "path": "tokens/north"}]}},
        {"secret": {"name": "bulkstop", "items": [{"key": "south-token", "path": "south.token"}], "optional": True}},
    ]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts["/srv/keys/north.pem"]["subPath"] == "north-key"
    assert "/srv/keys/south.pem" not in mounts
    assert "--from-file=north-token=/etc/bulkstop/tokens/north --from-file=north-key=/srv/keys/north.pem\n" in text
    assert "# Files of such profiles that lie elsewhere are not mounted: /srv/keys/south.pem\n" in text
    lines = write_units(its)["bulkstop-eod.service"].splitlines()
    assert "LoadCredential=north-token:/etc/bulkstop/tokens/north" in lines
    assert "BindReadOnlyPaths=%d/north-token:/etc/bulkstop/tokens/north" in lines
    assert "#LoadCredential=south-token:/etc/bulkstop/south.token" in lines
    assert "token" not in write_crontab(its, "Etc/UTC")["bulkstop-eod.crontab"]


@pytest.mark.real
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_odd_paths(tmp_path: Path) -> None:
    """A folder name with a blank and a percent sign is correct for systemd."""
    folder = "/etc/a b%c"
    secrets = SecretFile("token", f"{folder}/token", "BULKSTOP_TOKEN_FILE"), SecretFile("n", f"{folder}/n")
    its = replace(
        job("Etc/UTC", "18:00"), directory=folder, results=f"{folder}/r", secrets=secrets, program="/bin/true"
    )
    for name, text in write_units(its).items():
        (tmp_path / name).write_text(text)
    words = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.glob("*.service")))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_same_bytes() -> None:
    """The same schedule gives the same files."""
    its = job("Europe/Berlin", "18:00", preflight=True)
    job.cache_clear()
    again = job("Europe/Berlin", "18:00", preflight=True)
    assert write_units(its) == write_units(again)
    assert write_crontab(its, "Etc/UTC") == write_crontab(again, "Etc/UTC")
    assert write_manifests(its) == write_manifests(again)
