"""Stored lines are read back, and an unusable folder is one clear line."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType
from bulkstop.source.plan import Plan
from bulkstop.source.spool import BLOCK, Spool


def rows(count: int) -> list[Campaign]:
    """Make rows of a list."""
    return [Campaign.of_row(f"cd-{n}", CampaignType.VOICE, "a1", "st-1", "st-1", "l", n) for n in range(1, count + 1)]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a device that is always full in the place of temporary files."""
    open_full: Callable[..., Any] = lambda **_: open("/dev/full", "r+b", buffering=BLOCK)  # noqa: E731,SIM115,PTH123
    monkeypatch.setattr(tempfile, "TemporaryFile", open_full)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("count", [1, 5000], ids=["at the end", "in the midst"])
def test_a_full_disk(count: int) -> None:
    """It is one line that names the folder, how much was needed, and what to do; nothing is raised by cleaning up."""
    with pytest.raises(InputError) as raised:
        Plan(rows(count))
    said = str(raised.value)
    assert said.startswith(f"the temporary folder {tempfile.gettempdir()} is full: the list needs more than ")
    assert said.endswith(" KB there; free some of it, or set TMPDIR to another folder")


@pytest.mark.usefixtures("full_disk")
def test_held_rows_on_a_full_disk() -> None:
    """Rows that are not sent are also stored completely before a run begins."""
    twice = [rows(1)[0], rows(1)[0]._replace(line=2)]
    with pytest.raises(InputError, match="is full"):
        Plan(twice)


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no folder takes temporary files, the message names TMPDIR with its value."""

    def refuse(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    monkeypatch.setenv("TMPDIR", "/not\x1bthere")
    with pytest.raises(InputError, match="no temporary file can be made in TMPDIR=/not\ufffdthere or one of the usual"):
        Spool()


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other reason of the system is named."""

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="cannot be used: Permission denied; set TMPDIR to another folder"):
        Spool()


def test_what_cannot_be_read_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lines that are gone, or a disk that fails, are one line as well, and no loop without end."""
    path = tmp_path / "spool"
    path.touch()
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: path.open("r+b"))
    spool = Spool()
    offset = spool.append(b"a line\n")
    spool.flush()
    os.truncate(path, 3)
    with pytest.raises(InputError, match="cannot be used: it is shorter than what was written"):
        spool.line(offset)
    spool.close()
