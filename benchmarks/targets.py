"""Many accounts: 40 of two apps, 3 streams each, 20,000 campaigns; one account refuses its lists, one is slow.

    python benchmarks/targets.py            # at a simulator: about a minute
    python benchmarks/targets.py --smoke    # a short run that only shows that it works

`discover --targets` and `stop --running --targets` run as processes against a simulator with the service's quota, whose
minute is shortened to seconds. The calls of each account come from the simulator's log. They determine the time that
the quota of one account needs: the last of n calls may be sent when n - 1 of them, in full windows, have expired.
Targets: `discover` takes at most that and SPARE_S more, and at most MOST_RATIO of its memory at a fifth of the
campaigns; the first stop of each readable account is that of its emergency, everything that runs there is stopped, and
no call exceeds the quota; a missed one is exit 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import watched
from watched import Ran

from bulkstop.simulator.campaigns import NORMAL, Campaigns, Population

SPARE_S = 5.0
"""Seconds for the start and end of a process, and for the slow account's lists."""
MOST_RATIO = 1.25
SECRETS = {name: f"{name}-0123456789abcdef0123456789abcdef" for name in ("north", "south")}
SLOW = "1s"


class Scene(NamedTuple):
    """Accounts of two apps with one quota; the last but one refuses its lists and the last is slow."""

    accounts: int
    streams: int
    campaigns: int
    running: int
    calls: int
    window_s: float

    @property
    def population(self) -> Population:
        """The population of the simulator."""
        return Population(self.accounts, self.streams, self.running, emergency=True)

    def list_accounts(self) -> list[str]:
        """Return the names of the accounts."""
        return list(dict.fromkeys(place.account_id for place in self.population.list_places()))

    def find_app(self, account_id: str) -> str:
        """Return the app of an account."""
        return "north" if self.list_accounts().index(account_id) % 2 else "south"

    def needs_s(self, calls: int) -> float:
        """Return the seconds that an account needs for this many calls, by its quota alone."""
        return (max(0, calls - 1) // self.calls) * self.window_s


def write_settings(scene: Scene, host: str, folder: Path) -> None:
    """Write a profile for each account, the secrets of the apps, and the targets."""
    for name, secret in SECRETS.items():
        (folder / f"{name}.key").write_text(secret)
        (folder / f"{name}.key").chmod(0o600)
    places = scene.population.list_places()
    profiles = "".join(
        f'[profile.{each}]\nhost = "{host}"\naccount_id = "{each}"\nquota = ["{scene.calls}/{scene.window_s}s"]\n'
        f'client_id = "{scene.find_app(each)}"\nclient_secret_file = "{scene.find_app(each)}.key"\n'
        for each in scene.list_accounts()
    )
    (folder / "bulkstop.toml").write_text(profiles)
    (folder / "targets.csv").write_text(
        "profile,stream_id\n" + "".join(f"{place.account_id},{place.stream_id}\n" for place in places)
    )


@contextmanager
def simulate(scene: Scene, folder: Path) -> Iterator[str]:
    """Run a simulator of the scene; its log is `requests.jsonl`."""
    accounts = scene.list_accounts()
    for name, secret in SECRETS.items():
        (folder / f"{name}.key").write_text(secret)
    apps = {name: ",".join(each for each in accounts if scene.find_app(each) == name) for name in SECRETS}
    command = [sys.executable, "-m", "bulkstop", "simulate", "--log", "requests.jsonl", "--emergency"]
    command += ["--accounts", str(scene.accounts), "--streams", str(scene.streams), "--running", str(scene.running)]
    command += ["--campaigns", str(scene.campaigns), "--quota", f"{scene.calls}/{scene.window_s}s", "--latency", "30"]
    command += ["--refuse", accounts[-2], "--slow", f"{accounts[-1]}:{SLOW}"]
    command += [word for name, own in apps.items() for word in ("--app", f"{name}:{name}.key:{own}")]
    with subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a run, which has no credentials except those of the profiles."""
    kept = watched.environment(folder)
    return {name: value for name, value in kept.items() if name != "BULKSTOP_TOKEN"}


def run(folder: Path, *words: str) -> tuple[Ran, list[dict[str, Any]]]:
    """Run a command, which must report by exit 1 that an account refuses; also return its calls."""
    log = folder / "requests.jsonl"
    before = log.stat().st_size if log.exists() else 0
    ran = watched.run([sys.executable, "-m", "bulkstop", *words], cwd=folder, env=environment(folder), codes=(1,))
    with log.open("rb") as file:
        file.seek(before)
        return ran, [json.loads(line) for line in file]


def read_lists(scene: Scene, folder: Path) -> tuple[Ran, list[str]]:
    """Read the lists of a scene; return the measurements, and the missed targets."""
    with simulate(scene, folder) as host:
        write_settings(scene, host, folder)
        ran, requests = run(folder, "discover", "--targets", "targets.csv", "-o", "list.csv", "--quiet")
    calls = Counter(each["account_id"] for each in requests)
    needs_s = max(map(scene.needs_s, calls.values()))
    print(
        f"discover, {scene.campaigns:,} campaigns, quota {scene.calls}/{scene.window_s:g}s: {ran.elapsed_s:.1f} s, "
        f"the quota of one account needs {needs_s:.1f} s ({max(calls.values())} calls); peak {ran.peak_mb:.0f} MB"
    )
    faults = list_overruns(requests)
    if ran.elapsed_s > needs_s + SPARE_S:
        faults.append(f"discover took {ran.elapsed_s:.1f} s, more than {needs_s:.1f} s and {SPARE_S:.0f} s to spare")
    rows = (folder / "list.csv").read_text().count("\n") - 1
    if rows != (wanted := len(list_running(scene))):
        faults.append(f"discover found {rows:,} of {wanted:,} that run")
    return ran, faults


def stop_all(scene: Scene, folder: Path) -> list[str]:
    """Stop everything that runs in a scene; return the missed targets."""
    with simulate(scene, folder) as host:
        write_settings(scene, host, folder)
        words = ("stop", "--running", "--targets", "targets.csv", "-o", "results.jsonl", "--yes", "--quiet")
        ran, requests = run(folder, *words)
    stops = [each for each in requests if each["operation"] == "stop"]
    stopped = {each["campaign_id"] for each in stops if each["status"] == 200}
    first: dict[str, str] = {}
    for each in stops:
        first.setdefault(each["account_id"], each["campaign_id"])
    running = list_running(scene)
    urgent = {campaign_id for campaign_id, is_urgent in running.items() if is_urgent}
    after_s = stops[0]["arrived_unix_s"] - requests[0]["arrived_unix_s"]
    print(
        f"stop --running, {scene.campaigns:,} campaigns: {ran.elapsed_s:.1f} s for {len(stops):,} stops, peak "
        f"{ran.peak_mb:.0f} MB; the first left {after_s:.1f} s after the first call, that of the emergency "
        f"in {len(urgent & set(first.values()))} of {len(urgent)} accounts"
    )
    faults = list_overruns(requests)
    if len(urgent - set(first.values())):
        faults.append("the first stop of an account is not that of its emergency")
    if missed := running.keys() - stopped:
        faults.append(f"{len(missed):,} of {len(running):,} that run were not stopped")
    return faults


def list_running(scene: Scene) -> dict[str, bool]:
    """Return what runs in the readable accounts, with whether it is an emergency."""
    refused = scene.list_accounts()[-2]
    found = Campaigns(count=scene.campaigns, seed=0, any_id=False, population=scene.population).by_id.values()
    return {
        each.campaign_id: each.execution_type != NORMAL
        for each in found
        if each.is_calling and each.place is not None and each.place.account_id != refused
    }


def list_overruns(requests: Sequence[dict[str, Any]]) -> list[str]:
    """Return how many calls exceeded the quota, or were refused with the token of another app."""
    statuses = Counter(each["status"] for each in requests)
    return [f"{statuses[status]:,} calls answered {status}" for status in (429, 401) if statuses[status]]


def main() -> None:
    """Measure; a missed target is exit 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--calls", type=int, default=4, help="calls that the quota of an account takes in a window")
    parser.add_argument("--window", type=float, default=2.0, help="the window of the quota in seconds")
    args = parser.parse_args()
    quota = (args.calls, args.window)
    scene = Scene(4, 2, 400, 40, *quota) if args.smoke else Scene(40, 3, 20_000, 800, *quota)
    few = scene._replace(campaigns=scene.campaigns // 5, running=scene.running // 5)
    faults: list[str] = []
    peaks = []
    for each in (few, scene):
        with tempfile.TemporaryDirectory() as folder:
            ran, missed = read_lists(each, Path(folder))
        faults += missed
        peaks.append(ran.peak_mb)
    ratio = peaks[1] / peaks[0]
    print(f"memory of {scene.campaigns:,} / {few.campaigns:,} campaigns: {ratio:.2f} (target at most {MOST_RATIO})")
    if ratio > MOST_RATIO:
        faults.append(f"memory grew by {ratio:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        faults += stop_all(scene._replace(calls=60), Path(folder))
    for fault in faults:
        print(f"fell short: {fault}")
    if faults and not args.smoke:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
