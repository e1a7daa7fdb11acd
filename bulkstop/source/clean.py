"""Extracts the campaign id from a cell, or explains why it has none."""

import re
import unicodedata
from typing import NamedTuple

from bulkstop.ids import ID_CHARS, LIKELY, POSSIBLE
from bulkstop.model import CampaignType
from bulkstop.text import shorten

INSTANCE_ID = "cid-"
"""Prefix of instance ids, which the response to a stop contains; a stop call does not accept them."""
MOST_CHARS = 4096
"""Longest text that is cleaned, more than an id with a URL and a note."""
USUAL_CHARS = 40
"""Longest id of the vendor; a longer text may be several ids without separators."""

_is_usual = LIKELY.fullmatch
_PLAIN_BLANKS = " \t\r\n\v\f"
_QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00ab\u00bb\uff02\uff07"
_AROUND = _QUOTES + "<>()[]{}*|\u2329\u232a\u3008\u3009\u300c\u300d\u300e\u300f\uff1c\uff1e"
_BEFORE = re.compile(
    r"(?:[-+*>\u2010-\u2015\u2022\u2023\u2043\u00b7\u2219\u25a0-\u25ff\u2605\u2606\u2610\u27a4\uf0b7]\s+"
    r"|[\u2022\u00b7](?=cd-)"  # a bullet without a blank; a hyphen may mean that a line was removed
    r"|\(?[0-9]{1,6}[.)]\s*|[0-9]{1,6}\s+(?=cd-)|#[0-9]{1,6}\s+"
    r"|\[ ?\]\s*|=(?=\"))"  # a box, but not a marked one: that may mean that the row is done
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
"""Words that programs write where there is no id."""
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
    """The ids in a text: one, several if it has nothing else, or the unchanged text; otherwise a fault.

    `is_changed` says that the ids differ from the text.
    """

    ids: tuple[str, ...] = ()
    fault: str | None = None
    is_changed: bool = False


def is_likely(text: str) -> bool:
    """Return whether a text is exactly one likely id of usual length, as nearly all are."""
    return len(text) <= USUAL_CHARS and _is_usual(text) is not None


def clean_id(text: str) -> Cleaned:
    """Return the ids in a cell, or in a line of a list.

    Around likely ids these are removed: blanks and invisible characters, quotes and brackets, a bullet or number
    before, a comma or semicolon after, a note after ` #`, and the URL before an id. From other texts only blanks and
    invisible characters at the ends are removed; whether they are possible ids is checked elsewhere.
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
    """Remove blanks and invisible characters from both ends of a text."""
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
    """Return why a text is not an id, whatever its characters are; None without a reason."""
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
    """Return why a text is not an id, although its characters are possible; None without a reason."""
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
    """Return the likely ids of a text that contains nothing else of meaning; else an empty tuple."""
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
    """Remove what may surround an id, repeatedly."""
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
    """Return the id at the end of a URL, if it contains no other; else the unchanged text."""
    match = _URL.fullmatch(text)
    return match[1] if match and len(set(_WITHIN_URL.findall(text))) == 1 else text
