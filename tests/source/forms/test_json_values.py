"""JSON however it is laid out: the same rows, each with the line on which it begins, or one error with its place."""

import io
import json
from collections.abc import Callable, Iterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Defaults
from bulkstop.source.forms.json_values import Fault, read_json_values
from bulkstop.source.line_reader import LINE_CHARS, LineReader
from bulkstop.source.rows import ColumnChoice, RowParser
from bulkstop.source.understood import Finding

PARSER = RowParser("x", Defaults())


def read(text: str, parser: RowParser = PARSER) -> list[tuple[int, object]]:
    """Return the values of a text with their lines, a Fault as its reason in brackets."""
    found = read_json_values(LineReader(io.TextIOWrapper(io.BytesIO(text.encode()), newline="\n"), "x"), parser)
    return [(line, [value.reason] if isinstance(value, Fault) else value) for line, value in found]


def rows(*lines_and_ids: int | str) -> list[tuple[int, object]]:
    """Return objects with these ids, each behind its line."""
    return [(int(line), {"id": each}) for line, each in zip(lines_and_ids[::2], lines_and_ids[1::2], strict=True)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["a","b"]', [(1, "a"), (1, "b")]),
        ('\n[\n"a",\n\n"b"\n]\n', [(3, "a"), (5, "b")]),
        ('["a"]\n["b", "c"]', [(1, "a"), (2, "b"), (2, "c")]),
        ('["a"]["b"]', [(1, "a"), (1, "b")]),
        ("[]", []),
        ("[ ]\n[\n]", []),
        ('["a",\n"b",\n]', [(1, "a"), (2, "b")]),
        ('[["a"],null,1.5]', [(1, ["a"]), (1, None), (1, 1.5)]),
        ("null\n1\ntrue", [(1, None), (2, 1), (3, True)]),
        ('"a", "b"\n"c"\n', [(1, "a"), (1, "b"), (2, "c")]),
        ('[{"id":"a"},\n{"id":"b"}]', rows(1, "a", 2, "b")),
        ('[{"id":"a"}\n,{"id":"b"}\n]', rows(1, "a", 2, "b")),
        ('{"id":"a"},\n{"id":"b"},\n', rows(1, "a", 2, "b")),
        (',{"id":"a"}\n,{"id":"b"}\n', rows(1, "a", 2, "b")),
        ('{"id":"a"}{"id":"b"} {"id":"c"}\n', rows(1, "a", 1, "b", 1, "c")),
        ('{\n "id": "a"\n}\n{\n "id":\n\n "b"\n}{\n"id": "c"}\n', rows(1, "a", 4, "b", 8, "c")),
        ('{\r\n "id": "a"\r\n},\r\n{"id": "b"},\r\n', rows(1, "a", 4, "b")),
        ('{"id":"a"}\n{\n"id": "b"\n}\n\ufeff{"id":"c"}\n\x1e{"id":"d"}', rows(1, "a", 2, "b", 5, "c", 6, "d")),
    ],
)
def test_layouts(text: str, found: list[tuple[int, object]]) -> None:
    """Lists, objects, lines: commas and line breaks may be anywhere, and each value has its line."""
    assert read(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"status":"success","data":{"results":[{"id":"a"},{"id":"b"}],"hasMore":false}}', rows(1, "a", 1, "b")),
        (
            '{"data":{"results":[{"id":"a"}]}}\n{"data":{"results":[]}}{"data":{"results":[{"id":"b"}]}}',
            rows(1, "a", 2, "b"),
        ),
        ('{\n"data": {\n"x": {"id": 1},\n"results": [\n{"id": "a"},\n{\n"id": "b"\n}\n]\n}\n}\n', rows(5, "a", 6, "b")),
        ('[{"data":{"results":[{"id":"a"}]}},\n{"data":{"results":[{"id":"b"}]}}]', rows(1, "a", 2, "b")),
        ('{"campaigns":[{"id":"a"}],"total":1}', rows(1, "a")),
        ('{"value":[{"id":"a"}],"Count":1}', rows(1, "a")),
        ('{"Data":{"Items":[{"Id":"a"}]}}', [(1, {"Id": "a"})]),
        ('{"data":{"id":"a"}}', rows(1, "a")),
        ('{"ids":["a","b"]}', [(1, "a"), (1, "b")]),
        ('{"data":[{"id":"a"}],"items":[{"id":"b"}]}', rows(1, "a", 1, "b")),
    ],
)
def test_answers(text: str, found: list[tuple[int, object]]) -> None:
    """The rows of a saved response are those in its lists, of one page or of several in sequence."""
    assert read(text) == found


