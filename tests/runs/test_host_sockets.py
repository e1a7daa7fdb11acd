"""Connections are fitted to the limit on open files, in processes that have one."""

import subprocess
import sys

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.real

ASK = """
import resource, sys
from bulkstop.engine.ending import own_process
from bulkstop.runs.host import RESERVE, fit_open_files
from pathlib import Path

if sys.argv[1] == "own":
    with own_process(sys.exit, print, lambda: None):
        found = [fit_open_files(int(each)) for each in sys.argv[2:]]
else:
    found = [fit_open_files(int(each)) for each in sys.argv[2:]]
print(*found, RESERVE, len(list(Path("/dev/fd").iterdir())) - 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def asked(limits: str, *concurrency: int, whose: str = "own") -> tuple[list[int], int, int, int]:
    """Set limits in a shell, ask what fits; return that, the reserve, the files open and the soft limit after it."""
    command = ["sh", "-c", f'{limits}; exec "$@"', "sh", sys.executable, "-c", ASK, whose, *map(str, concurrency)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    *found, reserve, opened, soft = map(int, done.stdout.split())
    return found, reserve, opened, soft


def test_hard_limit() -> None:
    """Under a hard limit of 64 as many fit as are left by what is open and the reserve; fewer stay as they are."""
    (many, few), reserve, opened, soft = asked("ulimit -n 64", 200, 8)
    assert (many, few, soft) == (64 - opened - reserve, 8, 64)
    assert many >= 32  # the default concurrency needs no change


def test_soft_limit_is_raised() -> None:
    """A soft limit below the hard one is raised as far as is needed, and no further."""
    (found,), reserve, opened, soft = asked("ulimit -Sn 64", 200)
    assert (found, soft) == (200, opened + reserve + 200)


def test_soft_limit_is_raised_to_the_hard_one() -> None:
    """If even the hard limit is too low, all of it is used."""
    (found,), reserve, opened, soft = asked("ulimit -n 128; ulimit -Sn 64", 200)
    assert (found, soft) == (128 - opened - reserve, 128)


def test_enough_as_it_is() -> None:
    """A limit that suffices stays as it is."""
    (found,), _, _, soft = asked("ulimit -n 128; ulimit -Sn 80", 32)
    assert (found, soft) == (32, 80)


def test_hardly_any() -> None:
    """Even where nothing fits one connection is tried."""
    assert asked("ulimit -n 16", 200)[0] == [1]


def test_in_a_process_of_somebody_else() -> None:
    """A library raises no limit: fewer connections are opened instead."""
    (found,), reserve, opened, soft = asked("ulimit -Sn 80", 200, whose="theirs")
    assert (found, soft) == (80 - opened - reserve, 80)
