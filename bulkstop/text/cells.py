"""The escaping of texts in files that people open in terminals and spreadsheets."""

import re
import unicodedata
from collections.abc import Callable

CACHED_FORMS = 4096
"""More than the letters of all scripts in one list; the forms of all characters would take 150 MB."""

_ESCAPES = re.compile(r"(?:\\u[0-9a-f]{4})+")
_LIKE_AN_ESCAPE = re.compile(r"\\(?=u[0-9a-f]{4})")
# What a spreadsheet runs at the start of a cell (https://owasp.org/www-community/attacks/CSV_Injection), and therefore
# after a delimiter too: the delimiter, and whether quotes count, depend on the machine that opens the file. A tab
# within a cell is escaped.
_RUNS = r"[\s\"]*'*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"
_BEGINS_TO_RUN = re.compile(rf"'|{_RUNS}")
_MARKED = re.compile(rf"'(?='|{_RUNS})")
_RUNS_INSIDE = re.compile(r"([,;|][\s\"]*'*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_MARKED_INSIDE = re.compile(r"([,;|][\s\"]*'*)'(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


def is_kept(char: str) -> bool:
    """Return whether a file keeps a character as it is: it is printable, or a blank of any width."""
    return char.isprintable() or unicodedata.category(char) == "Zs"


def escape_json_line(line: bytes) -> bytes:
    """Return a line of JSON with the same values, without anything unsafe for a terminal."""
    if line.isascii() and b"\x7f" not in line:  # like nearly all lines
        return line
    return _escape_unkept(line[:-1].decode()).encode() + b"\n"


def escape_cell(text: str) -> str:
    r"""Escape unprintable characters as JSON does (`\u202e`), so that `unescape_cell` can undo it."""
    if "\\u" in text:
        text = _LIKE_AN_ESCAPE.sub(r"\\u005c", text)
    return text if text.isprintable() else _escape_unkept(text)


def unescape_cell(cell: str) -> str:
    """Return the text that was escaped; an escape that `escape_cell` never writes stays as it is."""
    return _ESCAPES.sub(lambda match: _unescape(match[0]), cell) if "\\u" in cell else cell


def to_cell(text: str) -> str:
    """Return a text as a CSV cell that is safe in a terminal and in a spreadsheet; `from_cell` undoes it.

    A `'` precedes each place where a spreadsheet could find a formula: the start, and after a delimiter.
    """
    text = escape_cell(text)
    if ";" in text or "," in text or "|" in text:
        text = _RUNS_INSIDE.sub(r"\1'", text)
    return f"'{text}" if runs_in_spreadsheet(text) else text


def runs_in_spreadsheet(text: str) -> bool:
    """Return whether a spreadsheet could take a cell for a formula, or for one that is marked as text."""
    return not text[:1].isalnum() and _BEGINS_TO_RUN.match(text) is not None


def from_cell(cell: str) -> str:
    """Return the text that `to_cell` made into a cell; a cell of other origin is the text that it shows."""
    if "'" in cell:
        cell = _MARKED_INSIDE.sub(r"\1", cell[1:] if _MARKED.match(cell) else cell)
    return unescape_cell(cell)


class _Forms(dict[int, str]):
    """The form that a file has for each character, for `str.translate`; at most `CACHED_FORMS` are kept."""

    def __init__(self, form: Callable[[str], str]) -> None:
        super().__init__()
        self._form = form

    def __missing__(self, code: int) -> str:
        form = self._form(chr(code))
        if len(self) < CACHED_FORMS:
            self[code] = form
        return form


def _as_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


_ESCAPED = _Forms(lambda char: char if is_kept(char) else _as_escape(char))
_UNESCAPED = _Forms(lambda char: _as_escape(char) if is_kept(char) and char != "\\" else char)


def _escape_unkept(text: str) -> str:
    return text.translate(_ESCAPED)


def _unescape(escapes: str) -> str:
    return bytes.fromhex(escapes.replace("\\u", "")).decode("utf-16-be", "surrogatepass").translate(_UNESCAPED)
