"""The way to a host, as its URL and that of a proxy say it."""

import pytest

from bulkstop.errors import SettingsError
from bulkstop.kore.connect.route import HostPort, Route, find_route

LOGIN = {"Proxy-Authorization": "Basic dXMgZXI6cEBzcw=="}


@pytest.mark.parametrize(
    ("host", "proxy", "way"),
    [
        (
            "https://api.example",
            None,
            Route(HostPort("api.example", 443), HostPort("api.example", 443), True, False, "", "api.example", {}),
        ),
        (
            "http://api.example:443/x/",
            None,
            Route(
                HostPort("api.example", 443), HostPort("api.example", 443), False, False, "/x", "api.example:443", {}
            ),
        ),
        (
            "https://[::1]:8443",
            None,
            Route(HostPort("::1", 8443), HostPort("::1", 8443), True, False, "", "[::1]:8443", {}),
        ),
        (
            "http://api.example/x",
            "http://us%20er:p%40ss@proxy",
            Route(
                HostPort("api.example", 80),
                HostPort("proxy", 80),
                False,
                False,
                "http://api.example/x",
                "api.example",
                LOGIN,
            ),
        ),
        (
            "https://api.example/x",
            "http://proxy:3128",
            Route(HostPort("api.example", 443), HostPort("proxy", 3128), True, True, "/x", "api.example", {}),
        ),
    ],
)
def test_way(host: str, proxy: str | None, way: Route) -> None:
    """The destination of the connection, the request to it, and the `Host` header, without a default port."""
    assert find_route(host, proxy) == way


def test_https_proxy() -> None:
    """A proxy that is itself reached by TLS is refused, with the way out and without its password."""
    with pytest.raises(SettingsError, match=r"^proxy: .*transport=.aiohttp.") as caught:
        find_route("https://api.example", "https://user:secret@proxy:443")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("host", "text"), [("api.example", "api.example:443"), ("::1", "[::1]:443")])
def test_place(host: str, text: str) -> None:
    """A place is written as in a URL."""
    assert str(HostPort(host, 443)) == text
