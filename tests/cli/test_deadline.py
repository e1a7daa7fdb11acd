"""`--finish-by` on the command line: the plan shows a moment with its zone, and the run keeps that."""

import json
import re
import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bulkstop.report.stop.manifest import manifest_path
from tests.cli.conftest import Here
from tests.processes import Simulated, campaigns

pytestmark = pytest.mark.real

HOST = ("--host", "http://127.0.0.1:9", "--attempts", "1", "--max-outage", "1s")
CLOCK = re.compile(r"\d\d:\d\d:\d\d(?! (?:[A-Z]{3,5}|UTC[+-]\d\d:\d\d)\b)")
"""A time of day without a zone."""


@pytest.fixture(autouse=True)
def _in_india(here: Here, tmp_path: Path) -> Iterator[None]:
    campaigns(tmp_path / "campaigns.csv", ["cd-1", "cd-2", "cd-3"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("18:00",), "{} 18:00:00 IST"),
        (("18:00+05:45",), "{} 18:00:00 UTC[+]05:45"),
        (("18:00Z",), "{} 18:00:00 UTC"),
        (("12:00Z", "--tz", "Asia/Tokyo"), "{} 21:00:00 JST"),
    ],
)
def test_the_plan_names_the_zone(here: Here, options: tuple[str, ...], shown: str) -> None:
    """Every time in the plan has its zone; the deadline has that of its offset, or of `--tz`."""
    day = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
    words = ("--finish-by", f"{day}T{options[0]}", *options[1:], "--quota", "1/2s", "--quota-store", "memory")
    run = here("stop", "campaigns.csv", *HOST, *words, "--dry-run")
    assert run.code == 0
    assert re.search(f"finish by +{shown.format(day)}: can be met", run.err)
    assert len(re.findall(r"\d\d:\d\d:\d\d", run.err)) >= 4
    assert CLOCK.findall(run.err) == []


def test_a_time_from_now_on(here: Here, tmp_path: Path) -> None:
    """For `+2h` the plan has the moment; the manifest and the suggested command have the same one."""
    now = datetime.now(UTC)
    dry = here("stop", "campaigns.csv", *HOST, "--finish-by", "+2h", "--dry-run", "--json")
    deadline = json.loads(dry.out)["finish_by"]
    left = datetime.fromisoformat(deadline["at"]) - now
    assert (deadline["time"], deadline["can_be_met"]) == ("+2h", True)
    assert timedelta(hours=2, seconds=-1) < left < timedelta(hours=2, minutes=2)
    run = here("stop", "campaigns.csv", *HOST, "--finish-by", "+2h", "--yes")
    assert run.code in (1, 3)
    (command,) = re.findall(r"^To .*?: (bulkstop .*|/.*)$", run.err, re.MULTILINE)
    words = shlex.split(command)
    (given,) = (words[i + 1] for i, word in enumerate(words) if word == "--finish-by")
    manifest = json.loads(Path(manifest_path(str(tmp_path / "campaigns.csv.results.jsonl"))).read_text())
    assert manifest["runs"][-1]["settings"]["finish_by"] == given
    assert timedelta(hours=2, seconds=-1) < datetime.fromisoformat(given) - now < timedelta(hours=2, minutes=2)


@pytest.mark.parametrize("quiet", [(), ("--quiet",)], ids=["loud", "quiet"])
def test_a_deadline_that_has_come(here: Here, sim: Simulated, quiet: tuple[str, ...]) -> None:
    """Commands that continue a run after its deadline leave it out and say so; pasted, they send all."""
    words = ("--quota", "1/24h", "--quota-store", "memory", "--finish-by", "+700ms", "--expect", "3", "--overwrite")
    run = here("stop", "campaigns.csv", "--host", sim.url, "--account-id", "a1", "--stream-id", "s1", *words, *quiet)
    assert run.code == 4, run
    late = "without --finish-by +700ms, because that time has passed (add a new one if you need it)"
    told = here("report", "campaigns.csv.results.jsonl")
    failed = here("report", "campaigns.csv.results.jsonl", "--failed", "-o", "again.csv")
    (row,) = re.findall(r"^  to go on +(\S*bulkstop stop .*)\n +(.*)$", told.out, re.MULTILINE)
    others = re.findall(r"^To (?:stop them|go on), (.*): (\S*bulkstop stop .*)$", failed.err + run.err, re.MULTILINE)
    handed_out = [row[::-1], *others]
    assert [(said, "--finish-by" in command) for said, command in handed_out] == [(late, False)] * 3
    for _, command in others:
        on = here(*shlex.split(command.replace("--quota 1/24h", "--quota none"))[1:])
        assert (on.code, on.err.count("--finish-by")) == (0, 0), on


def test_a_deadline_of_a_profile_that_has_come(here: Here, sim: Simulated, tmp_path: Path) -> None:
    """A past deadline of a profile cannot be left out of a command; the message says that a new one is needed."""
    (tmp_path / "bulkstop.toml").write_text('[profile.default]\nfinish_by = "+700ms"\n')
    words = ("--account-id", "a1", "--stream-id", "s1", "--quota", "1/24h", "--quota-store", "memory", "--yes")
    run = here("stop", "campaigns.csv", "--host", sim.url, *words)
    assert run.code == 4, run
    assert "\nTo go on, with a new --finish-by, because that of the profile has passed: " in run.err


def test_a_time_that_has_passed(here: Here) -> None:
    """For a past time, the message names it, and what to write for the next day."""
    run = here("stop", "campaigns.csv", *HOST, "--finish-by", "0:00Z", "--yes")
    assert run.code == 2
    assert re.search(
        r"--finish-by 00:00Z: has passed today; it is \d\d:\d\d:\d\d UTC; "
        r"if you mean tomorrow, give \d{4}-\d\d-\d\dT00:00Z; nothing was sent",
        run.err,
    )


@pytest.mark.parametrize("text", ["2099-01-01T00:00", "24:00", "+0s", "18:00 CET"])
def test_no_time(here: Here, text: str) -> None:
    """An invalid deadline is one line, with exit code 2."""
    run = here("stop", "campaigns.csv", *HOST, "--finish-by", text, "--yes")
    assert (run.code, run.err.count("\n")) == (2, 1)
    assert text in run.err


@pytest.mark.parametrize("value", ["2099-01-01T18:00:00", "2099-01-01 18:00:00+05:30", "2099-01-01T18:00:00Z"])
def test_a_date_of_a_profile(here: Here, tmp_path: Path, value: str) -> None:
    """A profile may have a TOML date-time."""
    (tmp_path / "bulkstop.toml").write_text(f"[profile.default]\nfinish_by = {value}\n")
    run = here("stop", "campaigns.csv", *HOST, "--yes")
    assert (run.code, "is more than a year away" in run.err) == (2, True)
