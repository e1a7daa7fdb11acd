"""From what stands in a cell to the id that was meant, or to the reason why none can be told."""

import re
import unicodedata
from typing import NamedTuple

from bulkstop.ids import ID_CHARS, LIKELY, POSSIBLE
from bulkstop.model import CampaignType
from bulkstop.text import shorten

INSTANCE_ID = "cid-"
"""How the id begins that the answer to a stop names; the call does not take it."""
MOST_CHARS = 4096
"""The longest text that is cleaned: longer than an id, a URL before it and a note behind it."""
USUAL_CHARS = 40
"""Longest id of the vendor; a longer one may be several ids without anything between them."""

_is_usual = LIKELY.fullmatch
_PLAIN_BLANKS = " \t\r\n\v\f"
_QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00ab\u00bb\uff02\uff07"
_AROUND = _QUOTES + "<>()[]{}*|\u2329\u232a\u3008\u3009\u300c\u300d\u300e\u300f\uff1c\uff1e"
_BEFORE = re.compile(
    r"(?:[-+*>\u2010-\u2015\u2022\u2023\u2043\u00b7\u2219\u25a0-\u25ff\u2605\u2606\u2610\u27a4\uf0b7]\s+"
    r"|[\u2022\u00b7](?=cd-)"  # a bullet without a blank; a hyphen may say as well that a line was taken away
    r"|\(?[0-9]{1,6}[.)]\s*|[0-9]{1,6}\s+(?=cd-)|#[0-9]{1,6}\s+"
    r"|\[ ?\]\s*|=(?=\"))"  # a box, but not one with a mark in it: that may say that this is done
)
_BEHIND = re.compile(r"[,;.]\Z")
_NOTE = re.compile(r"(\S)\s+#.*\Z", re.DOTALL)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]*[/=](cd-[0-9A-Fa-f-]+)/?", re.ASCII)
_WITHIN_URL = re.compile(r"[/=](cd-[0-9A-Fa-f-]+)")
_BETWEEN = re.compile(r"[\s,;|]+")
_ONE = re.compile(r"cd-[0-9A-Fa-f]{7,8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SEVERAL = re.compile(rf"(?:{_ONE.pattern}){{2,}}")
_GLUED = re.compile(rf"{_ONE.pattern}cd-")
_HOLDS_ONE = re.compile(r"cd-[0-9A-Fa-f]+(?:-[0-9A-Fa-f]+){2,}")
_PATH_STEPS = ("", ".", "..")
_NOTHING = frozenset(("null", "none", "nan", "nat", "nil", "na", "n.a.", "undefined"))
"""What programs write where there is no id."""
_TYPES = frozenset(CampaignType)
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATE = re.compile(
    rf"[0-9]{{1,2}}([./-])[0-9]{{1,2}}\1(?:[0-9]{{2}}){{1,2}}|[0-9]{{4}}([./-])[0-9]{{1,2}}\2[0-9]{{1,2}}"
    rf"|[0-9]{{1,2}}-{_MONTH}(?:-[0-9]{{2,4}})?|{_MONTH}-[0-9]{{2,4}}",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*[eE][+-]?|[eE]\+)[0-9]+")
_CUT = re.compile(r"cd-(?:[0-9A-Fa-f-]*-)?")
_INSTANCE = re.compile(r"cid-[0-9A-Fa-f-]+")


class Cleaned(NamedTuple):
    """The ids that a text holds: one, several where nothing else stands there, or the text as it is; else a fault.

    `is_changed` says that what is told is not what stands there.
    """

    ids: tuple[str, ...] = ()
    fault: str | None = None
    is_changed: bool = False


def is_likely(text: str) -> bool:
    """Tell whether a text is one likely id of usual length, and nothing else: as nearly all are."""
    return len(text) <= USUAL_CHARS and _is_usual(text) is not None


def clean_id(text: str) -> Cleaned:
    """Return the ids that a cell, or a line of a list, holds.

    What stands around one likely id is taken away: blanks and what cannot be seen, quotes and brackets, a bullet or a
    number before it, a comma or semicolon behind it, a note behind ` #`, a URL that ends in it. Of any other text only
    blanks, and what cannot be seen, are taken away at its ends: what cannot be an id in it is for others to tell.
    """
    plain = text.strip(_PLAIN_BLANKS)
    if is_likely(plain):
        return Cleaned((plain,))
    bare = strip_unseen(plain)
    if len(bare) > MOST_CHARS:
        return Cleaned((bare,), None, bare != plain)
    if fault := _fault(bare):
        return Cleaned((), fault)
    ids = _find_ids(bare)
    if not ids and (fault := _fault_of_possible(bare)):
        return Cleaned((), fault)
    ids = ids or (bare,)
    return Cleaned(ids, None, ids != (plain,))


def strip_unseen(text: str) -> str:
    """Cut blanks, and characters that cannot be seen, from both ends of a text."""
    text = text.strip()
    if text.isascii():
        return text
    start, end = 0, len(text)
    while start < end and _is_unseen(text[start]):
        start += 1
    while end > start and _is_unseen(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_unseen(char: str) -> bool:
    if char.isascii():
        return char.isspace()
    return char.isspace() or unicodedata.category(char) in ("Cf", "Zs") or "\ufe00" <= char <= "\ufe0f"


def _fault(bare: str) -> str | None:
    """Say of a text what makes it no id, whatever the characters are that it is made of."""
    core = _peel(bare)
    is_cut = core.strip(".") and (core.endswith("..") or core.startswith(".."))
    if "\u2026" in bare or is_cut or _CUT.fullmatch(core):
        return f"{shorten(bare)!r} is cut short; copy the whole id from its origin"
    if _NUMBER.fullmatch(bare.strip(_AROUND)):
        return f"{shorten(bare)!r} is a number that a spreadsheet made of an id; copy the id from its origin"
    if _INSTANCE.fullmatch(core):
        return f"{shorten(bare)!r} is the id of an instance; a stop needs the id of the campaign (cd-...)"
    return None


def _fault_of_possible(bare: str) -> str | None:
    """Say of a text that holds no likely id by itself what makes it none, though its characters are those of an id."""
    if not bare.strip("_.~-") and bare not in _PATH_STEPS:
        return f"{shorten(bare)!r} has neither a letter nor a digit, so it is not an id"
    if bare.lower() in _NOTHING:
        return f"no campaign id: {bare!r} means no id"
    if bare.lower() in _TYPES:
        return f"no campaign id: {bare!r} is a type"
    if _DATE.fullmatch(bare.strip(_AROUND)):
        return f"{shorten(bare)!r} is a date that a spreadsheet made of an id; copy the id from its origin"
    if POSSIBLE.fullmatch(bare) and _HOLDS_ONE.search(bare):
        return f"{shorten(bare)!r} has more than a campaign id; remove the rest"
    return None


def _find_ids(bare: str) -> tuple[str, ...]:
    """Return the likely ids of which, and of nothing else that means anything, a text is made."""
    if "cd-" not in bare:
        return ()
    if _SEVERAL.fullmatch(bare):
        return tuple(dict.fromkeys(_ONE.findall(bare)))
    whole = _NOTE.sub(r"\1", bare)
    core = _read_url(_peel(whole))
    if _is_likely(core):
        return (core,)
    parts = [_read_url(_peel(part)) for part in _BETWEEN.split(whole)]
    ids = [part for part in parts if part and not _is_mark(part)]
    return tuple(dict.fromkeys(ids)) if all(map(_is_likely, ids)) else ()


def _is_likely(text: str) -> bool:
    return len(text) <= ID_CHARS and LIKELY.fullmatch(text) is not None and not _GLUED.match(text)


def _is_mark(part: str) -> bool:
    return len(part) <= 8 and "cd-" not in part and _BEFORE.fullmatch(f"{part} ") is not None


def _peel(text: str) -> str:
    """Take away what may stand around an id, as long as there is some of it."""
    while True:
        inner = strip_unseen(text)
        if mark := _BEFORE.match(inner):
            inner = inner[mark.end() :]
        inner = inner.strip(_AROUND)
        if not inner.endswith(".."):
            inner = _BEHIND.sub("", inner)
        if inner == text:
            return inner
        text = inner


def _read_url(text: str) -> str:
    """Return the id in which a URL ends, if it holds no other; else the text as it is."""
    match = _URL.fullmatch(text)
    return match[1] if match and len(set(_WITHIN_URL.findall(text))) == 1 else text
