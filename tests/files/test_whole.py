"""A file that is there as a whole, or not at all."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkstop.errors import OutputError
from bulkstop.files.output import Output
from bulkstop.files.whole import NAME_BYTES, AtomicFile, beside, check_place, is_device, write_atomically
from bulkstop.report.stop.ledger import Ledger


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


def without_links(source: object, target: object, **_: object) -> None:
    """Be a file system without hard links."""
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.parametrize("link", [os.link, without_links])
@pytest.mark.parametrize("is_late", [False, True], ids=["before", "meanwhile"])
def test_exists(link: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_late: bool) -> None:
    """A file that is there is not touched, also when it came after the beginning; on any file system."""
    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "page.html"
    file = AtomicFile(str(path), "--html") if is_late else None
    path.write_text("mine")
    why = "exists already; give overwrite=True, or another file"
    with pytest.raises(OutputError, match=rf"^--html \S+page\.html: {why}$"):
        (file or AtomicFile(str(path), "--html")).save(b"new")
    assert path.read_text() == "mine"
    assert names(tmp_path) == ["page.html"]


def test_overwritten(tmp_path: Path) -> None:
    """With leave it is replaced, when the new one is complete, by a private one; a link stays one."""
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "real.html").chmod(0o644)
    (tmp_path / "page.html").symlink_to("real.html")
    file = AtomicFile(str(tmp_path / "page.html"), "--html", overwrite=True)
    assert (tmp_path / "real.html").read_text() == "old"
    file.save(b"new")
    assert (tmp_path / "real.html").read_text() == "new"
    assert (tmp_path / "page.html").is_symlink()
    assert stat.S_IMODE((tmp_path / "real.html").stat().st_mode) == 0o600
    assert names(tmp_path) == ["page.html", "real.html"]


@pytest.mark.parametrize("path", ["missing/page.html", "."])
def test_cannot_be(path: str, tmp_path: Path) -> None:
    """A file that cannot be written is reported when it is created."""
    with pytest.raises(OutputError, match=r"^--html \S+: cannot be opened \(\w.*\); give another file$"):
        AtomicFile(str(tmp_path / path), "--html")


def test_full_disk() -> None:
    """A full disk is reported; a device is written, never replaced."""
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


@pytest.mark.parametrize("name", ["x" * 250, "x" * 255, "\U0001f4de" * 63], ids=["250", "255", "of four bytes each"])
def test_long_name(name: str, tmp_path: Path) -> None:
    """A file may have any name that the file system accepts, with every writer."""
    path = tmp_path / name
    AtomicFile(str(path), "-o").save(b"one")
    check_place(path)
    write_atomically(path, [b"two"])
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == [name]


def test_name_beside() -> None:
    """A file that goes with another has its name and an ending; only a name that would be too long is cut."""
    assert beside("d/list.csv", ".run.json") == "d/list.csv.run.json"
    assert beside("d/" + "x" * 246, ".run.json") == "d/" + "x" * 246 + ".run.json"
    long = [beside(f"d/{name}", ".run.json") for name in ("x" * 247, "x" * 250, "x" * 255, "\U0001f4de" * 63)]
    assert len(set(long)) == 4
    assert all(name.endswith(".run.json") and len(os.fsencode(Path(name).name)) <= NAME_BYTES for name in long)


def test_too_long_name(tmp_path: Path) -> None:
    """An impossible file name is reported when the file is created, not at the end."""
    with pytest.raises(OutputError, match=r"cannot be opened \(File name too long\); give another file$"):
        AtomicFile(str(tmp_path / ("x" * 256)), "-o")


@pytest.mark.parametrize("failing", ["fsync", "open"])
def test_a_disk_that_fails(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write leaves no partial file, and the old file remains."""

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "page.html"
    path.write_text("old")
    file = AtomicFile(str(path), "--html", overwrite=True)
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OutputError, match=r"page.html: cannot be written \(No space left on device\)"):
        file.save(b"new")
    monkeypatch.undo()
    assert (path.read_text(), names(tmp_path)) == ("old", ["page.html"])


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("make", [AtomicFile, Output])
def test_directory(make: type[AtomicFile | Output], tmp_path: Path, *, overwrite: bool) -> None:
    """A directory is not a device, and is reported as such, not as a file to overwrite."""
    assert not is_device(str(tmp_path))
    with pytest.raises(OutputError, match=r"cannot be opened \(Is a directory\); give another file$"):
        make(str(tmp_path), "-o", overwrite=overwrite)
    with pytest.raises(OutputError, match=r"\(Is a directory\)"):
        Ledger(str(tmp_path))


@pytest.mark.parametrize("make", [AtomicFile, Output])
def test_dangling_link(make: type[AtomicFile | Output], tmp_path: Path) -> None:
    """A link that leads nowhere is there already; with leave, what it leads to is made."""
    link = tmp_path / "page.html"
    link.symlink_to("real.html")
    with pytest.raises(OutputError, match="exists already; give overwrite=True"):
        make(str(link), "-o")
    file = make(str(link), "-o", overwrite=True)
    (file.save if isinstance(file, AtomicFile) else file.write)(b"new")
    file.close()
    assert (tmp_path / "real.html").read_bytes() == b"new"
