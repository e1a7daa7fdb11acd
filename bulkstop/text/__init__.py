"""How texts, times, tables are shown.

There is one rule for what is safe to show: what `str.isprintable` says. It knows control characters, line ends of every
sort, what turns the direction of writing, what has no width, and halves of surrogate pairs.
"""

import codecs
import json
import re
import shlex
import string
import sys

SHOWN_CHARS = 200
"""How much of a text that others wrote is repeated in a message."""
TEXT_CHARS = 300
"""How much of a server's text is kept in a result line."""
_AROUND_SECRETS = f"{string.whitespace}\ufeff\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def format_duration(seconds: float) -> str:
    """Write a time as a person says it: `0.4 s`, `42 s`, `16 min`, `2 h 46 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def format_count(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun, or with all that agrees with it: `1 row`, `1,200 rows`, `2 rows are`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def format_size(size: int) -> str:
    """Write a number of bytes as a person says it: `298 KB`, `120 MB`, `2.5 GB`."""
    if size < 10**6:
        return f"{-(-size // 1000):,} KB"
    return f"{size / 1e6:,.0f} MB" if size < 10**9 else f"{size / 1e9:,.1f} GB".replace(".0 ", " ")


def write_install(requirement: str) -> str:
    """Write the command that installs a package beside this program, by uv where its environment has no pip."""
    from importlib.util import find_spec  # most runs lack nothing

    python, package = shlex.quote(sys.executable), shlex.quote(requirement)
    return f"{python} -m pip install {package}" if find_spec("pip") else f"uv pip install --python {python} {package}"


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


def has_controls(text: str) -> bool:
    """Tell whether a text holds a control character or half a surrogate pair, which is never sent."""
    return _CONTROLS.search(text) is not None


def replace_controls(text: str) -> str:
    """Return a text that any file can hold: without control characters and halves of surrogate pairs."""
    return _CONTROLS.sub("\ufffd", text)


def strip_secret(text: str) -> str:
    """Return a secret without what editors, shells and clipboards put around it."""
    return text.strip(_AROUND_SECRETS)


def decode_secret(data: bytes) -> str:
    """Return the text of a secret's file, stripped; what a byte order mark says of its encoding holds.

    Raises UnicodeDecodeError.
    """
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell writes files
    return strip_secret(data.decode("utf-16" if is_wide else "utf-8"))
