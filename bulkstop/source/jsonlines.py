"""Rows of a list that has one on each line: a JSON object, or a bare id."""

import re
from collections.abc import Iterator

import orjson

from bulkstop.errors import InputError
from bulkstop.model import Row
from bulkstop.source.line_reader import Text, is_blank, lines, text_fault
from bulkstop.source.rows import Origin, id_alone, layout

# orjson reads 1024 levels but writes 254: what is carried must fit into a result line again.
_LEVELS_SURELY_WRITABLE = 200
_OPENS = re.compile(r"[\[{\s]+")
_ITEMS = "`jq -c '.[]'` makes a line of each of its items"


def json_rows(text: Text, origin: Origin) -> Iterator[Row]:
    """Yield a row for every line that is not blank.

    Raises InputError for one value that goes over several lines: of a list of ids, only the last one would be a row.
    """
    rows = ((line, content) for line, content in lines(text) if not is_blank(content))
    for count, (line, content) in enumerate(rows):
        if not count and _OPENS.fullmatch(content):
            raise InputError(f"{text.label}: line {line}: begins one JSON value over several lines; {_ITEMS}")
        yield _row(line, content, origin)


def _row(line: int, content: str, origin: Origin) -> Row:
    if fault := text_fault(content):
        return origin.invalid(line, fault, id_alone(content))
    try:
        value: object = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return origin.invalid(line, f"not JSON: {error.msg} (column {error.colno})", id_alone(content.strip()))
    if not _writable(content, value):
        return origin.invalid(line, "nested too deeply to be carried into a result line", id_alone(content.strip()))
    if isinstance(value, dict):
        return _object_row(line, value, origin)
    if isinstance(value, list):
        return origin.invalid(line, f"is a list, not an object and not an id; {_ITEMS}", id_alone(value))
    return origin.row(line, id_alone(value))


def _object_row(line: int, keyed: dict[str, object], origin: Origin) -> Row:
    try:
        columns = layout(tuple(keyed))
    except ValueError as reason:
        return origin.invalid(line, str(reason), id_alone(keyed.get("campaign_id")), keyed)
    cells = list(keyed.values())
    return origin.row(line, columns.values(cells), columns.carried(cells))


def _writable(content: str, value: object) -> bool:
    if content.count("[") + content.count("{") < _LEVELS_SURELY_WRITABLE:
        return True
    try:
        orjson.dumps({"row": {"": value}})
    except orjson.JSONEncodeError:
        return False
    return True


def id_rows(text: Text, origin: Origin) -> Iterator[Row]:
    """Yield a row for every line that holds an id."""
    for line, content in lines(text):
        if is_blank(content) or content.lstrip().startswith("#"):
            continue
        if fault := text_fault(content):
            yield origin.invalid(line, fault, id_alone(content))
        else:
            yield origin.row(line, id_alone(content))
