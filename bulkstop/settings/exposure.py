"""Finds secrets that the settings expose to others, so that a run can warn before anything is sent."""

import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from bulkstop.naming import name_setting, name_variable
from bulkstop.redact import find_passwords, hide_password
from bulkstop.settings import OPTION_SPECS, Settings, is_hidden, is_loopback

SECRET_FILES = ("token_file", "client_secret_file", "proxy_password_file", "key")


def may_hold_secret(name: str, text: str) -> bool:
    """Return whether the value of a setting may hold a secret, unlike a URL without a password, a path or a word."""
    if not is_hidden(name):
        return False
    is_address = not OPTION_SPECS[name].secret and name != "token_command"
    return not is_address or hide_password(text) != text or ("?" in text and "://" in text)


def find_exposures(settings: Settings, typed: Iterable[str] = ()) -> Iterator[str]:
    """Yield a sentence for each secret that others can read; `typed` are the settings on the command line."""
    for name in typed:
        yield from _on_command_line(name, getattr(settings, name))
    yield from _on_the_way_to_the_store(settings.quota_store)
    for name in SECRET_FILES:
        yield from _in_a_file(name, getattr(settings, name))


def _on_command_line(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, str) or OPTION_SPECS[name].secret or not is_hidden(name) or not find_passwords(value):
        return
    instead = f"give it as {name_variable(name)}"
    if name == "proxy":
        instead = (
            f"leave it out, and set it as {name_variable('proxy_password')} or in a file by "
            f"{name_setting('proxy_password_file')}"
        )
    yield f"{name_setting(name)}: everybody on this machine can read the password on the command line; {instead}"


def _on_the_way_to_the_store(url: str | None) -> Iterator[str]:
    if url is None or not url.lower().startswith("redis://") or not find_passwords(url):
        return
    with suppress(ValueError):  # opening the store reports it
        host = urlsplit(url).hostname
        if is_loopback(host):
            return
        yield (
            f"{name_setting('quota_store')}: without TLS everybody on the way to {host} can read the password; "
            "use rediss://"
        )


def _in_a_file(name: str, path: str | None) -> Iterator[str]:
    try:
        mode = Path(path).stat().st_mode if path else 0
    except (OSError, ValueError):  # reading the file reports it
        return
    if path and stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        what = "change" if mode & stat.S_IWOTH else "read"
        yield (
            f"{name_setting(name)} {path}: everybody on this machine can {what} it "
            f"(mode {stat.S_IMODE(mode):04o}); chmod 600 {shlex.quote(path)}"
        )
