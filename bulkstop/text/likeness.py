"""The comparison of texts that look alike, and suggestions for mistyped words."""

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterable

LONG_CHARS = 1024
"""From this length on a text is compared with at most MOST_MARKS accents in a row."""
MOST_MARKS = 30
_QUOTES = (
    "`\u00b4\u02b9\u02bb\u02bc\u02bd\u02c8\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\ua78c\uff07"
)
_DOUBLE_QUOTES = "\u00ab\u00bb\u02ba\u05f4\u201c\u201d\u201e\u201f\u2033\u2036\u301d\u301e\u301f\uff02"
_DASHES = (
    "\u02d7\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c"
    "\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d"
)
_PLAIN = {ord(char): "'" for char in _QUOTES} | {ord(char): '"' for char in _DOUBLE_QUOTES}
_PLAIN |= {ord(char): "-" for char in _DASHES} | {0x2800: " "}  # the last is a braille pattern without a dot
# Letters and accents without a visible form, beside the format characters.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_WILDCARDS = frozenset("*?[")
_JOINTS = re.compile(r"[\s_.-]+")
_HIDDEN = frozenset({"Cc", "Cf"})


def fold(text: str) -> str:
    """Return the common form of texts that look alike, or that a lenient service may treat as equal.

    Letter case, the width and the composition of characters, the kinds of quotes, dashes and blanks, and invisible
    characters make no difference. Folding a folded text changes nothing.
    """
    if text.isascii() and text.isprintable() and "`" not in text:
        return " ".join(text.lower().split())
    if len(text) > LONG_CHARS:
        text = _limit_marks(text)  # sorting many accents in a row takes quadratic time
    before = None
    while text != before:
        before, text = text, _fold_once(text)
    return text


def _fold_once(text: str) -> str:
    text = unicodedata.normalize("NFKC", _drop_invisible(text).translate(_PLAIN)).casefold()
    return " ".join(_drop_invisible(unicodedata.normalize("NFKC", text)).translate(_PLAIN).split())


def _drop_invisible(text: str) -> str:
    if not text.isprintable():
        text = "".join(char for char in text if char.isspace() or unicodedata.category(char) not in _HIDDEN)
    return _INVISIBLE.sub("", text)


def _limit_marks(text: str) -> str:
    kept, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def fold_pattern(pattern: str) -> str:
    """Return a shell pattern for folded texts; a character that only folds to a wildcard is not one."""
    return fold("".join(char if char.isascii() else _without_wildcards(char) for char in pattern))


def _without_wildcards(char: str) -> str:
    plain = unicodedata.normalize("NFKC", char)
    return (
        char if _WILDCARDS.isdisjoint(plain) else "".join(f"[{each}]" if each in _WILDCARDS else each for each in plain)
    )


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a function that matches a text against a shell pattern, both as it is and folded."""
    folded = fold_pattern(pattern)
    return lambda text: fnmatch.fnmatchcase(text, pattern) or fnmatch.fnmatchcase(fold(text), folded)


def find_near(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that was probably meant, ignoring letter case and word separators; None without one."""
    from difflib import get_close_matches  # only a mistake needs it

    plain = {_join_words(each): each for each in reversed(list(known))}
    near = get_close_matches(_join_words(word), plain, n=1, cutoff=cutoff)
    return plain[near[0]] if near else None


def suggest_near(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the end of a message about an unknown word: `; did you mean even?`, empty if none is near."""
    near = find_near(word, known, cutoff)
    return "" if near is None else f"; did you mean {near}?"


def _join_words(text: str) -> str:
    return _JOINTS.sub("", fold(text))
