"""Parses values of any type as settings."""

from collections.abc import Callable, Mapping
from datetime import datetime, time
from pathlib import PurePath
from typing import Any

from bulkstop.model import FailureCap, Limit
from bulkstop.settings.finish_by import parse_finish_by
from bulkstop.settings.parse import (
    parse_count,
    parse_failure_cap,
    parse_flag,
    parse_limit,
    parse_path,
    parse_pause,
    parse_seconds,
    parse_size,
)
from bulkstop.settings.spec import OptionSpec

Reader = Callable[[str], Any]
ALSO_TAKES: Mapping[Reader, tuple[type, ...]] = {
    parse_count: (int, float),
    parse_size: (int,),
    parse_failure_cap: (int, float),
    parse_seconds: (int, float),
    parse_pause: (int, float),
    parse_finish_by: (time, datetime),
    parse_path: (PurePath,),
}
"""The types besides text that each parser's setting accepts; such values are parsed as text."""
RETURNS: Mapping[Reader, type] = {parse_failure_cap: FailureCap, parse_limit: Limit, parse_flag: bool}
"""The result types of parsers; a value of that type needs no parsing."""


def read_value(spec: OptionSpec, default: object, value: object) -> Any:
    """Return the parsed value of a setting; raises ValueError, which does not repeat a value that is not text."""
    if type(value) is type(default) and value == default:
        return value
    if not spec.repeatable:
        return _read_one(spec, value)
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list | tuple):
        raise ValueError(_explain_misfit(spec, value))  # noqa: TRY004 - like the parsers of texts
    return tuple(_read_one(spec, each) for each in value)


def write_text(value: object) -> str:
    """Return a value as a text to be parsed; numbers have no exponent."""
    if not isinstance(value, float):
        return str(value)
    from decimal import Decimal  # most values are texts

    return format(Decimal(float.__repr__(value)), "f")


def _read_one(spec: OptionSpec, value: object) -> Any:
    if isinstance(value, str):
        return spec.read(value)
    if isinstance(value, RETURNS.get(spec.read, ())):
        return value
    if isinstance(value, time) and value.tzinfo is not None and value.utcoffset() is None:
        raise ValueError("is a time of the day in a zone whose offset depends on the day; give a datetime, or tz")
    if isinstance(value, ALSO_TAKES.get(spec.read, ())) and not isinstance(value, bool):
        return spec.read(write_text(value))
    raise ValueError(_explain_misfit(spec, value))


def _explain_misfit(spec: OptionSpec, value: object) -> str:
    kind = "None" if value is None else f"of type {type(value).__name__}"
    number = " or a number" if int in ALSO_TAKES.get(spec.read, ()) else ""
    must_be = "True or False" if spec.read is parse_flag else f"a text{number} ({spec.metavar})"
    return f"is {kind} and must be {must_be}"
