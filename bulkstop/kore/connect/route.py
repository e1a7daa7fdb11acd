"""The route to a host: direct, or through a proxy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from bulkstop.errors import SettingsError
from bulkstop.kore.connect.proxy import make_login
from bulkstop.naming import name_setting

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host's name or address, and its port."""

    host: str
    port: int

    @classmethod
    def of(cls, url: SplitResult) -> Self:
        """Return the host and port of a URL."""
        return cls(url.hostname or "", url.port or _PORTS[url.scheme])

    def __str__(self) -> str:
        """Return it as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests are sent, and what they must contain.

    A connection is made to `hop`. If that is a proxy, it either `has_tunnel` to `host`, or receives each request. The
    target of a request follows `start`; `login` is the header for a proxy.
    """

    host: HostPort
    hop: HostPort
    is_secure: bool
    has_tunnel: bool
    start: str
    host_field: str
    login: Mapping[str, str]


def find_route(host: str, proxy: str | None) -> Route:
    """Return the route to a host given as a URL; raises SettingsError for a proxy that requires TLS."""
    url, via = urlsplit(host.rstrip("/")), urlsplit(proxy) if proxy else None
    place, is_secure = HostPort.of(url), url.scheme == "https"
    # The final dot of a full name is only for the look-up.
    host_field = str(HostPort(place.host.rstrip("."), place.port)).removesuffix(f":{_PORTS[url.scheme]}")
    if via is None:
        return Route(place, place, is_secure, False, url.path, host_field, {})
    if via.scheme != "http":
        raise SettingsError(
            f": the wire only supports http:// proxies; give {name_setting('transport', 'aiohttp')} with this one",
            setting="proxy",
        )
    start = url.path if is_secure else f"http://{url.netloc}{url.path}"
    return Route(place, HostPort.of(via), is_secure, is_secure, start, host_field, make_login(proxy))
