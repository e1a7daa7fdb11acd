"""List the licence of every package that bulkstop needs, as its own metadata names it: `make licenses`.

It reads what is installed beside it, and so needs no network. A package that names no licence makes the exit code 1.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "bulkstop"
EXTRAS = ("excel", "redis", "report")
"""The extras for users; the tools of the tests are shipped to nobody."""
LONGEST = 60
"""Some packages have the whole text of a licence where its name belongs."""


@dataclass(frozen=True)
class Licensed:
    """A package, its licence, and the extra that needs it, if it is not always needed."""

    name: str
    version: str
    licence: str | None
    extra: str | None


def find_licence(package: Distribution) -> str | None:
    """Return the licence that a package names: as an expression, in its classifiers, or in a word."""
    metadata = package.metadata.json
    if expression := metadata.get("license_expression"):
        return str(expression)
    classifiers = [each for each in metadata.get("classifier", ()) if each.startswith("License :: ")]
    names = [each.rpartition(" :: ")[2] for each in classifiers if each != "License :: OSI Approved"]
    if names:
        return " or ".join(names)
    word = str(metadata.get("license", "")).strip()
    return word if word and "\n" not in word and len(word) <= LONGEST else None


def list_licences() -> Iterator[Licensed]:
    """Yield each package that is needed here, directly or by another, and first those that are always needed."""
    seen = {canonicalize_name(NAME)}
    for extra in (None, *EXTRAS):
        waiting = [(NAME, frozenset({extra or ""}))]
        while waiting:
            name, extras = waiting.pop()
            for needed in _read_needed(distribution(name), extras):
                if canonicalize_name(needed.name) not in seen:
                    seen.add(canonicalize_name(needed.name))
                    package = distribution(needed.name)
                    yield Licensed(needed.name, package.version, find_licence(package), extra)
                    waiting.append((needed.name, frozenset({"", *needed.extras})))


def _read_needed(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in package.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def main() -> int:
    """Print a line for each package; return the exit code."""
    try:
        found = sorted(list_licences(), key=lambda each: (each.extra or "", each.name.lower()))
    except PackageNotFoundError as error:
        print(f"licenses: {error.name} is not installed; run `make .venv/.tools`", file=sys.stderr)
        return 1
    width = max(len(f"{each.name} {each.version}") for each in found)
    for each in found:
        note = f"  (only with the extra {each.extra})" if each.extra else ""
        print(f"{f'{each.name} {each.version}':{width}}  {each.licence or 'NO LICENCE NAMED'}{note}")
    unnamed = [each.name for each in found if each.licence is None]
    if unnamed:
        print(f"licenses: no licence is named by {', '.join(unnamed)}; look it up before a release", file=sys.stderr)
    return 1 if unnamed else 0


if __name__ == "__main__":
    sys.exit(main())
