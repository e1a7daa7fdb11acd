"""Settings as values: what is invalid, and how no limit is expressed."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from bulkstop.errors import SettingsError
from bulkstop.model import CampaignType, FailureCap, Limit
from bulkstop.settings import NO_LIMIT, OPTION_SPECS, Settings, default_of
from bulkstop.settings.options import SettingsOptions
from bulkstop.settings.parse import parse_count, parse_size
from bulkstop.settings.values import ALSO_TAKES
from tests.settings import BESIDE, FIRM


@pytest.mark.parametrize("name", ["account_id", "token", "token_file", "iid", "jwt_sub", "quota_store", "ca", "waves"])
def test_empty_texts(name: str) -> None:
    """An empty text is refused with the name of its setting."""
    given: dict[str, Any] = {name: " "}
    with pytest.raises(SettingsError, match=f"^{name}: is empty; give it a value, or leave it out$"):
        Settings(host="api.example", **given)


def test_an_empty_file_name() -> None:
    """A list of files that holds an empty name is refused."""
    with pytest.raises(SettingsError, match=r"^protect: is empty"):
        Settings(host="api.example", protect=("keep.txt", ""))


NO_QUOTA: list[Any] = [(), [], None, "", (None,), "banana", ("60/60s", "none"), 60, Limit(60, 60.0), {"60/60s"}]


@pytest.mark.parametrize("quota", NO_QUOTA)
def test_what_is_no_quota(quota: Any) -> None:
    """Only limits are a quota, and nothing that may have been forgotten means no limit."""
    with pytest.raises(SettingsError, match=r"^quota: .*such as \(Limit\(60, 60\),\), or .none.$"):
        Settings(host="api.example", quota=quota)


@pytest.mark.parametrize("quota", ["60/60s 1800/1h", ("60/60s", "1800/1h"), [Limit(60, 60.0), "1800/1h"]])
def test_quota(quota: Any) -> None:
    """A quota is read from the texts that a profile may have."""
    assert Settings(host="api.example", quota=quota).quota == (Limit(60, 60.0), Limit(1800, 3600.0))


@pytest.mark.parametrize("quota", ["none", ["none"], (" NONE ",), NO_LIMIT])
def test_no_quota(quota: Any) -> None:
    """Without a limit is what says so."""
    assert Settings(host="api.example", quota=quota).quota is NO_LIMIT


FREE_TEXT = {
    *(
        "ca",
        "cert",
        "key",
        "token",
        "targets",
        "token_file",
        "token_command",
        "client_id",
        "client_secret",
        "client_secret_file",
        "jwt_sub",
    ),
    *("quota_store", "protect", "proxy_password", "proxy_password_file"),
    *("id_column", "sheet"),
}
"""Settings of which every text makes sense."""


def make(name: str, value: object) -> Settings:
    """Make settings that have a value, and what that needs beside it."""
    values: dict[str, Any] = {"host": "api.example", **BESIDE.get(name, {}), name: value}
    return Settings(**values)


@pytest.mark.parametrize("name", OPTION_SPECS)
def test_text(name: str) -> None:
    """Every text that the command line takes is taken from Python too, and becomes the value that it means."""
    text, value = FIRM[name]
    actual = getattr(make(name, text), name)
    assert actual == value
    assert type(actual) is type(value)


@pytest.mark.parametrize("name", OPTION_SPECS)
def test_value(name: str) -> None:
    """A value of the setting's own type stays as it is, and so does the default."""
    value = FIRM[name][1]
    assert getattr(make(name, value), name) == value
    if name != "host":
        assert getattr(make(name, default_of(name)), name) == default_of(name)


MAY_BE_NAMES = {"host", "account_id", "stream_id", "iid"}
NONSENSE = [
    (name, text)
    for name in OPTION_SPECS
    if name not in FREE_TEXT
    for text in ("ba na/na?", *(() if name in MAY_BE_NAMES else ("0x1F", "-1", "5%%")))
]


@pytest.mark.parametrize(("name", "text"), NONSENSE)
def test_nonsense_text(name: str, text: str) -> None:
    """A text that makes no sense is refused in one line that names the setting."""
    with pytest.raises(SettingsError) as caught:
        make(name, text)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


WRONG_TYPES: list[object] = [object(), b"x", {"a": 1}, 1j, {1}, (object(),), [1.5], lambda: None, Settings]


@pytest.mark.parametrize("value", WRONG_TYPES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", OPTION_SPECS)
def test_wrong_type(name: str, value: object) -> None:
    """A value of the wrong type is refused in one line that names the setting, and does not repeat it."""
    with pytest.raises(SettingsError) as caught:
        make(name, value)
    assert str(caught.value).startswith(f"{name}: is of type {type(value).__name__} and must be ") or (
        isinstance(value, list | tuple) and OPTION_SPECS[name].repeatable
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in OPTION_SPECS if default_of(name) is not None and name != "host"])
def test_none(name: str) -> None:
    """None is only valid where it is the default."""
    with pytest.raises(SettingsError, match=f"^{name}: is None and must be "):
        make(name, None)


