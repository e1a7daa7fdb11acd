"""The proxy that the environment names for everybody: HTTPS_PROXY, HTTP_PROXY, and NO_PROXY for what goes past it."""

import os
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from bulkstop.errors import SettingsError
from bulkstop.settings.parse import parse_address, parse_proxy_address


def find_environment_proxy(host: object) -> str | None:
    """Return the proxy for a host as it was given, None for none; raises SettingsError for one that is not an address.

    This machine itself is never reached through a proxy. Names in small letters come first, as with curl.
    """
    try:
        parts = urlsplit(parse_address(str(host or "")))
    except ValueError:  # whoever reads the host says so
        return None
    name = (parts.hostname or "").rstrip(".")
    if is_this_machine(name) or is_excepted(name, parts.port, _read("no_proxy")[1]):
        return None
    variable, text = _read(f"{parts.scheme}_proxy")
    if not text or (variable == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ):  # a web client's header, in CGI
        return None
    try:
        return parse_proxy_address(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise SettingsError(f"{variable}: {error}; correct or unset it, or name the host in NO_PROXY") from None


def is_this_machine(name: str) -> bool:
    """Tell whether a name or an address is this machine's own, whoever resolves it."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_excepted(name: str, port: int | None, exceptions: str) -> bool:
    """Tell whether a host goes past the proxy: its name, a domain above it, its address or network, or all (`*`)."""
    return any(_fits(name, port, word) for word in exceptions.lower().replace(",", " ").split())


def _fits(name: str, port: int | None, word: str) -> bool:
    if word == "*":
        return True
    place, _, its_port = word.rpartition(":")
    if place and its_port.isdigit() and ("]" in place or ":" not in place):
        if int(its_port) != (port or 443):
            return False
        word = place
    word = word.strip("[]").removeprefix("*").strip(".")
    try:
        return ip_address(name) in ip_network(word, strict=False)
    except ValueError:
        return bool(word) and (name == word or name.endswith(f".{word}"))


def _read(variable: str) -> tuple[str, str]:
    """Return a variable as it is set, in small letters or in capitals, and its text."""
    for name in (variable, variable.upper()):
        if name in os.environ:
            return name, os.environ[name].strip()
    return variable, ""
