"""The display of texts, times, tables.

One rule decides what is safe to show: `str.isprintable`. It excludes control characters, all line ends, characters that
change the writing direction or have no width, and halves of surrogate pairs.
"""

import codecs
import json
import re
import shlex
import string
import sys

SHOWN_CHARS = 200
"""The length to which a foreign text is cut in a message."""
TEXT_CHARS = 300
"""The length to which a server's text is cut in a result line."""
_AROUND_SECRETS = f"{string.whitespace}\ufeff\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def format_duration(seconds: float) -> str:
    """Return a time for a person: `0.4 s`, `42 s`, `16 min`, `2 h 46 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def format_count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, and a verb that agrees: `1 row`, `1,200 rows`, `2 rows are`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def format_size(size: int) -> str:
    """Return a number of bytes for a person: `298 KB`, `120 MB`, `2.5 GB`."""
    if size < 10**6:
        return f"{-(-size // 1000):,} KB"
    return f"{size / 1e6:,.0f} MB" if size < 10**9 else f"{size / 1e9:,.1f} GB".replace(".0 ", " ")


def write_install(requirement: str) -> str:
    """Return the command that installs a package beside this program, by uv if its environment has no pip."""
    from importlib.util import find_spec  # most runs need no installation

    python, package = shlex.quote(sys.executable), shlex.quote(requirement)
    return f"{python} -m pip install {package}" if find_spec("pip") else f"uv pip install --python {python} {package}"


def format_table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """Return lines with names and values in two columns under a title."""
    width = max((len(name) for name, _ in rows), default=0)
    return [title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)]


def printable(text: str, replacement: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """Return a text safe to show, with each unprintable character replaced."""
    return text if text.isprintable() else "".join(char if char.isprintable() else replacement for char in text)


def shorten(text: str) -> str:
    """Return the start of a foreign text, safe to show."""
    return printable(text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…")


def one_line(value: object) -> str | None:
    """Return a server's text as one short line, safe to show; unprintable characters separate words."""
    if value is None:  # like most
        return None
    if isinstance(value, str) and len(value) <= TEXT_CHARS and value.isprintable():
        return value.strip() or None
    if isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        return None
    return " ".join(filter(None, printable(value[:TEXT_CHARS], "\n").split("\n"))).strip() or None


def escape(text: str) -> str:
    """Escape unprintable characters, line ends and terminal escapes included, as JSON does."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def has_controls(text: str) -> bool:
    """Return whether a text contains a control character or half a surrogate pair, which is never sent."""
    return _CONTROLS.search(text) is not None


def replace_controls(text: str) -> str:
    """Return a text that any file can hold: control characters and halves of surrogate pairs are replaced."""
    return _CONTROLS.sub("\ufffd", text)


def strip_secret(text: str) -> str:
    """Return a secret without the white space and marks that editors, shells and clipboards add."""
    return text.strip(_AROUND_SECRETS)


def decode_secret(data: bytes) -> str:
    """Return the text of a secret's file, stripped; a byte order mark determines its encoding.

    Raises UnicodeDecodeError.
    """
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell writes files
    return strip_secret(data.decode("utf-16" if is_wide else "utf-8"))
