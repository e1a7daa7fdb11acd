"""Files that another user has planted where a command writes are refused in one line before any call, with exit 2.

No test has the mark for sockets, so that an opened one would fail it.
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
    """Create a list in the working folder, a file of the user's, and a folder that all users can write."""
    (here.folder / "list.txt").write_text("cd-1\n")
    (here.folder / "precious").write_text("mine")
    folder = here.folder / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def link(path: Path) -> None:
    """Create a link to the user's file."""
    path.symlink_to(path.parent.parent / "precious")


def pipe(path: Path) -> None:
    """Create a pipe without a writer."""
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
    """A link is not followed and a pipe not opened, whether its name was given or derived."""
    give: Give = make_giver(monkeypatch)
    plant(shared / name)
    give(shared / name)
    run = here(*args, variables={"BULKSTOP_QUOTA_STORE": "memory"})
    assert run.code == 2, run.err
    assert f"{name} is a {'link' if plant is link else 'file'} of user " in run.err.splitlines()[-1]
    assert (here.folder / "precious").read_text() == "mine"
    assert [path.name for path in shared.iterdir()] == [name]


def test_a_pipe_of_the_usual_name(here: Here, shared: Path) -> None:
    """Without a named file, not even the user's own pipe receives results."""
    pipe(here.folder / "list.txt.results.jsonl")
    run = here(*STOP)
    assert (run.code, run.err.splitlines()[-1]) == (
        2,
        "bulkstop: list.txt.results.jsonl: is not a regular file; give -o FILE",
    )
    assert stat.S_ISFIFO((here.folder / "list.txt.results.jsonl").lstat().st_mode)
