"""Recognizes lines that are not rows: comments, and lines drawn around a table."""

import re

MAY_BEGIN = frozenset("# \t\ufeff-+=|:(").union(map(chr, range(0x2500, 0x2580)))
"""First characters of such lines; lines with others need no check."""

# `#N/A`, `#NAME?`, in any language: a spreadsheet's error in place of an id, whose row must not be lost.
_ERROR = re.compile(r"#[\u00a1\u00bf]?(?:N/?[ADV]|[^\W\d_]+(?:/0)?[!?])\s*(?:[,;\t|\"]|$)")
_RULE = re.compile(r"(?=.*(?:-{3}|={3}|\|\s*:?-|-:?\s*\||[\u2500\u2501\u2550]))[-+=:|\s\u2500-\u257f]+")
_FOOT = re.compile(r"\([0-9]+ [^\W\d_]+\)")


def is_comment(line: str) -> bool:
    """Return whether a line begins with `#` that is not the error of a spreadsheet."""
    text = line.lstrip(" \t\ufeff")
    return text.startswith("#") and not _ERROR.match(text)


def is_rule(line: str) -> bool:
    """Return whether a line is drawn above, below or between the rows of a table, or counts them at its end."""
    text = line.strip()
    return _RULE.fullmatch(text) is not None or _FOOT.fullmatch(text) is not None
