"""`--targets` as a process: two services with apps of their own, and accounts that refuse or are down."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkstop.simulator.campaigns import Campaigns
from tests.processes import Simulated, bulkstop, results, simulator

pytestmark = pytest.mark.real

NORTH, SOUTH = "north-0123456789abcdef0123456789abcdef", "south-0123456789abcdef0123456789abcdef"
RUNS = {
    c.campaign_id
    for c in Campaigns(count=20, seed=3, any_id=False).by_id.values()
    if c.status in ("Active", "Preparing")
}
OPTIONS = ("--campaigns", "20", "--seed", "3")
PROFILE = """
[profile.{0}]
host = "{1}"
client_id = "{0}"
client_secret_file = "{2}.key"
account_id = "a-{0}"
attempts = 1
"""
ROWS = "profile,stream_id\nnorth,st-1\nsouth,st-1\n"


@pytest.fixture
def services(tmp_path: Path) -> Iterator[dict[str, Simulated]]:
    """Hold two services open, each with the secret of its own app, and write the profiles that reach them."""
    folders = {name: tmp_path / name for name in ("north", "south")}
    for folder in folders.values():
        folder.mkdir()
    for name, secret in (("north", NORTH), ("south", SOUTH)):
        (tmp_path / f"{name}.key").write_text(secret)
        (tmp_path / f"{name}.key").chmod(0o600)
    (tmp_path / "targets.csv").write_text(ROWS)
    with (
        simulator(folders["north"], "--client-id", "north", *OPTIONS, BULKSTOP_CLIENT_SECRET=NORTH) as north,
        simulator(folders["south"], "--client-id", "south", *OPTIONS, BULKSTOP_CLIENT_SECRET=SOUTH) as south,
    ):
        profiles = [("north", north.url, "north"), ("south", south.url, "south"), ("refused", north.url, "south")]
        profiles.append(("down", "http://127.0.0.1:9", "north"))
        (tmp_path / "bulkstop.toml").write_text("".join(PROFILE.format(*each) for each in profiles))
        (tmp_path / "bulkstop.toml").chmod(0o600)
        yield {"north": north, "south": south}


def test_each_account_with_its_own_credentials(services: dict[str, Simulated], tmp_path: Path) -> None:
    """One list comes out, `stop` calls for each row with the credentials of its profile, and `verify` proves it."""
    found = bulkstop("discover", "--targets", "targets.csv", "-o", "list.jsonl", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert found.code == 0, found.err
    rows = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    wanted = {(name, campaign_id) for name in services for campaign_id in RUNS}
    assert {(row["profile"], row["campaign_id"]) for row in rows} == wanted
    with (tmp_path / "list.jsonl").open("a") as file:
        file.write('{"campaign_id": "cd-1", "campaign_type": "sms", "stream_id": "st-1", "profile": "nowhere"}\n')
    how = ("--profile", "north", "-o", "r.jsonl")
    run = bulkstop("stop", "list.jsonl", *how, "--expect", str(len(rows)), cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 1, run.err
    lines = results(tmp_path / "r.jsonl")
    unknown = next(line for line in lines if line["outcome"] == "invalid")
    assert "bulkstop.toml has no [profile.nowhere]" in unknown["error"]
    stopped = {(line["row"]["profile"], line["campaign_id"]) for line in lines if line["outcome"] == "stopped"}
    assert stopped == wanted
    again = bulkstop("stop", "list.jsonl", *how, "--resume", "--yes", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert "nothing is left to send" in again.err
    back = bulkstop("verify", "r.jsonl", "--profile", "north", "--json", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert json.loads(back.out)["states"]["not_running"] == len(wanted)
    statuses = {each["status"] for service in services.values() for each in service.requests()}
    assert statuses == {200}
    assert {each["account_id"] for each in services["south"].requests()} == {"a-south"}


def test_one_that_refuses_stops_no_other(services: dict[str, Simulated], tmp_path: Path) -> None:
    """Accounts that refuse, are down or have no secret are named, exit 1; what the others have is stopped."""
    with (tmp_path / "bulkstop.toml").open("a") as file:
        file.write(PROFILE.format("lost", services["north"].url, "gone"))
    (tmp_path / "targets.csv").write_text(f"{ROWS}refused,st-1\nlost,st-1\ndown,st-1\n")
    found = bulkstop("discover", "--targets", "targets.csv", "-o", "list.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert found.code == 1, found.err
    assert (tmp_path / "list.csv").read_text().count("\n") == 2 * len(RUNS) + 1
    for name in ("refused", "lost", "down"):
        assert found.err.count(f"of account a-{name} (profile {name})") == 2
    checked = bulkstop("check", "--targets", "targets.csv", "--json", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (checked.code, sum(bool(each["fault"]) for each in json.loads(checked.out)["scopes"])) == (1, 6)
    how = ("--running", "--targets", "targets.csv", "-o", "r.jsonl", "--yes")
    run = bulkstop("stop", *how, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 1, run.err
    lines = results(tmp_path / "r.jsonl")
    assert {(line["account_id"], line["outcome"]) for line in lines} == {("a-north", "stopped"), ("a-south", "stopped")}
    assert len(lines) == 2 * len(RUNS)
    assert "more may run than was found" in run.err


def test_no_account_answers(services: dict[str, Simulated], tmp_path: Path) -> None:
    """Where no list at all could be read there is no list, and the exit code is 3."""
    (tmp_path / "targets.csv").write_text("profile,stream_id\nrefused,st-1\n")
    found = bulkstop("discover", "--targets", "targets.csv", "-o", "list.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (found.code, (tmp_path / "list.csv").exists()) == (3, False)


def test_a_profile_that_names_the_accounts(services: dict[str, Simulated], tmp_path: Path) -> None:
    """Without a host of its own a profile of targets is enough to stop all and to prove that none runs."""
    tables = "".join(f'[[profile.all.target]]\nprofile = "{name}"\nstream_id = "st-1"\n' for name in services)
    with (tmp_path / "bulkstop.toml").open("a") as file:
        file.write(f"[profile.all]\nmax_campaigns = 100\n{tables}")
    how = ("--profile", "all", "-o")
    look = bulkstop("discover", *how, "left.csv", "--expect", "0", "--json", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (look.code, json.loads(look.out)["exit_code"]) == (1, 1)
    assert look.err.startswith(f"NOT AS EXPECTED: {2 * len(RUNS)} campaigns")
    run = bulkstop("stop", "--running", *how, "r.jsonl", "--yes", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 0, run.err
    assert re.findall(r"account-?\S* +a-\w+: \d+ to stop; (\d+) calls left", run.err) == ["54", "54"]
    assert [f"{service.url}" in run.err for service in services.values()] == [True, True]
    proof = bulkstop("discover", *how, "now.csv", "--expect", "0", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (proof.code, proof.err.startswith("DONE: nothing that fits in 4 lists, as expected")) == (0, True)
