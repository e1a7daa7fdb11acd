"""How texts, times and tables are shown; how texts are kept in files, and compared.

There is one rule for what is safe to show: what `str.isprintable` says. It knows control characters, line ends of every
sort, what turns the direction of writing, what has no width, and halves of surrogate pairs.
"""

import fnmatch
import json
import re
import unicodedata
from collections.abc import Callable

SHOWN_CHARS = 200
"""How much of a text that others wrote is repeated in a message."""
TEXT_CHARS = 300
"""How much of a server's text is kept in a result line."""
LONG_CHARS = 1024
"""Texts from this length on may not have more than MOST_MARKS accents in a row when they are compared."""
MOST_MARKS = 30

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPES = re.compile(r"(?:\\u[0-9a-f]{4})+")
_LIKE_AN_ESCAPE = re.compile(r"\\(?=u[0-9a-f]{4})")
# What a spreadsheet runs at the beginning of a cell (https://owasp.org/www-community/attacks/CSV_Injection), and so
# behind a delimiter as well: which one that is, and whether quotes count, depends on the machine that opens the file.
# A tab within a cell is escaped.
_RUNS = r"[\s\"]*'*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"
_BEGINS_TO_RUN = re.compile(rf"'|{_RUNS}")
_MARKED = re.compile(rf"'(?='|{_RUNS})")
_RUNS_INSIDE = re.compile(r"([,;|][\s\"]*'*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_MARKED_INSIDE = re.compile(r"([,;|][\s\"]*'*)'(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")

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
# Letters and accents that show nothing, beside the format characters.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_WILDCARDS = frozenset("*?[")


def format_duration(seconds: float) -> str:
    """Write a time as a person says it: `0.4 s`, `42 s`, `16 min`, `2 h 46 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def format_size(size: int) -> str:
    """Write a number of bytes as a person says it: `298 KB`, `120 MB`, `2.5 GB`."""
    if size < 10**6:
        return f"{-(-size // 1000):,} KB"
    return f"{size / 1e6:,.0f} MB" if size < 10**9 else f"{size / 1e9:,.1f} GB".replace(".0 ", " ")


def format_table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """Set names and values in two columns under a title."""
    width = max((len(name) for name, _ in rows), default=0)
    return [title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)]


def printable(text: str, replacement: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """Return a text safe to show: each character that does not print is replaced."""
    return text if text.isprintable() else "".join(char if char.isprintable() else replacement for char in text)


def shorten(text: str) -> str:
    """Return the beginning of a text that others wrote, safe to show."""
    return printable(text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…")


def one_line(value: object) -> str | None:
    """Return a server's text as one short line, safe to show; what does not print separates words."""
    if value is None:  # as most are
        return None
    if isinstance(value, str) and len(value) <= TEXT_CHARS and value.isprintable():
        return value.strip() or None
    if isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        return None
    return " ".join(filter(None, printable(value[:TEXT_CHARS], "\n").split("\n"))).strip() or None


def escape(text: str) -> str:
    """Escape what does not print as JSON does, line ends and terminal escapes among it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def is_kept(char: str) -> bool:
    """Tell whether a character stands in a file as it is: it prints, or is a blank of any width."""
    return char.isprintable() or unicodedata.category(char) == "Zs"


def escape_json_line(line: bytes) -> bytes:
    """Return a line of JSON that has the same values and nothing in it that a terminal must not be sent."""
    if line.isascii() and b"\x7f" not in line:  # as nearly all are
        return line
    return _escape_unkept(line[:-1].decode()).encode() + b"\n"


def escape_cell(text: str) -> str:
    r"""Escape what does not print as JSON does (`\u202e`), so that `unescape_cell` undoes it."""
    if "\\u" in text:
        text = _LIKE_AN_ESCAPE.sub(r"\\u005c", text)
    return text if text.isprintable() else _escape_unkept(text)


def unescape_cell(cell: str) -> str:
    """Return the text that was escaped; an escape that nobody here writes stands for itself."""
    return _ESCAPES.sub(lambda match: _unescape(match[0]), cell) if "\\u" in cell else cell


def to_cell(text: str) -> str:
    """Return a text as a cell of a CSV file that is safe in a terminal and in a spreadsheet; `from_cell` undoes it.

    Where a spreadsheet could find a formula, at the beginning and behind a delimiter, a `'` stands before it.
    """
    text = escape_cell(text)
    if ";" in text or "," in text or "|" in text:
        text = _RUNS_INSIDE.sub(r"\1'", text)
    return f"'{text}" if runs_in_spreadsheet(text) else text


def runs_in_spreadsheet(text: str) -> bool:
    """Tell whether a spreadsheet could take a cell for a formula, or for one that is marked as text."""
    return not text[:1].isalnum() and _BEGINS_TO_RUN.match(text) is not None


def from_cell(cell: str) -> str:
    """Return the text of which `to_cell` made a cell; a cell that others made is the text that it shows."""
    if "'" in cell:
        cell = _MARKED_INSIDE.sub(r"\1", cell[1:] if _MARKED.match(cell) else cell)
    return unescape_cell(cell)


def _unescape(escapes: str) -> str:
    text = bytes.fromhex(escapes.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
    return "".join(_as_escape(char) if is_kept(char) and char != "\\" else char for char in text)


def _escape_unkept(text: str) -> str:
    return "".join(char if is_kept(char) else _as_escape(char) for char in text)


def _as_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def has_controls(text: str) -> bool:
    """Tell whether a text holds a control character or half a surrogate pair, which is never sent."""
    return _CONTROLS.search(text) is not None


def replace_controls(text: str) -> str:
    """Return a text that any file can hold: without control characters and halves of surrogate pairs."""
    return _CONTROLS.sub("\ufffd", text)


def fold(text: str) -> str:
    """Return what texts that look alike have in common, or that a lenient service may take for the same.

    Letter case, the width and the composition of characters, the sorts of quotes, dashes and blanks, and what does not
    show make no difference. Folded again, a text stays as it is.
    """
    if text.isascii() and text.isprintable() and "`" not in text:
        return " ".join(text.lower().split())
    if len(text) > LONG_CHARS:
        text = _limit_marks(text)  # sorting a long row of accents takes quadratic time
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


_HIDDEN = frozenset({"Cc", "Cf"})


def _limit_marks(text: str) -> str:
    kept, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def fold_pattern(pattern: str) -> str:
    """Return a pattern of a shell for folded texts; what only folds to a wildcard is none."""
    return fold("".join(char if char.isascii() else _without_wildcards(char) for char in pattern))


def _without_wildcards(char: str) -> str:
    plain = unicodedata.normalize("NFKC", char)
    return (
        char if _WILDCARDS.isdisjoint(plain) else "".join(f"[{each}]" if each in _WILDCARDS else each for each in plain)
    )


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a text matches a pattern of a shell, as it is or folded."""
    folded = fold_pattern(pattern)
    return lambda text: fnmatch.fnmatchcase(text, pattern) or fnmatch.fnmatchcase(fold(text), folded)
