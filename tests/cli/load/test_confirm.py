"""`bulkstop load` with a list: real campaigns are only stopped after confirmation."""

from pathlib import Path

import pytest

from bulkstop.cli.load.command import is_here
from bulkstop.settings import Settings
from tests.loads import refusal
from tests.processes import TOKEN, campaigns

HOST = ("--host", "https://staging.example")
SEARCH = ("--find-limit",)
LOAD = ("--rate", "5/s", "--count", "1")


@pytest.mark.parametrize("how", [LOAD, SEARCH])
@pytest.mark.parametrize(
    ("args", "error"),
    [
        (HOST, "there is no terminal to confirm on; give --expect N"),
        ((*HOST, "--expect", "5"), "--expect: the list has 3 campaigns to stop, not 5; nothing was sent"),
        ((*HOST, "--yes", "--max-campaigns", "2"), "max_campaigns"),
        (("--host", "http://127.0.0.1:1", "--expect", "5"), "--expect: the list has 3 campaigns to stop, not 5"),
    ],
)
def test_refused(
    how: tuple[str, ...], args: tuple[str, ...], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list for a host that is not this machine needs confirmation, in a load and in a search."""
    campaigns(tmp_path / "c.csv", ["cd-1", "cd-2", "cd-3"])
    said = refusal(monkeypatch, tmp_path, "c.csv", *how, *args)
    assert error in said or error.replace("_", "-") in said


def test_here() -> None:
    """Only calls that stay on this machine need no confirmation; a remote proxy takes them away."""
    assert is_here(Settings(host="http://127.0.0.1:8080", token=TOKEN))
    assert is_here(Settings(host="https://localhost", proxy="http://127.0.0.1:3128", token=TOKEN))
    assert not is_here(Settings(host="https://staging.example", token=TOKEN))
    assert not is_here(Settings(host="https://127.0.0.1", proxy="http://proxy:3128", token=TOKEN))
