"""Targets: how they are written, what they ask for, and with whose credentials."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bulkstop.errors import SettingsError
from bulkstop.model import CampaignType, Limit, Scope
from bulkstop.settings import Settings
from bulkstop.settings.parse import parse_address
from bulkstop.settings.profiles import read_profile
from bulkstop.settings.targets import (
    Profiles,
    Target,
    account_id_of,
    borrow_reach,
    list_scopes,
    load_other_profile,
    read_targets,
    targets_of,
)

OWN = Settings(host="api.example", account_id="a1", stream_id="st-1", token="own")
CONFIG = """
[profile.north]
host = "north.example"
client_id = "n"
client_secret_file = "n.key"
account_id = "a2"
quota = "10/60s"
api = "v1"

[profile.bare]
account_id = "a3"
"""
HEADED = "Profile;Account ID;stream_id;Campaign Type;note\n# ours\n\nnorth;;st-2;voice;x\n;a9;st-3;;\n"
OTHER = {"account_id": "a9", "stream_id": "st-3"}
ROWS = [Target("north", None, "st-2", None, CampaignType.VOICE), Target(None, "a9", "st-3")]


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    """Return the profiles of a file, beside settings with a token and a host of their own."""
    path = tmp_path / "bulkstop.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    options = {"quota": (Limit(5, 60.0),), "voice_path": "/x/{campaignId}"}
    return Profiles(OWN, None, lambda name: load_other_profile(name, OWN, options, {}, str(path)))


@pytest.mark.parametrize(
    "text",
    [
        HEADED,
        f"\ufeff{HEADED}".replace(";", ","),
        HEADED.replace(";", "\t").replace("\n", "\r\n"),
        f'{{"profile": "north", "streamId": "st-2", "type": "VOICE", "iid": null}}\n\n{json.dumps(OTHER)}',
        json.dumps([{"profile": "north", "stream_id": "st-2", "type": "voice"}, OTHER]),
    ],
)
def test_forms(text: str, tmp_path: Path) -> None:
    """A table with any usual delimiter and JSON are read; names go by letters and digits, blank cells say nothing."""
    path = tmp_path / "targets"
    path.write_text(text)
    assert [target._replace(where="target") for target in read_targets(str(path))] == ROWS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: does not name the columns"),
        ("profile,stream_id\n", "has no targets"),
        ("profil,stream_id\nnorth,st-1\n", "line 1: 'profil' looks like profile"),
        ("profile,stream_id\nnorth,st-1,sms\n", "line 2: has 3 cells"),
        ("profile,type\nnorth,fax\n", "line 2: type: "),
        ("profile,Profile\nnorth,south\n", "line 2: names the profile twice"),
        ("profile,note\n,x\n", "line 2: is empty"),
        ('{"profile": "north"}\n{"profile": 7}\n', "line 2: profile must be a text"),
        ('{"profile": "north"}\nnorth\n', "line 2: is not JSON"),
        ('["north"]', "target 1: is not an object"),
    ],
)
def test_refused_with_the_line(text: str, why: str, tmp_path: Path) -> None:
    """An invalid target is refused with its line, because a mistake must not list another account, or none."""
    path = tmp_path / "targets"
    path.write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_targets(str(path))
    assert why in str(refused.value)


def test_tables_of_a_profile(tmp_path: Path) -> None:
    """A profile can have its targets itself; they are not settings of it."""
    path = tmp_path / "bulkstop.toml"
    path.write_text(
        '[profile.all]\nhost = "x"\n[[profile.all.target]]\nprofile = "north"\n[[profile.all.target]]\niid = "i"\n'
    )
    path.chmod(0o600)
    profile = read_profile(str(path), "all")
    assert [target[:4] for target in targets_of(profile)] == [("north", None, None, None), (None, None, None, "i")]
    assert list(profile.settings) == ["host"]


def test_lists_of_targets(profiles: Profiles) -> None:
    """Missing values of a target come from its profile, else both types are meant; each list occurs once."""
    targets = [*ROWS, Target("north", "a2", "st-2", type=CampaignType.VOICE), Target(stream_id="st-9")]
    voice, sms = CampaignType
    assert list_scopes(targets, profiles) == [
        Scope("a2", "st-2", "st-2", voice, "north"),
        *(Scope("a9", "st-3", "st-3", kind) for kind in (voice, sms)),
        *(Scope("a1", "st-9", "st-9", kind) for kind in (voice, sms)),
    ]
    assert [scope.account_id for scope in list_scopes(targets, profiles, [sms])] == ["a9", "a1"]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target("nowhere", where="t line 2"), "t line 2: "),
        (Target("north", where="t line 3"), "t line 3: has no stream_id, and profile north has none either"),
        (Target("north", "a/b", "st", where="t line 4"), "t line 4: account_id "),
    ],
)
def test_targets_that_cannot_be_listed(target: Target, why: str, profiles: Profiles) -> None:
    """A target without profile, account or stream is refused with its place before any call."""
    with pytest.raises(SettingsError) as refused:
        list_scopes([target], profiles)
    assert str(refused.value).startswith(why)


def test_credentials_are_never_mixed(profiles: Profiles) -> None:
    """A profile has its own credentials, ids, host and paths alone; credentials of another are never lent to it."""
    north, bare = profiles.settings("north"), profiles.settings("bare")
    assert (north.token, north.client_id, north.account_id, north.stream_id) == (None, "n", "a2", None)
    assert (north.host, north.api, north.voice_path) == ("https://north.example", "v1", None)
    assert (bare.token, bare.client_id, bare.account_id, bare.stream_id) == (None, None, "a3", None)
    assert bare.host == OWN.host
    assert profiles.settings(None) is OWN


def test_an_option_counts_for_more(profiles: Profiles) -> None:
    """For settings outside of accounts and credentials, a typed option overrides the target's profile."""
    assert profiles.settings("north").quota == OWN.quota


