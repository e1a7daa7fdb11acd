"""A quota written into a profile: in real files, which else stay as they are."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import OutputError
from bulkstop.model import Limit
from bulkstop.runs.load.profile import change_text, check_profile, write_quota

QUOTA = Limit(48, 1.0)
OURS = 'quota = "48/1s"\npace = "even"\n'
FILE = """\
# Ours.
[profile.prod]
host = "platform.kore.ai"   # the real one
quota = ["60/60s", "1800/3600s"]  # from support

# Not ours.
[profile.b]
host = "b.example"
"""


def test_in_its_place(tmp_path: Path) -> None:
    """The line is replaced where it stands, the other follows, and every comment stays; what stood there is told."""
    file = tmp_path / "b.toml"
    file.write_text(FILE)
    assert str(write_quota(str(file), "prod", QUOTA)) == 'quota = ["60/60s", "1800/3600s"]'
    assert file.read_text() == FILE.replace(
        'quota = ["60/60s", "1800/3600s"]  # from support\n', 'quota = "48/1s"  # from support\npace = "even"\n'
    )
    assert str(write_quota(str(file), "prod", Limit(9, 10.0))) == 'quota = "48/1s", pace = "even"'
    assert list(tmp_path.iterdir()) == [file]


def test_told_on_one_line(tmp_path: Path) -> None:
    """A quota that stood on several lines is told on one."""
    file = tmp_path / "b.toml"
    file.write_text('[profile.prod]\nquota = [\n  "60/60s",\n  "1800/3600s",\n]\n')
    assert str(write_quota(str(file), "prod", QUOTA)) == 'quota = [ "60/60s", "1800/3600s", ]'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[profile.prod]\n{OURS}"),
        ("# All.\n", f"# All.\n\n[profile.prod]\n{OURS}"),
        ('[profile.prod]\nhost="x"\n\n# b\n[profile.b]\n', f'[profile.prod]\nhost="x"\n{OURS}\n# b\n[profile.b]\n'),
        ('[profile.b]\nhost="x"\n\n[o]\na=1\n', f'[profile.b]\nhost="x"\n\n[profile.prod]\n{OURS}\n[o]\na=1\n'),
        ('[profile]\nprod.host="x"\n', '[profile]\nprod.host="x"\nprod.quota = "48/1s"\nprod.pace = "even"\n'),
        ('[profile.prod]\r\nhost="x"\r\n', '[profile.prod]\r\nhost="x"\r\nquota = "48/1s"\r\npace = "even"\r\n'),
        ('[profile.prod]\npace="burst"\nquota="1/s"', '[profile.prod]\npace="even"\nquota="48/1s"'),
    ],
)
def test_forms(before: str, after: str) -> None:
    """New keys stand with those of their profile, a new profile after the others, and line ends are kept."""
    assert change_text(before, "prod", QUOTA)[0] == after


@given(name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8))
def test_any_name(name: str) -> None:
    """A profile may have any name."""
    changed = tomllib.loads(change_text(FILE, name, QUOTA)[0])
    assert changed["profile"][name]["quota"] == "48/1s"
    assert len(changed["profile"]) == 3 - (name in ("prod", "b"))


def test_new_file_is_private(tmp_path: Path) -> None:
    """Where there is no file, one is made that others cannot read."""
    before = write_quota(str(tmp_path / "b.toml"), "default", QUOTA)
    assert str(before) == "neither"
    assert (tmp_path / "b.toml").read_text() == f"[profile.default]\n{OURS}"
    assert (tmp_path / "b.toml").stat().st_mode & 0o777 == 0o600


def test_mode_and_link_are_kept(tmp_path: Path) -> None:
    """A file keeps its mode and owner, and a link goes on leading to it."""
    file, link = tmp_path / "real.toml", tmp_path / "sub" / "b.toml"
    file.write_text(FILE)
    file.chmod(0o640)
    link.parent.mkdir()
    link.symlink_to("../real.toml")
    write_quota(str(link), "prod", QUOTA)
    assert link.is_symlink()
    found = file.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, os.getuid(), os.getgid())
    assert 'quota = "48/1s"' in file.read_text()
    assert [path.name for path in link.parent.iterdir()] == ["b.toml"]


@pytest.mark.parametrize(
    "text", ["profile = 3\n", "[profile]\nprod = 3\n", "[[profile]]\na = 1\n", "[profile.prod\n", "\udc80"]
)
def test_what_cannot_be_changed(text: str, tmp_path: Path) -> None:
    """A file that is no TOML, or has something else in that place, is refused and stays as it is."""
    file = tmp_path / "b.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    for act in (lambda: check_profile(str(file), "prod"), lambda: write_quota(str(file), "prod", QUOTA)):
        with pytest.raises(OutputError, match=r"--write-quota: .*b\.toml cannot be changed .*write the quota by hand$"):
            act()
    assert file.read_bytes() == text.encode("utf-8", "surrogateescape")
    assert list(tmp_path.iterdir()) == [file]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A folder that is not there, and a folder in the place of the file, are named before anything is sent."""
    for path in (tmp_path / "none" / "b.toml", tmp_path):
        with pytest.raises(OutputError, match=r"--write-quota: .* cannot be written"):
            check_profile(str(path), "prod")
    check_profile(str(tmp_path / "b.toml"), "prod")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new text cannot be made durable, the old one stays, and nothing is left beside it."""

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "b.toml"
    file.write_text(FILE)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        write_quota(str(file), "prod", QUOTA)
    assert file.read_text() == FILE
    assert list(tmp_path.iterdir()) == [file]
