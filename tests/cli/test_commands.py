"""The command itself: help, version, completion, and slips."""

from pathlib import Path

import pytest

from bulkstop import __version__
from bulkstop.cli import COMMANDS
from tests.processes import bulkstop


def test_version(tmp_path: Path) -> None:
    """`python -m bulkstop --version` names the version."""
    run = bulkstop("--version", cwd=tmp_path)
    assert (run.code, run.out, run.err) == (0, f"bulkstop {__version__}\n", "")


def test_help(tmp_path: Path) -> None:
    """`--help` names every command."""
    run = bulkstop("--help", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert all(f"  {name}" in run.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of(name: str, tmp_path: Path) -> None:
    """Each command's help has a worked example and its exit codes."""
    run = bulkstop(name, "--help", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert f"Example:\n    bulkstop {name}" in run.out
    assert "Exit codes:" in run.out


def test_nothing(tmp_path: Path) -> None:
    """Without a command it shows its help, as a failure."""
    run = bulkstop(cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert "Usage: bulkstop" in run.err


@pytest.mark.parametrize("args", [["stpo"], ["--verbose"], ["stop", "--hots", "x", "y"]])
def test_slips(args: list[str], tmp_path: Path) -> None:
    """A slip is one line and exit 2."""
    run = bulkstop(*args, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("bulkstop: No such ")
    assert run.err.count("\n") == 1


def test_completion(tmp_path: Path) -> None:
    """A shell gets what it needs to complete commands and options."""
    run = bulkstop(cwd=tmp_path, _BULKSTOP_COMPLETE="bash_source")
    assert run.code == 0
    assert "_BULKSTOP_COMPLETE" in run.out


def test_completes(tmp_path: Path) -> None:
    """Completion offers the commands, and the options of a command."""
    run = bulkstop(cwd=tmp_path, _BULKSTOP_COMPLETE="bash_complete", COMP_WORDS="bulkstop s", COMP_CWORD="1")
    assert run.out.split() == ["plain,stop", "plain,simulate"]
    run = bulkstop(cwd=tmp_path, _BULKSTOP_COMPLETE="bash_complete", COMP_WORDS="bulkstop stop --dry", COMP_CWORD="2")
    assert run.out.split() == ["plain,--dry-run"]
