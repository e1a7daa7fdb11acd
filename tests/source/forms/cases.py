"""The table of formats: the expected rows of each file, and of texts that are typed, copied or joined."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.source.forms.campaigns import ACCOUNTS, IDS, STREAMS

HERE = Path(__file__).parent
FILES = HERE / "files"
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|([rt\\]))")
_ID = re.compile(r"\$\{(\w+)(?:([:+])(\d+))?\}")
_VALUES = {**IDS, **ACCOUNTS, **STREAMS}
_CHARS = {"r": "\r", "t": "\t", "\\": "\\"}
_ENDS = {"crlf": "\r\n", "crcrlf": "\r\r\n"}
_UNENDED = "unended"
_ROWS = ("A a1 s1", "B sms a1 s2", "C a2 s1", "D sms a2 s2", "E a1 s1")
_LINES = {
    "@table": (2, 3, 4, 5, 7),  # a name of D goes over two lines
    "@sheet": (2, 3, 4, 5, 6),
    "@lines": (1, 2, 3, 4, 5),
}
_ALL_ROWS = {
    "@ids": [f"{line} {campaign}" for line, campaign in enumerate(IDS, start=1)],
    **{name: [f"{line} {row}" for line, row in zip(lines, _ROWS, strict=True)] for name, lines in _LINES.items()},
}
"""Short for all rows of the usual table, by line."""


@dataclass(frozen=True, slots=True)
class Case:
    """A file by name: its expected rows, its options, and its bytes if they are in the table."""

    name: str
    flags: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    """Each as `rows.format_rows` gives it, of a reason only some words; or one that says why the file is refused."""
    lines: list[str] = field(default_factory=list)

    def content(self) -> bytes:
        """Return the bytes of the file."""
        path = FILES / self.name
        return path.read_bytes() if path.exists() else self._typed()

    def _typed(self) -> bytes:
        ends = [_ENDS[flag] for flag in self.flags if flag in _ENDS]
        encodings = [flag for flag in self.flags if flag not in _ENDS and flag != _UNENDED]
        end = ends[0] if ends else "\n"
        text = end.join(map(_unescape, self.lines)) + ("" if _UNENDED in self.flags or not self.lines else end)
        return text.encode(encodings[0] if encodings else "utf-8", "surrogateescape" if not encodings else "strict")


def read_table(path: Path = HERE / "table.txt") -> Mapping[str, Case]:
    """Return the cases of the table by name."""
    cases: dict[str, Case] = {}
    for line in path.read_text("utf-8").split("\n"):
        if line.startswith("== "):
            name, *words = line[3:].split()
            options = dict(word.split("=", 1) for word in words if "=" in word)
            case = cases[_key(name, options)] = Case(name, [word for word in words if "=" not in word], options)
        elif line.startswith("> "):
            case.rows.extend(_ALL_ROWS.get(line[2:], [line[2:].strip()]))
        elif line.startswith("|"):
            case.lines.append(line[1:])
    return cases


def _key(name: str, options: Mapping[str, str]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


def _unescape(text: str) -> str:
    return _ID.sub(_value, _ESCAPE.sub(_char, text))


def _value(match: re.Match[str]) -> str:
    value = _VALUES[match[1]]
    if match[2] is None:
        return value
    return value[: int(match[3])] if match[2] == ":" else value[int(match[3]) :]


def _char(match: re.Match[str]) -> str:
    if match[1]:
        number = int(match[1], 16)
        return chr(number if number < 0x80 else 0xDC00 + number)  # a byte that is no UTF-8 by itself
    return chr(int(match[2], 16)) if match[2] else _CHARS[match[3]]
