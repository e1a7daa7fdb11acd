"""Settings come from the option, else the variable, else the profile, else the default."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bulkstop.cli.options import read_settings, with_settings
from bulkstop.errors import SettingsError
from bulkstop.model import FailureCap, Limit
from bulkstop.settings import GROUPS, NO_LIMIT, OPTION_SPECS, Settings, default_of, key_of
from tests.settings import BESIDE, FIRM

OPEN = [name for name, spec in OPTION_SPECS.items() if not spec.secret]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without the developer's own profile."""
    monkeypatch.chdir(tmp_path)


def settings(args: list[str], variables: dict[str, str] | None = None, profile: str = "") -> Settings:
    """Put settings together as a command does."""
    collected: list[Settings] = []

    @click.command()
    @with_settings(*GROUPS)
    @click.pass_context
    def probe(ctx: click.Context, /, **_: object) -> None:
        collected.append(read_settings(ctx))

    Path("bulkstop.toml").write_text(f"[profile.default]\n{profile}")
    clean = dict.fromkeys([f"BULKSTOP_{name.upper()}" for name in (*OPTION_SPECS, *map(key_of, OPTION_SPECS))])
    outcome = CliRunner().invoke(
        probe, args, env={**clean, **(variables or {})}, standalone_mode=False, catch_exceptions=False
    )
    if outcome.exception is not None:
        raise outcome.exception
    return collected[0]


def beside(name: str) -> list[str]:
    """Return the options that a setting requires."""
    needs = {"host": "api.example", **BESIDE.get(name, {})}
    return [
        part for other, text in needs.items() if other != name for part in (OPTION_SPECS[other].option(other), text)
    ]


def test_every_setting_is_covered() -> None:
    """A new setting must get a text here."""
    assert list(FIRM) == list(OPTION_SPECS)


@pytest.mark.parametrize("name", OPEN)
def test_option(name: str) -> None:
    """Every setting that is not a secret has an option."""
    text, value = FIRM[name]
    flag = OPTION_SPECS[name].option(name)
    args = [flag] if value is True else [flag, text]
    assert getattr(settings([*args, *beside(name)]), name) == value


@pytest.mark.parametrize("name", list(OPTION_SPECS))
def test_variable(name: str) -> None:
    """Every setting has a variable, named like its option."""
    text, value = FIRM[name]
    variable = f"BULKSTOP_{OPTION_SPECS[name].option(name)[2:].replace('-', '_').upper()}"
    assert getattr(settings(beside(name), {variable: text}), name) == value


@pytest.mark.parametrize("name", OPEN)
def test_profile_key(name: str) -> None:
    """Every setting that is not a secret has a key in a profile, named like its option."""
    text, value = FIRM[name]
    profile = f"{key_of(name)} = {'true' if value is True else repr(text)}"
    assert getattr(settings(beside(name), profile=profile), name) == value


@pytest.mark.parametrize("name", [name for name in OPEN if name != "protect"])
def test_option_wins(name: str) -> None:
    """The option overrides the variable and the profile."""
    text, value = FIRM[name]
    flag, key = OPTION_SPECS[name].option(name), key_of(name)
    args = [flag] if value is True else [flag, text]
    others = {
        True: "false",
        "SMS": "voice",
        "WIRE": "aiohttp",
        "V1": "v2",
        "rs512": "HS512",
        "even": "burst",
        "priority": "input",
    }
    others |= {"18:00": "17:00", "Europe/Berlin": "UTC"}
    other = others.get(value if value is True else text, text + "0")
    if name in ("timeout_s", "quota", "max_retry_after_s", "grace_s"):
        other = text.replace(text[0], "9", 1)
    profile = f"{key} = {other if value is True else repr(other)}"
    assert getattr(settings([*args, *beside(name)], {f"BULKSTOP_{key.upper()}": other}, profile), name) == value


def test_all_four() -> None:
    """Flag, then variable, then profile, then default."""
    host = ["--host", "api.example"]
    profile, variable = "attempts = 3", {"BULKSTOP_ATTEMPTS": "4"}
    assert settings([*host, "--attempts", "9"], variable, profile).attempts == 9
    assert settings(host, variable, profile).attempts == 4
    assert settings(host, profile=profile).attempts == 3
    assert settings(host).attempts == default_of("attempts") == 5


def test_defaults() -> None:
    """By default, the settings of a command are those of the library."""
    assert settings(["--host", "api.example"]) == Settings(host="api.example")


def test_protection_adds_up() -> None:
    """What a profile or a variable protects remains protected when an option names more."""
    profile, variable = 'protect = ["a.txt", "b b.txt"]', {"BULKSTOP_PROTECT": "c.txt d.txt"}
    host = ["--host", "api.example"]
    files = settings([*host, "--protect", "e.txt", "--protect", "f.txt"], variable, profile).protect
    assert files == ("a.txt", "b b.txt", "c.txt", "d.txt", "e.txt", "f.txt")
    assert settings(host, variable).protect == ("c.txt", "d.txt")
    assert settings(host, profile=profile).protect == ("a.txt", "b b.txt")


