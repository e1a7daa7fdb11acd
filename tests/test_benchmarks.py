"""The benchmarks run: a short run of each, whose figures mean nothing."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.processes import ROOT, environment

pytestmark = pytest.mark.real

SCRIPTS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "--smoke" in path.read_text()]
RATES = {"one": [100.0, 20.0, 100.0], "other": [50.0, 10.0, 50.0]}


def test_there_are_benchmarks() -> None:
    """Those that the project is judged by are there."""
    assert {"bench.py", "engine.py", "load_counts.py", "startup.py"} <= {path.name for path in SCRIPTS}


@pytest.mark.full
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_smoke(script: Path, tmp_path: Path) -> None:
    """A short run ends well and prints figures."""
    done = subprocess.run(
        [sys.executable, str(script), "--smoke"],
        cwd=tmp_path,
        env=environment(BULKSTOP_TOKEN=None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert any(character.isdigit() for character in done.stdout)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the table of the load generators as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import bench

    return bench


def test_a_lost_request_is_told(bench: ModuleType) -> None:
    """A run whose summary or lines are one short of what nginx counted does not pass."""
    good, short = bench.Run(1.0, 1.0, 1.0, 7, (7, 7)), bench.Run(1.0, 1.0, 1.0, 7, (7, 6))
    assert bench.miscounted({"wire": [good, good]}) == []
    assert bench.miscounted({"wire": [good, short]}) == ["wire: 6 told, 7 counted by nginx"]


def test_ratios_are_those_within_a_round(bench: ModuleType) -> None:
    """A machine that was slow for a whole round changes no ratio."""
    runs = {name: [bench.Run(rate, 1.0, 1.0, 1, ()) for rate in rates] for name, rates in RATES.items()}
    assert bench.ratio(runs, "one", "other") == 2.0
    assert bench.ratio(runs, "one", "absent") is None


@pytest.mark.parametrize(
    ("intended_ms", "service_ms", "said"),
    [(1800.0, 1.0, 0), (1800.0, 1700.0, 1), (5.0, 1.0, 1)],
    ids=["honest", "shown by the service time", "hidden"],
)
def test_a_freeze_that_is_hidden_is_told(bench: ModuleType, intended_ms: float, service_ms: float, said: int) -> None:
    """A freeze of 2 s in 20 s belongs into the p99 of the intended time, and not into that of the service time."""
    told = {"latency_ms": {"p99": intended_ms}, "service_ms": {"p99": service_ms}}
    assert len(list(bench.unseen("wire", told, 20.0))) == said


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the pure parts of the table of the targets as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import rounds

    return rounds


def test_each_runs_first_in_turn(rounds: ModuleType) -> None:
    """All run in each round, and each round begins with another."""
    ran: list[str] = []
    runners = {name: (lambda name=name: ran.append(name)) for name in "abc"}
    found = rounds.in_turn(runners, 3)
    assert "".join(ran) == "abcbcacab"
    assert {name: len(runs) for name, runs in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_round_without_a_figure_has_no_ratio(rounds: ModuleType) -> None:
    """A peer that said nothing in a round is left out of the ratios."""
    assert rounds.ratios([10.0, 30.0], [0.0, 20.0]) == [1.5]


@pytest.mark.parametrize(
    ("values", "bars", "is_most", "excuse", "verdict"),
    [
        ([0.9, 1.2, 1.0], (1.0, 1.1), False, "", "reached"),
        ([1.1, 1.2, 1.0], (1.0, 1.1), False, "", "reached, stretch too"),
        ([0.9, 1.2, 0.8], (1.0, 1.1), False, "", "NOT REACHED"),
        ([3.9, 5.0, 3.5], (4.0, 3.0), True, "", "reached"),
        ([4.1, 5.0, 3.5], (4.0, 3.0), True, "late, and said so", "late, and said so"),
        ([4.1], (None, None), True, "", ""),
    ],
)
def test_the_median_is_judged(
    rounds: ModuleType,
    values: list[float],
    bars: tuple[float | None, float | None],
    is_most: bool,
    excuse: str,
    verdict: str,
) -> None:
    """A row is judged by the median of its runs, from the side of its target."""
    assert rounds.Measured("row", values, *bars, is_most=is_most, excuse=excuse).verdict() == verdict


def test_the_spread_is_told(rounds: ModuleType) -> None:
    """The table of the targets shows the lowest run and the highest beside the median."""
    row = rounds.Measured("stop / hey", [0.9, 1.25, 1.0], 0.95, 1.1)
    cells = [cell.strip() for cell in rounds.targets_table([row]).splitlines()[2].strip("|").split("|")]
    assert cells == ["stop / hey", "1.00", "0.90-1.25", "3", ">= 0.95", ">= 1.1", "reached"]


def test_a_lost_campaign_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count that is not what was to be sent is named with its number."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import stop_rows

    assert stop_rows.miscount("wire", {"lines": 7}, 7) == ""
    assert stop_rows.miscount("wire", {"lines": 6}, 7) == "wire: 6 lines, not 7"