NUMBERS: list[object] = [True, 1, 0.5, time(18), 10**5000, float("nan"), float("inf"), -1, -0.5, 2.5e300]


@pytest.mark.parametrize("value", NUMBERS, ids=range(len(NUMBERS)))
@pytest.mark.parametrize("name", OPTION_SPECS)
def test_numbers(name: str, value: Any) -> None:
    """A number, a truth or a time is either refused in one line, or becomes what its text means."""
    try:
        actual = getattr(make(name, value), name)
    except SettingsError as error:
        assert str(error).startswith(f"{name}: ")  # noqa: PT017 - or it is taken
        return
    firm = FIRM[name][1]
    assert type(actual) is type(firm)
    assert isinstance(value, bool) is isinstance(firm, bool)
    assert value in (True, 1, 0.5, time(18))


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("max_failures", "5%", FailureCap(share=0.05)),
        ("max_failures", 10, FailureCap(10)),
        ("timeout_s", 30, 30.0),
        ("timeout_s", 1e-05, 1e-05),
        ("soak_s", 0, 0.0),
        ("finish_by", time(18, 30), "18:30:00"),
        ("ca", Path("ca.pem"), "ca.pem"),
        ("protect", "a.txt b.txt", ("a.txt", "b.txt")),
        ("protect", ["a b.txt", Path("c.txt")], ("a b.txt", "c.txt")),
        ("type", "Voice", CampaignType.VOICE),
        ("adaptive", "no", False),
    ],
)
def test_read(name: str, value: object, read: object) -> None:
    """A text with only one possible meaning is accepted."""
    assert getattr(make(name, value), name) == read


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("concurrency", 2.5, "'2.5' is not a whole number of at least 1"),
        ("concurrency", True, "is of type bool and must be a text or a number (N)"),
        (
            "finish_by",
            "banana",
            "'banana' is not a time to finish by such as 18:00, 2026-12-01T18:00, 18:00+05:30 or +2h",
        ),
        ("finish_by", "18:00 CET", "'18:00 CET': give the zone with tz, or an offset such as +05:30"),
        ("timeout_s", "x", "'x' is not a time above zero such as 30, 500ms or 5m"),
        ("timeout_s", 0, "'0' is not a time above zero such as 30, 500ms or 5m"),
        ("account_id", 12, "is of type int and must be a text (ID)"),
        ("jti", 1, "is of type int and must be True or False"),
        ("waves", "1,x", "'x' is neither a number of campaigns nor a percentage, such as 1,10%,100%"),
    ],
)
def test_fault(name: str, value: object, fault: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(SettingsError) as caught:
        make(name, value)
    assert str(caught.value) == f"{name}: {fault}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("hots", "host"),
        ("timeout", "timeout_s"),
        ("acount_id", "account_id"),
        ("campaign_type", "type"),
        ("zzz", None),
    ],
)
def test_unknown_name(name: str, near: str | None) -> None:
    """A name that is not a setting's is refused with the nearest one."""
    options: dict[str, Any] = {"host": "h", name: "x"}
    with pytest.raises(SettingsError) as caught:
        Settings(**options)
    assert str(caught.value) == f"{name}: there is no such setting" + (f"; did you mean {near}?" if near else "")


def test_without_host() -> None:
    """Settings need a host, and are given by name."""
    with pytest.raises(
        SettingsError, match=r'^host: is missing; give, for example, host="platform.kore.ai", set BULKSTOP_HOST'
    ):
        Settings()
    with pytest.raises(SettingsError, match=r"^pass settings by name, such as Settings\(host=...\)$"):
        Settings("api.example")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OPTION_SPECS)
def test_annotation(name: str) -> None:
    """Type checkers take a text for every setting, its own value, and what is read like a text."""
    spec, annotation = OPTION_SPECS[name], get_type_hints(SettingsOptions)[name]
    kinds = set(get_args(annotation)) or {annotation}
    assert str in kinds
    assert (type(None) in kinds) is (default_of(name) is None)
    if spec.repeatable:
        kinds = set(get_args(next(kind for kind in kinds if get_origin(kind) is Sequence)))
        kinds = set(get_args(*kinds)) or kinds
    assert str in kinds
    example = FIRM[name][1][0] if spec.repeatable else FIRM[name][1]
    assert type(example) in kinds or type(example) is str or name == "finish_by"
    also = set(ALSO_TAKES.get(spec.read, ())) - ({float} if spec.read is parse_count else {int})
    assert also <= kinds
    assert kinds - {str, type(None), type(example)} == also - {type(example)}


