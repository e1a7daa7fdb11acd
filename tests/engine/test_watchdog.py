"""The process beside a run, seen from outside: real processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bulkstop.engine.watchdog_process import GOES_ON, LATER_S, Stall, end, watch
from tests.processes import ROOT


def test_signals_told_and_unread_count_together() -> None:
    """A signal counts once the kernel has recorded it: the first one was handled, the second is still pending."""
    (run, theirs), (mail, inbox) = socket.socketpair(), socket.socketpair()
    with run, theirs, mail, inbox:
        run.send(bytes([signal.SIGTERM]))
        mail.send(bytes([signal.SIGCHLD, signal.SIGINT]))
        assert watch(theirs, inbox, 0.01) == signal.SIGTERM


def test_one_signal_is_waited_out() -> None:
    """With one signal, and others that end nothing, it waits for as long as the run takes."""
    (run, theirs), (mail, inbox) = socket.socketpair(), socket.socketpair()
    with theirs, mail, inbox:
        with run:
            run.send(bytes([signal.SIGTERM]))
            mail.send(bytes([signal.SIGALRM, signal.SIGCHLD]))
        assert watch(theirs, inbox, 0.0) is None


def test_a_run_that_writes_has_longer() -> None:
    """A process that shows progress is not ended at its time."""
    (run, theirs), (mail, inbox) = socket.socketpair(), socket.socketpair()
    with theirs, mail, inbox, run:
        run.send(bytes([signal.SIGTERM, signal.SIGINT, GOES_ON]))
        began = time.monotonic()
        assert watch(theirs, inbox, 0.0) == signal.SIGTERM
        assert time.monotonic() - began >= LATER_S


@pytest.mark.parametrize("kind", ["nothing", "link", "hard link", "own file"])
def test_stacks_go_into_no_file_that_was_put_there(kind: str, tmp_path: Path) -> None:
    """The stack of a run is written to a new file of its own, never through a link or under another name."""
    precious, stack = tmp_path / "precious", tmp_path / "r.jsonl.stack.txt"
    precious.write_text("precious")
    if kind == "link":
        stack.symlink_to(precious)
    elif kind == "hard link":
        stack.hardlink_to(precious)
    elif kind == "own file":
        stack.write_text("of an earlier run\n")
    source, writer = os.pipe()
    os.write(writer, b"Timeout (0:00:05)!\n")
    os.close(writer)
    Stall(source, "", str(stack)).tell()
    os.close(source)
    assert precious.read_text() == "precious"
    if kind in ("nothing", "own file"):
        assert stack.read_text().endswith("Timeout (0:00:05)!\n")


@pytest.mark.real
def test_what_cannot_be_ordered_to_exit_is_killed() -> None:
    """If the C library cannot be used for the exit, the process is killed."""
    run, theirs = socket.socketpair()
    with run, theirs, subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as process:
        end(process.pid, theirs, {}, 143, "")
        assert process.wait(60) == -signal.SIGKILL


@pytest.mark.real
def test_an_order_that_nobody_gives_ends_nothing() -> None:
    """A process that ends by itself keeps its exit code, however early that is: one in ten once had an order's."""
    script = "from bulkstop.engine.watchdog import exit_orders; exit_orders((129, 130, 143))"
    codes = {subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode for _ in range(30)}
    assert codes == {0}
