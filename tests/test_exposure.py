"""A secret that others can read causes a warning."""

from pathlib import Path
from typing import Any

import pytest

from bulkstop.settings import Settings
from bulkstop.settings.exposure import find_exposures


def exposures(*typed: str, **options: Any) -> list[str]:
    """Return the warnings about settings."""
    return list(find_exposures(Settings(host="api.example", **options), typed))


@pytest.mark.parametrize(
    ("typed", "options", "sayings"),
    [
        (["proxy"], {"proxy": "http://user:pa55word@proxy:3128"}, ["proxy: everybody on this machine can read"]),
        (["proxy"], {"proxy": "http://user@proxy:3128"}, []),
        ([], {"proxy": "http://user:pa55word@proxy:3128"}, []),
        (["quota_store"], {"quota_store": "rediss://:pa55word@redis"}, ["quota_store: everybody on this machine"]),
        (["quota_store"], {"quota_store": "redis://redis"}, []),
        ([], {"quota_store": "redis://[x"}, []),
        (["quota_store"], {"quota_store": "calls.sqlite"}, []),
        (["host", "token_command"], {"token_command": "print-token"}, []),
    ],
)
def test_typed_password(typed: list[str], options: dict[str, str], sayings: list[str]) -> None:
    """A password in an address is warned of where it was typed: the list of processes shows it to everybody."""
    found = exposures(*typed, **options)
    assert [each.startswith(saying) for each, saying in zip(found, sayings, strict=True)] == [True] * len(sayings)
    assert "pa55word" not in "".join(found)


@pytest.mark.parametrize(
    ("store", "is_open"),
    [
        ("redis://:pa55word@redis.example:6379", True),
        ("REDIS://user:pa55word@10.0.0.1", True),
        ("redis://redis.example/0?password=pa55word", True),
        ("redis://redis.example:6379", False),
        ("rediss://:pa55word@redis.example", False),
        ("redis://:pa55word@localhost", False),
        ("redis://:pa55word@127.0.0.2:6379", False),
        ("redis://:pa55word@[::1]:6379", False),
        ("unix://:pa55word@/run/redis.sock", False),
        ("memory", False),
    ],
)
def test_password_of_the_store(store: str, is_open: bool) -> None:
    """A password that goes over the network in clear is warned of."""
    found = exposures(quota_store=store)
    assert bool(found) == is_open
    assert all("without TLS everybody on the way to" in each and "pa55word" not in each for each in found)


@pytest.mark.parametrize("name", ["token_file", "client_secret_file", "proxy_password_file"])
@pytest.mark.parametrize(("mode", "what"), [(0o600, ""), (0o640, ""), (0o644, "can read it"), (0o622, "can change it")])
def test_secret_in_a_file(name: str, mode: int, what: str, tmp_path: Path) -> None:
    """A file with a secret that everybody can read or change causes a warning, with the remedy."""
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    beside = {"client_id": "cs-1"} if name == "client_secret_file" else {}
    found = exposures(**{name: str(path)}, **beside)
    assert [f"{what} (mode {mode:04o}); chmod 600 {path}" in each for each in found] == ([True] if what else [])


def test_file_that_is_not_there() -> None:
    """A missing file is reported where it is read."""
    assert exposures(token_file="gone") == exposures(token_file="/dev/null") == []
