"""The command itself: help, version, completion, and mistakes."""

import re
import signal
from pathlib import Path

import click
import pytest

from bulkstop.cli import COMMANDS, commands
from bulkstop.cli.options import HEADINGS, MAIN
from bulkstop.text import write_install
from bulkstop.version import __version__
from tests.processes import ROOT, bulkstop

pytestmark = pytest.mark.real


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
    """Each command's help has its settings below headings, a worked example and its exit codes."""
    run = bulkstop(name, "--help", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert ("\nCredentials:\n  --" in run.out) == (name not in ("report", "schedule"))
    assert name == "schedule" or re.search(rf"Examples?:\n(    # .*\n)?    bulkstop {name} ", run.out)
    assert "Exit codes:" in run.out


@pytest.mark.parametrize("name", COMMANDS)
def test_headings(name: str) -> None:
    """A help page has its options below known headings in one order, and at most ten main ones."""
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    page = command.get_help(click.Context(command, info_name=name))
    headings = [each for each in re.findall(r"^(\S.*):$", page, re.MULTILINE) if not isinstance(command, click.Group)]
    assert headings == [each for each in HEADINGS if each in headings]
    main = re.search(rf"^{MAIN}:\n((?: .*\n)+)", page, re.MULTILINE)
    assert main is None or 1 < len(re.findall(r"^  -", main[1], re.MULTILINE)) <= 10


def test_nothing(tmp_path: Path) -> None:
    """Without a command, the help is shown, as a failure."""
    run = bulkstop(cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert "Usage: bulkstop" in run.err


@pytest.mark.parametrize("args", [["stpo"], ["--verbose"], ["stop", "--hots", "x", "y"]])
def test_slips(args: list[str], tmp_path: Path) -> None:
    """A mistake is one line and exit 2."""
    run = bulkstop(*args, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("bulkstop: No such ")
    assert run.err.count("\n") == 1


def instead_of(module: str, text: str, folder: Path) -> str:
    """Replace a module by another one; return the path on which it is found."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(text)
    return f"{folder}:{ROOT}"


def test_ctrl_c_at_once(tmp_path: Path) -> None:
    """Ctrl-C while the first modules are imported ends the command, without a traceback."""
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    run = bulkstop("--version", cwd=tmp_path, PYTHONPATH=instead_of("click", text, tmp_path / "with"))
    assert (run.code, run.out, run.err) == (-signal.SIGINT, "", "")


def test_ctrl_c_a_little_later(tmp_path: Path) -> None:
    """Ctrl-C while a command is imported is one line and exit 130."""
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    run = bulkstop("load", "--help", cwd=tmp_path, PYTHONPATH=instead_of("orjson", text, tmp_path / "with"))
    assert (run.code, run.out, run.err) == (130, "", "\nbulkstop: ended before anything was sent (SIGINT)\n")


@pytest.mark.parametrize(
    ("module", "package"), [("orjson", "orjson"), ("hdrh", "hdrhistogram"), ("jwt", "pyjwt[crypto]")]
)
def test_not_installed(module: str, package: str, tmp_path: Path) -> None:
    """A missing package is named in one line, with the remedy."""
    without = instead_of("sitecustomize", f"import sys\nsys.modules[{module!r}] = None\n", tmp_path / "without")
    where = ("--host", "http://127.0.0.1:1", "--account-id", "a1", "--stream-id", "st-1", "--client-id", "c")
    run = bulkstop(
        *("load", *where, "--closed", "--count", "1", "--quiet"),
        cwd=tmp_path,
        PYTHONPATH=without,
        BULKSTOP_TOKEN=None,
        BULKSTOP_CLIENT_SECRET="a-secret-of-32-characters-or-more",
    )
    assert (run.code, run.out) == (3, "")
    assert run.err == f"bulkstop: the package {package} is not installed: {write_install(package)}\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("stpo", "did you mean stop?"),
        ("Verfy", "did you mean verify?"),
        ("list", "did you mean discover?"),
        ("zzz", "there are stop, "),
    ],
)
def test_near_miss(typed: str, meant: str, tmp_path: Path) -> None:
    """For an unknown command, the nearest one is suggested."""
    run = bulkstop(typed, cwd=tmp_path)
    assert (run.code, len(run.err.splitlines())) == (2, 1)
    assert f"No such command {typed!r}; {meant}" in run.err
