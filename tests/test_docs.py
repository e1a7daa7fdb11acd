"""The pages are true: their tables are those of the code, their links work, their messages exist.

The commands in their blocks are run by tests/test_docs_commands.py, or by the test of a page.
"""

import ast
import re
import shlex
import tomllib
from itertools import pairwise

import click
import pytest

from bulkstop.model import Outcome, WaitReason, WarningKind
from bulkstop.report.stop.formats import COLUMNS
from bulkstop.settings import OPTION_SPECS
from bulkstop.settings.load import variable_of
from bulkstop.source.forms.format import ENDINGS, Format
from docs.generate import CODES, DOCS, every_command, find_command, render
from docs.record_demo import draw
from tests.documents import (
    OTHERS,
    PAGES,
    README,
    TYPED,
    anchors_of,
    blocks_of,
    links_of,
    prose_of,
    read,
    spans_of,
    table,
)
from tests.processes import ROOT

DATA = {"toml", "csv", "json", "yaml", "ini", "text"}
OTHER_SHELLS = {"bash", "zsh", "fish"}
LANGUAGES = {"sh", "console", "python", TYPED} | DATA | OTHER_SHELLS
README_LINES = 200
FOREIGN = {"--joblog", "--resume-failed", "--parallel", "--jobs", "--phases", "--help", "--strict", "--version"}
"""Options in the pages that other programs have, or every command."""
FLAGS = {
    name: {
        flag
        for param in command.params
        if isinstance(param, click.Option)
        for flag in (*param.opts, *param.secondary_opts)
    }
    for name, command in every_command()
}
"""The options of each command."""
OPTIONS = set[str]().union(*FLAGS.values())


def test_readme_is_short() -> None:
    """The README has at most 200 lines, so that it can be read completely."""
    assert len(read(README).splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES[1:])
