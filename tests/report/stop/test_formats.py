"""A result is written as a line and read back, as JSON or CSV, with any values; a file of lines is read or refused."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.errors import OutputError
from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.report.stop.formats import (
    COLUMNS,
    ESSENTIAL,
    Line,
    as_cell,
    csv_header,
    from_csv,
    from_json,
    is_csv,
    read_header,
    read_lines,
    to_csv,
    to_json,
)

PLAIN = Result(
    "cd-1", CampaignType.VOICE, "a", "st", Outcome.STOPPED, 200, 1, 12.5, source="list.csv", line=2, row={"note": "x"}
)

any_text = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["", "=1+1", "'=1", "''=1", "'", "'a", "\r\n", "\\n", "\0", '"', 'a";b', ",", "\u2028", "\ud800", "null", "1"]
)
text_or_none = st.none() | any_text
whole = st.none() | st.integers(0, 2**53)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | any_text
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=5,
)
any_result = st.builds(
    Result,
    campaign_id=any_text,
    campaign_type=st.none() | st.sampled_from(CampaignType),
    account_id=text_or_none,
    stream_id=text_or_none,
    outcome=st.sampled_from(Outcome),
    http_status=whole,
    attempts=st.integers(0, 2**53),
    latency_ms=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    message=text_or_none,
    updated_at=text_or_none,
    campaign_instance_id=text_or_none,
    campaign_execution_type=text_or_none,
    error=text_or_none,
    source=text_or_none,
    line=whole,
    started_at=text_or_none,
    finished_at=text_or_none,
    run_id=text_or_none,
    row=st.none() | st.dictionaries(any_text, json_values, max_size=3),
    schedule=text_or_none,
)


def cells(result: Result) -> dict[str, str]:
    """Read a CSV line as any reader of CSV does."""
    (record,) = csv.DictReader(io.StringIO((csv_header() + to_csv(result)).decode()))
    return dict(record)


def values(result: Result) -> dict[str, Any]:
    """Return the fields of a result by name."""
    return {name: getattr(result, name) for name in COLUMNS}


def lines_of(data: bytes, name: str = "r.jsonl") -> list[Line]:
    """Read a result file that holds these bytes."""
    return list(read_lines(io.BytesIO(data), name))


class TestJson:
    """One JSON object a line."""

    def test_every_key_in_order(self) -> None:
        """Each line has all keys, in the contract's order; an absent value is null."""
        line = to_json(PLAIN)
        assert line.count(b"\n") == 1
        assert list(json.loads(line)) == list(COLUMNS)
        assert json.loads(line)["message"] is None

    @pytest.mark.parametrize(
        "row", [{"note": "\ud800"}, {"huge": 2**80}, {"odd": object()}, {"line\n": "a\nb"}, {"a": {1: 2}}]
    )
    def test_any_row_is_one_line(self, row: dict[str, object]) -> None:
        """Any row's result is one line of JSON with the keys in order, and can be read back."""
        line = to_json(Result("cd-1", None, None, None, Outcome.INVALID, row=row))
        assert line.count(b"\n") == 1
        assert list(json.loads(line)) == list(COLUMNS)
        assert from_json(line).row is not None

    def test_a_mapping_is_an_object(self) -> None:
        """A row of another mapping type than dict is an object too, even with a lone surrogate."""
        for note in ("x", "\ud800"):
            row = MappingProxyType({"note": note, "in": MappingProxyType({"a": 1})})
            result = Result("cd-1", None, None, None, Outcome.INVALID, row=row)
            assert (
                json.loads(to_json(result))["row"] == json.loads(cells(result)["row"]) == {"note": note, "in": {"a": 1}}
            )

    def test_numbers_beyond_64_bits(self) -> None:
        """A number that no double can hold is written digit by digit; read back it is the nearest one."""
        line = to_json(Result("cd-1", None, None, None, Outcome.INVALID, row={"huge": 10**30}))
        assert b'"huge":1000000000000000000000000000000}' in line
        assert from_json(line).row == {"huge": 1e30}

    @given(any_result)
    def test_round_trip(self, result: Result) -> None:
        """A result comes back from its line as it was, every field of it."""
        line = to_json(result)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert from_json(line) == result


UNSAFE = "\x7f\x85\x9b31m\u00ad\u061c\u200b\u200f\u2028\u202e\u2066\ufeff\U000e0041"


