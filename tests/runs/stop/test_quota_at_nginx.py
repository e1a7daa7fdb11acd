"""The quota as an independent server sees it: judged by nginx's own log, in real time."""

import signal
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bulkstop.engine.limits.quota import min_duration_s
from bulkstop.model import Limit
from tests.processes import ended, results, started
from tests.servers import Nginx

pytestmark = pytest.mark.alone

WINDOWS = (Limit(10, 1.5), Limit(30, 6.0))
OPTIONS = [word for limit in WINDOWS for word in ("--quota", str(limit))]


def write_list(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write campaigns, each with its account."""
    lines = [f"{campaign_id},voice,{account_id},st-1\n" for campaign_id, account_id in rows]
    path.write_text("campaign_id,campaign_type,account_id,stream_id\n" + "".join(lines))


def one_account(name: str, count: int) -> list[tuple[str, str]]:
    """Name campaigns of one account."""
    return [(f"cd-{name}-{number}", "a") for number in range(count)]


def of_account(server: Nginx) -> dict[str, list[float]]:
    """Return the times of the calls of each account."""
    times: dict[str, list[float]] = defaultdict(list)
    for at, account_id in server.times():
        times[account_id].append(at)
    return times


def assert_never_over(times: Sequence[float]) -> None:
    """No rolling window ever held more than its limit.

    A busy machine holds a process up between being let and sending: a quarter of a second is left to it, where windows
    that are not shared, or do not roll, let calls of two blocks leave together.
    """
    times = sorted(times)
    for limit in WINDOWS:
        for earlier, later in zip(times, times[limit.calls :], strict=False):
            assert later - earlier > limit.window_s - 0.25, (limit, later - earlier)


def used(times: Sequence[float]) -> float:
    """Return the shortest permitted time as a share of the time it took."""
    return min_duration_s(len(times), WINDOWS) / (max(times) - min(times))


def test_two_processes_at_once(nginx_server: Nginx, tmp_path: Path) -> None:
    """Two runs that know nothing of each other share one quota, break it never and use it: with a place lost 0.74."""
    runs = []
    for name in ("one", "two"):
        write_list(tmp_path / f"{name}.csv", one_account(name, 30))
        store = ("--quota-store", str(tmp_path / "quota.sqlite"))
        runs.append(started("stop", f"{name}.csv", "--host", nginx_server.url, "--yes", *OPTIONS, *store, cwd=tmp_path))
    for run in runs:
        assert ended(run).code == 0
    times = of_account(nginx_server)["a"]
    assert len(times) == 60
    assert_never_over(times)
    assert used(times) >= 0.85


def test_killed_and_started_again(nginx_server: Nginx, tmp_path: Path) -> None:
    """A run that is killed within a window leaves its calls in the store: the next run continues that window."""
    command = ("--host", nginx_server.url, "--yes", *OPTIONS, "--quota-store", "quota.sqlite")
    write_list(tmp_path / "list.csv", one_account("first", 60))
    run = started("stop", "list.csv", *command, "-o", "-", cwd=tmp_path)
    assert run.stdout is not None
    written = [run.stdout.readline() for _ in range(15)]
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert len(written) == 15
    write_list(tmp_path / "rest.csv", one_account("rest", 30))
    assert ended(started("stop", "rest.csv", *command, cwd=tmp_path)).code == 0
    times = of_account(nginx_server)["a"]
    assert len(times) >= 45
    assert_never_over(times)


def test_fifty_accounts(nginx_server: Nginx, tmp_path: Path) -> None:
    """Fifty accounts have fifty quotas: each keeps its own, and together they take as long as one."""
    rows = [(f"cd-{account}-{number}", f"a{account}") for account in range(50) for number in range(20)]
    write_list(tmp_path / "list.csv", rows)
    command = ("--host", nginx_server.url, "--yes", *OPTIONS, "--quota-store", "quota.sqlite")
    assert ended(started("stop", "list.csv", *command, cwd=tmp_path)).code == 0
    assert len(results(tmp_path / "list.csv.results.jsonl")) == 1_000
    calls = of_account(nginx_server)
    assert {account_id: len(times) for account_id, times in calls.items()} == {f"a{n}": 20 for n in range(50)}
    for times in calls.values():
        assert_never_over(times)
    every = [at for times in calls.values() for at in times]
    assert max(every) - min(every) < 5 * min_duration_s(20, WINDOWS)


def test_the_deadline(nginx_server: Nginx, tmp_path: Path) -> None:
    """At the time to finish by nothing more leaves: exit 4, every row has its line, and the plan had said so."""
    write_list(tmp_path / "list.csv", one_account("late", 200))
    by = (datetime.now().astimezone() + timedelta(seconds=3)).strftime("%H:%M:%S")
    command = ("--host", nginx_server.url, "--yes", *OPTIONS, "--quota-store", "memory", "--finish-by", by)
    run = ended(started("stop", "list.csv", *command, cwd=tmp_path))
    assert run.code == 4
    assert "CANNOT BE MET" in run.err
    assert "at the time to finish by, before all were sent" in run.err
    lines = results(tmp_path / "list.csv.results.jsonl")
    assert len(lines) == 200
    assert {line["outcome"] for line in lines} == {"stopped", "not_sent"}
    assert sum(line["outcome"] == "stopped" for line in lines) == len(nginx_server.times())