def test_generated(page: str) -> None:
    """The generated parts of pages agree with the code; `make docs` writes them."""
    assert render(read(page)) == read(page), "run `make docs`"


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_links(page: str) -> None:
    """Each link to a file of the project, and to a heading in it, leads somewhere."""
    broken = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        name = str(target.relative_to(ROOT))
        if not target.exists() or (anchor and anchor not in anchors_of(name)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked() -> None:
    """Every page is linked from the README, directly or not."""
    assert {f"docs/{path.name}" for path in DOCS.glob("*.md")} - set(links_of(README)) == set()


@pytest.mark.parametrize("page", PAGES)
def test_languages(page: str) -> None:
    """Each block says what it is; what is typed on a terminal is what the test of docs/incident.md types there."""
    assert {block.language for block in blocks_of(page)} <= LANGUAGES
    typed = {line.removeprefix("$ ") for block in blocks_of("docs/incident.md") for line in block.text.splitlines()}
    assert {line for block in blocks_of(page) if block.language == TYPED for line in block.text.splitlines()} <= typed


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text(page: str) -> None:
    """A command in the text of a page exists, and has the options given there."""
    wrong = []
    for span in spans_of(page):
        words = span.split()
        if words[0] != "bulkstop" or words[1:2] in ([], ["COMMAND"]) or words[1].startswith(("-", "{", "[")):
            continue
        name = " ".join(words[1:3]) if " ".join(words[1:3]) in FLAGS else words[1]
        flags = FLAGS.get(name, set()) | {"--help"}
        if name not in FLAGS or any(word[0] == "-" and word != "-" and word not in flags for word in words[2:]):
            wrong.append(span)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_options_in_the_text(page: str) -> None:
    """An option in the text of a page is one of a command."""
    words = {word for span in spans_of(page) for word in re.findall(r"(?:^| |\[)(--[a-z][a-z-]*)", span)}
    assert words - OPTIONS - FOREIGN == set()


def test_every_option_is_documented() -> None:
    """Each option of each command, each variable and each key of a profile is on a page."""
    spans = {word for page in PAGES for span in spans_of(page) for word in span.split()}
    assert {flag for flag in OPTIONS if flag not in spans} == set()
    settings = read("docs/settings.md")
    assert [name for name in OPTION_SPECS if f"`{variable_of(name)}`" not in settings] == []


def test_outcomes() -> None:
    """Each outcome is explained, in the order of the code, and says what to do about it."""
    rows = table("docs/results.md", "outcome")
    assert [row[0] for row in rows] == [f"`{outcome}`" for outcome in Outcome]
    assert all(row[-1] for row in rows)


def test_keys() -> None:
    """Each key of a result line is explained, in the order of the line."""
    assert [row[0] for row in table("docs/results.md", "key")] == [f"`{name}`" for name in COLUMNS]


def test_warnings() -> None:
    """Each warning is explained by the name with which it can be expected, in the order of the code."""
    assert [row[0] for row in table("docs/guards.md", "name")] == [f"`{kind}`" for kind in WarningKind]


def test_formats() -> None:
    """The page of lists names each format and each file name extension."""
    words = set(re.findall(r"[.\w]+", read("docs/input.md")))
    assert {*map(str, Format), *ENDINGS} - words == set()


def test_waits() -> None:
    """The docs explain each reason to wait that the progress shows, in the order of the code."""
    assert [row[0] for row in table("docs/results.md", "waits")] == [f"`{reason}`" for reason in WaitReason]


def test_exit_codes() -> None:
    """The exit codes of `stop` are those of its own help."""
    told = {code for row in table("docs/exit-codes.md", "exit code") for code in row[0].split(", ")}
    own = (find_command("stop").epilog or "").partition(CODES)[2]
    assert told == set(re.findall(r"\b(?:\d|1\d\d)\b(?=  | by)", own))


@pytest.mark.parametrize(("name", "command"), [each for each in every_command() if each[0] != "stop"])
def test_exit_codes_of_others(name: str, command: click.Command) -> None:
    """Each other command has its exit codes on the page as well."""
    section = read("docs/exit-codes.md").partition(f"### bulkstop {name}\n")[2].partition("###")[0]
    own = (command.epilog or "").partition(CODES)[2]
    assert re.findall(r"^\| (\d+) \|", section, re.MULTILINE) == re.findall(r"^  (\d+) ", own, re.MULTILINE)


@pytest.mark.parametrize("message", re.findall(r"^\| `([^`]+)` \|", read("docs/troubleshooting.md"), re.MULTILINE))
def test_messages(message: str) -> None:
    """A message that a page explains is one that the code can say."""
    parts = [part.strip(" ") for part in message.split("…")]
    assert any(has_in_order(text, parts) for text in texts())


def has_in_order(text: str, parts: list[str]) -> bool:
    """Return whether a text contains the parts in this order; a regular expression would take seconds."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def texts() -> list[str]:
    """Return every text in the package; `…` replaces inserted values."""
    if not _TEXTS:
        for path in sorted((ROOT / "bulkstop").rglob("*.py")):
            tree = ast.parse(path.read_text())
            _TEXTS.extend(filter(None, map(_text_of, ast.walk(tree))))
    return _TEXTS


_TEXTS: list[str] = []


def _text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values)
    return None


def test_promises() -> None:
    """The proofs that the README names for its promises exist."""
    rows = table(README, "promise")
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row[1])]
    assert len(names) >= len(rows)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_picture() -> None:
    """The picture shows a demo that went well, and loads nothing from the network."""
    picture = read("docs/demo.svg").replace("&#160;", " ")
    assert "DONE: all 24 stopped" in picture
    assert "url(http" not in picture
    assert "(docs/demo.svg)" in read(README)


def test_a_picture_is_what_the_screen_shows() -> None:
    """A picture has what is left on the screen, in its colours, and ends before what a reader may try next."""
    picture = draw("24/24 done\r\x1b[2K\x1b[31mDONE\x1b[0m\r\n\r\nWhat to try next:\r\n").replace("&#160;", " ")
    assert "DONE" in picture
    assert "24/24" not in picture
    assert "What to try" not in picture
    assert "fill: #cc" in picture


def test_incident_is_found_first() -> None:
    """The README leads to the incident page, and its command there is the one of the README."""
    (typed,) = [block.text for block in blocks_of(README) if block.language == TYPED]
    assert f"$ {typed}" in read("docs/incident.md")


@pytest.mark.parametrize("page", PAGES)
def test_headings(page: str) -> None:
    """No two headings of a page have one anchor, and no level is left out."""
    titles = re.findall(r"^(#+) (.*)$", prose_of(page), re.MULTILINE)
    assert len({title for _, title in titles}) == len(titles)
    assert all(len(after) <= len(before) + 1 for (before, _), (after, _) in pairwise(titles))


def test_shell_blocks_are_whole() -> None:
    """Each line of a block for a shell can be read by one."""
    for page in PAGES:
        for block in blocks_of(page):
            if block.language in {"sh", "console"}:
                assert shlex.split(block.script, comments=True)


def test_profiles_can_be_read() -> None:
    """The files of profiles on pages are valid TOML."""
    shown = [block.text for page in PAGES for block in blocks_of(page) if block.language == "toml"]
    assert all(tomllib.loads(text)["profile"] for text in shown)
