"""When a process is ended by force, and when it is let be; how that looks from outside is in tests/cli."""

import signal
import socket
from collections.abc import Iterator

import pytest

from bulkstop.engine import ending
from bulkstop.engine.ending import LINES_A_CHECK, WITHIN_S, Ending, Process
from bulkstop.model import SIGNALS


class Stuck:
    """A run that does not end, and whose time is over at once."""

    grace_s = -WITHIN_S
    lines = 0
    lost = "all is lost"
    stack: str | None = None
    killed = 0

    def why_stuck(self) -> str:
        """Say why."""
        return "it hangs"

    def kill(self) -> None:
        """Count."""
        self.killed += 1


class Scene:
    """A process that can be asked how it was ended."""

    def __init__(self, inbox: socket.socket) -> None:
        self.left: list[int] = []
        self.said: list[str] = []
        self.unblocked = 0
        self.run = Stuck()
        self.ending = Ending(Process(self.left.append, self.said.append, self.unblock), self.run, inbox, SIGNALS)

    def unblock(self) -> None:
        """Count."""
        self.unblocked += 1

    def ring(self) -> None:
        """Let the kernel's timer strike now."""
        signal.raise_signal(signal.SIGALRM)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Return a scene without an external watchdog, which would end the process of the tests."""
    monkeypatch.setattr(ending, "_watchdog", lambda *_: None)
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]  # of pytest-timeout
    ours, theirs = socket.socketpair()
    with ours, theirs:
        scene = Scene(ours)
        yield scene
        scene.ending.close()
    signal.signal(signal.SIGALRM, before[0])
    signal.setitimer(signal.ITIMER_REAL, before[1])


def test_ended_by_force(scene: Scene) -> None:
    """The first signal sets the exit code; children are ended first, and the reason is printed."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        scene.ending.hear(signum)
    scene.ring()
    assert scene.left[0] == 143
    assert scene.said[0] == "bulkstop: ended by force after the second signal: it hangs; all is lost"
    assert scene.run.killed


def test_one_signal_is_not_enough(scene: Scene) -> None:
    """After one signal nothing is ended by force, however long it takes."""
    scene.ending.hear(signal.SIGTERM)
    scene.ring()
    assert scene.left == []


def test_a_run_that_writes_is_let_be(scene: Scene) -> None:
    """While lines go out at the speed of a file, every row is to have its own; once they do not, that is the end."""
    for signum in (signal.SIGHUP, signal.SIGINT):
        scene.ending.hear(signum)
    signal.setitimer(signal.ITIMER_REAL, 0)  # the test says when
    for _ in range(3):
        scene.run.lines += LINES_A_CHECK
        scene.ring()
    assert (scene.left, scene.unblocked) == ([], 3)
    scene.run.lines += 1
    scene.ring()
    assert scene.left == [129]


def test_the_alarm_comes_back(scene: Scene) -> None:
    """A program's own SIGALRM is what it was, after the run."""
    while_it_runs = signal.getsignal(signal.SIGALRM)
    scene.ending.close()
    assert signal.getsignal(signal.SIGALRM) not in (while_it_runs, signal.SIG_IGN)