@pytest.mark.parametrize(
    "value",
    [
        {"id": "a", "data": [{"id": "b"}]},
        {"message": "no"},
        {"data": [1, 2]},
        {"data": None},
        {"tags": ["x"]},
        {"data": {"data": {"data": {"data": {"results": [{"id": "a"}]}}}}},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_what_is_no_answer(value: dict[str, object], indent: int | None) -> None:
    """An object with an id is a row, whatever else it has, and so is one without possible rows."""
    assert read(json.dumps(value, indent=indent)) == [(1, value)]


def test_the_key_that_was_chosen() -> None:
    """Which key has the id may have been said: then an object with it is a row, and one without it may be an answer."""
    parser = RowParser("x", Defaults(), choice=ColumnChoice(id_column="ref"))
    value = {"ref": "a", "items": [{"id": 1}]}
    assert read(json.dumps(value), parser) == [(1, value)]
    assert read('{"id":1,"data":[{"ref":"a"}]}', parser) == [(1, {"ref": "a"})]


def test_what_is_written_beyond_json() -> None:
    """Common extensions of JSON cost no row: they are carried in a form that can be written again."""
    text = '{"n":NaN}\n[{"n":-Infinity},\n{"n":123456789012345678901234567890,\n"id":"\\ud83d"}]\n{"n":1e999}\n'
    assert read(text) == [
        (1, {"n": "NaN"}),
        (2, {"n": "-Infinity"}),
        (3, {"n": 1.2345678901234568e29, "id": "?"}),
        (5, {"n": float("inf")}),
    ]


@pytest.mark.parametrize(
    "text", ['["cd-1","voice"]', '[\n"voice", "cd-1", null]', '["cd-1","cd-2","sms"]', '["cd-1",17]']
)
def test_a_list_that_is_a_row(text: str) -> None:
    """A list of an id with other values is a row without names, whose items cannot be told from ids."""
    (_, fault), (_, following) = read(f'{text}\n"cd-9"\n')
    assert "nothing says what its items mean" in str(fault)
    assert following == "cd-9"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            '"a"\n{"id": "b"\nc\n"d\n{"id":"e"}',
            [(1, "a"), (2, "breaks off (column 11)"), (3, "(column 1)"), (4, ""), *rows(5, "e")],
        ),
        ('{"id":"a",\n{"id":"b"}\n', [(1, "not JSON: it breaks off"), *rows(2, "b")]),
        ('{"id":"a","t":[\n{"id":"b"}\n{"id":"c"}', [(1, "breaks off"), *rows(2, "b", 3, "c")]),
        ('{"id":"a"', [(1, "breaks off")]),
        ('{"id":"a"} b\n"c"', [(1, "more after its end (column 12)"), (2, "c")]),
        ('"id": "a"\n', [(1, "more after its end")]),
    ],
)
def test_broken_lines(text: str, found: list[tuple[int, object]]) -> None:
    """A broken line among others is one fault and costs no other line, nor does an unusable value."""
    values = read(text)
    assert [line for line, _ in values] == [line for line, _ in found]
    for (_, value), (_, expected) in zip(values, found, strict=True):
        if isinstance(value, list):
            assert str(expected) in str(value[0])
        else:
            assert value == expected


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("[", "line 1, column 2", "it breaks off"),
        ("{", "line 1, column 2", "it breaks off"),
        ('[\n"a",\n"b', "line 3, column 1", "a text in quotes is not closed"),
        ('["a" "b"]', "line 1, column 6", "a comma is missing"),
        ('[\n"a",\nb]', "line 3, column 1", "it is not written as JSON has it"),
        ('["a",,"b"]', "line 1, column 6", "it is not written as JSON has it"),
        ('[{"id":"a", {"id":"b"}]', "line 1, column 13", "a name in quotes is missing"),
        ('[{"id":"a"},\n{"id":"b}, {"id":"c}]', "line 2, column 14", "a comma or a closing bracket is missing"),
        ('{\n"id": "a"\n"name": "b"\n}\n', "line 3, column 1", "a comma or a closing bracket is missing"),
        ('{"id":"a"}\n]\n', "line 2, column 1", "a bracket is closed that is not open"),
        ('["a"\n] b\n', "line 2, column 3", "there is more after its end"),
        ('{"data":{"results":[{"id":"a"},{"id":"b"', "line 1, column 41", "it breaks off"),
        ('{\n"data":\n{"results":[{"id":"a"},\n', "line 3, column 24", "it breaks off"),
        ('{"data":{"results":[{"id":"a"}]', "line 1, column 32", "it breaks off"),
        ('{"data":[{"id":"a"}] "x":1}', "line 1, column 22", "a comma is missing"),
        ('{"data":[{"id":"a"}], x:1}', "line 1, column 23", "a name in quotes is missing"),
        ('["a\tb"]', "line 1, column 4", "a text holds a tab or a control character"),
    ],
)
def test_what_nobody_can_read(text: str, place: str, why: str) -> None:
    """If the rows cannot be told apart, there is one error with line and column."""
    with pytest.raises(InputError) as caught:
        read(text)
    assert str(caught.value).startswith(f"x: {place}: not JSON: {why}")


