"""Where the keys of a profile stand, and what a profile is not."""

from pathlib import Path

import pytest

from bulkstop.errors import SettingsError
from bulkstop.settings.profiles import line_of, read_profile

KEY = ("profile", "default", "quota")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[profile.default]\nquota = ""', 2),
        ('# quota\n[profile.other]\nquota = "1/s"\n\n[profile.default]\nquota_store = "x"\n  quota = []', 7),
        ('[profile]\ndefault.attempts = 1\ndefault.quota = ""', 3),
        ('profile.default.quota = ""', 1),
        ('[profile]\n\ndefault = { attempts = 1, quota = "" }', 3),
        ("[profile.default]\nquota = [\n  # nothing yet\n]\nattempts = 1", 2),
        ('[profile.default]\nhost = """\nquota = 1\n"""\nquota = ""', 5),
        ('[profile.default]\n"quota" = ""', 2),
        ('["profile".\'default\']\nquota=""', 2),
        ("[profile.default]\nattempts = 1\n[profile.default.quota]", 3),
        ("[[profile.default.quota]]", 1),
        ('[profile.default]\n"\\u0071uota" = ""', None),
        ("[profile.default]\nattempts = 1", None),
    ],
)
def test_line_of(text: str, line: int | None) -> None:
    """A key is found in every form in which TOML can write it in letters of its own."""
    assert line_of(text, *KEY) == line


def test_line_ends(tmp_path: Path) -> None:
    """Lines are counted as an editor counts them, whatever ends them."""
    path = tmp_path / "bulkstop.toml"
    path.write_bytes(b'[profile.default]\r\nattempts = 1\r\nquota = ""\r\n')
    with pytest.raises(SettingsError, match=r"bulkstop\.toml line 3: quota is empty; write \"none\" for no limit"):
        read_profile(str(path), None)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ('profile = ""', "a", "profile a: bulkstop.toml has no [profile.a]"),
        ('[profile]\ndefault = ""', None, "profile default: bulkstop.toml has no [profile.default]"),
        ("[profile.a]", "b", "profile b: bulkstop.toml has no [profile.b]"),
    ],
)
def test_no_profile(text: str, name: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no table is no profile."""
    monkeypatch.chdir(tmp_path)
    Path("bulkstop.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_profile("bulkstop.toml", name)
    assert str(caught.value) == message
