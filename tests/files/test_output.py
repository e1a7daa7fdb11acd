"""Files written as a run goes: real files, a real full device, a real pipe without a reader."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from bulkstop.errors import OutputError
from bulkstop.files.output import Output


def test_written(tmp_path: Path) -> None:
    """The file has all lines once it is closed, and is private to the user."""
    path = tmp_path / "out"
    output = Output(str(path), "--results")
    for _ in range(10_000):
        output.write(b"a line of some length\n")
    output.close()
    output.close()
    assert path.read_bytes() == b"a line of some length\n" * 10_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_not_kept_back(tmp_path: Path) -> None:
    """A line is in the file at the latest with the first write a second later."""
    path, now = tmp_path / "out", [0.0]
    output = Output(str(path), "--results", now=lambda: now[0])
    output.write(b"one\n")
    assert path.read_bytes() == b""
    now[0] = 1.1
    output.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    output.close()


def test_exists(tmp_path: Path) -> None:
    """An existing file is unchanged, unless it is to be replaced."""
    path = tmp_path / "out"
    path.write_text("old and longer")
    with pytest.raises(OutputError, match=r"--hdr .*out: exists already; give overwrite=True"):
        Output(str(path), "--hdr")
    assert path.read_text() == "old and longer"
    output = Output(str(path), "--hdr", overwrite=True)
    output.write(b"new")
    output.close()
    assert path.read_text() == "new"


def test_empty_new_file_is_removed(tmp_path: Path) -> None:
    """A new file that got nothing is gone again, an old one is not."""
    (tmp_path / "old").write_text("old")
    for name in ("old", "new"):
        Output(str(tmp_path / name), "--results", overwrite=True).close()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("name", ["", "missing/out"])
def test_cannot_be_opened(name: str, tmp_path: Path) -> None:
    """A folder, or a file in none, is refused by name."""
    with pytest.raises(OutputError, match=r"--results .*: cannot be opened \("):
        Output(str(tmp_path / name), "--results")


def test_full_device() -> None:
    """A failed write is reported once, at the latest at the close."""
    output = Output("/dev/full", "--hdr")
    output.write(b"x")
    with pytest.raises(OutputError, match=r"--hdr /dev/full: cannot be written \(No space left on device\)"):
        output.close()
    output.close()


def test_reader_that_goes() -> None:
    """A reader of standard output that is gone is an error of that file, with the first write that notices."""
    reader, writer = os.pipe()
    output = Output("-", "--results", stdout_fd=writer)
    os.close(reader)
    os.close(writer)
    output.write(b"x" * 1_000_000)
    assert output.outbox is not None
    asyncio.run(output.outbox.flush())
    with pytest.raises(OutputError, match=r"--results -: cannot be written \(Broken pipe\)"):
        output.write(b"x")
    output.close()
