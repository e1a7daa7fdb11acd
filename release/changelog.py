"""What is wrong with the form of CHANGELOG.md, and whether it agrees with the version of the package."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from itertools import pairwise

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""The headings that Keep a Changelog has, in its order."""
UNRELEASED = "[Unreleased]"
RELEASED = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)")
Version = tuple[int, ...]


def find_faults(text: str, version: str) -> Iterator[str]:
    """Yield each fault of a changelog, as a sentence."""
    title, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    if not title.startswith("# Changelog\n"):
        yield "it does not begin with `# Changelog`"
    headings = [section.splitlines()[0] for section in sections]
    if headings[:1] != [UNRELEASED]:
        yield f"its first section is not `## {UNRELEASED}`"
    for heading, section in zip(headings, sections, strict=True):
        yield from _find_faults_in(heading, section)
    releases = list(_read_releases(headings))
    if len(releases) != len(headings[1:]):
        yield "a heading of a release is not `## [1.2.3] - 2026-01-31`"
    if any(newer[0] <= older[0] or newer[1] < older[1] for newer, older in pairwise(releases)):
        yield "its releases do not stand with the newest first"
    yield from _compare(version, releases, sections[0] if sections else "")


def _find_faults_in(heading: str, section: str) -> Iterator[str]:
    _, *parts = re.split(r"^### ", section, flags=re.MULTILINE)
    kinds = [part.splitlines()[0] for part in parts]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        yield f"{heading} has `### {unknown[0]}`; there are {', '.join(KINDS)}"
    elif kinds != sorted(set(kinds), key=KINDS.index):
        yield f"{heading} does not have its parts once each, in the order {', '.join(KINDS)}"
    if empty := [kind for kind, part in zip(kinds, parts, strict=True) if "\n- " not in part]:
        yield f"{heading} has nothing under `### {empty[0]}`"


def _read_releases(headings: list[str]) -> Iterator[tuple[Version, date]]:
    for heading in headings:
        if match := RELEASED.fullmatch(heading):
            *numbers, day = match.groups()
            with suppress(ValueError):
                yield tuple(map(int, numbers)), date.fromisoformat(day)


def _compare(version: str, releases: list[tuple[Version, date]], unreleased: str) -> Iterator[str]:
    own = tuple(map(int, version.split(".")))
    newest = releases[0][0] if releases else ()
    is_coming = own > newest and re.search(rf"^Version {re.escape(version)}\b", unreleased, re.MULTILINE)
    if own != newest and not is_coming:
        yield (
            f"version {version} of bulkstop/version.py is neither the newest release in it, "
            f"nor does {UNRELEASED} begin with `Version {version}`"
        )
