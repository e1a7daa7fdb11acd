"""Accounts of two apps, one of which refuses its lists and one is slow: running campaigns are found and stopped."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkstop.simulator.campaigns import EMERGENCY, Campaigns, Population, SimulatedCampaign
from tests.processes import Simulated, bulkstop, results, simulator

pytestmark = pytest.mark.real

COUNT = 120
WORLD = Population(accounts=4, streams=2, running=24, other_status="Rerun", emergency=True)
PLACES = WORLD.list_places()
APPS = {"account-01": "north", "account-02": "south", "account-03": "north", "account-04": "south"}
REFUSED = "account-03"
SECRETS = {name: f"{name}-0123456789abcdef0123456789abcdef" for name in ("north", "south")}
PROFILE = """
[profile.{account}]
host = "{host}"
account_id = "{account}"
client_id = "{app}"
client_secret_file = "{app}.key"
"""
OPTIONS = (
    *("--campaigns", str(COUNT), "--accounts", "4", "--streams", "2", "--running", "24", "--emergency"),
    *("--other-status", "Rerun", "--refuse", REFUSED, "--slow", "account-04:50ms", "--quota", "60/60s"),
    *("--app", "north:north.key:account-01,account-03", "--app", "south:south.key:account-0[24]"),
)


def list_running() -> dict[str, SimulatedCampaign]:
    """Return what runs in the readable accounts."""
    found = Campaigns(count=COUNT, seed=0, any_id=False, population=WORLD).by_id
    return {
        key: each for key, each in found.items() if each.is_calling and each.place and each.place.account_id != REFUSED
    }


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Simulated]:
    """Run the service, and write a profile for each account and the targets."""
    for name, secret in SECRETS.items():
        (tmp_path / f"{name}.key").write_text(secret)
        (tmp_path / f"{name}.key").chmod(0o600)
    targets = "".join(f"{place.account_id},{place.stream_id}\n" for place in PLACES)
    (tmp_path / "targets.csv").write_text("profile,stream_id\n" + targets)
    with simulator(tmp_path, *OPTIONS) as sim:
        profiles = (PROFILE.format(host=sim.url, account=account, app=app) for account, app in APPS.items())
        (tmp_path / "bulkstop.toml").write_text("".join(profiles))
        (tmp_path / "bulkstop.toml").chmod(0o600)
        yield sim


@pytest.mark.full
def test_what_runs_in_all_accounts(service: Simulated, tmp_path: Path) -> None:
    """All that runs is found and stopped, each account's emergency first; the refusing account is named, exit 1."""
    running = list_running()
    args = ("--targets", "targets.csv", "--yes", "--quiet")
    found = bulkstop("discover", *args[:2], "-o", "list.jsonl", cwd=tmp_path, BULKSTOP_TOKEN=None)
    rows = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert (found.code, {row["campaign_id"] for row in rows}) == (1, set(running))
    assert found.err.count(f"of account {REFUSED}") == 4
    run = bulkstop("stop", "--running", *args, "-o", "r.jsonl", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 1, run.err
    assert {line["campaign_id"] for line in results(tmp_path / "r.jsonl") if line["outcome"] == "stopped"} == set(
        running
    )
    first: dict[str, str] = {}
    for each in service.requests():
        if each["operation"] == "stop":
            first.setdefault(each["account_id"], each["campaign_id"])
    assert [running[first[account]].execution_type for account in sorted(first)] == [EMERGENCY] * 3
    statuses = Counter((each["account_id"] == REFUSED, each["status"]) for each in service.requests())
    assert statuses.keys() == {(False, 200), (True, 403)}