def test_comments() -> None:
    """A line that begins as a comment is not a row, and is counted."""
    parser = RowParser("x", Defaults())
    assert read('# what\n// more\n{"id":"a"}\n  # end', parser) == rows(3, "a")
    assert parser.understood.counts == {Finding.COMMENTS: 3}


@pytest.mark.parametrize(("last", "found"), [("true", {Finding.MORE_PAGES: 1}), ("false", {})])
def test_pages_that_are_missing(last: str, found: dict[Finding, int]) -> None:
    """A saved page whose last response promises more causes a message."""
    parser = RowParser("x", Defaults())
    page = '{{"data":{{"results":[{{"id":"a"}}],"hasMore":{}}}}}\n'
    assert read(page.format("true") + page.format(last), parser) == rows(1, "a", 2, "a")
    assert parser.understood.counts == found


OTHER = st.text() | st.integers(-(2**63), 2**63) | st.lists(st.text(), max_size=2)
ROW = st.fixed_dictionaries({"id": st.text()}, optional={"x": OTHER})
LAYOUTS: list[Callable[[list[object]], str]] = [
    json.dumps,
    lambda items: json.dumps(items, indent=2),
    lambda items: "[" + ",\n".join(map(json.dumps, items)) + "]",
    lambda items: "\n".join(map(json.dumps, items)),
    lambda items: ",\n".join(map(json.dumps, items)),
    lambda items: "".join(map(json.dumps, items)),
    lambda items: "\n".join(json.dumps(each, indent=1) for each in items),
    lambda items: json.dumps({"status": "success", "data": {"results": items, "skip": 0}}),
    lambda items: json.dumps({"data": {"n": [1], "results": items}}, indent="\t", ensure_ascii=False),
    lambda items: "".join(json.dumps({"data": {"results": [each]}}, indent=1) for each in items),
]


@given(st.lists(ROW, max_size=5), st.sampled_from(LAYOUTS))
def test_every_layout_has_the_same_rows(items: list[object], write: Callable[[list[object]], str]) -> None:
    """Any writer of a list of objects yields the same rows, in their order."""
    found = read(write(items))
    readable = [each for each in items if str(each) < "\ud800"] and items
    assert [value for _, value in found] == readable
    assert [line for line, _ in found] == sorted(line for line, _ in found)