@pytest.mark.parametrize(("write", "read"), [(to_json, from_json), (to_csv, from_csv)])
def test_nothing_steers_a_terminal(write: Callable[[Result], bytes], read: Callable[[bytes], Result]) -> None:
    """No line has a character that does not print, and each is read back as what it was."""
    result = Result(
        f"cd-{UNSAFE}", None, None, None, Outcome.INVALID, message=f"ü {UNSAFE} \\u202e", row={UNSAFE: UNSAFE}
    )
    line = write(result)
    assert line[:-1].decode().isprintable()
    assert read(line) == result


class TestCsv:
    """One record a line, the same columns."""

    def test_columns(self) -> None:
        """The columns of a CSV file are the keys of a JSON line."""
        assert list(cells(PLAIN)) == list(COLUMNS)
        assert cells(PLAIN)["outcome"] == "stopped"

    @pytest.mark.parametrize(
        "text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", '"=1', "'=1", "'", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]
    )
    def test_cells_are_no_formulas(self, text: str) -> None:
        """A cell that a spreadsheet would run is text there; numbers stay numbers."""
        found = cells(Result(text, None, None, None, Outcome.INVALID, latency_ms=-1.0, message=text))
        assert found["campaign_id"] == found["message"] == f"'{text}"
        assert found["latency_ms"] == "-1.0"

    @pytest.mark.parametrize(
        ("text", "cell"),
        [
            ("a;=1", "a;'=1"),
            ("a; =1", "a; '=1"),
            ('a;"=1', "a;\"'=1"),
            ("a;'=1", "a;''=1"),
            ("a,@b|\uff1dc", "a,'@b|'\uff1dc"),
            ("a=1;b", "a=1;b"),
            ("\t=1", "\\u0009=1"),
        ],
    )
    def test_no_formulas_behind_a_delimiter(self, text: str, cell: str) -> None:
        """A program with another delimiter than the comma, which ignores quotes, finds no formula."""
        line = Result("cd-1", None, None, None, Outcome.INVALID, message=text, row={"note": "a;=1|+2", "n": [1, -1]})
        found = cells(line)
        assert found["message"] == cell
        assert ";=" not in found["row"]
        assert "|+" not in found["row"]
        again = from_csv(to_csv(line))
        assert (again.message, again.row) == (text, line.row)

    def test_line_breaks_and_zeros(self) -> None:
        r"""A line break is written as `\n` or `\r` and a NUL as `\0`: a record is one line, and a NUL no run's."""
        found = cells(Result("\r=1", None, None, None, Outcome.INVALID, message="a\r\n\0b"))
        assert (found["campaign_id"], found["message"]) == ("\\r=1", "a\\r\\n\\0b")

    @given(any_result)
    def test_round_trip(self, result: Result) -> None:
        """A result comes back as its cells are: line breaks written out, no halves of pairs, and empty is absent."""
        line = to_csv(result)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        as_cells = {
            name: (as_cell(value) or None) if type(value) is str else value for name, value in values(result).items()
        }
        assert values(from_csv(line)) == as_cells | {"campaign_id": as_cell(result.campaign_id)}

    def test_a_cell_of_any_length(self) -> None:
        """A row of the longest line that is read from a list comes back; the csv module's own limit stays as it was."""
        usual = csv.field_size_limit()
        for size in (130_000, 200_000, 2**20):
            result = Result("cd-1", None, None, None, Outcome.INVALID, message="'" * 10, row={"note": "é" * size})
            assert from_csv(to_csv(result)) == result
        assert csv.field_size_limit() == usual

    @pytest.mark.parametrize(("name", "csv_"), [("a.csv", True), ("A.CSV", True), ("a.jsonl", False), ("csv", False)])
    def test_by_name(self, name: str, csv_: bool) -> None:
        """The name of the file says which it is, in any letter case."""
        assert is_csv(name) is csv_