def test_secrets_have_no_option() -> None:
    """A token or a secret cannot be on a command line, which every user of the machine can see."""
    for flag in ("--token", "--client-secret"):
        with pytest.raises(click.UsageError, match="No such option"):
            settings(["--host", "api.example", f"{flag}=x"])


def test_nearer_credentials_replace() -> None:
    """A source of the token with precedence replaces any source in the profile."""
    profile = 'client_id = "cs-1"\nclient_secret_file = "secret"'
    values = settings(["--host", "api.example", "--token-file", "t"], profile=profile)
    assert (values.token_file, values.client_secret_file) == ("t", None)
    values = settings(["--host", "api.example"], {"BULKSTOP_TOKEN": "x"}, profile)
    assert (values.token, values.client_secret_file) == ("x", None)


@pytest.mark.parametrize("blank", ["", " \t"])
@pytest.mark.parametrize("name", [*OPTION_SPECS, "profile", "config"])
def test_empty_variable(name: str, blank: str) -> None:
    """An empty variable is refused, even with an option, because it may be a mistake."""
    variable = f"BULKSTOP_{key_of(name).upper() if name in OPTION_SPECS else name.upper()}"
    with pytest.raises((SettingsError, click.UsageError), match=f"{variable}") as caught:
        settings(["--host", "api.example"], {variable: blank})
    assert "is empty; " in str(caught.value)
    if name in ("protect", "token"):
        with pytest.raises(SettingsError, match=f"^{variable}: is empty; give it a value, or unset it$"):
            settings(["--host", "api.example", "--protect", "keep.txt", "--token-file", "t"], {variable: blank})


@pytest.mark.parametrize("name", [*OPEN, "profile", "config"])
def test_empty_option(name: str) -> None:
    """An empty option is refused."""
    flag = OPTION_SPECS[name].option(name) if name in OPTION_SPECS else f"--{name}"
    if name in OPTION_SPECS and isinstance(default_of(name), bool):
        return
    with pytest.raises(click.UsageError, match="is empty; ") as caught:
        settings(["--host", "api.example", flag, " "])
    assert f"'{flag}'" in caught.value.format_message()


@pytest.mark.parametrize("value", ["''", "' '", "[]", "['']", "[[]]", "{}"])
@pytest.mark.parametrize("name", OPEN)
def test_empty_key(name: str, value: str) -> None:
    """An empty profile key is refused with its line, even with an option."""
    key, (text, is_good) = key_of(name), FIRM[name]
    instead = 'write "none" for no limit' if name == "quota" else "give it a value, or leave it out"
    with pytest.raises(SettingsError) as caught:
        settings(beside(name), profile=f"\n{key} = {value}\n")
    assert str(caught.value) == f"bulkstop.toml line 3: {key} is empty; {instead}"
    words = [OPTION_SPECS[name].option(name)] if is_good is True else [OPTION_SPECS[name].option(name), text]
    with pytest.raises(SettingsError, match=f"line 3: {key} is empty"):
        settings([*words, *beside(name)], profile=f"\n{key} = {value}\n")


def test_no_quota() -> None:
    """Only `none` means no limit, in all places, and it cannot be combined."""
    host = ["--host", "api.example"]
    for values in (
        settings([*host, "--quota", "none"]),
        settings(host, {"BULKSTOP_QUOTA": "None"}),
        settings(host, profile='quota = "none"'),
        settings(host, profile='quota = ["none"]'),
        settings([*host, "--quota", "none"], profile='quota = "60/60s"'),
    ):
        assert values.quota is NO_LIMIT
    with pytest.raises(SettingsError, match=r"^--quota: none cannot be combined with other limits$"):
        settings([*host, "--quota", "none", "--quota", "60/60s"])
    with pytest.raises(SettingsError, match=r"^BULKSTOP_QUOTA: none cannot be combined with other limits$"):
        settings(host, {"BULKSTOP_QUOTA": "60/60s none"})
    with pytest.raises(
        SettingsError, match=r"^bulkstop[.]toml line 2: quota: none cannot be combined with other limits$"
    ):
        settings(host, profile='quota = ["60/60s", "none"]')


