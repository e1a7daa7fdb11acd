"""The lines of profile keys, and what is not a profile."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from bulkstop.errors import SettingsError
from bulkstop.settings.profiles import line_of, read_profile, refuse_without_host

KEY = ("profile", "default", "quota")
OUTSIDE = "is outside of all profiles; put it below [profile.default]"


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
    """Lines are counted as an editor does, with any line ends."""
    path = tmp_path / "bulkstop.toml"
    path.write_bytes(b'[profile.default]\r\nattempts = 1\r\nquota = ""\r\n')
    with pytest.raises(SettingsError, match=r"bulkstop\.toml line 3: quota is empty; write \"none\" for no limit"):
        read_profile(str(path), None)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("[profile.a]", "b", "profile b: bulkstop.toml has no [profile.b]"),
        ("[profile.prod]", "Prod", "profile Prod: bulkstop.toml has no [profile.Prod]; did you mean prod?"),
        ('profile = ""', "a", "bulkstop.toml line 1: profile is a text; write [profile.default] for a profile"),
        ("[[profile]]", None, "bulkstop.toml line 1: profile is a list; write [profile.default] for a profile"),
        (
            "\n[[profile.default]]",
            None,
            "bulkstop.toml line 2: [[profile.default]] is a list of tables; write [profile.default]",
        ),
        (
            '[profile]\nprotect = "keep.txt"',
            None,
            f"bulkstop.toml line 2: protect {OUTSIDE}, not [profile]",
        ),
        (
            '[profile]\ndefault = ""',
            None,
            f"bulkstop.toml line 2: unknown key 'default' {OUTSIDE}, not [profile]",
        ),
        (
            "[profile.prod]\n[profile]\nprotcet = 1",
            "prod",
            f"bulkstop.toml line 3: unknown key 'protcet' {OUTSIDE}, not [profile]",
        ),
        (
            "max_campaigns = 1\n[profile.default]",
            None,
            f"bulkstop.toml line 1: max_campaigns {OUTSIDE}",
        ),
        (
            "name = 'a list'\n[profile.prod]",
            "prod",
            f"bulkstop.toml line 1: unknown key 'name' {OUTSIDE}",
        ),
        ("[profiles.prod]", None, "bulkstop.toml line 1: unknown table [profiles]; did you mean [profile.prod]?"),
        ("[Profile.default]", None, "bulkstop.toml line 1: unknown table [Profile]; did you mean [profile.default]?"),
        ("[[Profiles]]", None, "bulkstop.toml line 1: unknown table [Profiles]; did you mean [profile.default]?"),
        ("[PROFIL]", None, "bulkstop.toml line 1: unknown table [PROFIL]; did you mean [profile.default]?"),
        (
            "[profile.default]\n[default]",
            None,
            "bulkstop.toml line 2: unknown table [default]; did you mean [profile.default]?",
        ),
        ("[prod]", "prod", "bulkstop.toml line 1: unknown table [prod]; did you mean [profile.prod]?"),
    ],
)
def test_no_profile(text: str, name: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value outside of a profile, or in something else, is refused with its line and a suggestion."""
    monkeypatch.chdir(tmp_path)
    Path("bulkstop.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_profile("bulkstop.toml", name)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["defualt", "Default", "DEFAULT", "defaults", '" default"', "defalt"])
def test_name_near_default(name: str, tmp_path: Path) -> None:
    """A file whose one profile is almost called `default` does not pass for one without."""
    path = tmp_path / "bulkstop.toml"
    path.write_text(f"[profile.prod]\n[profile.{name}]\n")
    name = name.strip('"')
    with pytest.raises(SettingsError, match=rf"line 2: there is no \[profile.default\]; .*profile {name} if"):
        read_profile(str(path), None)
    assert read_profile(str(path), name).name == name
    path.write_text(f'[profile.default]\n[profile."{name}"]\n')
    assert read_profile(str(path), None).name == "default"


def test_other_profiles(tmp_path: Path) -> None:
    """A file without a default profile has no effect if no profile is named."""
    path = tmp_path / "bulkstop.toml"
    path.write_text("[profile.prod]\nattempts = 3\n[profile.sandbox]\n")
    assert read_profile(str(path), None).values is None


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("[profile.prod]\n[profile.test]\n", None, "choose a profile of bulkstop.toml with profile: prod, test"),
        ("[profile.prod]\nattempts = 3\n", "prod", "add it to [profile.prod] of bulkstop.toml, or give"),
        ("", None, ""),
    ],
)
def test_a_missing_host(text: str, name: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message about a missing host names the profiles to choose from, or the profile that lacks it."""
    monkeypatch.chdir(tmp_path)
    Path("bulkstop.toml").write_text(text)
    Path("bulkstop.toml").chmod(0o600)
    profile = read_profile("bulkstop.toml", name)
    with pytest.raises(SettingsError) if why else nullcontext() as refused:
        refuse_without_host(profile)
    assert why in str(refused and refused.value)
