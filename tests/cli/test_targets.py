"""`--targets` as a process: two services with their own apps, and accounts that refuse or are down."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkstop.simulator.campaigns import Campaigns
from tests.processes import Ended, Simulated, bulkstop, results, simulator

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
    """Run two services, each with the secret of its own app, and write the profiles that reach them."""
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


def test_missing_profile(tmp_path: Path) -> None:
    """A target with an unknown profile is reported with its file and line."""
    (tmp_path / "bulkstop.toml").write_text('[profile.north]\nhost = "north.example"\n')
    (tmp_path / "bulkstop.toml").chmod(0o600)
    (tmp_path / "targets.csv").write_text("profile,stream_id\nnorht,st-1\n")
    found = bulkstop("discover", "--targets", "targets.csv", cwd=tmp_path)
    assert (found.code, "targets.csv line 2: " in found.err, "norht" in found.err) == (2, True, True), found.err


def test_each_account_with_its_own_credentials(services: dict[str, Simulated], tmp_path: Path) -> None:
    """There is one list; `stop` calls for each row with its profile's credentials, and `verify` proves it."""
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


@pytest.mark.full
def test_one_that_refuses_stops_no_other(services: dict[str, Simulated], tmp_path: Path) -> None:
    """Accounts that refuse, are down or lack a secret are named, exit 1; campaigns of the others are stopped."""
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


