"""Rows of a list that has a JSON object, or a bare id, on each line."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress

import orjson

from bulkstop.errors import InputError
from bulkstop.model import Row
from bulkstop.naming import name_setting
from bulkstop.source.line_reader import LineReader, read_lines, text_fault
from bulkstop.source.rows import RowParser, id_alone
from bulkstop.text.faults import explain_json

# orjson reads 1024 levels but writes 254: what is carried must fit into a result line again.
_LEVELS_SURELY_WRITABLE = 200
_OPENS = re.compile(r"[\[{\s]+")
# The ids alone: of a whole object every other key would be carried into the results.
_ONLY_IDS = (
    '(.data?.results? // .) | if type == "array" then .[] else . end '
    "| .campaign_id? // .campaignId? // .id? // ._id? // ."
)


def read_json_rows(reader: LineReader, parser: RowParser) -> Iterator[Row]:
    """Yield a row for every line that is not blank.

    Raises InputError for one value that goes over several lines: of a list of ids, only the last one would be a row.
    """
    for count, (line, content) in enumerate(read_lines(reader)):
        if not count and _OPENS.fullmatch(content):
            raise InputError(
                f"{reader.label}: line {line}: begins one JSON value over several lines; "
                f"make a list of its ids: {_write_jq(reader.label)}"
            )
        if not count:
            _note_keys(content, parser)
        yield _row(line, content, parser)


def _write_jq(label: str) -> str:
    """Write the command that makes a list of ids of an input; one that came through a pipe goes through it there."""
    jq, name = f"jq -r {shlex.quote(_ONLY_IDS)}", shlex.quote(f"./{label}" if label.startswith("-") else label)
    if label.startswith("- "):
        return f"pipe it through {jq}, and give {name_setting('format', 'txt')}"
    unpacked = f"gzip -dc {name} | {jq}" if label.lower().endswith(".gz") else f"{jq} {name}"
    return f"{unpacked} > {shlex.quote(f'{label}.ids.txt')}"


def _note_keys(content: str, parser: RowParser) -> None:
    with suppress(ValueError):
        value: object = orjson.loads(content)
        if isinstance(value, dict):
            parser.note_columns(tuple(value))


def _row(line: int, content: str, parser: RowParser) -> Row:
    if fault := text_fault(content):
        return parser.invalid(line, fault, id_alone(content))
    try:
        value: object = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return parser.invalid(line, f"not JSON: {explain_json(error)}", id_alone(content.strip()))
    if not _writable(content, value):
        return parser.invalid(line, "nested too deeply to be carried into a result line", id_alone(content.strip()))
    if isinstance(value, dict):
        return _object_row(line, value, parser)
    if isinstance(value, list):
        return parser.invalid(
            line, "is a list, not an object and not an id; put each of its items on a line", id_alone(value)
        )
    return parser.row(line, id_alone(value))


def _object_row(line: int, keyed: dict[str, object], parser: RowParser) -> Row:
    try:
        columns = parser.layout(tuple(keyed))
    except ValueError as reason:
        return parser.invalid(line, str(reason), id_alone(keyed.get("campaign_id")), keyed)
    cells = list(keyed.values())
    return parser.row(line, columns.values(cells), columns.carried(cells))


def _writable(content: str, value: object) -> bool:
    if content.count("[") + content.count("{") < _LEVELS_SURELY_WRITABLE:
        return True
    try:
        orjson.dumps({"row": {"": value}})
    except orjson.JSONEncodeError:
        return False
    return True
