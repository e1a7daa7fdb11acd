"""What another user has put where a command writes is refused before any call, with exit 2 and in one line.

No test has a mark for sockets: one that was opened would fail it.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Here
from tests.strangers import Give, make_giver

HOST = ("--host", "http://127.0.0.1:9", "--type", "voice", "--account-id", "a", "--stream-id", "s")
STOP = ("stop", "list.txt", "--yes", *HOST)
LOAD = ("load", "--rate", "5/s", "--count", "1", "--overwrite", *HOST)


@pytest.fixture
def shared(here: Here) -> Path:
    """Put a list where the command runs, and a file of the user's; give a folder that all users can write."""
    (here.folder / "list.txt").write_text("cd-1\n")
    (here.folder / "precious").write_text("mine")
    folder = here.folder / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def link(path: Path) -> None:
    """Lead to the user's file."""
    path.symlink_to(path.parent.parent / "precious")


def pipe(path: Path) -> None:
    """Wait for a writer for ever."""
    os.mkfifo(path, 0o666)


@pytest.mark.parametrize("plant", [link, pipe])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("r.jsonl", (*STOP, "--overwrite", "-o", "shared/r.jsonl")),
        ("r.jsonl.run.json", (*STOP, "-o", "shared/r.jsonl")),
        ("r.jsonl.running.csv", (*STOP, "--verify", "-o", "shared/r.jsonl")),
        ("r.csv", ("discover", "--overwrite", "-o", "shared/r.csv", *HOST)),
        ("p.html", (*LOAD, "--html", "shared/p.html")),
        ("l.jsonl", (*LOAD, "--results", "shared/l.jsonl")),
        ("q.jsonl", ("simulate", "--log", "shared/q.jsonl")),
        ("l.hdr", (*LOAD, "--hdr", "shared/l.hdr")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(
    name: str,
    args: tuple[str, ...],
    plant: Callable[[Path], None],
    here: Here,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link is not followed and a pipe not waited for: one that is named, and one whose name comes from another's."""
    give: Give = make_giver(monkeypatch)
    plant(shared / name)
    give(shared / name)
    run = here(*args, variables={"BULKSTOP_QUOTA_STORE": "memory"})
    assert run.code == 2, run.err
    assert f"{name} is a {'link' if plant is link else 'file'} of user " in run.err.splitlines()[-1]
    assert (here.folder / "precious").read_text() == "mine"
    assert [path.name for path in shared.iterdir()] == [name]


def test_a_pipe_of_the_usual_name(here: Here, shared: Path) -> None:
    """Where no file was named not even an own pipe takes the results: nobody said that one is to be filled."""
    pipe(here.folder / "list.txt.results.jsonl")
    run = here(*STOP)
    assert (run.code, run.err.splitlines()[-1]) == (
        2,
        "bulkstop: list.txt.results.jsonl: is not a regular file; give -o FILE",
    )
    assert stat.S_ISFIFO((here.folder / "list.txt.results.jsonl").lstat().st_mode)
