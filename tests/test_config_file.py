"""An unnamed file of profiles is used only if it is the user's own."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkstop.errors import SettingsError
from bulkstop.files.ownership import is_own_group
from bulkstop.settings import Settings
from bulkstop.settings.config_file import CONFIG_BYTES, read_config

FOREIGN = 65534
TEXT = "[profile.default]\nattempts = 3\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file of profiles into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BULKSTOP_CONFIG", raising=False)
    path = tmp_path / "bulkstop.toml"
    path.write_text(TEXT)
    path.chmod(0o644)
    return path


def refusal() -> str:
    """Return why the file is not obeyed, once as it was found; naming it is another thing."""
    with pytest.raises(SettingsError) as caught:
        read_config("bulkstop.toml", is_named=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_own(config: Path) -> None:
    """The user's own file is read, also by way of the user's own links."""
    assert read_config("bulkstop.toml", is_named=False) == TEXT
    config.rename("real.toml")
    Path("between").symlink_to("real.toml")
    config.symlink_to(Path("between").absolute())
    assert read_config("bulkstop.toml", is_named=False) == TEXT


def test_absent(config: Path) -> None:
    """Without a file there is nothing to obey; a link that leads nowhere is an error, for its guards are missing."""
    config.unlink()
    assert read_config("bulkstop.toml", is_named=False) is None
    config.symlink_to("gone.toml")
    assert "is a link to a file that does not exist" in refusal()


@as_root
def test_foreign(config: Path) -> None:
    """A file of another user is refused: the message has its owner, and the remedies."""
    os.chown(config, FOREIGN, FOREIGN)
    assert "it belongs to user " in refusal()
    assert refusal().endswith(
        'not to you or root; give config="bulkstop.toml" if you trust it, or config="/dev/null" to use none'
    )
    with pytest.raises(SettingsError, match="is not used, because"):
        Settings.load(host="api.example")
    assert Settings.load(config="bulkstop.toml", host="api.example").attempts == 3
    assert Settings.load(config="/dev/null", host="api.example").attempts == 5


@as_root
def test_foreign_link(config: Path) -> None:
    """Another user's link is not followed to the user's files, at any step of the path."""
    config.rename("real.toml")
    config.symlink_to("between")
    Path("between").symlink_to("real.toml")
    for link in ("bulkstop.toml", "between"):
        os.chown(link, FOREIGN, FOREIGN, follow_symlinks=False)
        assert "a link that belongs to " in refusal()
        os.chown(link, 0, 0, follow_symlinks=False)
    os.chown("real.toml", FOREIGN, FOREIGN)
    assert ", because it belongs to " in refusal()


@as_root
def test_file_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of root is obeyed by every user."""
    monkeypatch.setattr(os, "geteuid", lambda: FOREIGN)
    assert read_config("bulkstop.toml", is_named=False) == TEXT


def test_writable_by_all(config: Path) -> None:
    """A file that everybody can write is not obeyed."""
    config.chmod(0o666)
    why = "everybody on this machine can write it (mode 0666)"
    assert f"{why}; chmod o-w bulkstop.toml, or give config=" in refusal()


@as_root
def test_writable_by_a_group(config: Path) -> None:
    """A file that a group of several can write is not obeyed; one that is the user's own group's is."""
    config.chmod(0o664)
    assert read_config("bulkstop.toml", is_named=False) == TEXT
    os.chown(config, 0, FOREIGN)
    assert "others can write it (group" in refusal()
    config.chmod(0o644)
    assert read_config("bulkstop.toml", is_named=False) == TEXT


@pytest.mark.parametrize(
    ("group", "members", "primary", "is_own"),
    [
        ("alice", (), ("alice",), True),
        ("alice", ("alice",), ("alice",), True),
        ("alice", ("bob",), ("alice",), False),
        ("alice", (), ("alice", "bob"), False),
        ("users", (), ("alice",), False),
        ("alice", (), (), False),
    ],
)
def test_own_group(
    group: str, members: tuple[str, ...], primary: tuple[str, ...], is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group is a user's own if it has the user's name, is the user's first group, and has no other members."""
    import grp
    import pwd

    users = {
        name: pwd.struct_passwd((name, "x", uid, 500 if name in primary else 1, "", "/", "/bin/sh"))
        for uid, name in ((1000, "alice"), (1001, "bob"))
    }
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group((group, "x", 500, list(members))))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: users["alice" if uid == 1000 else "bob"])
    monkeypatch.setattr(pwd, "getpwall", lambda: list(users.values()))
    assert is_own_group(500, 1000) == is_own


@as_root
def test_access_list(config: Path) -> None:
    """Where a list of names says who may write a file, its mode does not, and is not used, because."""
    config.chmod(0o664)
    # Version 2; the owner, user 65534, the group, the mask, the others: each may read and write but the last.
    entries = [(1, 6, -1), (2, 6, FOREIGN), (4, 6, -1), (16, 6, -1), (32, 4, -1)]
    value = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + may.to_bytes(2, "little") + who.to_bytes(4, "little", signed=True)
        for tag, may, who in entries
    )
    try:
        os.setxattr(config, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"this file system has no access lists ({error.strerror})")
    assert stat.S_IMODE(config.stat().st_mode) == 0o664
    assert "others can write it" in refusal()


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (os.mkfifo, "is a pipe or a device; give a regular file"),
        (os.mkdir, "is a directory; give a regular file"),
        (lambda path: Path(path).symlink_to("/dev/zero"), "is a pipe or a device; give a regular file"),
        (lambda path: Path(path).symlink_to(path), "cannot be read ("),
        (lambda path: Path(path).write_bytes(b"#" * (CONFIG_BYTES + 1)), "has more than 1,048,576 bytes"),
        (lambda path: Path(path).write_bytes("a = 1\n".encode("utf-16")), "is UTF-16; save it as UTF-8"),
        (lambda path: Path(path).write_bytes(b"[profile.default]\n# caf\xe9\n"), "is not UTF-8 (line 2); save it"),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_no_file_of_profiles(make: Callable[[str], object], fault: str, is_named: bool, config: Path) -> None:
    """A file that is not text is refused at once, named or not; no pipe is waited for."""
    config.unlink()
    make(str(config))
    with pytest.raises(SettingsError, match=r"^config bulkstop\.toml: ") as caught:
        read_config("bulkstop.toml", is_named=is_named)
    assert fault in str(caught.value)


def test_mark_before_the_text(config: Path) -> None:
    """The mark that some editors put before a text is not a part of it."""
    config.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert Settings.load(host="api.example").attempts == 3