class TestGarbage:
    """A broken line is refused, never guessed, and never causes an error of another kind."""

    @given(st.binary())
    @example(b"[" * 100_000)
    @example(b'{"a":' * 100_000)
    @example(b"9" * 5_000)
    def test_any_bytes(self, data: bytes) -> None:
        """Arbitrary bytes raise ValueError, or csv.Error for a record."""
        with pytest.raises(ValueError):  # noqa: PT011 - that it is one is the promise
            from_json(data)
        with pytest.raises((ValueError, csv.Error)):
            from_csv(data)

    @given(st.sampled_from(COLUMNS), json_values)
    @example("outcome", [])
    @example("campaign_type", {})
    @example("row", [1])
    @example("row", "text")
    @example("line", True)
    @example("line", "2")
    @example("attempts", 1.5)
    @example("http_status", 1e300)
    @example("campaign_id", 1)
    def test_any_value(self, name: str, value: object) -> None:
        """A line with another value in one place is a result of the right kinds, or ValueError."""
        line = json.dumps(json.loads(to_json(PLAIN)) | {name: value}).encode()
        with suppress(ValueError):
            found = from_json(line)
            assert isinstance(found.outcome, Outcome)
            assert found.row is None or isinstance(found.row, dict)
            assert type(found.line) in (int, type(None))
            assert type(found.campaign_id) is str
            assert json.loads(to_json(found)).keys() == set(COLUMNS)

    @pytest.mark.parametrize("name", COLUMNS)
    def test_a_key_less_or_more(self, name: str) -> None:
        """A key that another version did not write yet is null, one that it adds is passed over; few must be there."""
        keyed = json.loads(to_json(PLAIN))
        assert from_json(json.dumps(keyed | {f"{name}2": [1]}).encode()) == PLAIN
        columns = tuple(each for each in COLUMNS if each != name)
        del keyed[name]
        lines = partial(from_json, json.dumps(keyed).encode()), partial(from_csv, to_csv(PLAIN, columns), columns)
        for read in lines:
            if name in ESSENTIAL:
                with pytest.raises(ValueError, match=f"it has no {name}"):
                    read()
            else:
                assert values(read()) == values(PLAIN) | {name: 0 if name == "attempts" else None}

    @pytest.mark.parametrize(
        ("key", "word"), [("outcome", "put_off"), ("campaign_type", "fax"), ("outcome", "\x1b[2J")]
    )
    def test_words_of_a_newer_version(self, key: str, word: str) -> None:
        """An outcome or a type that this version does not know is refused with its line, in words of its own."""
        newer = json.dumps(json.loads(to_json(PLAIN)) | {key: word}).encode() + b"\n"
        said = rf"^r\.jsonl line 2: has the {key} '[^']+', which bulkstop \S+ does not know; use a newer version$"
        with pytest.raises(OutputError, match=said) as caught:
            lines_of(to_json(PLAIN) + newer, "r.jsonl")
        assert str(caught.value).isprintable()
        with pytest.raises(OutputError, match=r"^r\.csv line 2: has the outcome 'put_off'"):
            lines_of(csv_header() + to_csv(PLAIN).replace(b",stopped,", b",put_off,"), "r.csv")

    def test_csv_by_its_header(self) -> None:
        """A CSV file is read by the column names of its header, in any order, with more or fewer of them."""
        columns = ("line", "added", *(name for name in COLUMNS if name not in ("line", "row")))
        data = csv_header(columns) + to_csv(PLAIN, columns)
        assert [line.result for line in lines_of(data, "r.csv")] == [None, replace(PLAIN, row=None)]
        with pytest.raises(OutputError, match=r"r\.csv line 2: is not a result line \(21 cells instead of 20\)"):
            lines_of(csv_header(COLUMNS[:-1]) + to_csv(PLAIN), "r.csv")

    @pytest.mark.parametrize("columns", [("campaign_id", "outcome", "line"), (*COLUMNS, "line"), ("id",)])
    def test_no_header(self, columns: Sequence[str]) -> None:
        """A first line without what every result has, or with a column twice, is not a header."""
        assert read_header(csv_header(columns)) is None

    @pytest.mark.parametrize("count", [0, 20, 22])
    def test_cells_are_counted(self, count: int) -> None:
        """A record with a cell less or more is not a result."""
        with pytest.raises(ValueError, match=f"{count} cells instead of 21"):
            from_csv(b",".join([b"1"] * count) + b"\n")

    def test_deep_row_in_a_record(self) -> None:
        """A row nested beyond all measure is refused, not a crash."""
        line = to_csv(PLAIN).replace(b'"{""note"":""x""}"', b"[" * 100_000)
        with pytest.raises(ValueError, match="nested too deeply"):
            from_csv(line)

    @pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
    @given(
        st.binary()
        | st.lists(st.sampled_from([to_json(PLAIN), to_csv(PLAIN), csv_header(), b"\0", b"\n", b"{"])).map(b"".join)
    )
    def test_any_file(self, name: str, data: bytes) -> None:
        """A file of arbitrary bytes is lines with their numbers, or one line of an OutputError; nothing else."""
        found, refusal = list[Line](), ""
        try:
            for line in read_lines(io.BytesIO(data), name):
                found.append(line)
        except OutputError as error:
            refusal = str(error)
        assert refusal.isprintable()
        assert not refusal or refusal.startswith(f"{name} line ")
        assert data.startswith(b"".join(line.raw for line in found))
        assert [line.number for line in found] == list(range(1, len(found) + 1))

    def test_what_is_said_is_printable(self) -> None:
        """A line full of escapes and surrogates is refused in one short printable line."""
        bad = json.dumps({"\x1b[31m\n\ud800" * 100: 1}).encode() + b"\n"
        for name, data in (("r.jsonl", bad), ("r.csv", b"\x1b" * 200_000 + b"\n"), ("r.csv", b'"' * 201 + b"\n")):
            with pytest.raises(OutputError) as caught:
                lines_of(data, name)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 250


