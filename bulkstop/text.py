"""How texts, times, tables are shown."""

import json
import re

SHOWN_CHARS = 200
"""How much of an unusable id is repeated in its result line."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
TEXT_CHARS = 300
"""How much of a server's text is kept in a result line."""

# Control characters, line ends of other sorts, halves of pairs, and what turns the direction of writing.
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def format_duration(seconds: float) -> str:
    """Write a time as a person says it: `0.4 s`, `42 s`, `16 min`, `2 h 46 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def format_table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """Set names and values in two columns under a title."""
    width = max((len(name) for name, _ in rows), default=0)
    return [title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)]


def printable(text: str, replacement: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """Make a text safe for a terminal: an id may hold anything, escapes too."""
    return text if text.isprintable() else "".join(char if char.isprintable() else replacement for char in text)


def has_controls(text: str) -> bool:
    """Tell whether a text holds a control character or half a surrogate pair."""
    return _CONTROLS.search(text) is not None


def replace_controls(text: str) -> str:
    """Return the text with each control character and half surrogate pair replaced, safe to show and to encode."""
    return _CONTROLS.sub("\ufffd", text)


def clip_controls(text: str) -> str:
    """Return the first SHOWN_CHARS characters of the text, printable."""
    return replace_controls(text[:SHOWN_CHARS])


def shorten(text: str) -> str:
    """Return the beginning of a text that others wrote, safe in one line on a terminal."""
    return printable(text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…")


def one_line(value: object) -> str | None:
    """Keep a server's text as one short line without control characters: it goes to files and terminals."""
    if value is None:  # as most are
        return None
    if isinstance(value, str) and len(value) <= TEXT_CHARS and value.isprintable():
        return value.strip() or None
    if isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        return None
    return _NOT_IN_A_LINE.sub(" ", value[:TEXT_CHARS]).strip() or None


def escape(text: str) -> str:
    """Escape what does not print as JSON does, line ends and terminal escapes among it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
