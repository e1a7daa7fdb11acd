"""Print a constraint for each dependency of the package: the lowest version that pyproject.toml allows."""

import re
import sys
import tomllib
from pathlib import Path

TOOLS = "test"
"""The extra with the versions of constraints.txt, which users of the package do not install."""


def find_lowest(requirements: list[str]) -> dict[str, str]:
    """Return the lowest version allowed of each requirement that names one, by its name."""
    found = (re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement) for requirement in requirements)
    return {match[1]: match[2] for match in found if match}


def main(pyproject: str, constraints: str) -> None:
    """Print the lowest versions, and those of the test tools where the package itself does not need them."""
    project = tomllib.loads(Path(pyproject).read_text())["project"]
    extras = [item for name, items in project["optional-dependencies"].items() if name != TOOLS for item in items]
    lowest = find_lowest([*project["dependencies"], *extras])
    tools = [line for line in Path(constraints).read_text().splitlines() if line.partition("==")[0] not in lowest]
    sys.stdout.write("\n".join([*(f"{name}=={version}" for name, version in lowest.items()), *tools]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
