"""The proxy in the environment, for all programs: HTTPS_PROXY and HTTP_PROXY, with the exceptions in NO_PROXY."""

import os
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from bulkstop.errors import SettingsError
from bulkstop.settings.parse import parse_address, parse_proxy_address


def find_environment_proxy(host: object) -> str | None:
    """Return the proxy of the environment for a host, or None; raises SettingsError for an invalid address.

    This machine itself is never reached through a proxy. Lower-case variables take precedence, as with curl.
    """
    try:
        parts = urlsplit(parse_address(str(host or "")))
    except ValueError:  # parsing the host reports it
        return None
    name = (parts.hostname or "").rstrip(".")
    if is_this_machine(name) or is_excepted(name, parts.port, _read("no_proxy")[1]):
        return None
    variable, text = _read(f"{parts.scheme}_proxy")
    if not text or (variable == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ):  # a client's header, in CGI
        return None
    try:
        return parse_proxy_address(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise SettingsError(f"{variable}: {error}; correct or unset it, or name the host in NO_PROXY") from None


def is_this_machine(name: str) -> bool:
    """Return whether a name or an address is this machine, however it is resolved."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_excepted(name: str, port: int | None, exceptions: str) -> bool:
    """Return whether NO_PROXY excepts a host: by its name, a domain above it, its address or network, or by `*`."""
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
    """Return a variable's name, in lower or upper case as it is set, and its text."""
    for name in (variable, variable.upper()):
        if name in os.environ:
            return name, os.environ[name].strip()
    return variable, ""