def test_annotations() -> None:
    """Every setting has an annotation for type checkers, in the same order."""
    assert list(get_type_hints(SettingsOptions)) == list(OPTION_SPECS)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("64KiB", 2**16), ("1", 1), ("2TB", 2 * 10**12)],
)
def test_size(text: str, size: int) -> None:
    """A size is a number with its unit, or of bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "-1GB", "4XB", "GB", "1e9", "4 G B", "\u0664GB", "9" * 15 + "TB", ""])
def test_no_size(text: str) -> None:
    """A size must be above zero; the error has an example."""
    with pytest.raises(ValueError, match="such as 4GB"):
        parse_size(text)


def endless() -> list[object]:
    """Return a list that holds itself."""
    items: list[object] = []
    items.append(items)
    return items


HOSTILE: list[object] = [endless(), "\ud800", "\0", "a\0b", "x" * 10**6, "\n", ["\ud800"], {"a": endless()}]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", OPTION_SPECS)
def test_hostile_value(name: str, value: object) -> None:
    """Any value is accepted, or refused with the name of its setting."""
    try:
        make(name, value)
    except SettingsError as error:
        assert (error.setting, "\n" in str(error)) == (name, False)  # noqa: PT017 - or it is taken


def test_no_limit() -> None:
    """Settings without a limit say so, and can be copied, changed and sent to another process."""
    settings = Settings(host="api.example", quota=NO_LIMIT)
    for copy in (settings, replace(settings, attempts=1), pickle.loads(pickle.dumps(settings))):
        assert (list(copy.quota), repr(copy.quota)) == ([], "'none'")
        assert replace(copy, attempts=5) == settings


@pytest.mark.parametrize("host", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080"])
@pytest.mark.parametrize("more", [{}, {"insecure_http": True}])
def test_no_way_round_this_machine(host: str, more: dict[str, Any]) -> None:
    """An unencrypted token for this machine never goes through a remote proxy, whatever else is allowed."""
    for proxy in ("http://proxy:3128", "http://user@10.0.0.1:3128", "https://127.example:3128"):
        with pytest.raises(
            SettingsError, match=r"^proxy: http://.* is this machine, and plain http through a remote proxy"
        ):
            Settings(host=host, proxy=proxy, **more)
    for proxy in ("http://127.0.0.1:3128", "http://localhost:3128", "http://[::1]:3128", "http://127.0.0.2:3128"):
        assert Settings(host=host, proxy=proxy, **more).proxy == proxy
    assert Settings(host=host.replace("http", "https", 1), proxy="http://proxy:3128", **more).proxy


def test_plain_http_through_a_proxy() -> None:
    """Allowing plain http to another machine also allows it through a proxy."""
    assert Settings(host="http://api.example", proxy="http://proxy:3128", insecure_http=True).proxy


@pytest.mark.parametrize("name", ["proxy_password", "proxy_password_file"])
def test_password_without_its_user(name: str) -> None:
    """A password needs the user that the proxy's address names, and that address has no other one."""
    given: dict[str, Any] = {"host": "api.example", name: "pa55word"}
    with pytest.raises(SettingsError, match=r"^proxy: has a password but no user"):
        Settings(proxy="http://proxy:3128", **given)
    with pytest.raises(SettingsError, match=f"^proxy: contains a password, and {name} gives another; keep one"):
        Settings(proxy="http://user:other@proxy:3128", **given)
    assert "pa55word" not in repr(Settings(host="api.example", proxy="http://user@proxy", proxy_password="pa55word"))
    assert Settings(**given).proxy is None


@pytest.mark.parametrize("name", ["token", "client_id", "client_secret", "proxy_password"])
def test_secrets_as_they_come(name: str) -> None:
    """Characters that editors, shells and clipboards add to a secret or an id are removed; nothing else changes."""
    assert getattr(make(name, "\ufeff\r\n s3cret \ufeff\r\n"), name) == "s3cret"
    with pytest.raises(SettingsError, match="is empty"):
        make(name, "\ufeff\r\n")


def test_key_without_certificate() -> None:
    """A key without a certificate is refused."""
    with pytest.raises(SettingsError, match=r"^key: is the key of a certificate; give cert="):
        Settings(host="api.example", key="cert.key")


PATH_SETTINGS = ("voice_path", "sms_path", "status_path", "get_path", "list_path", "schedule_path")


@pytest.mark.parametrize("name", PATH_SETTINGS)
def test_path_templates(name: str) -> None:
    """Any path may contain the stream, the application and the account; only those of one campaign contain it."""
    of_campaign = name not in ("list_path", "schedule_path")
    campaign = "/{campaignId}" if of_campaign else ""
    good: dict[str, Any] = {name: f"/p/{{iid}}/{{streamId}}/{{accountId}}{campaign}"}
    assert getattr(Settings(host="api.example", **good), name) == good[name]
    wrong = {
        "/p" if of_campaign else "/p/{campaignId}": "campaignId",
        "/p/{campaignId}{x}": "in braces",
        "p/{campaignId}": "not a path that starts with",
        "/p?a={campaignId}": "has no query",
    }
    for template, why in wrong.items():
        bad: dict[str, Any] = {name: template}
        with pytest.raises(SettingsError, match=f"^{name}: .*{why}"):
            Settings(host="api.example", **bad)
