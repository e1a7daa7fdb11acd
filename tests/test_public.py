"""The top level of the package: fifteen lazy names, listed for `dir` and `help`."""

import pydoc
import subprocess
import sys

import pytest

import bulkstop
from bulkstop import errors, hooks
from tests.processes import ROOT

NAMES = [
    "Attempt",
    "BulkstopError",
    "Campaign",
    "CampaignType",
    "Engine",
    "Limit",
    "Outcome",
    "Plan",
    "Result",
    "Run",
    "Settings",
    "Simulator",
    "Summary",
    "stop",
    "stop_async",
]
HEAVY = {"asyncio", "logging", "aiohttp", "click", "orjson", "typing", "dataclasses", "bulkstop.model"}


def test_names() -> None:
    """There are these names and no others; each can be had and is listed, and says in a sentence what it is."""
    assert bulkstop.__all__ == NAMES
    assert set(NAMES) <= set(dir(bulkstop))
    for name in NAMES:
        first = (getattr(bulkstop, name).__doc__ or "").split("\n\n")[0]
        assert first.endswith("."), name
        assert not first.startswith(f"{name}("), name


def test_help() -> None:
    """`help(bulkstop)` begins with every name and what it is for, and says what stays as it is."""
    text = pydoc.plain(pydoc.render_doc(bulkstop))
    first = text.partition("PACKAGE CONTENTS")[0]
    assert [name for name in NAMES if name not in first] == []
    assert "DeprecationWarning" in first
    assert all(f"\n    class {name}(" in text for name in NAMES if name[0].isupper())


def test_unknown_name() -> None:
    """A name that is not there is an AttributeError as of any module."""
    with pytest.raises(AttributeError, match=r"^module 'bulkstop' has no attribute 'stopp'$"):
        getattr(bulkstop, "stopp")  # noqa: B009 - mypy would find it


@pytest.mark.parametrize("name", ["NO_LIMIT", "CredentialsError", "InputError", "OutputError", "SettingsError"])
def test_former_name(name: str) -> None:
    """A name that stood here before is still had, with a warning that says what to use."""
    with pytest.warns(DeprecationWarning, match=f"{name} goes; use "):
        value = getattr(bulkstop, name)
    assert value is getattr(errors, name, value)


def test_hooks() -> None:
    """The types of an Engine's hooks can be imported from one place."""
    assert set(hooks.__all__) >= {"Around", "Classify", "OnResult", "Response", "Send", "Transport"}
    assert all(hasattr(hooks, name) for name in hooks.__all__)


@pytest.mark.real
def test_import_is_lazy() -> None:
    """`import bulkstop` imports nothing slow, and prints nothing when a warning is logged."""
    script = (
        "import sys, bulkstop; print(*sorted(sys.modules)); bulkstop.stop;"
        "import logging; logging.getLogger('bulkstop.kore').warning('said to nobody')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()
    assert done.stderr == ""


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an unsupported system, using a name says so, with the remedy."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ImportError, match=r"^bulkstop needs Linux or another POSIX system; on Windows run it in WSL$"):
        _ = bulkstop.Engine