class Pieces(io.TextIOBase):
    """A text that is made as it is read, a thousand objects at a time."""

    def __init__(self, count: int, before: str, between: str, after: str) -> None:
        self.made = 0
        self._pieces = self._write(count, before, between, after)

    def _write(self, count: int, before: str, between: str, after: str) -> Iterator[str]:
        while self.made < count:
            objects = (f'{{"id": "cd-{self.made + number:07}", "name": "{"x" * 80}"}}' for number in range(1000))
            piece = (between if self.made else before) + between.join(objects)
            self.made += 1000
            yield from piece.splitlines(keepends=True)
        if after:
            yield after

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """Return the next piece."""
        return next(self._pieces, "")


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [("[", ",", "]"), ("[\n", ",\n", "\n]\n"), ('{"total": 1, "data": {"results": [', ", ", "]}}"), ("", "", "")],
    ids=["one line", "lines", "answer", "nothing between"],
)
def test_lists_are_not_held_as_a_whole(before: str, between: str, after: str) -> None:
    """No more of a list is read than its next rows need, also on one line, or in a response."""
    stream, count = Pieces(40_000, before, between, after), 0
    for count, (_, value) in enumerate(read_json_values(LineReader(stream, "x"), PARSER), start=1):  # type: ignore[arg-type]
        assert isinstance(value, dict)
        assert stream.made - count < 4 * LINE_CHARS / 100
    assert count == 40_000


def test_what_is_too_long() -> None:
    """A value that is too long for a row is one fault with the reason, in any place, and costs no other."""
    long = "x" * LINE_CHARS
    reason = "the row is longer than 1,048,576 characters"
    objects = f'{{"id":"a"}},{{"id":"b","n":"{long}\\"]"}},{{"id":"c"}}'
    for text in (f"[{objects}]", f'{{"data":[{objects}]}}', objects.replace(",{", "\n{")):
        assert [value for _, value in read(text)] == [{"id": "a"}, [reason], {"id": "c"}]
    pretty = f'{{\n"id":"a",\n"n":[\n"{long}"]\n}}\n{{\n"id":"b"}}'
    assert read(pretty) == [(1, [reason]), *rows(6, "b")]
    assert read(f'"{long}" x\n"a"') == [(1, [reason]), (2, "a")]
    with pytest.raises(InputError, match=r"x: line 1, column \d+: not JSON: a text in quotes is not closed"):
        read(f'[{{"n":"{long}{long}')


@pytest.mark.parametrize("depth", [300, 100_000])
def test_what_is_nested_too_deeply(depth: int) -> None:
    """A value that could not be written out again is one fault, and the next is read."""
    deep = '{"id":"a","x":' + "[" * depth + "]" * depth + "}"
    for text in (f'[{deep},{{"id":"b"}}]', f'{deep}\n{{"id":"b"}}', f'{{"id":"b"}}\n{deep}'):
        found = [value for _, value in read(text)]
        assert {"id": "b"} in found
        assert len(found) == 2
        assert any(isinstance(value, list) for value in found)


def test_a_text_that_breaks_in_blocks() -> None:
    """A value is read as a whole wherever a block ends: in a number, an escape or a word."""
    item = '{"id": "cd-1", "n": -123.5e-7, "t": "\\ud83d\\ude00\\\\", "u": [true, false, null, -0]}'
    text = "[" + ",".join([item] * 3000) + "]"
    (expected,) = orjson.loads(f"[{item}]")
    assert read(text) == [(1, expected)] * 3000
    long_numbers = "\n".join(f"[{n},{n}]" for n in range(20_000))
    assert [value for _, value in read(f"[\n1,\n{'7' * 200_000}\n]\n{long_numbers}")][2:] == [
        n for n in range(20_000) for _ in "ab"
    ]