@pytest.mark.full
def test_no_account_answers(services: dict[str, Simulated], tmp_path: Path) -> None:
    """If no list could be read, no list is written, with exit code 3."""
    (tmp_path / "targets.csv").write_text("profile,stream_id\nrefused,st-1\n")
    found = bulkstop("discover", "--targets", "targets.csv", "-o", "list.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (found.code, (tmp_path / "list.csv").exists()) == (3, False)


@pytest.mark.full
def test_one_account_at_two_hosts(services: dict[str, Simulated], tmp_path: Path) -> None:
    """The same ids at two hosts are two campaigns of two accounts: both are stopped, each by its own quota."""
    (tmp_path / "targets.csv").write_text("profile,account_id,stream_id\nnorth,a1,st-1\nsouth,a1,st-1\n")
    how = ("--running", "--targets", "targets.csv", "--quota", f"{len(RUNS) + 10}/1h", "-o", "r.jsonl", "--yes")
    run = bulkstop("stop", *how, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 0, run.err
    lines = results(tmp_path / "r.jsonl")
    stopped = {(line["row"]["profile"], line["campaign_id"]) for line in lines if line["outcome"] == "stopped"}
    assert stopped == {(name, campaign_id) for name in services for campaign_id in RUNS}


def paste(text: str, folder: Path, *more: str) -> Ended:
    """Run the command at the end of a line, unchanged."""
    words = shlex.split(text.partition(" -m bulkstop ")[2])
    return bulkstop(*words, *more, cwd=folder, BULKSTOP_TOKEN=None)


@pytest.mark.full
def test_commands_handed_out(services: dict[str, Simulated], tmp_path: Path) -> None:
    """Suggested commands name the profile that the targets provided, and work unchanged."""
    found = bulkstop("discover", "--targets", "targets.csv", "-o", "list.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert found.code == 0, found.err
    back = bulkstop("verify", "list.csv", "--targets", "targets.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert back.code == 1, back.err
    tried = paste(back.out.splitlines()[-1], tmp_path, "--dry-run")
    assert tried.code == 0, tried.err
    how = ("--running", "--targets", "targets.csv", "-o", "r.jsonl", "--yes", "--max-failures", "1", "--attempts", "1")
    cut = bulkstop("stop", *how, "--voice-path", "/wrong/{campaignId}", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert cut.code == 3, cut.err
    left = bulkstop("report", "r.jsonl", "--failed", "-o", "left.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert left.code == 0, left.err
    tried = paste(next(line for line in left.err.splitlines() if " left.csv " in line), tmp_path, "--dry-run")
    assert tried.code == 0, tried.err
    tried = paste(cut.err.splitlines()[-1], tmp_path, "--dry-run")
    assert tried.code == 0, tried.err


def test_targets_beside_a_list(services: dict[str, Simulated], tmp_path: Path) -> None:
    """Targets typed beside a list are refused, and those of a variable are ignored."""
    (tmp_path / "list.csv").write_text("campaign_id,campaign_type,stream_id\ncd-1,sms,st-1\n")
    run = bulkstop("stop", "list.csv", "--targets", "targets.csv", "--dry-run", cwd=tmp_path)
    why = (
        "--targets: only works with --running, because a list names its own accounts; leave out --targets, or list.csv"
    )
    assert (run.code, run.err.splitlines()) == (2, [f"bulkstop: {why}"])
    run = bulkstop("stop", "list.csv", "--dry-run", cwd=tmp_path, BULKSTOP_TOKEN=None, BULKSTOP_TARGETS="targets.csv")
    assert run.code == 0, run.err


@pytest.mark.full
def test_nothing_runs_anywhere(services: dict[str, Simulated], tmp_path: Path) -> None:
    """`verify --targets` without a file proves that nothing runs in any target, or names what runs."""
    (tmp_path / "targets.csv").write_text("profile,stream_id,type\nnorth,st-1,voice\nsouth,st-1,sms\n")
    for _ in ("runs", "will run again"):
        back = bulkstop("verify", "--targets", "targets.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
        assert back.code == 1, back.err
        run = paste(back.out.splitlines()[-1], tmp_path)
        assert run.code == 0, run.err
    back = bulkstop("verify", "--targets", "targets.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (back.code, back.out.splitlines()[-1]) == (0, "DONE: nothing runs or will run again"), back.err
    (tmp_path / "targets.csv").write_text(f"{ROWS}refused,st-1\n")
    back = bulkstop("verify", "--targets", "targets.csv", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert back.code == 1, back.err
    alone = bulkstop("verify", "--profile", "north", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (alone.code, "--targets" in alone.err) == (2, True)


@pytest.mark.parametrize("option", ["--only-running", "--disable-schedule"])
@pytest.mark.full
def test_lists_that_cannot_be_read(option: str, services: dict[str, Simulated], tmp_path: Path) -> None:
    """Rows of an account with an unreadable list are `not_sent`, others are stopped, and `--resume` continues."""
    running = sorted(RUNS)[:2]
    kinds = {each: Campaigns(count=20, seed=3, any_id=False).by_id[each].campaign_type for each in running}
    rows = [f"{each},{kinds[each]},a1,st-1,{name}\n" for each in running for name in ("south", "down", "refused")]
    (tmp_path / "list.csv").write_text("campaign_id,campaign_type,account_id,stream_id,profile\n" + "".join(rows))
    how = ("list.csv", option, "--profile", "north", "-o", "r.jsonl", "--yes")
    run = bulkstop("stop", *how, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 1, run.err
    lines = results(tmp_path / "r.jsonl")
    outcomes = {(line["row"]["profile"], line["outcome"]) for line in lines}
    assert outcomes == {("south", "stopped"), ("down", "not_sent"), ("refused", "not_sent")}
    assert f"{option}: the list of " in next(line["error"] for line in lines if line["outcome"] == "not_sent")
    assert run.err.count("nothing is sent for this account") == 2
    tried = paste(run.err.splitlines()[-1], tmp_path)
    assert tried.code == 2, tried.err
    assert tried.err.count("nothing is sent for this account") == 0
    assert f"nothing was sent; try again, or leave out {option}" in tried.err


def test_hold(services: dict[str, Simulated], tmp_path: Path) -> None:
    """All accounts are held, each with its own credentials; one that refuses is named, with exit 1."""
    with (tmp_path / "bulkstop.toml").open("a") as file:
        for name in services:  # two hosts may have accounts of one name
            file.write(f'[[profile.north.target]]\nprofile = "{name}"\naccount_id = "same"\nstream_id = "st-1"\n')
    how = ("-o", "h.jsonl", "--max-campaigns", "100", "--yes", "--every", "100ms")
    run = bulkstop("hold", "--profile", "north", *how, "--for", "50ms", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 0, run.err
    lines = results(tmp_path / "h.jsonl")
    stopped = {(line["row"]["profile"], line["campaign_id"]) for line in lines if line["outcome"] == "stopped"}
    assert stopped == {(name, campaign_id) for name in services for campaign_id in RUNS}
    assert {each["account_id"] for each in services["south"].requests()} == {"same"}
    (tmp_path / "targets.csv").write_text(f"{ROWS}refused,st-1\n")
    args = (*how, "--targets", "targets.csv", "--for", "1s", "--resume")
    again = bulkstop("hold", *args, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert again.code == 1, again.err
    assert again.err.count("the list of account a-refused cannot be read completely: ") == 1
    assert "NOT STOPPED: more may run: " in again.err
    *_, last = json.loads((tmp_path / "h.jsonl.run.json").read_text())["runs"]
    assert last["command"][-2:] == ["--profile", "north"]  # that of the targets, for commands that continue


@pytest.mark.full
def test_a_profile_that_names_the_accounts(services: dict[str, Simulated], tmp_path: Path) -> None:
    """A profile of targets needs no host of its own to stop all and to prove that none runs."""
    tables = "".join(f'[[profile.all.target]]\nprofile = "{name}"\nstream_id = "st-1"\n' for name in services)
    with (tmp_path / "bulkstop.toml").open("a") as file:
        file.write(f"[profile.all]\nmax_campaigns = 100\n{tables}")
    how = ("--profile", "all", "-o")
    look = bulkstop("discover", *how, "left.csv", "--expect", "0", "--json", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (look.code, json.loads(look.out)["exit_code"]) == (1, 1)
    assert look.err.startswith(f"NOT AS EXPECTED: {2 * len(RUNS)} campaigns")
    run = bulkstop("stop", "--running", *how, "r.jsonl", "--yes", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 0, run.err
    assert re.findall(r"account-?\S* +a-\w+(?: at \S+)?: \d+ to stop; (\d+) calls free", run.err) == ["54", "54"]
    assert [f"{service.url}" in run.err for service in services.values()] == [True, True]
    proof = bulkstop("discover", *how, "now.csv", "--expect", "0", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (proof.code, proof.err.startswith("DONE: no campaign in 4 lists, as expected")) == (0, True)
