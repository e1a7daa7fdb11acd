"""Output for a machine that cannot be written is a failure: exit 3 and one line."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkstop.errors import NO_THREAD
from tests.cli.conftest import MakeList
from tests.loads import PATIENT, WHERE
from tests.processes import COMMAND, ROOT, WAIT_S, Simulated, bulkstop, bulkstop_to, environment

pytestmark = pytest.mark.real

TELLING = {
    "load": ("load", *PATIENT, *WHERE, "--closed", "--count", "3", "--json", "--quiet"),
    "dry run": ("stop", "campaigns.csv", "-o", "new.jsonl", "--dry-run", "--json"),
    "token": ("token", "--print"),
    "report": ("report", "campaigns.csv.results.jsonl"),
    "verify": ("verify", "campaigns.csv.results.jsonl", "--quota", "none", "--json", "--quiet"),
}

NO_THREADS = """
import threading
def refuse(*args, **kwargs):
    raise RuntimeError("can't start new thread")
threading._start_new_thread = refuse
"""
"""A system that allows a process no further thread."""


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
    # A report is for a person, who may stop reading; see test_report.py.
    + [(name, nobody) for name in TELLING if name != "report"],
)
def test_output_gone(name: str, where: object, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """The exit code tells a script that its input is incomplete."""
    make_list(2)
    host = () if name in ("report", "token") else ("--host", sim.url)
    if name in ("report", "verify"):
        assert bulkstop("stop", "campaigns.csv", "--host", sim.url, "--quota", "none", "--yes", cwd=tmp_path).code == 0
    with where() as fd:  # type: ignore[operator]
        run = bulkstop_to(fd, *TELLING[name], *host, cwd=tmp_path)
    why = "Broken pipe" if where is nobody else "No space left on device"
    what = "standard output: the verdict" if name == "verify" else "standard output"
    assert (run.code, run.err) == (3, f"bulkstop: {what} cannot be written ({why})\n")


@pytest.mark.parametrize(
    ("args", "code"), [((), 0), (("--log-level", "debug"), 0), (("-o", "-"), 0), (("nowhere.csv",), 2)]
)
def test_errors_cannot_be_written(
    args: tuple[str, ...], code: int, sim: Simulated, make_list: MakeList, tmp_path: Path
) -> None:
    """If standard error cannot be written, the run does all its work, and the exit code is the documented one."""
    make_list(2)
    with full_disk() as fd:
        done = subprocess.run(
            [*COMMAND, "stop", "campaigns.csv", *args, "--host", sim.url, "--quota", "none", "--yes"],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=fd,
            timeout=WAIT_S,
            check=False,
        )
    assert done.returncode == code
    lines = done.stdout if "-o" in args else b"".join(p.read_bytes() for p in tmp_path.glob("*.results.jsonl"))
    assert lines.count(b'"outcome":"stopped"') == (2 if code == 0 else 0)


@pytest.mark.parametrize("args", [(), ("-o", "-")])
def test_no_thread(args: tuple[str, ...], sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """If no thread can be started, nothing is sent, and one line says why; without the limit the run continues."""
    ids = {line.partition(",")[0] for line in make_list(3).read_text().splitlines()}
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "sitecustomize.py").write_text(NO_THREADS)
    command = ("stop", "campaigns.csv", *args, "--host", sim.url, "--quota", "none", "--yes", "--quiet")
    run = bulkstop(*command, cwd=tmp_path, PYTHONPATH=f"{tmp_path / 'with'}:{ROOT}")
    where = "standard output" if args else "campaigns.csv.results.jsonl"
    assert (run.code, run.out, run.err) == (2, "", f"bulkstop: {where}: {NO_THREAD}\n")
    assert not [each for each in sim.ids() if each in ids]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["campaigns.csv", "with"]
    assert bulkstop(*command, cwd=tmp_path).code == 0
