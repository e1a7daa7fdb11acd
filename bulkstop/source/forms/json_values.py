"""Finds the rows of a JSON text, whatever surrounds them, each with the line on which it begins."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import orjson

from bulkstop.errors import InputError
from bulkstop.model import CampaignType
from bulkstop.source.forms.table import has_id, names_ids
from bulkstop.source.line_reader import LINE_CHARS, LineReader, is_blank, read_pieces, text_fault
from bulkstop.source.rows import RowParser, field_of
from bulkstop.source.understood import Finding
from bulkstop.text.faults import describe_json

_WRAPPERS = ("data", "results", "result", "items", "campaigns", "records", "rows", "list", "content", "value")
ANSWER_KEYS = frozenset({*_WRAPPERS, *map(str.capitalize, _WRAPPERS), "ids", "campaign_ids", "campaignIds"})
"""The keys of a response that contain its rows, such as `data.results` in that of the list API."""

_MORE = "hasMore"
"""The key by which a response of the list API says that there are more pages."""
_BLOCK_CHARS = 2**16
_UNFINISHED_CHARS = 16
r"""Distance from the end of a block within which an error may come from a cut value: `-Infinity`, `\ud83d\ude00`."""
_ANSWER_LEVELS = 4
_BREAKS_OFF = "it breaks off"
_TOO_LONG = f"the row is longer than {LINE_CHARS:,} characters"
_TOO_DEEP = "nested too deeply to be carried into a result line"
# orjson reads 1024 levels but writes 254; a carried value must fit into a result line.
_LEVELS_SURELY_WRITABLE = 200
_SURELY_WHOLE_DIGITS = 19
_TYPES = frozenset(CampaignType)
_OF_ALL_ROWS = frozenset(("campaign_type", "account_id", "stream_id", "iid"))
"""Values of a row; if one of these is beside the rows, a default would silently replace it."""
_RECORD = "is a list with more than an id in it, and nothing says what its items mean; make it an object"

# Rows may be separated by commas, as in a list without its brackets, byte order marks, and record separators.
_AROUND = " \t\r\n,\ufeff\x1e"
_BETWEEN = re.compile(rf"[{_AROUND}]*+")
_BLANKS = re.compile(r"[ \t\r\n]*+")
_CLOSING = re.compile(r"[,\s]*+[\]}][\]},\s]*+")
_OPENERS = ("{", "[")
_OPENING = re.compile(r"[{\s]+")
_COMMENT = re.compile(r"#|//")
_OUTSIDE = re.compile(r'[^"\[\]{}]*+')
_INSIDE = re.compile(r'(?:[^"\\\n]++|\\.)*+')
# The members are not possessive as a whole: Python before 3.11.5 then matches none of them (its issue 106052).
_SCALAR_MEMBERS = r'\{\s*+(?:"[^"\\]*+"\s*+:\s*+(?:"[^"\\]*+"|[^"\[\]{},]*+)\s*+,\s*+)*'
_ANSWER = re.compile(rf'{_SCALAR_MEMBERS}"(?:{"|".join(sorted(ANSWER_KEYS))})"\s*+:\s*+[\[{{]')
_RECORD_CHARS = 4096
_RECORD_BEGINS = re.compile(r"\[\s*+(?![\[{\]])")
_KEY = re.compile(r'"([^"\\]*)"\s*:')
# Only the end of a value is needed, so that numbers are not converted, however long they are.
_DECODER = json.JSONDecoder(parse_int=len, parse_float=len)


@dataclass(frozen=True, slots=True)
class Fault:
    """A text in the place of a row, and why it is not one."""

    reason: str
    text: str


Values = Iterator[tuple[int, object]]
"""Pairs of a line and the value that begins on it; a Fault replaces an unreadable one."""


def read_json_values(reader: LineReader, parser: RowParser) -> Values:
    """Yield each row of a JSON text with the line on which it begins, or a Fault in its place.

    Rows are the values of the text: one per line, over several lines, or in sequence, with or without commas. A list is
    replaced by its items, a response by those of its lists; `parser` knows the key of the id, which a response lacks.
    An unreadable line among others is a Fault. Raises InputError, with line and column, if the rows cannot be told
    apart.
    """
    is_lines = False
    for piece in read_pieces(reader):
        value = _read_plain(piece, parser)
        if value is None:
            yield from _Reading(_Text(reader, piece), parser, is_lines=is_lines).values()
        else:
            is_lines = True
            yield reader.line, value


def _read_plain(piece: str, parser: RowParser) -> object | None:
    """Return the value of a line that is a single row; None otherwise, also for null, so that `_Reading` handles it."""
    if len(piece) > LINE_CHARS or piece.count("[") + piece.count("{") >= _LEVELS_SURELY_WRITABLE:
        return None
    try:
        value: object = orjson.loads(piece)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, dict):
        return value if ANSWER_KEYS.isdisjoint(value) or not is_answer(value, parser) else None
    return None if isinstance(value, list) else value


def is_answer(value: object, parser: RowParser, levels: int = _ANSWER_LEVELS) -> bool:
    """Return whether a value is a response: an object without an id that contains a list or a row."""
    if not isinstance(value, dict) or ANSWER_KEYS.isdisjoint(value) or names_ids([*value], parser):
        return False
    return any(_has_rows(value[key], parser, levels - 1) for key in ANSWER_KEYS & value.keys())


def _has_rows(value: object, parser: RowParser, levels: int) -> bool:
    if isinstance(value, dict):
        return names_ids([*value], parser) or (levels > 0 and is_answer(value, parser, levels))
    return _is_list_of_rows(value)


def _is_list_of_rows(value: object) -> bool:
    return isinstance(value, list) and (not value or isinstance(value[0], dict | str))


def _load(source: str, line: int, column: int) -> object:
    """Return the value of a text, or a Fault with the reason why it cannot be used."""
    if fault := text_fault(source):
        return Fault(fault, source)
    try:
        value: object = orjson.loads(source)
    except orjson.JSONDecodeError as error:
        value = _load_leniently(source)
        if value is None:
            return Fault(f"not JSON: {describe_json(error)} ({_describe_place(error, line, column)})", source)
    return value if _is_writable(source, value) else Fault(_TOO_DEEP, source)


def _load_leniently(source: str) -> object | None:
    """Return a value with common extensions of JSON, in a form that can be written again; else None.

    The extensions are NaN and Infinity, numbers out of range, and texts with a cut character.
    """
    try:
        value: object = json.loads(source, parse_constant=str, parse_int=_parse_whole)
    except (ValueError, RecursionError):
        return None
    return _mend_texts(value)


def _parse_whole(text: str) -> int | float:
    return int(text) if len(text) < _SURELY_WHOLE_DIGITS else float(text)


def _mend_texts(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_mend_texts(each) for each in value]
    if isinstance(value, dict):
        return {str(_mend_texts(key)): _mend_texts(each) for key, each in value.items()}
    return value


def _is_record(value: object) -> bool:
    """Return whether a list is a row without names: it has an id, and values that are none."""
    if not isinstance(value, list) or len(value) < 2 or any(isinstance(each, dict | list) for each in value):
        return False
    ids = sum(map(has_id, value))
    return 0 < ids < len(value) and (ids == 1 or not _TYPES.isdisjoint(map(str, value)))


def _describe_place(error: json.JSONDecodeError, line: int, column: int) -> str:
    if error.lineno == 1:
        return f"column {column + error.colno - 1}"
    return f"line {line + error.lineno - 1}, column {error.colno}"


def _is_writable(source: str, value: object) -> bool:
    if source.count("[") + source.count("{") < _LEVELS_SURELY_WRITABLE:
        return True
    try:
        orjson.dumps({"row": {"": value}})
    except orjson.JSONEncodeError:
        return False
    return True


class _TooLongError(Exception):
    """The value is longer, or nested deeper, than allowed."""


class _Text:
    """A text of which one block is in memory, with the current place in it."""

    def __init__(self, reader: LineReader, first: str) -> None:
        self.text = first
        self.at = 0
        self._reader = reader
        self._begins = [0]
        self._lines = [reader.line]

    def fill(self) -> bool:
        """Read another block and drop the text before `at`; return whether there was one. Indices change."""
        size = rest = len(self.text) - self.at
        enough = size + max(_BLOCK_CHARS, size)  # doubled each time, because an incomplete value is parsed again
        pieces, begins, lines = [], list[int](), list[int]()
        last = self._lines[-1]
        for piece in self._reader:
            if self._reader.line != last:
                last = self._reader.line
                begins.append(size)
                lines.append(last)
            pieces.append(piece)
            size += len(piece)
            if size >= enough:
                break
            if is_blank(piece):
                self._reader.skip_blank_lines()
        if size == rest:
            return False
        passed = bisect_right(self._begins, self.at) - 1
        self._begins = [begin - self.at for begin in self._begins[passed:]] + begins
        self._lines = self._lines[passed:] + lines
        self.text, self.at = "".join([self.text[self.at :], *pieces]), 0
        return True

    def line(self, at: int | None = None) -> int:
        """Return the line number of a place."""
        return self._lines[bisect_right(self._begins, self.at if at is None else at) - 1]

    def column(self, at: int | None = None) -> int:
        """Return the column of a place, counted from 1."""
        place = self.at if at is None else at
        return place - self._begins[bisect_right(self._begins, place) - 1] + 1

    def refuse(self, why: str, at: int | None = None) -> NoReturn:
        """Raise an InputError with the place."""
        where = f"{self._reader.label}: line {self.line(at)}, column {self.column(at)}"
        raise InputError(f"{where}: not JSON: {why}")

    def refuse_error(self, error: json.JSONDecodeError) -> NoReturn:
        """Raise an InputError for an error of `measure`."""
        is_at_end = not self.text[error.pos :].strip()
        self.refuse(
            _BREAKS_OFF if is_at_end else describe_json(error),
            len(self.text.rstrip()) if is_at_end else error.pos,
        )

    def peek(self, blanks: re.Pattern[str] = _BLANKS) -> str:
        """Skip blanks; return the next character, or an empty text at the end."""
        while True:
            self.at = _end_of(blanks, self.text, self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.fill():
                return ""

    def line_end(self) -> int:
        """Return the index after the line end; 0 for a line that is too long."""
        while True:
            end = self.text.find("\n", self.at) + 1
            if end or len(self.text) - self.at > LINE_CHARS:
                return end if end - self.at <= LINE_CHARS else 0
            if not self.fill():
                return len(self.text)

    def skip_line(self) -> None:
        """Skip the rest of the line, however long it is."""
        while True:
            end = self.text.find("\n", self.at) + 1
            self.at = end or len(self.text)
            if end or not self.fill():
                return

    def measure(self) -> int:
        """Return the index after the value that begins here.

        Raises JSONDecodeError for invalid JSON, and _TooLongError.
        """
        while True:
            try:
                _, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self._may_go_on(error):
                    raise
                if len(self.text) - self.at > LINE_CHARS:
                    raise _TooLongError(_TOO_LONG) from None
                if not self.fill():
                    raise
            except RecursionError:
                raise _TooLongError(_TOO_DEEP) from None
            else:
                if end - self.at > LINE_CHARS:
                    raise _TooLongError(_TOO_LONG)
                if end < len(self.text) or self.text[end - 1] in '"]}' or not self.fill():
                    return end

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Return whether an error may only come from a block that ends within a value."""
        is_near = len(self.text) - error.pos < _UNFINISHED_CHARS or not self.text[error.pos :].strip()
        return is_near or error.msg.startswith("Unterminated string")

    def take(self) -> str:
        """Return the text of the value that begins here, and skip it; raises the errors of `measure`."""
        end = self.measure()
        source = self.text[self.at : end]
        self.at = end
        return source

    def skip(self, depth: int = 0) -> None:
        """Skip the value that begins here, by counting brackets; `depth` are open already."""
        while True:
            self.at = _end_of(_OUTSIDE, self.text, self.at)
            if self.at == len(self.text):
                if not self.fill():
                    self.refuse(_BREAKS_OFF)
                continue
            char = self.text[self.at]
            self.at += 1
            if char == '"':
                self._skip_string()
            else:
                depth += 1 if char in "[{" else -1
            if depth <= 0:
                return

    def _skip_string(self) -> None:
        while True:
            self.at = _end_of(_INSIDE, self.text, self.at)
            if self.text.startswith('"', self.at):
                self.at += 1
                return
            if len(self.text) - self.at > 1 or not self.fill():
                self.refuse("a text in quotes is not closed")


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


