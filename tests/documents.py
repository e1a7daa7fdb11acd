"""The pages that people read, taken apart: their blocks, headings, links, tables and the commands in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.processes import ROOT

README = "README.md"
PAGES = (README, *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
"""All pages for users."""
OTHERS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "benchmarks/RESULTS.md")
TYPED = ""
"""The language of a block whose command needs a terminal; that of docs/incident.md is typed by its own test."""
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: its language and its lines, not indented."""

    language: str
    text: str

    @property
    def script(self) -> str:
        """Return what a shell is to do."""
        if self.language == "console":
            return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line.startswith("$ "))
        return f"set -e\n{self.text}set +e\n"

    @property
    def expected(self) -> list[str]:
        """Return the lines of the expected output."""
        return [line for line in self.text.splitlines() if not line.startswith("$ ")]

    @property
    def name(self) -> str:
        """Return the first command of it."""
        return self.text.splitlines()[0].removeprefix("$ ")


@cache
def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text()


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page."""
    found = FENCE.findall(read(page))
    return [Block(language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]


def prose_of(page: str) -> str:
    """Return a page without its blocks."""
    return FENCE.sub("", read(page))


def anchors_of(page: str) -> set[str]:
    """Return what a link to a heading of a page may end in, as GitHub names headings."""
    titles = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links_of(page: str) -> list[str]:
    """Return the links of a page that lead to files of the project, pictures too."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose_of(page))


def spans_of(page: str) -> list[str]:
    """Return the texts between backquotes in the prose of a page."""
    spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", prose_of(page))
    return [re.sub(r"\s+", " ", span).replace(r"\|", "|") for span in spans]


def table(page: str, first: str) -> list[list[str]]:
    """Return the cells of the table of a page whose header begins so."""
    text = read(page)
    lines = text[text.index(f"| {first}") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def pattern_of(expected: list[str]) -> str:
    """Return a pattern for the expected output: `…` is anything, and alone on a line any lines."""
    return "".join(
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in expected
    )


def sources() -> Iterator[Path]:
    """Yield the modules of the package."""
    return (ROOT / "bulkstop").rglob("*.py")
