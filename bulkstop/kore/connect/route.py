"""The way to a host: straight, or through a proxy."""

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
        """Read it from a URL."""
        return cls(url.hostname or "", url.port or _PORTS[url.scheme])

    def __str__(self) -> str:
        """Write it as a URL has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests go, and what they must say on the way.

    A connection is made to `hop`. Where that is a proxy, it either `has_tunnel` to `host`, or is given each request. A
    request's target comes behind `start`; `login` is the field that a proxy wants to see.
    """

    host: HostPort
    hop: HostPort
    is_secure: bool
    has_tunnel: bool
    start: str
    host_field: str
    login: Mapping[str, str]


def find_route(host: str, proxy: str | None) -> Route:
    """Find the way to a host given as a URL; raises SettingsError at a proxy that is reached by TLS."""
    url, via = urlsplit(host.rstrip("/")), urlsplit(proxy) if proxy else None
    place, is_secure = HostPort.of(url), url.scheme == "https"
    # The dot at the end of a full name is for those who look it up.
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
