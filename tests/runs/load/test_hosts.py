"""Whose host it is, however it is written."""

import pytest

from bulkstop.runs.load.hosts import is_named, is_vendor, read_host_name


@pytest.mark.parametrize(
    "host",
    [
        *("https://platform.kore.ai", "https://PLATFORM.Kore.AI", "https://platform.kore.ai.", "http://kore.ai"),
        *("https://platform.kore.ai:443", "https://platform.kore.ai.:8443/base", "https://a.b.kore.ai/kore"),
        *("platform.kore.ai", "Platform.kore.ai.:443"),
    ],
)
def test_vendor(host: str) -> None:
    """A host below the vendor's domain is the vendor's, in any letter case, with a root dot, a port, a path."""
    assert is_vendor(host)


@pytest.mark.parametrize(
    "host",
    [
        *("http://127.0.0.1:8080", "https://kore.ai.example.com", "https://mykore.ai", "https://host/kore.ai"),
        "https://[::1]",
    ],
)
def test_not_vendor(host: str) -> None:
    """A host that only looks like one of the vendor's is not."""
    assert not is_vendor(host)


def test_named() -> None:
    """A host is named by itself, and by no other of the same domain."""
    assert is_named("https://platform.kore.ai:443/x", ["other.kore.ai", "Platform.Kore.AI."])
    assert is_named("https://platform.kore.ai", ["https://platform.kore.ai:8443"])
    assert not is_named("https://platform.kore.ai", ["kore.ai", "*.kore.ai", "", "other.kore.ai"])
    assert read_host_name("http://[::1") == ""
