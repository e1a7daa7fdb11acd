"""`bulkstop verify --calls` against the simulator: whether stopped campaigns still contact people."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Here
from tests.processes import Simulated, campaigns, simulator

pytestmark = pytest.mark.real

IDS = ("cd-1", "cd-2", "cd-3")
RESULTS = "campaigns.csv.results.jsonl"


def stop(here: Here, sim: Simulated, folder: Path) -> None:
    """Stop three campaigns, whose results are stopped."""
    campaigns(folder / "campaigns.csv", IDS)
    assert here.stop(sim, "--expect", "3", "--quiet").code == 0


def test_no_contact_since(here: Here, tmp_path: Path) -> None:
    """The last line ends with the time since which no stopped campaign has contacted anybody."""
    with simulator(tmp_path) as sim:
        stop(here, sim, tmp_path)
        run = here("verify", RESULTS, "--calls", "--host", sim.url)
        assert run.code == 0
        assert re.fullmatch(r"DONE: none of 3 runs; no contact since \d\d:\d\d:\d\d \S+", run.out.splitlines()[-1])
        told = json.loads(here("verify", RESULTS, "--calls", "--host", sim.url, "--json").out)
        assert sim.requests()[-1]["operation"] == "contacts"
    times = [json.loads(line)["updated_at"] for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert told["contacts"]["no_contact_since"] == max(times)
    assert told["contacts"]["campaigns"] == 3


def test_still_calls(here: Here, tmp_path: Path) -> None:
    """Campaigns that call although they are reported as stopped are listed for another stop."""
    with simulator(tmp_path, "--contacts", "6/min", "--contacts-after-stop", "1h") as sim:
        stop(here, sim, tmp_path)
        run = here("verify", RESULTS, "--calls", "--host", sim.url)
        told = json.loads(here("verify", RESULTS, "--calls", "--host", sim.url, "--json").out)
    assert run.code == 1
    assert "NOT STOPPED: 3 of 3 stopped still call" in run.out
    assert {line.split()[0] for line in run.out.splitlines() if line.startswith("cd-")} == set(IDS)
    assert (told["exit_code"], told["states"]["not_running"], told["contacts"]["no_contact_since"]) == (1, 3, None)
    assert {each["campaign_id"] for each in told["contacts"]["calling"]} == set(IDS)
    again = (tmp_path / f"{RESULTS}.running.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in again} == set(IDS)


def test_missing_scope(here: Here, tmp_path: Path) -> None:
    """If the app lacks the scope, a message says so, and the states decide."""
    with simulator(tmp_path, "--no-analytics") as sim:
        stop(here, sim, tmp_path)
        run = here("verify", RESULTS, "--calls", "--host", sim.url)
        quiet = here("verify", RESULTS, "--calls", "--host", sim.url, "--quiet")
    assert (run.code, quiet.code, quiet.out) == (0, 0, "")
    for each in (run, quiet):
        assert 'the scope "SmartAssist Analytics" is missing, so only the states count (HTTP 401: ' in each.err
    assert run.out.splitlines()[-1].endswith("; contacts were not read, because the scope is missing")


def test_plain_list(here: Here, tmp_path: Path) -> None:
    """Contacts of campaigns that were never stopped are not read, and a message says so."""
    with simulator(tmp_path, "--campaigns", "30") as sim:
        campaigns(tmp_path / "campaigns.csv", ["cd-1", "cd-2"])
        here.stop(sim, "--expect", "2", "--quiet")
        run = here("verify", "campaigns.csv", "--calls", "--host", sim.url)
        assert [request["operation"] for request in sim.requests()].count("contacts") == 0
    assert run.code == 0
    assert run.out.splitlines()[-1].endswith("; contacts were not read, because no stop is known")


def test_within_the_quota(here: Here, tmp_path: Path) -> None:
    """Calls for contacts count with all other calls of the account."""
    with simulator(tmp_path, "--contacts", "6/min", "--contacts-after-stop", "1h") as sim:
        stop(here, sim, tmp_path)
        quota = ("--quota", "4/500ms", "--quota-store", "memory")
        assert here("verify", RESULTS, "--calls", "--host", sim.url, *quota, "--quiet").code == 1
        requests = sim.requests()[3:]
    assert [request["operation"] for request in requests].count("contacts") > 5
    arrivals = [request["arrived_monotonic_s"] for request in requests]
    assert all(later - sooner >= 0.5 for sooner, later in zip(arrivals, arrivals[4:], strict=False))
