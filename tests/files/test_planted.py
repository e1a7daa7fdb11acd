"""Files that another user has planted in the place of an output are not followed, filled or waited for."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkstop.engine.limits.store_file import make_file
from bulkstop.errors import OutputError
from bulkstop.files.output import Output
from bulkstop.files.ownership import name_user, others_who_write
from bulkstop.files.places import open_place, open_regular
from bulkstop.files.whole import AtomicFile, write_atomically
from bulkstop.report.stop.ledger import Ledger, Mode
from bulkstop.report.stop.manifest import Manifest, check_writable
from tests.strangers import IS_ROOT, NOBODY, Give, make_giver

Write = Callable[[str], object]


def write_named(path: str) -> None:
    """Replace a file that the user has named."""
    AtomicFile(path, overwrite=True).save(b"new")


def write_derived(path: str) -> None:
    """Replace a file whose name comes from another's."""
    AtomicFile(path, overwrite=True, is_derived=True).save(b"new")


def write_in_place(path: str) -> None:
    """Fill a file that is there."""
    output = Output(path, "--results", overwrite=True)
    output.write(b"new")
    output.close()


def make_store(path: str) -> None:
    """Make the file of a quota store, or find it."""
    make_file(Path(path))


def open_ledger(path: str) -> None:
    """Replace the lines of a result file."""
    Ledger(path, mode=Mode.OVERWRITE).close()


WRITERS: list[Write] = [write_named, write_derived, write_in_place, open_ledger, check_writable]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Make files another user's."""
    return make_giver(monkeypatch)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Make a folder that all users can write, as /tmp is."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Make a file of the user's in another folder."""
    path = tmp_path / "own"
    path.write_text("mine")
    return path


class TestLinks:
    """Another user's links."""

    @pytest.mark.parametrize("write", WRITERS)
    @pytest.mark.parametrize("mode", [0o1777, 0o777, 0o2775])
    def test_planted(self, mode: int, write: Write, shared: Path, own: Path, give: Give) -> None:
        """A link in a folder that others can write is refused in one line, and what it leads to stays as it was."""
        if IS_ROOT:
            os.chown(shared, 0, NOBODY)
        shared.chmod(mode)
        (shared / "r").symlink_to(own)
        give(shared / "r")
        with pytest.raises(OutputError, match=r"\(r is a link of user \S+ in a folder that others can write\)[^\n]*$"):
            write(str(shared / "r"))
        assert own.read_text() == "mine"
        assert (shared / "r").is_symlink()

    @pytest.mark.parametrize("write", WRITERS)
    def test_to_a_device(self, write: Write, shared: Path, give: Give) -> None:
        """One to a device is refused as well: results that go there are lost."""
        (shared / "r").symlink_to("/dev/null")
        give(shared / "r")
        with pytest.raises(OutputError, match="is a link of user"):
            write(str(shared / "r"))

    def test_to_a_folder(self, shared: Path, own: Path, give: Give) -> None:
        """A link among the folders of a path is one too, unless it is of the owner of the folder that it is in."""
        (shared / "sub").symlink_to(own.parent)
        if IS_ROOT:
            give(shared / "sub")
            with pytest.raises(OutputError, match=r"\(sub is a link of user \S+ in a folder"):
                write_named(str(shared / "sub" / "own"))
        give(shared)
        write_named(str(shared / "sub" / "own"))
        assert own.read_text() == "new"

    def test_behind_an_own_link(self, shared: Path, own: Path, tmp_path: Path, give: Give) -> None:
        """An own link is followed, and a planted one that it leads to is not."""
        (tmp_path / "first").symlink_to("shared/second")
        (shared / "second").symlink_to(own)
        write_named(str(tmp_path / "first"))
        assert own.read_text() == "new"
        give(shared / "second")
        with pytest.raises(OutputError, match=r"\((first|second) is a link of user"):
            write_named(str(tmp_path / "first"))

    @pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away in a folder of its own")
    def test_in_a_folder_of_one_s_own(self, own: Path, tmp_path: Path, give: Give) -> None:
        """A link in a folder that nobody else can write is followed, whoever owns it."""
        (tmp_path / "r").symlink_to(own)
        give(tmp_path / "r")
        write_named(str(tmp_path / "r"))
        assert own.read_text() == "new"

    def test_in_a_circle(self, tmp_path: Path) -> None:
        """Links that lead to one another are an error, not an endless loop."""
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(OutputError, match=r"\(Too many levels of symbolic links\)"):
            write_named(str(tmp_path / "a"))

    def test_a_new_file(self, tmp_path: Path) -> None:
        """A link is something that is there: what must be new is not made where it leads."""
        (tmp_path / "r").symlink_to("elsewhere")
        with pytest.raises(OutputError, match="exists already"):
            Ledger(str(tmp_path / "r"))
        with pytest.raises(OutputError, match="exists already"):
            Output(str(tmp_path / "r"), "--results")
        assert not (tmp_path / "elsewhere").exists()

    def test_swapped_in_mid_air(self, shared: Path, own: Path) -> None:
        """A link that takes a file's place after it was looked at is not followed either."""
        (shared / "r").touch()
        with open_place(shared / "r") as place:
            (shared / "r").unlink()
            (shared / "r").symlink_to(own)
            with pytest.raises(OSError, match="Too many levels of symbolic links"):
                place.open(os.O_RDWR)