def test_an_account_is_that_of_a_host() -> None:
    """An account at another host has another name; profiles of one host, in any spelling, share one."""
    hosts = {"same": "https://API.example:443/", "other": "https://other.example", "port": "https://api.example:8443"}
    profiles = Profiles(OWN)
    profiles.others |= {name: replace(OWN, host=parse_address(host)) for name, host in hosts.items()}
    names = [
        profiles.name_account(Scope("a1", "st-1", "st-1", CampaignType.SMS, name)) for name in (None, "own", *hosts)
    ]
    assert names == ["a1", "a1", "a1", "a1 at https://other.example", "a1 at https://api.example:8443"]
    assert {account_id_of(name) for name in names} == {"a1"}


@pytest.mark.parametrize(
    ("tables", "values", "borrows"),
    [
        ('[[profile.all.target]]\nprofile = "north"\n', {}, True),
        ('[[profile.all.target]]\nprofile = "north"\n[[profile.all.target]]\naccount_id = "a9"\n', {}, False),
        ('[[profile.all.target]]\nprofile = "north"\n', {"host": "own.example"}, False),
        ("", {}, False),
    ],
)
def test_a_profile_of_targets_alone(tables: str, values: dict[str, str], borrows: bool, tmp_path: Path) -> None:
    """A profile that only names others needs no host of its own; one that calls itself is never lent credentials."""
    path = tmp_path / "bulkstop.toml"
    path.write_text(f"{CONFIG}\n[profile.all]\nmax_campaigns = 9\n{tables}")
    path.chmod(0o600)
    lent = borrow_reach(read_profile(str(path), "all"), values, str(path))
    wanted = {"host": "https://north.example", "client_id": "n", "client_secret_file": "n.key", "api": "v1"}
    assert lent == (wanted if borrows else {})


def test_a_profile_of_targets_with_a_token_that_is_for_no_host(tmp_path: Path) -> None:
    """A token that is still set in the shell is named in the message, instead of a missing host."""
    path = tmp_path / "bulkstop.toml"
    path.write_text(f'{CONFIG}\n[profile.all]\n[[profile.all.target]]\nprofile = "north"\n')
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=r"is set, but profile all has no host: .* unset it") as refused:
        borrow_reach(read_profile(str(path), "all"), {"token": "left"}, str(path))
    assert refused.value.setting == "token"


def test_a_profile_of_targets_that_are_not_there(tmp_path: Path) -> None:
    """A missing profile is reported with the place of the target that names it."""
    path = tmp_path / "bulkstop.toml"
    path.write_text('[[profile.all.target]]\nprofile = "nowhere"\n')
    path.chmod(0o600)
    with pytest.raises(SettingsError) as refused:
        borrow_reach(read_profile(str(path), "all"), {}, str(path))
    assert f"{path} line 1: target 1: " in str(refused.value)
