"""Explanations of parser and system errors, in words for the author of the text."""

import csv
import json
import re
import zlib
from collections.abc import Mapping

_JSON: Mapping[str, str] = {
    "unexpected end of data": "it breaks off",
    "Unterminated string": "a text in quotes is not closed",
    "unexpected content": "there is more after its end",
    "Extra data": "there is more after its end",
    "Expecting ','": "a comma or a closing bracket is missing",
    "Expecting ':'": "a colon is missing",
    "Expecting property name": "a name in quotes is missing",
    "Illegal trailing comma": "there is a comma too many",
    "trailing comma": "there is a comma too many",
    "unexpected control character": "a text holds a tab or a control character",
    "Invalid control character": "a text holds a tab or a control character",
    "invalid escape": "a backslash has no meaning",
    "Invalid \\": "a backslash has no meaning",
    "str is not valid UTF-8": "a character is broken",
}
_NO_JSON = "it is not written as JSON has it"
_CSV: Mapping[str, str] = {
    "unexpected end": "a quote is not closed",
    "field larger": "a cell is too long",
}
_NO_CSV = "text comes after a closing quote; double a quote that is part of the text"
_TOML: Mapping[str, str] = {
    "Invalid value": "the value is not valid TOML; put a text in quotes",
    "Expected newline": "the value is not valid TOML; put a text in quotes",
    "Expected '='": "write KEY = VALUE",
    "Invalid statement": "write KEY = VALUE",
    "Invalid initial character": "write KEY = VALUE",
    "Cannot": "this is there twice; keep one",
    "Duplicate": "this is there twice; keep one",
    "Unterminated": "a text in quotes is not closed",
    "Illegal character '\\n'": "a text in quotes is not closed",
    'Expected "': "a text in quotes is not closed",
    "Unescaped": "a backslash in a text; write two, or put the text in '...'",
    "Invalid hex": "a backslash in a text; write two, or put the text in '...'",
    "Unclosed": "a list or a table is not closed",
    "Expected ']'": "the name of a table ends with ]",
    "Illegal character": "a control character; take it out",
}
_NO_TOML = "it is not written as TOML has it"
_TOML_LINE = re.compile(r"at line (\d+), column \d+\)\Z")


def explain_json(error: json.JSONDecodeError) -> str:
    """Return what is wrong with a line of JSON, and where."""
    return f"{describe_json(error)} (column {error.colno})"


def describe_json(error: json.JSONDecodeError) -> str:
    """Return what is wrong with a JSON text."""
    return _find(_JSON, error.msg, _NO_JSON)


def explain_csv(error: csv.Error) -> str:
    """Return what is wrong with a CSV record."""
    return f"the quotes do not fit: {_find(_CSV, str(error), _NO_CSV)}"


def explain_toml(error: Exception, text: str) -> str:
    """Return what is wrong with a TOML file and in which line, without its content, which may be secret."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    match = _TOML_LINE.search(str(error))
    line = int(match[1]) if match else text.rstrip().count("\n") + 1
    return f"line {line}: {_find(_TOML, str(error), _NO_TOML)}"


def explain_unpacking(error: Exception) -> str:
    """Return why a file cannot be read further or decompressed."""
    if isinstance(error, EOFError):
        return "the packed file breaks off; fetch it again"
    if isinstance(error, zlib.error) or (isinstance(error, OSError) and error.strerror is None):
        return "the packed file is damaged; fetch it again"
    return explain_os(error)


def explain_os(error: Exception) -> str:
    """Return why the system failed: its own words, or that no file can have such a name."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "there can be no file of this name"


def _find(words: Mapping[str, str], message: str, other: str) -> str:
    return next((meaning for beginning, meaning in words.items() if message.startswith(beginning)), other)
