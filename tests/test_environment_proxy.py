"""The proxy that the environment names for everybody."""

from pathlib import Path

import pytest

from bulkstop import Settings
from bulkstop.errors import SettingsError
from bulkstop.settings.environment_proxy import find_environment_proxy


@pytest.mark.parametrize(
    ("host", "variables", "proxy"),
    [
        ("api.example", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("api.example", {"https_proxy": "p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1"),
        ("api.example", {"https_proxy": "", "HTTPS_PROXY": "http://q:1"}, None),
        ("api.example", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://api.example", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://api.example", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
        *((host, {"HTTPS_PROXY": "http://p:1"}, None) for host in ("localhost", "127.0.0.2", "https://[::1]:8443")),
        *((host, {"HTTPS_PROXY": "http://p:1"}, None) for host in ("localhost.", "app.localhost")),
        *(
            ("api.example:8443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": word}, None)
            for word in ("*", "api.example", ".example", "example", "*.example", "x, API.example", "api.example:8443")
        ),
        *(
            ("api.example", {"HTTPS_PROXY": "http://p:1", "no_proxy": word}, "http://p:1")
            for word in ("", "i.example", "api.example:8443", "example.api", "10.0.0.0/8")
        ),
        ("10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("[fd00::1]", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "[fd00::1]"}, None),
    ],
)
def test_which(monkeypatch: pytest.MonkeyPatch, host: str, variables: dict[str, str], proxy: str | None) -> None:
    """HTTPS_PROXY applies except for hosts in NO_PROXY, and never for this machine."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_environment_proxy(host) == proxy


def test_the_farthest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An option, BULKSTOP_PROXY and a profile each come before it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:1")
    assert Settings.load(host="api.example").proxy == "http://environment:1"
    Path("bulkstop.toml").write_text('[profile.default]\nproxy = "http://profile:1"\n')
    assert Settings.load(host="api.example").proxy == "http://profile:1"
    monkeypatch.setenv("BULKSTOP_PROXY", "http://variable:1")
    assert Settings.load(host="api.example").proxy == "http://variable:1"
    assert Settings.load(host="api.example", proxy="http://option:1").proxy == "http://option:1"


def test_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable proxy is named by its variable, without a possible password."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://u:pa55word@p:1")
    with pytest.raises(SettingsError, match=r"^HTTPS_PROXY: a SOCKS proxy is not supported; .*NO_PROXY") as caught:
        Settings.load(host="api.example")
    assert "pa55word" not in str(caught.value)
