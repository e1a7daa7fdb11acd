"""Parser messages are never shown: each of their errors has our own words, with the place."""

import csv
import json
import re
import tomllib
import zlib
from pathlib import Path

import orjson
import pytest

from bulkstop.errors import SettingsError
from bulkstop.settings.profiles import read_profile
from bulkstop.text.faults import explain_csv, explain_json, explain_os, explain_toml, explain_unpacking

RAW = re.compile(
    r"line 1 column|\(char \d+\)|Expect|unexpected|Errno|codec|literal|Illegal|at end of document|null byte"
)
"""Words that only parsers use."""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# none", "it is not written as JSON has it (column 1)"),
        ('{"id":"cd-1', "it breaks off (column 12)"),
        ('{"id":"cd-1"} x', "there is more after its end (column 15)"),
        ('{"id":1,}', "there is a comma too many (column 8)"),
        ("{a:1}", "it is not written as JSON has it (column 2)"),
        ('"a\tb"', "a text holds a tab or a control character (column 3)"),
        (r'"\x"', "a backslash has no meaning (column "),
    ],
)
def test_json(text: str, why: str) -> None:
    """JSON says where it is wrong and how, whichever of the two parsers has read it."""
    with pytest.raises(json.JSONDecodeError) as caught:
        orjson.loads(text)
    assert explain_json(caught.value).startswith(why)  # versions of orjson differ by a column
    with pytest.raises(json.JSONDecodeError) as usual:
        json.loads(text)
    assert not RAW.search(explain_json(usual.value))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('a,"b"c', "text comes after a closing quote; double a quote that is part of the text"),
        ('a,"b', "a quote is not closed"),
    ],
)
def test_csv(text: str, why: str) -> None:
    """So does a record of CSV."""
    with pytest.raises(csv.Error) as caught:
        list(csv.reader([text], strict=True))
    assert explain_csv(caught.value) == f"the quotes do not fit: {why}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("host = ", "line 2: the value is not valid TOML; put a text in quotes"),
        ("host = x", "line 2: the value is not valid TOML; put a text in quotes"),
        ("quota = 30/min", "line 2: the value is not valid TOML; put a text in quotes"),
        ("finish_by = 18:00", "line 2: the value is not valid TOML; put a text in quotes"),
        ("host", "line 2: write KEY = VALUE"),
        ("= 1", "line 2: write KEY = VALUE"),
        ("host = 1\nhost = 2\n", "line 3: this is there twice; keep one"),
        ("[profile.a]\n[profile.a]\n", "line 3: this is there twice; keep one"),
        ('host = "h', "line 2: a text in quotes is not closed"),
        ('host = "h\nx"', "line 2: a text in quotes is not closed"),
        (r'ca = "C:\q"', "line 2: a backslash in a text; write two, or put the text in '...'"),
        (r'ca = "C:\users"', "line 2: a backslash in a text; write two, or put the text in '...'"),
        ("protect = ['a'", "line 2: a list or a table is not closed"),
        ("[profile.b", "line 2: the name of a table ends with ]"),
        ('host = "\x01"', "line 2: a control character; take it out"),
        ("x = " + "[" * 20_000, "it is nested too deeply"),
    ],
)
def test_toml(text: str, why: str, tmp_path: Path) -> None:
    """A file of profiles names the line, and does not repeat it, because it may contain a secret."""
    path = tmp_path / "my.toml"
    path.write_text(f"[profile.default]\n{text}")
    with pytest.raises(SettingsError) as caught:
        read_profile(str(path), None)
    assert str(caught.value) == f"config {path}: cannot be read as TOML: {why}"


def test_other_words() -> None:
    """An unknown error is reported as such, without repeating its text."""
    assert explain_toml(tomllib.TOMLDecodeError("Odd s3cret (at line 3, column 9)"), "") == (
        "line 3: it is not written as TOML has it"
    )
    assert explain_json(json.JSONDecodeError("Odd", "x", 0)) == "it is not written as JSON has it (column 1)"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (EOFError("Compressed file ended before the end-of-stream marker was reached"), "the packed file breaks off"),
        (zlib.error("Error -3 while decompressing data: invalid code lengths set"), "the packed file is damaged"),
        (OSError("CRC check failed 0x1 != 0x2"), "the packed file is damaged"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_packed(error: Exception, why: str) -> None:
    """A packed file that cannot be read further breaks off, is damaged, or the system says why."""
    assert explain_unpacking(error).startswith(why)
    assert not RAW.search(explain_unpacking(error))


def test_names() -> None:
    """The system's own words describe its errors; a name that it cannot accept is not one of them."""
    assert explain_os(OSError(2, "No such file or directory", "x")) == "No such file or directory"
    assert explain_os(ValueError("embedded null byte")) == "there can be no file of this name"
