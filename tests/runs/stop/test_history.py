"""The stored size of a profile's last run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkstop.runs.stop.history import KEPT, LastRun, is_much_larger, load_last_run, save_run
from tests.processes import ROOT, WAIT_S, environment
from tests.strangers import make_giver

HOST = "https://platform.example.com"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide each test with a history of its own; this is its file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "bulkstop" / "history.json"


def listed(profile: str | None = "prod", host: str = HOST) -> int | None:
    """Return how many campaigns are remembered."""
    last = load_last_run(profile, host)
    return None if last is None else last.listed


def test_the_last_run_is_remembered() -> None:
    """The size of the last run comes back with its time, and only for its own profile and host."""
    assert load_last_run("prod", HOST) is None
    save_run("prod", HOST, 20)
    save_run("prod", HOST, 25)
    save_run(None, HOST, 3)
    save_run("prod", "https://other.example.com", 4)
    last = load_last_run("prod", HOST)
    assert last is not None
    assert last.listed == 25
    assert last.at.endswith("Z")
    assert listed(None) == 3
    assert listed("prod", "https://other.example.com") == 4
    assert listed("default") is None


def test_the_file_is_private(state: Path) -> None:
    """The file and its folder are for their owner alone, and nothing is left beside the file."""
    save_run("prod", HOST, 20)
    save_run("prod", HOST, 21)
    assert state.stat().st_mode & 0o777 == 0o600
    assert state.parent.stat().st_mode & 0o777 == 0o700
    assert list(state.parent.iterdir()) == [state]


def test_it_does_not_grow_for_ever(state: Path) -> None:
    """Only so many runs are kept, and the newest are."""
    for number in range(KEPT + 5):
        save_run(f"p{number}", HOST, number)
    assert listed("p4") is None
    assert listed("p5") == 5
    assert listed(f"p{KEPT + 4}") == KEPT + 4
    assert len(json.loads(state.read_text())["runs"]) == KEPT


RUN = {"profile": "prod", "host": HOST, "listed": 20, "at": "2026-01-02T03:04:05.678Z"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"runs": 1}',
        '{"runs": [1, null, {}]}',
        "[" * 100_000,
        "\0" * 100,
        *(
            json.dumps({"runs": [RUN | change]})
            for change in (
                {"listed": "20"},
                {"listed": True},
                {"listed": -1},
                {"at": 5},
                {"at": "\x1b[2J"},
                {"profile": 7},
                {"host": None},
            )
        ),
    ],
)
def test_garbage_is_no_history(state: Path, content: str) -> None:
    """A file that this program has not written says nothing, and is replaced by the next run."""
    state.parent.mkdir(parents=True)
    state.write_text(content)
    assert load_last_run("prod", HOST) is None
    save_run("prod", HOST, 5)
    assert listed() == 5


def test_what_it_wrote_is_read(state: Path) -> None:
    """The runs that are refused above are refused for what was changed in them."""
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"runs": [RUN]}))
    assert load_last_run("prod", HOST) == LastRun(20, "2026-01-02T03:04:05.678Z")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80))
def test_any_bytes_are_read_without_an_error(state: Path, content: bytes) -> None:
    """With any content of the file, reading the last run raises nothing."""
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(content)
    assert load_last_run("prod", HOST) is None


def test_a_place_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a name that is not text, a file for a folder, a file system that takes nothing, a run has no history."""
    (tmp_path / "file").write_text("")
    save_run("\udcff", HOST, 5)
    assert load_last_run("\udcff", HOST) is None
    for place in (tmp_path / "file", "/proc/self"):
        monkeypatch.setenv("XDG_STATE_HOME", str(place))
        save_run("prod", HOST, 5)
        assert load_last_run("prod", HOST) is None


@pytest.mark.real
def test_a_full_disk_leaves_the_last_run_as_it_was(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write replaces nothing and leaves no partial file."""
    save_run("prod", HOST, 20)
    limited = (
        "import resource, signal; from bulkstop.runs.stop.history import save_run;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10));"
        f"save_run('prod', '{HOST}', 99)"
    )
    env = environment(XDG_STATE_HOME=str(state.parent.parent))
    subprocess.run([sys.executable, "-c", limited], cwd=ROOT, env=env, check=True, timeout=WAIT_S)
    assert listed() == 20
    assert list(state.parent.iterdir()) == [state]


@pytest.mark.real
def test_without_a_home_there_is_no_history() -> None:
    """A process whose user has no home directory has no history and no error."""
    homeless = (
        "import sys; from bulkstop.runs.stop.history import load_last_run, save_run;"
        "save_run('prod', 'h', 9); print(load_last_run('prod', 'h'))"
    )
    broken = "import pwd\ndef find(_): raise KeyError('no entry')\npwd.getpwuid = find\n"
    done = subprocess.run(
        [sys.executable, "-c", broken + homeless.replace("; ", "\n", 1)],
        cwd=ROOT,
        env=environment(XDG_STATE_HOME=None, HOME=None),
        check=True,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.stdout == "None\n"


@pytest.mark.parametrize(
    ("now", "before", "is_larger"),
    [(50, 25, False), (51, 25, True), (12, 5, False), (15, 5, True), (3, 1, False), (11, 0, True), (5, 500, False)],
)
def test_much_larger_is_more_than_twice_and_ten_more(now: int, before: int, *, is_larger: bool) -> None:
    """A list is much larger when it has more than twice as many campaigns and at least 10 more."""
    assert is_much_larger(now, LastRun(before, "")) is is_larger


def test_a_first_run_is_not_larger() -> None:
    """Without a run before there is nothing to compare with."""
    assert not is_much_larger(1_000_000, None)


@pytest.mark.parametrize("is_pipe", [False, True])
def test_planted(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_pipe: bool) -> None:
    """A file that another user has planted is neither read nor replaced, and does not delay the run."""
    own = tmp_path / "own"
    own.write_text("mine")
    state.parent.mkdir(parents=True)
    state.parent.chmod(0o1777)
    os.mkfifo(state) if is_pipe else state.symlink_to(own)
    make_giver(monkeypatch)(state)
    save_run("prod", HOST, 20)
    assert load_last_run("prod", HOST) is None
    assert own.read_text() == "mine"
    assert state.is_symlink() is not is_pipe
