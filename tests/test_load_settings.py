"""Settings from options, the environment and a profile, in Python."""

import os
from pathlib import Path
from typing import Any

import pytest

from bulkstop.errors import SettingsError
from bulkstop.model import Limit
from bulkstop.settings import NO_LIMIT, OPTION_SPECS, Settings
from bulkstop.settings.load import list_open_variables, variable_of
from tests.settings import BESIDE, FIRM


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep away from the developer's own profile and variables."""
    monkeypatch.chdir(tmp_path)
    for name in (*OPTION_SPECS, "profile", "config"):
        monkeypatch.delenv(variable_of(name), raising=False)


def write_profiles(text: str, path: str = "bulkstop.toml") -> None:
    """Write a file of profiles."""
    Path(path).write_text(text)


@pytest.mark.parametrize("name", OPTION_SPECS)
def test_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting is read from its variable, and an option overrides it."""
    text, value = FIRM[name]
    beside: dict[str, Any] = {"host": "api.example", **BESIDE.get(name, {})}
    beside.pop(name, None)
    monkeypatch.setenv(variable_of(name), text)
    assert getattr(Settings.load(**beside), name) == value
    if name != "protect":
        monkeypatch.setenv(variable_of(name), "ba na/na?")
        assert getattr(Settings.load(**beside, **{name: text}), name) == value


def test_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Option, then variable, then profile, then default."""
    write_profiles('[profile.default]\nhost = "api.example"\nattempts = 3\nconcurrency = 7\ngrace = "5s"')
    monkeypatch.setenv("BULKSTOP_ATTEMPTS", "4")
    monkeypatch.setenv("BULKSTOP_CONCURRENCY", "8")
    settings = Settings.load(concurrency=9)
    assert (settings.concurrency, settings.attempts, settings.grace_s, settings.timeout_s) == (9, 4, 5.0, 30.0)


def test_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile is named by an argument, else by a variable, and its file too."""
    write_profiles('[profile.prod]\nhost = "prod.example"', "other.toml")
    assert Settings.load("prod", config="other.toml").host == "https://prod.example"
    assert Settings.load("prod", config=Path("other.toml")).host == "https://prod.example"
    monkeypatch.setenv("BULKSTOP_PROFILE", "prod")
    monkeypatch.setenv("BULKSTOP_CONFIG", "other.toml")
    assert Settings.load().host == "https://prod.example"
    with pytest.raises(SettingsError, match=r"^profile test: other.toml has no \[profile.test\]$"):
        Settings.load("test")


def test_protection_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a profile or a variable protects remains protected, whatever has precedence."""
    write_profiles('[profile.default]\nhost = "api.example"\nprotect = ["a.txt"]')
    monkeypatch.setenv("BULKSTOP_PROTECT", "b.txt")
    assert Settings.load(protect=[Path("c.txt")]).protect == ("a.txt", "b.txt", "c.txt")
    assert Settings.load().protect == ("a.txt", "b.txt")


def test_one_way_to_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """One way to a token replaces another one of the profile."""
    write_profiles('[profile.default]\nhost = "api.example"\ntoken_command = "print-token"')
    assert Settings.load(token="t").token_command is None
    monkeypatch.setenv("BULKSTOP_TOKEN_FILE", "file")
    settings = Settings.load()
    assert (settings.token_file, settings.token_command) == ("file", None)


def test_one_way_to_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """One way to the proxy's password replaces another one of the profile; two that are as near are one too many."""
    write_profiles('[profile.default]\nhost = "h"\nproxy = "http://user@proxy"\nproxy_password_file = "password"')
    monkeypatch.setenv("BULKSTOP_PROXY_PASSWORD", "pa55word")
    settings = Settings.load()
    assert (settings.proxy_password, settings.proxy_password_file) == ("pa55word", None)
    with pytest.raises(SettingsError, match=r"^proxy_password and proxy_password_file are both set; keep one$"):
        Settings.load(proxy_password_file="other")


def test_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota has several limits, or none, and an error names its place."""
    monkeypatch.setenv("BULKSTOP_QUOTA", "60/60s 5/1s")
    assert Settings.load(host="h").quota == (Limit(60, 60.0), Limit(5, 1.0))
    assert Settings.load(host="h", quota="none").quota is NO_LIMIT
    monkeypatch.setenv("BULKSTOP_QUOTA", "60/60s none")
    with pytest.raises(SettingsError, match=r"^BULKSTOP_QUOTA: none cannot be combined with other limits$"):
        Settings.load(host="h")


@pytest.mark.parametrize(
    ("options", "variables", "fault"),
    [
        ({}, {}, "host: is missing; "),
        ({"hots": "h"}, {}, r"hots: there is no such setting; did you mean host\?"),
        ({"host": "h"}, {"ATTEMPTS": "many"}, "BULKSTOP_ATTEMPTS: 'many' is not a whole number of at least 1"),
        ({"host": "h"}, {"JTI": "perhaps"}, "BULKSTOP_JTI: 'perhaps' is not one of "),
        ({"host": "h", "attempts": 3}, {"ATTEMPTS": " "}, "BULKSTOP_ATTEMPTS: is empty; give it a value, or unset it"),
        ({"host": "h"}, {"PROFILE": ""}, "BULKSTOP_PROFILE: is empty; "),
        ({"host": "h", "profile": 5}, {}, "profile: is of type int"),
        ({"host": "h", "profile": ""}, {}, "profile: is empty"),
        ({"host": "h", "config": b"x"}, {}, "config: is of type bytes"),
        ({"host": "h", "config": "gone.toml"}, {}, "config gone.toml: no such file, or it cannot be read"),
        ({"host": "h", "profile": "p"}, {}, "config bulkstop.toml: no such file; profile p needs it"),
        ({"host": "h", "protect": object()}, {}, "protect: is of type object"),
    ],
)
def test_fault(options: dict[str, Any], variables: dict[str, str], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid value is refused with its place."""
    for name, text in variables.items():
        monkeypatch.setenv(f"BULKSTOP_{name}", text)
    with pytest.raises(SettingsError, match=f"^{fault}"):
        Settings.load(**options)


def test_environment_of_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has no need of secrets gets the environment without them, and all the rest of it."""
    for name in OPTION_SPECS:
        monkeypatch.setenv(variable_of(name), "any")
    monkeypatch.setenv("VAULT_TOKEN", "of-the-command-itself")
    before = {**os.environ}
    assert before.keys() - list_open_variables().keys() == {
        *("BULKSTOP_TOKEN", "BULKSTOP_TOKEN_COMMAND", "BULKSTOP_CLIENT_SECRET", "BULKSTOP_PROXY_PASSWORD"),
        *("BULKSTOP_NOTIFY", "BULKSTOP_ON_SUCCESS", "BULKSTOP_ON_FAILURE"),
    }
    monkeypatch.setenv("BULKSTOP_PROXY", "http://user:pa55word@proxy:3128")
    monkeypatch.setenv("BULKSTOP_QUOTA_STORE", "redis://redis/0?password=pa55word")
    assert "pa55word" not in str(list_open_variables())
    assert os.environ["BULKSTOP_PROXY"] == "http://user:pa55word@proxy:3128"
