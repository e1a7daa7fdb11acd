"""The benchmarks run: a short run of each, whose figures mean nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment

SCRIPTS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "--smoke" in path.read_text()]


def test_there_are_benchmarks() -> None:
    """The two that the project is judged by are there."""
    assert {"engine.py", "startup.py"} <= {path.name for path in SCRIPTS}


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
