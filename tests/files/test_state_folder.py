"""The folder for state is the user's own, wherever the variables point."""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bulkstop.engine.limits.store import default_path
from bulkstop.errors import SettingsError
from bulkstop.files.state_folder import expand_home, find_home, find_state_folder, make_private_folder


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """Use an umask that leaves new files open to everybody, unless they are made otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def entry(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give the user an entry in the list of users, and no variables."""
    user = SimpleNamespace(pw_dir="/home/of-entry")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    return user


@pytest.mark.parametrize("home", [None, "", " ", ".", "here", "/", "//", "/.", "/..", "/./"])
def test_no_home(home: str | None, entry: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names no home, or the root of all, is not gone by; the list of users is, unless it has it too."""
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert find_home() == Path("/home/of-entry")
    assert expand_home("~/calls.sqlite") == Path("/home/of-entry/calls.sqlite")
    assert default_path() == Path("/home/of-entry/.local/state/bulkstop/quota.sqlite")
    entry.pw_dir = "/"
    assert find_home() is None
    assert find_state_folder() is None
    with pytest.raises(SettingsError, match=r"^quota_store: no home directory to keep the quota in"):
        default_path()
    with pytest.raises(RuntimeError, match="no home directory"):
        expand_home("~/calls.sqlite")


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named home directory is used, and a valid directory for state before it."""
    monkeypatch.setenv("HOME", "/home/u")
    assert expand_home("~") == Path("/home/u")
    assert expand_home("here/~/x") == Path("here/~/x")
    for state, folder in (("/state", "/state"), ("state", "/home/u/.local/state"), ("/", "/home/u/.local/state")):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        assert find_state_folder() == Path(folder)


@pytest.mark.usefixtures("_open_umask")
def test_folders_for_the_user_alone(tmp_path: Path) -> None:
    """Every folder that is made on the way is the user's alone; one that is there stays as it is."""
    (tmp_path / "there").mkdir(mode=0o755)
    folder = tmp_path / "there" / "a" / "b" / "c"
    make_private_folder(folder)
    make_private_folder(folder)
    modes = [
        stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent, folder.parents[1], folder.parents[2])
    ]
    assert modes == [0o700, 0o700, 0o700, 0o755]
    (folder / "file").touch()
    with pytest.raises(FileExistsError):
        make_private_folder(folder / "file")
