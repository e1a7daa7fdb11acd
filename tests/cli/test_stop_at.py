"""`stop` of a list with times to stop by, together with other options."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import Here
from tests.processes import Simulated, results, simulator

pytestmark = pytest.mark.real
WORDS = ("--account-id", "a1", "--stream-id", "s1", "--yes", "-o", "r.jsonl")


def stop(here: Here, sim: Simulated, *words: str, after: tuple[float | None, ...] = ()) -> int:
    """Stop a list of campaigns that are due in these seconds; without any, the existing list."""
    if after:
        now = datetime.now(UTC)
        times = ("" if each is None else (now + timedelta(seconds=each)).isoformat() for each in after)
        lines = "".join(f"cd-{uuid.uuid4()},voice,{at}\n" for at in times)
        (here.folder / "timed.csv").write_text(f"campaign_id,type,stop_at\n{lines}")
    run = here("stop", "timed.csv", "--host", sim.url, *WORDS, *words)
    (here.folder / "err").write_text(run.err)
    return run.code


def outcomes(here: Here) -> dict[int, str]:
    """Return the latest outcome of each row, by line."""
    return {row["line"]: row["outcome"] for row in results(here.folder / "r.jsonl")}


def test_finish_by_and_resume(here: Here, sim: Simulated) -> None:
    """Campaigns due after the deadline are left, and --resume stops them in time."""
    assert stop(here, sim, "--finish-by", "+1s", after=(None, -60, 8)) == 4
    assert outcomes(here) == {2: "stopped", 3: "stopped", 4: "not_sent"}
    assert stop(here, sim, "--resume") == 0
    row = results(here.folder / "r.jsonl")[-1]
    assert (row["line"], row["outcome"]) == (4, "stopped")
    assert row["started_at"] < row["finished_at"] < row["stop_at"]
    due = datetime.fromisoformat(row["stop_at"]) - datetime.fromisoformat(row["started_at"])
    assert timedelta(seconds=4) < due < timedelta(seconds=6)


def test_waves(here: Here, sim: Simulated) -> None:
    """Waves begin with the campaigns due first, and each row has its line."""
    assert stop(here, sim, "--waves", "1,100%", "--soak", "100ms", after=(7, None, -60, 6)) == 0
    rows = results(here.folder / "r.jsonl")
    assert sorted(outcomes(here)) == [2, 3, 4, 5]
    assert [row["line"] for row in rows if row["stop_at"] and row["line"] != 4] == [5, 2]
    assert all(row["finished_at"] < row["stop_at"] for row in rows if row["line"] in (2, 5))


def test_two_profiles(here: Here, sim: Simulated) -> None:
    """Each profile's rows are planned within its own quota: the plan warns only of those that are too late."""
    profile = '[profile.{}]\nhost = "{}"\naccount_id = "{}"\nstream_id = "s1"\nquota = ["{}"]\n'
    here.folder.joinpath("bulkstop.toml").write_text(
        profile.format("slow", sim.url, "a1", "2/1h") + profile.format("fast", sim.url, "a2", "none")
    )
    (here.folder / "bulkstop.toml").chmod(0o600)
    at = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
    rows = "".join(f"cd-{uuid.uuid4()},voice,{name},{at}\n" for name in ("slow", "fast") for _ in range(5))
    (here.folder / "timed.csv").write_text(f"id,type,profile,stop_at\n{rows}")
    words = ("--profile", "slow", "--dry-run", "--json", "--quota-store", "memory")
    plan = json.loads(here("stop", "timed.csv", *words, variables={"BULKSTOP_QUOTA": None}).out)
    late = "3 campaigns will be stopped after stop_at: the quota lets no more leave by then"
    assert [each for each in plan["warnings"] if "stop_at" in each] == [late]


def test_running_by_its_calling_hours(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running campaigns of all targets are stopped by the end of their calling hours; the plan counts those calls."""
    monkeypatch.setenv("XDG_STATE_HOME", str(here.folder))
    zone = "Asia/Kolkata" if datetime.now(UTC).hour < 11 else "America/Los_Angeles"  # where the day goes on for hours
    hours = f"9:00 AM-12:00 PM,1:30 PM-6:00 PM {zone}"
    profile = '[profile.p{0}]\nhost = "{1}"\naccount_id = "account-0{0}"\nstream_id = "stream-0{0}-1"\n'
    words = ("--running", "--targets", "targets.csv", "--calling-hours", "--dry-run", "--json", "-o", "r.jsonl")
    sizes = ("--campaigns", "24", "--running", "8", "--accounts", "2", "--calling-hours", hours)
    with simulator(here.folder, *sizes) as sim:
        (here.folder / "bulkstop.toml").write_text("".join(profile.format(number, sim.url) for number in (1, 2)))
        (here.folder / "bulkstop.toml").chmod(0o600)
        (here.folder / "targets.csv").write_text("profile\np1\np2\n")
        first, again = (here("stop", *words) for _ in range(2))
        asked = [request["operation"] for request in sim.requests()]
    assert (first.code, again.code) == (0, 0), first.err
    plan, before = json.loads(first.out), json.loads(again.out)
    (due,) = plan["timetable"]
    assert (due["zone"], due["campaigns"], due["local"][:5]) == (zone, 8, "18:00")
    assert {account["account_id"] for account in plan["accounts"]} == {"account-01", "account-02"}
    assert asked.count("get") == 8
    assert plan["running"]["calls"] == before["running"]["calls"] + 8
    run = here("stop", "timed.csv", "--host", "http://127.0.0.1:9", "--calling-hours", "--yes")
    assert (run.code, "--calling-hours: only works with --running" in run.err) == (2, True)
