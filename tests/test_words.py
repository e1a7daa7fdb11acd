"""The code's own messages keep to the glossary of ARCHITECTURE.md, and to plain words."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bulkstop.settings import OPTION_SPECS
from tests.documents import PAGES, prose_of
from tests.processes import ROOT

ROOMS = ("cli", "report", "runs", "source", "settings", "simulator")
APART = ("/load/", "/schedule/")
"""Rooms whose messages have a sweep of their own, or none yet."""
GLOSSARY = (
    *("campaign", "row", "attempt", "outcome", "lane", "quota", "window", "pace", "throttle", "ledger", "manifest"),
    *("plan", "guard"),
)
BANNED = {
    r"(?<!there )\b(?:is|are) no (?:number|text|JSON|object|file|list|whole|time|quota|host|campaign)\b": "is not a",
    r"\bheld back\b|\bhold back\b": "protected, or not sent",
    r"\bnobody documented\b": "undocumented",
    r"\bnobody is here\b": "there is no terminal",
    r"\bnothing leaves\b|\blet nothing leave\b": "nothing is sent",
    r"\bnone runs\b(?! now)": "none running",
    r"\brests? for\b": "waits",
    r"\bnot told\b|\bnothing tells\b": "not known",
    r"\bstands? (?:at|in|under|behind|below|beside)\b": "is",
    r"\bleft alone\b|\bleaves alone\b": "is not stopped again",
    r"\bas (?:the service|nobody|no campaign|nothing) ": "because",
    r"\bto its end\b": "completely",
    r"\btries per\b|\banother try\b": "attempt",
    r"\bmend (?:the|it|them|such|or)\b": "correct",
    r"\bno regular\b": "not a regular",
    r"\baway for\b|\bstore is away\b": "does not answer",
}
"""Words that no message contains, and their replacements."""
BANNED_IN_PAGES = {
    r"\bgone on with\b": "continued",
    r"\b(?:is|are) told\b|\btells? of\b": "shown, named or notified",
    r"\bstands? there\b": "is there, or has",
    r"\bto (?:its|their) end\b": "completely",
    r"\bmend(?:s|ed)?\b": "correct",
    r"\bvouch": "prove",
    r"\bas ever\b": "also",
    r"\bnothing leaves\b": "nothing is sent",
    r"\b(?:is|are) exit \d\b": "is refused with exit code",
    r"\bhands out\b": "prints",
}
"""Words that no page for users contains, and their replacements."""


@cache
def list_messages() -> list[tuple[str, str]]:
    """Return each text of the code with a blank in it that is not a docstring, with its place."""
    return [
        (f"{path.relative_to(ROOT)}:{line}", text)
        for room in ROOMS
        for path in sorted((ROOT / "bulkstop" / room).rglob("*.py"))
        if not any(part in path.as_posix() for part in APART)
        for line, text in read_texts(path)
    ]


def read_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module with their lines, and {} for what is filled in."""
    tree = ast.parse(path.read_text())
    apart = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    apart |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in apart:
            values = (part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
            text = "".join(each if isinstance(each, str) else "" for each in values)
            if " " in text.strip():
                yield node.lineno, text


@pytest.mark.parametrize("pattern", BANNED)
def test_no_message_says_it(pattern: str) -> None:
    """No message has a word for which the glossary, or plain English, has a better one."""
    banned = re.compile(pattern, re.IGNORECASE)
    assert [f"{where}: {text}" for where, text in list_messages() if banned.search(text)] == []


@pytest.mark.parametrize("pattern", BANNED_IN_PAGES)
def test_no_page_says_it(pattern: str) -> None:
    """No page contains words that a new reader had to read twice."""
    banned = re.compile(pattern, re.IGNORECASE)
    assert [f"{page}: {match[0]}" for page in PAGES for match in banned.finditer(prose_of(page))] == []


def test_the_sweep_sees_the_messages() -> None:
    """The sweep reads help texts, errors and templates, in every room."""
    found = dict(list_messages())
    assert {where.split("/")[1] for where in found} == set(ROOMS)
    assert OPTION_SPECS["attempts"].help in found.values()


def test_each_option_is_one_clause() -> None:
    """The help of a setting begins with a capital, is one sentence, and fits two lines of a terminal."""
    texts = [spec.help for spec in OPTION_SPECS.values()]
    assert [
        text for text in texts if not text[0].isupper() or not text.endswith(".") or re.search(r"[a-z][.] [A-Z]", text)
    ] == []
    assert [text for text in texts if len(text) > 100] == []


def test_the_glossary_has_a_sentence_for_each_word() -> None:
    """ARCHITECTURE.md says in one sentence what each word means."""
    glossary = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Glossary\n")[2]
    for word in GLOSSARY:
        assert len(re.findall(rf"^- .*\*\*{word}\*\* ", glossary, re.MULTILINE)) == 1, word
