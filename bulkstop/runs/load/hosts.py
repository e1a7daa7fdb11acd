"""The vendor's own hosts, which a load test may use only if they are named."""

from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from bulkstop.errors import SettingsError

VENDOR = "kore.ai"


def read_host_name(host: str) -> str:
    """Return the host name of a host or URL, in lower case, without port and trailing dot; '' if there is none."""
    with suppress(ValueError):
        return (urlsplit(host if "://" in host else f"//{host.strip()}").hostname or "").rstrip(".")
    return ""


def is_vendor(host: str) -> bool:
    """Return whether a host or URL is the vendor's."""
    name = read_host_name(host)
    return name == VENDOR or name.endswith(f".{VENDOR}")


def is_named(host: str, allowed: Iterable[str]) -> bool:
    """Return whether a host is one of those allowed."""
    return read_host_name(host) in [read_host_name(each) for each in allowed]


def check_named(host: str, allowed: Iterable[str]) -> None:
    """Raise SettingsError for a host of the vendor that is not among those allowed."""
    if is_vendor(host) and not is_named(host, allowed):
        name = read_host_name(host)
        raise SettingsError(
            f"host: {name} is the vendor's own service, which others use as well; a load test there needs "
            f"allow_host={name!r}; nothing was sent"
        )
