"""What stays of a run that a signal has ended says which one it was."""

import json
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Here, MakeList
from tests.processes import ended, simulator, started

pytestmark = pytest.mark.real


def test_manifest_and_report(here: Here, make_list: MakeList, tmp_path: Path) -> None:
    """The manifest and `report` say SIGHUP of a run whose terminal was closed, and the check finds it sound."""
    make_list(200)
    with simulator(tmp_path, "--latency", "50") as slow:
        options = ("--yes", "--quota", "none", "--concurrency", "2")
        process = started("stop", "campaigns.csv", "--host", slow.url, *options, cwd=tmp_path)
        while not slow.ids():
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        run = ended(process)
    assert run.code == 129
    results = tmp_path / "campaigns.csv.results.jsonl"
    section = json.loads((tmp_path / f"{results.name}.run.json").read_text())["runs"][-1]
    assert (section["reason"], section["exit_code"]) == ("by SIGHUP, before all were sent", 129)
    told = here("report", results.name)
    assert ": by SIGHUP, before all were sent (exit code 129)" in told.out
    assert "every line is as it was written" in told.out
