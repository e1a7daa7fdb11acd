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