class TestFile:
    """A file of lines, as a crash may leave it."""

    @pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
    def test_lines(self, name: str) -> None:
        """Each line comes with its number, its bytes and its result; the header of a CSV file has none."""
        whole = [csv_header(), to_csv(PLAIN), to_csv(PLAIN)] if name == "r.csv" else [to_json(PLAIN)] * 3
        results = [None, PLAIN, PLAIN] if name == "r.csv" else [PLAIN] * 3
        expected = [Line(n, raw, result) for n, (raw, result) in enumerate(zip(whole, results, strict=True), start=1)]
        assert lines_of(b"".join(whole), name) == expected

    def test_header_comes_first_or_not_at_all(self) -> None:
        """The names of the columns are no result: not in a second line, and not in a JSON file."""
        with pytest.raises(OutputError, match=r"r\.csv line 2: is not a result line"):
            lines_of(csv_header() * 2, "r.csv")
        with pytest.raises(OutputError, match=r"r\.jsonl line 1: is not a result line"):
            lines_of(csv_header(), "r.jsonl")

    @pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
    def test_torn_at_every_byte(self, name: str) -> None:
        """A last line torn off after any of its bytes is left out, also one that lacks only the line break."""
        line = (to_csv if name == "r.csv" else to_json)(PLAIN)
        head = csv_header() if name == "r.csv" else b""
        kept = len(lines_of(head + line, name))
        for end in range(len(line)):
            assert len(lines_of(head + line + line[:end], name)) == kept
        for end in range(len(head)):
            assert lines_of(head[:end], name) == []

    @pytest.mark.parametrize("tail", [b"\0", b"\0" * 5_000, b'{"campaign_id":"\0\0', b"\0" * 9 + b'{"cam', b"\0\0\n"])
    @pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
    def test_zeros_of_a_power_failure(self, name: str, tail: bytes) -> None:
        """Zeros where the last lines should be, as a file system leaves them, are left out."""
        line = (to_csv if name == "r.csv" else to_json)(PLAIN)
        assert [each.result for each in lines_of(line + tail, name)] == [PLAIN]

    @pytest.mark.parametrize(
        "hole", [b"\0" * 4096, b"\n", b"\0\n", b"x\n", b"{}\n", b"[]\n", b'"a"\n', b"1,2\n", b"null\n"]
    )
    @pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
    def test_broken_in_the_middle(self, name: str, hole: bytes) -> None:
        """A line that no run has written, with others after it, is refused with its number: nothing may be lost."""
        line = (to_csv if name == "r.csv" else to_json)(PLAIN)
        with pytest.raises(OutputError, match=rf"^{name} line 3: is not a result line"):
            lines_of(line + line + hole + line, name)

    def test_a_list_is_no_result_file(self, tmp_path: Path) -> None:
        """A list of campaigns given for a result file is refused at its first line, as is a header that was changed."""
        path = tmp_path / "campaigns.csv"
        header = csv_header().decode()
        for first in ("campaign_id,campaign_type\n", f"\ufeff{header}", header.upper()):
            path.write_text(f"{first}cd-1,voice\n")
            with (
                path.open("rb") as file,
                pytest.raises(OutputError, match=r"line 1: is not the header of a result file"),
            ):
                list(read_lines(file, str(path)))