class _Reading:
    """Yields the rows of a text; `is_lines` says that the last row was a line, so that the next line may be broken.

    `_ended` is the line on which a value ended that began earlier, or shared the line; `_unfinished` is the line on
    which the last response says that there are more pages.
    """

    def __init__(self, text: _Text, parser: RowParser, *, is_lines: bool) -> None:
        self._text = text
        self._parser = parser
        self._is_lines = is_lines
        self._ended = 0
        self._unfinished = 0

    def values(self) -> Values:
        """Yield the remaining rows."""
        while self._text.peek(_BETWEEN):
            try:
                yield from self._line()
            except json.JSONDecodeError as error:
                self._text.refuse_error(error)
        if self._unfinished:
            self._parser.understood.note(Finding.MORE_PAGES, self._unfinished)

    def _line(self) -> Values:
        """Yield the rows that begin on a line."""
        text = self._text
        line, end = text.line(), text.line_end()
        if not end:
            yield from self._long_line()
            return
        content = text.text[text.at : end]
        value = _read_plain(content.strip(_AROUND), self._parser)
        if value is not None:
            text.at = end
            self._is_lines = True
            yield line, value
        elif _COMMENT.match(content):
            self._parser.understood.note(Finding.COMMENTS, line)
            text.at = end
        elif _CLOSING.fullmatch(content):
            text.refuse("a bracket is closed that is not open: is the beginning missing?")
        else:
            yield from self._values_of_line(content)

    def _values_of_line(self, content: str) -> Values:
        count, stop = _count_values(content)
        if content[stop : stop + 1] not in ("", "[", "{"):
            yield self._text.line(), self._fault_of_line(content)
            self._text.skip_line()
            return
        for _ in range(count):
            self._text.peek(_BETWEEN)
            yield from self._value()
        if stop < len(content):
            self._text.peek(_BETWEEN)
            yield from self._open_value()

    def _long_line(self) -> Values:
        """Yield the rows that begin on a line that is too long to be parsed as a whole."""
        text = self._text
        line = text.line()
        if text.text[text.at] not in _OPENERS:
            yield line, Fault(_TOO_LONG, text.text[text.at : text.at + LINE_CHARS])
            text.skip_line()
            return
        while text.peek(_BETWEEN) in _OPENERS and text.line() == line:
            yield from self._open_value()

    def _open_value(self) -> Values:
        """Yield the rows of a list or object that may span several lines, or be broken."""
        text = self._text
        if text.text[text.at] == "{":
            try:
                text.measure()
            except json.JSONDecodeError as error:
                yield from self._broken_object(error)
                return
            except _TooLongError as error:
                yield from self._long_object(str(error))
                return
        yield from self._value()

    def _value(self) -> Values:
        """Yield the rows of a value outside a list."""
        line = self._text.line()
        if self._text.text[self._text.at] == "[":
            yield from self._list()
        else:
            yield from self._item()
        self._ended = self._text.line()
        self._is_lines = self._ended == line

    def _list(self) -> Values:
        """Yield the rows of a list, or a Fault for one that is a row without names."""
        text = self._text
        line, column = text.line(), text.column()
        if (end := self._end_of_short()) and _is_record(_load(text.text[text.at : end], line, column)):
            yield line, Fault(_RECORD, text.text[text.at : end])
            text.at = end
            return
        text.at += 1
        yield from self._items()

    def _end_of_short(self) -> int:
        """Return the end of a list that may be a row; 0 for others."""
        try:
            end = self._text.measure() if _RECORD_BEGINS.match(self._text.text, self._text.at) else 0
        except (json.JSONDecodeError, _TooLongError):
            return 0
        return end if end - self._text.at <= _RECORD_CHARS else 0

    def _items(self) -> Values:
        """Yield the rows of a list after its opening bracket."""
        text = self._text
        while (char := text.peek()) != "]":
            if not char:
                text.refuse(_BREAKS_OFF)
            yield from self._item()
            if text.peek() == ",":
                text.at += 1
            elif text.peek() != "]":
                text.refuse("a comma is missing" if text.peek() else _BREAKS_OFF)
        text.at += 1

    def _item(self) -> Values:
        text = self._text
        line, column = text.line(), text.column()
        try:
            end = text.measure()
        except _TooLongError as error:
            yield from self._long_object(str(error))
            return
        value = _load(text.text[text.at : end], line, column)
        if is_answer(value, self._parser):
            yield from self._answer(_ANSWER_LEVELS)
        else:
            text.at = end
            yield line, value

    def _answer(self, levels: int) -> Values:
        """Yield the rows of a response: those of its lists, and of the objects within it."""
        for key in self._members():
            if key in ANSWER_KEYS:
                yield from self._rows_within(levels)
                continue
            if key == _MORE:
                self._unfinished = self._text.line() if self._text.peek() == "t" else 0
            if field_of(key) in _OF_ALL_ROWS and self._text.peek() == '"':
                self._refuse_for_all(key)
            else:
                self._pass()

    def _refuse_for_all(self, key: str) -> None:
        """Skip a text beside the rows of a response; raise InputError if it is a value that belongs in each row."""
        at = self._text.line(), self._text.column()
        value = json.loads(self._text.take())
        if value and (field_of(key) != "campaign_type" or value.lower() in _TYPES):
            where = f"{self._parser.source}: line {at[0]}, column {at[1]}"
            raise InputError(f"{where}: {key!r} is beside the rows; put it into each of them, or remove it")

    def _members(self) -> Iterator[str]:
        """Yield the key of each member of an object, positioned at its value, which the caller skips."""
        text = self._text
        text.at += 1
        while (char := text.peek()) != "}":
            if char != '"':
                text.refuse("a name in quotes is missing" if char else _BREAKS_OFF)
            key = str(orjson.loads(text.take()))
            if text.peek() != ":":
                text.refuse("a colon is missing")
            text.at += 1
            text.peek()
            yield key
            if text.peek() == ",":
                text.at += 1
            elif text.peek() != "}":
                text.refuse("a comma is missing" if text.peek() else _BREAKS_OFF)
        text.at += 1

    def _rows_within(self, levels: int) -> Values:
        """Yield the rows of a value in which a response may have them."""
        text = self._text
        char = text.peek()
        if char == "[":
            text.at += 1
            if text.peek() in ("{", '"', "]"):
                yield from self._items()
            else:
                text.skip(1)
        elif char == "{":
            yield from self._object_within(levels - 1)
        else:
            self._pass()

    def _object_within(self, levels: int) -> Values:
        text = self._text
        line, column = text.line(), text.column()
        try:
            end = text.measure()
        except _TooLongError:
            yield from self._answer(levels) if levels else ()
            return
        value = _load(text.text[text.at : end], line, column)
        if levels and is_answer(value, self._parser, levels):
            yield from self._answer(levels)
            return
        text.at = end
        if isinstance(value, dict) and names_ids([*value], self._parser):
            yield line, value

    def _pass(self) -> None:
        try:
            self._text.take()
        except _TooLongError:
            self._text.skip()

    def _long_object(self, reason: str) -> Values:
        """Yield the rows of a value that is too long for a row, and may be a response."""
        text = self._text
        if self._begins_answer():
            yield from self._answer(_ANSWER_LEVELS)
            return
        yield text.line(), Fault(reason, text.text[text.at : text.at + LINE_CHARS])
        text.skip()

    def _begins_answer(self) -> bool:
        """Return whether an object, of which the end is unknown, begins as a response."""
        match = _ANSWER.match(self._text.text, self._text.at)
        return match is not None and not names_ids(_KEY.findall(match[0]), self._parser)

    def _broken_object(self, error: json.JSONDecodeError) -> Values:
        """Yield a Fault for a broken line, if the lines after it are valid by themselves."""
        text = self._text
        if self._begins_answer():
            yield from self._answer(_ANSWER_LEVELS)
            return
        end = text.text.find("\n", text.at) + 1 or len(text.text)
        first = text.text[text.at : end]
        if error.pos >= end or _OPENING.fullmatch(first):
            last = text.text.find("\n", error.pos) + 1 or len(text.text)
            following = text.text[end:last].splitlines()
            if _OPENING.fullmatch(first) or not (self._is_lines or all(self._is_value(line) for line in following)):
                text.refuse_error(error)
        yield text.line(), self._fault_of_line(first)
        text.skip_line()

    def _is_value(self, line: str) -> bool:
        """Return whether a line contains a single value, or nothing."""
        content = line.strip(_AROUND)
        return not content or _read_plain(content, self._parser) is not None

    def _fault_of_line(self, content: str) -> Fault:
        """Return a Fault for a line without JSON; raise InputError if it continues an earlier value."""
        text = self._text
        if text.line() == self._ended:
            text.refuse("there is more after its end")
        value = _load(content.strip(), text.line(), text.column())
        return value if isinstance(value, Fault) else Fault("not JSON", content)


def _count_values(content: str) -> tuple[int, int]:
    """Return the number of complete values on a line, and the index after them."""
    count, at = 0, _end_of(_BETWEEN, content, 0)
    while at < len(content):
        try:
            _, end = _DECODER.raw_decode(content, at)
        except (json.JSONDecodeError, RecursionError):
            break
        following = _end_of(_BETWEEN, content, end)
        is_glued = following == end and content[end - 1 : end + 1] not in ("}{", "}[", "]{", "][")
        if following < len(content) and (is_glued or content[following] == ":"):
            return count, at if content[at] not in "[{" else end
        count, at = count + 1, following
    return count, at
