"""Reads the rows of a JSON text, from objects or bare ids."""

from collections.abc import Iterator
from contextlib import suppress

from bulkstop.errors import InputError
from bulkstop.model import Row
from bulkstop.source.forms.json_values import Fault, read_json_values
from bulkstop.source.line_reader import LineReader
from bulkstop.source.rows import RowParser, id_alone, key_of


def read_json_rows(reader: LineReader, parser: RowParser) -> Iterator[Row]:
    """Yield a row for every value, or an `invalid` result for what is not valid JSON.

    Raises InputError at the end if no object has a chosen key, because a default would replace its values.
    """
    is_first, has_objects = True, False
    missing = {key_of(name): name for name in parser.choice.chosen.values()}
    for line, value in read_json_values(reader, parser):
        if isinstance(value, dict):
            if is_first:
                _note_keys(value, parser)
            has_objects = True
            if missing:
                missing = {key: name for key, name in missing.items() if key not in map(key_of, value)}
            yield _object_row(line, value, parser)
        elif isinstance(value, Fault):
            yield parser.invalid(line, value.reason, id_alone(value.text))
        elif isinstance(value, list):
            why = "is a list within a list, not an object and not an id"
            yield parser.invalid(line, why, id_alone(value))
        else:
            yield parser.row(line, id_alone(value))
        is_first = False
    if has_objects and missing:
        name = next(iter(missing.values()))
        raise InputError(f"{reader.label}: no object has the key {name!r}; name one that is there")


def _note_keys(keyed: dict[str, object], parser: RowParser) -> None:
    with suppress(ValueError):
        parser.note_columns(tuple(keyed))


def _object_row(line: int, keyed: dict[str, object], parser: RowParser) -> Row:
    try:
        columns = parser.layout(tuple(keyed))
    except ValueError as reason:
        return parser.invalid(line, str(reason), id_alone(keyed.get("campaign_id")), keyed)
    cells = list(keyed.values())
    return parser.row(line, columns.values(cells), columns.carried(cells))
