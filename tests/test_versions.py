"""The suite runs with the newest and with the lowest version of everything that a user's environment may have."""

import re
import tomllib
from pathlib import Path

from tests.lowest import TOOLS, find_lowest
from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [
    *PROJECT["dependencies"],
    *(item for extra, items in PROJECT["optional-dependencies"].items() if extra != TOOLS for item in items),
]
"""The requirements of the package itself, with its extras for users."""


def name_of(requirement: str) -> str:
    """Return the name at the beginning of a requirement or a constraint."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0].lower()


def test_tools_are_pinned_and_nothing_else() -> None:
    """`constraints.txt` has each test tool; what the package needs is tested as new as `pyproject.toml` allows it."""
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    tools = set(map(name_of, PROJECT["optional-dependencies"][TOOLS])) - set(map(name_of, NEEDED))
    assert {pin.partition("==")[0] for pin in pins} == tools


def test_everything_has_a_lowest_version() -> None:
    """Each requirement names the version that `make test-lowest` installs."""
    assert set(map(name_of, NEEDED)) == {name.lower() for name in find_lowest(NEEDED)}


def test_continuous_integration_runs_both() -> None:
    """The one script of CI runs the suite with the newest and with the lowest versions."""
    steps = Path(ROOT / ".ci" / "run").read_text().splitlines()
    assert {"make test-newest", "make test-lowest"} <= set(steps)
