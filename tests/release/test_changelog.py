"""CHANGELOG.md keeps to Keep a Changelog, and agrees with the version of the package."""

import pytest

from bulkstop import version
from release.changelog import find_faults
from tests.processes import ROOT

GOOD = """# Changelog

## [Unreleased]

Version 0.3.0.

### Added

- More.

### Fixed

- Less.

## [0.2.0] - 2026-02-01

### Removed

- That.

## [0.1.0] - 2026-01-01
"""


def test_own() -> None:
    """The project's own has no fault."""
    assert list(find_faults((ROOT / "CHANGELOG.md").read_text(), version.__version__)) == []


@pytest.mark.parametrize("agreeing", ["0.2.0", "0.3.0"])
def test_agrees(agreeing: str) -> None:
    """A version is the newest release, or the one that the unreleased part says is coming."""
    assert list(find_faults(GOOD, agreeing)) == []


@pytest.mark.parametrize(
    ("part", "instead", "fault"),
    [
        ("# Changelog\n", "# Changes\n", "it does not begin with `# Changelog`"),
        ("## [Unreleased]", "## Unreleased", "its first section is not `## [Unreleased]`"),
        ("### Added", "### New", "[Unreleased] has `### New`; there are Added, Changed, "),
        ("### Added", "### Security", "[Unreleased] does not have its parts once each, in the order Added, "),
        ("### Fixed", "### Added", "[Unreleased] does not have its parts once each, in the order Added, "),
        ("- Less.\n", "", "[Unreleased] has nothing under `### Fixed`"),
        ("[0.1.0] - 2026-01-01", "0.1.0", "a heading of a release is not `## [1.2.3] - 2026-01-31`"),
        ("2026-01-01", "2026-13-01", "a heading of a release is not `## [1.2.3] - 2026-01-31`"),
        ("[0.1.0]", "[0.10.0]", "its releases do not stand with the newest first"),
        ("2026-01-01", "2026-03-01", "its releases do not stand with the newest first"),
        (
            "Version 0.3.0",
            "Version 0.4.0",
            "version 0.3.0 of bulkstop/version.py is neither the newest release in it, ",
        ),
        ("[0.2.0]", "[0.4.0]", "version 0.3.0 of bulkstop/version.py is neither the newest release in it, "),
    ],
)
def test_faults(part: str, instead: str, fault: str) -> None:
    """Each fault of form is found and named, and so is a version that is not the one to be released."""
    assert part in GOOD
    assert any(said.startswith(fault) for said in find_faults(GOOD.replace(part, instead, 1), "0.3.0"))
