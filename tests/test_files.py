"""A file that is there as a whole, or not at all."""

import os
import stat
from pathlib import Path

import pytest

from bulkstop.errors import OutputError
from bulkstop.files import AtomicFile


def names(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_saved(tmp_path: Path) -> None:
    """It has what was saved, only the user may read it, and nothing else is left behind."""
    AtomicFile(str(tmp_path / "page.html"), "--html").save(b"all of it")
    assert (tmp_path / "page.html").read_bytes() == b"all of it"
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600
    assert names(tmp_path) == ["page.html"]


def test_never_saved(tmp_path: Path) -> None:
    """Until it is saved there is no file of that name; what was never saved leaves nothing."""
    file = AtomicFile(str(tmp_path / "page.html"), "--html")
    assert not (tmp_path / "page.html").exists()
    file.close()
    file.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "meanwhile"])
def test_exists(tmp_path: Path, *, is_late: bool) -> None:
    """A file that is there is not touched, also when it came after the beginning."""
    path = tmp_path / "page.html"
    file = AtomicFile(str(path), "--html") if is_late else None
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"^--html \S+page\.html: exists already; give --overwrite, or another file$"):
        (file or AtomicFile(str(path), "--html")).save(b"new")
    assert path.read_text() == "mine"
    assert names(tmp_path) == ["page.html"]


def test_overwritten(tmp_path: Path) -> None:
    """With leave it is replaced, when the new one is complete; a link stays one."""
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "page.html").symlink_to("real.html")
    file = AtomicFile(str(tmp_path / "page.html"), "--html", overwrite=True)
    assert (tmp_path / "real.html").read_text() == "old"
    file.save(b"new")
    assert (tmp_path / "real.html").read_text() == "new"
    assert (tmp_path / "page.html").is_symlink()
    assert names(tmp_path) == ["page.html", "real.html"]


@pytest.mark.parametrize("path", ["missing/page.html", "."])
def test_cannot_be(path: str, tmp_path: Path) -> None:
    """What could not be written is told when it is made."""
    with pytest.raises(OutputError, match=r"^--html \S+: cannot be opened \(\w.*\); give another file$"):
        AtomicFile(str(tmp_path / path), "--html")


def test_full_disk() -> None:
    """A disk that is full is told; a device is written to, never replaced."""
    file = AtomicFile("/dev/full", "--html")
    with pytest.raises(OutputError, match=r"^--html /dev/full: cannot be written \(No space left on device\)$"):
        file.save(b"new")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_pipe() -> None:
    """A pipe is written to."""
    reader, writer = os.pipe()
    AtomicFile(f"/dev/fd/{writer}", "--html").save(b"through")
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"through"