def test_several_quotas() -> None:
    """A quota can have several limits: as options, as words of a variable, as a list in a profile."""
    both = (Limit(60, 60.0), Limit(1800, 3600.0))
    host = ["--host", "api.example"]
    assert settings([*host, "--quota", "60/60s", "--quota", "1800/1h"]).quota == both
    assert settings(host, {"BULKSTOP_QUOTA": "60/60s 1800/1h"}).quota == both
    assert settings(host, profile='quota = ["60/60s", "1800/1h"]').quota == both
    assert settings(host, profile='quota = "60/60s 1800/1h"').quota == both


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["--timeout", "0"], "--timeout"),
        (["--timeout", "soon"], "--timeout"),
        (["--quota", "60"], "--quota"),
        (["--quota", "0/60s"], "--quota"),
        (["--concurrency", "0"], "--concurrency"),
        (["--attempts", "-1"], "--attempts"),
        (["--type", "fax"], "--type"),
        (["--jwt-alg", "none"], "--jwt-alg"),
        (["--voice-path", "/x"], "--voice-path"),
        (["--sms-path", "no/slash/{campaignId}"], "--sms-path"),
        (["--proxy", "proxy:3128"], "--proxy"),
        (["--transport", "pigeon"], "--transport"),
    ],
)
def test_wrong_option(args: list[str], option: str) -> None:
    """An invalid option is refused by name."""
    with pytest.raises(click.UsageError) as caught:
        settings(["--host", "api.example", *args])
    assert f"'{option}'" in caught.value.format_message()


def test_wrong_variable() -> None:
    """An invalid variable is refused as well."""
    with pytest.raises(click.UsageError) as caught:
        settings(["--host", "api.example"], {"BULKSTOP_ATTEMPTS": "many"})
    assert "BULKSTOP_ATTEMPTS" in caught.value.format_message()


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("atempts = 3", "bulkstop.toml line 2: unknown key 'atempts'; did you mean attempts"),
        ('token = "x"', "token is a secret.*token_file or BULKSTOP_TOKEN"),
        ('client_secret = "x"', "client_secret is a secret.*client_secret_file or BULKSTOP_CLIENT_SECRET"),
        ("attempts = 0", "bulkstop.toml line 2: attempts: '0' is not a whole number"),
        ("attempts = 2.5", "bulkstop.toml line 2: attempts: '2.5' is not a whole number"),
        ('jti = "yes"', "bulkstop.toml line 2: jti: is true or false, without quotes"),
        ("concurrency = true", "bulkstop.toml line 2: concurrency: is true or false and must be a text"),
        ("quota = 60", "bulkstop.toml line 2: quota: is a number and must be a text; put it in quotes"),
        ("quota = [60]", "bulkstop.toml line 2: quota: holds a number; put each of the list in quotes"),
        ("quota = ['1/s', '']", "bulkstop.toml line 2: quota holds an empty value; remove it from the list"),
        ("quota = {calls = 60}", "bulkstop.toml line 2: quota: is a table and must be a text; give one text"),
        ("account_id = 12", "bulkstop.toml line 2: account_id: is a number and must be a text; put it in quotes"),
        ("timeout = ['30s']", "bulkstop.toml line 2: timeout: is a list and must be a text; give one text"),
        ("finish_by = 2026-01-02", "bulkstop.toml line 2: finish_by: is a date or time and must be a text"),
        ("host = ", "--config bulkstop.toml: cannot be read as TOML"),
    ],
)
def test_wrong_profile(profile: str, message: str) -> None:
    """A profile with a mistake or a secret is refused with file and key."""
    with pytest.raises(SettingsError, match=message):
        settings(["--host", "api.example"], profile=profile)


def test_values_that_need_no_quotes() -> None:
    """Numbers and times are accepted in TOML's own notation."""
    profile = "attempts = 3\ntimeout = 2.5\nmax_failures = 10\nfinish_by = 18:00:30"
    values = settings(["--host", "api.example"], profile=profile)
    assert (values.attempts, values.timeout_s, values.max_failures, values.finish_by) == (
        3,
        2.5,
        FailureCap(10),
        "18:00:30",
    )


def test_profile_by_name() -> None:
    """`--profile` uses that profile and nothing of the default one; a missing one is refused."""
    profile = 'attempts = 3\n[profile.prod]\nhost = "prod.example"\n'
    values = settings(["--profile", "prod"], profile=profile)
    assert (values.host, values.attempts) == ("https://prod.example", 5)
    with pytest.raises(SettingsError, match=r"--profile test: bulkstop.toml has no \[profile.test\]"):
        settings(["--profile", "test"], profile=profile)


def test_config_that_is_not_there() -> None:
    """A named file of profiles that does not exist is refused."""
    with pytest.raises(SettingsError, match=r"--config elsewhere\.toml: no such file"):
        settings(["--host", "api.example", "--config", "elsewhere.toml"])


def test_proxy_password_is_not_shown() -> None:
    """An invalid proxy URL is not repeated, because it may contain a password."""
    for args, profile in ((["--proxy", "user:pa55word@proxy"], ""), ([], 'proxy = "user:pa55word@proxy"')):
        with pytest.raises((click.UsageError, SettingsError)) as caught:
            settings(["--host", "api.example", *args], profile=profile)
        assert "pa55word" not in str(caught.value)
