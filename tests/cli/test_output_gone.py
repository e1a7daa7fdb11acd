"""What a machine is to read and cannot be written is no success: exit 3 and one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import MakeList
from tests.loads import PATIENT, WHERE
from tests.processes import Simulated, bulkstop, bulkstop_to

pytestmark = pytest.mark.real

TELLING = {
    "load": ("load", *PATIENT, *WHERE, "--closed", "--count", "3", "--json", "--quiet"),
    "dry run": ("stop", "campaigns.csv", "-o", "new.jsonl", "--dry-run", "--json"),
    "token": ("token", "--print"),
    "report": ("report", "campaigns.csv.results.jsonl"),
    "verify": ("verify", "campaigns.csv.results.jsonl", "--quota", "none", "--json", "--quiet"),
}


@contextmanager
def full_disk() -> Iterator[int]:
    """Open a device that is always full."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        yield full.fileno()


@contextmanager
def nobody() -> Iterator[int]:
    """Open a pipe that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    yield theirs
    os.close(theirs)


@pytest.mark.parametrize(
    ("name", "where"),
    [(name, full_disk) for name in TELLING]
    # A report is for a person, who may have seen enough; see test_report.py.
    + [(name, nobody) for name in TELLING if name != "report"],
)
def test_output_gone(name: str, where: object, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """The exit code tells a script that what it has read is not all."""
    make_list(2)
    host = () if name in ("report", "token") else ("--host", sim.url)
    if name in ("report", "verify"):
        assert bulkstop("stop", "campaigns.csv", "--host", sim.url, "--quota", "none", "--yes", cwd=tmp_path).code == 0
    with where() as fd:  # type: ignore[operator]
        run = bulkstop_to(fd, *TELLING[name], *host, cwd=tmp_path)
    why = "Broken pipe" if where is nobody else "No space left on device"
    what = "standard output: the verdict" if name == "verify" else "standard output"
    assert (run.code, run.err) == (3, f"bulkstop: {what} cannot be written ({why})\n")