class TestFiles:
    """Another user's files, pipes and folders."""

    @pytest.mark.parametrize("write", WRITERS)
    def test_pipe(self, write: Write, shared: Path, give: Give) -> None:
        """A pipe without a reader is refused, not waited for."""
        os.mkfifo(shared / "r", 0o666)
        give(shared / "r")
        with pytest.raises(OutputError, match=r"\(r is a file of user \S+ in a folder"):
            write(str(shared / "r"))

    def test_pipe_of_a_derived_name(self, tmp_path: Path) -> None:
        """Under a derived name, not even the user's own pipe is written or read."""
        os.mkfifo(tmp_path / "r")
        for use in (write_derived, check_writable, Manifest.read):
            with pytest.raises(OutputError, match=r"\(Is no regular file\)"):
                use(str(tmp_path / "r"))
        with pytest.raises(OSError, match="Is no regular file"):
            open_regular(tmp_path / "r")

    @pytest.mark.parametrize("write", [write_in_place, open_ledger])
    def test_regular(self, write: Write, shared: Path, give: Give) -> None:
        """A file that its owner could read and change is not filled."""
        (shared / "r").write_text("theirs")
        give(shared / "r")
        with pytest.raises(OutputError, match=r"\(r is a file of user \S+ in a folder that others can write\)"):
            write(str(shared / "r"))
        assert (shared / "r").read_text() == "theirs"

    @pytest.mark.parametrize("write", [write_named, write_derived])
    def test_replaced(self, write: Write, shared: Path, give: Give) -> None:
        """A replaced file becomes a private one, where that is possible."""
        (shared / "r").write_text("theirs")
        give(shared / "r")
        if not IS_ROOT:
            with pytest.raises(OutputError, match=r"\(r is a file of user \S+ in a folder that others can write\)"):
                write(str(shared / "r"))
            shared.chmod(0o777)
        write(str(shared / "r"))
        status = (shared / "r").stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.getuid(), 0o600)

    @pytest.mark.parametrize("write", [write_in_place, open_ledger, make_store])
    def test_hard_link(self, write: Write, shared: Path, own: Path) -> None:
        """An own file that was brought into such a folder by another name is not filled there."""
        (shared / "r").hardlink_to(own)
        with pytest.raises((OutputError, OSError), match="r has another name"):
            write(str(shared / "r"))
        shared.chmod(0o755)
        write(str(shared / "r"))

    def test_atomic_beside_a_hard_link(self, shared: Path, own: Path) -> None:
        """A file that is replaced is no other file than before by its other name."""
        (shared / "r").hardlink_to(own)
        write_derived(str(shared / "r"))
        assert (own.read_text(), (shared / "r").read_text()) == ("mine", "new")

    def test_folder(self, shared: Path, give: Give) -> None:
        """A folder is reported as such."""
        (shared / "r").mkdir()
        give(shared / "r")
        for write in (write_named, write_derived, write_in_place, check_writable):
            with pytest.raises(OutputError, match=r"\(Is a directory\)"):
                write(str(shared / "r"))

    def test_name_of_a_folder(self, tmp_path: Path) -> None:
        """A path that ends like a folder's is not one of a file."""
        for path, number in ((f"{tmp_path}/", errno.EISDIR), (f"{tmp_path}/new/", errno.ENOENT), ("", errno.EISDIR)):
            with pytest.raises(OSError) as caught, open_place(path) as place:  # noqa: PT011 - its number is held below
                place.open(os.O_RDWR | os.O_CREAT)
            assert caught.value.errno == number
        with pytest.raises(OSError, match="Not a directory"):
            write_atomically(Path("/dev/null/r"), [b""])


class TestOthers:
    """Which other users can write a file."""

    @pytest.mark.parametrize(
        ("user", "mode", "uid", "gid", "reason"),
        [
            (1000, 0o600, 1000, 1000, None),
            (1000, 0o664, 1000, 1000, None),
            (1000, 0o664, 0, 0, None),
            (1000, 0o666, 1000, 1000, "everybody on this machine can write it (mode 0666)"),
            (1000, 0o602, 0, 0, "everybody on this machine can write it (mode 0602)"),
            (1000, 0o660, 1000, 54_321, "others can write it (group 54321, mode 0660)"),
            (1000, 0o640, 1000, 54_321, None),
            (1000, 0o600, 54_321, 1000, "it belongs to user 54321, not to you or root"),
            (0, 0o660, 0, 0, None),
            (0, 0o660, 0, 54_321, "others can write it (group 54321, mode 0660)"),
            (0, 0o600, 54_321, 0, "it belongs to user 54321, not to you or root"),
        ],
    )
    def test_reasons(
        self, user: int, mode: int, uid: int, gid: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The user, root and the user's own group may; others, another owner and another group are named."""
        status = os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: user)
            patch.setattr(os, "fstat", lambda _: status)
            others = others_who_write(-1)
        assert others == reason

    def test_names(self) -> None:
        """A user is called by name, and one without a name by number."""
        assert name_user(0) == "user root"
        assert name_user(54_321) == "user 54321"
