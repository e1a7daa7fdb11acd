"""CSV: columns by name, records whole, nothing lost."""

import csv
import io
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Outcome, Result, Row
from bulkstop.source import read
from bulkstop.source.rows import field_of

Read = Callable[[str, bytes], list[Row]]
DEFAULTS = Defaults(CampaignType.SMS, "a", "s")


@pytest.fixture
def rows_of_csv(rows_of: Read) -> Callable[[bytes], list[Row]]:
    """Read the rows of a CSV file with this content."""
    return lambda content: rows_of("list.csv", content)


ReadCsv = Callable[[bytes], list[Row]]


def faults(rows: list[Row]) -> list[tuple[int | None, str | None]]:
    """Return line and reason of each invalid row; for a campaign, the line and None."""
    return [(row.line, row.error if isinstance(row, Result) else None) for row in rows]


def test_all_columns(rows_of_csv: ReadCsv) -> None:
    """Every known column finds its field; the others are carried along under their names."""
    (row,) = rows_of_csv(
        b"region,priority,Name, IID ,Stream_Id,accountId,TYPE,campaignId\neast,-3,Reminder,st-9,st-1,acc,SMS,cd-1\n"
    )
    assert isinstance(row, Campaign)
    assert (row.campaign_id, row.campaign_type, row.account_id, row.stream_id) == ("cd-1", "sms", "acc", "st-1")
    assert (row.iid, row.priority, row.name, row.row) == ("st-9", -3, "Reminder", {"region": "east"})
    assert row.line == 2


@pytest.mark.parametrize("name", ["campaign_id", "campaignId", "CAMPAIGNID", "id", "_id", ' " Id "'.strip()])
def test_names_of_the_id_column(rows_of_csv: ReadCsv, name: str) -> None:
    """The id column has several names, in any letter case; a single column is enough."""
    (row,) = rows_of_csv(name.encode() + b"\ncd-1\n")
    assert isinstance(row, Campaign)
    assert row.campaign_id == "cd-1"
    assert row.row is None


def test_campaign_id_wins_over_id(rows_of_csv: ReadCsv) -> None:
    """Beside campaign_id a column id is only carried along."""
    for header in (b"id,campaign_id,_id\n", b"ID,Campaign_ID,_id\n"):
        (row,) = rows_of_csv(header + b"7,cd-1,8\n")
        assert row.campaign_id == "cd-1"
        assert list((row.row or {}).values()) == ["7", "8"]


@pytest.mark.parametrize(
    "header",
    ["id,_id", "campaign_id,x,Campaign_Id", "id,type,campaign_type", "id,accountId,Account ID"],
)
def test_two_columns_for_one_field(rows_of_csv: ReadCsv, header: str) -> None:
    """Two columns that mean the same are an error that names them: none is chosen by guessing."""
    with pytest.raises(InputError, match=r"list\.csv: line 1: '.*' and '.*' both give the [a-z_]+; keep one, or say"):
        rows_of_csv(header.encode() + b"\n1,2,3\n")


def test_unnamed_and_repeated_columns(rows_of_csv: ReadCsv) -> None:
    """No carried cell hides another, with any header."""
    (row,) = rows_of_csv(b"id,tag,,tag,\ncd-1,a,b,c,d\n")
    assert row.row == {"tag": "a", "(column 3)": "b", "tag (column 4)": "c", "(column 5)": "d"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(rows_of_csv: ReadCsv, delimiter: str) -> None:
    """The delimiter is the one that gives the header known names, whatever else the file contains."""
    others = ",;\t|".replace(delimiter, "")
    text = f"campaign_id{delimiter}notes{others * 3}{delimiter}type\ncd-1{delimiter}{others * 9}{delimiter}sms\n"
    (row,) = rows_of_csv(text.encode())
    assert isinstance(row, Campaign)
    assert (row.campaign_id, row.campaign_type) == ("cd-1", "sms")
    assert list((row.row or {}).values()) == [others * 9]


def test_single_column_is_not_split(rows_of_csv: ReadCsv) -> None:
    """Under one column a cell is a cell, whichever other delimiters it holds."""
    (row,) = rows_of_csv(b"campaign_id\ncd-1;x|y\n")
    assert row.campaign_id == "cd-1;x|y"
    assert isinstance(row, Result)
    assert "U+003B SEMICOLON" in (row.error or "")


def test_quoted_newlines(rows_of_csv: ReadCsv) -> None:
    """A multi-line record has the number of its first line; one with only blank cells is no row."""
    rows = rows_of_csv(b'id,"not\nes"\r\ncd-1,"a\r\n\r\nb"\r\n\r\ncd-2,"say ""x"""\r\n"",\r\n"",x\r\n')
    assert [(row.line, row.campaign_id) for row in rows] == [(3, "cd-1"), (7, "cd-2"), (9, "")]
    assert rows[0].row == {"not\nes": "a\r\n\r\nb"}
    assert rows[1].row == {"not\nes": 'say "x"'}
    assert faults(rows)[2] == (9, "no campaign id")


def test_blanks_around_cells(rows_of_csv: ReadCsv) -> None:
    """Blanks around a known value are not part of it; what is only carried along stays as it is."""
    (row,) = rows_of_csv(b"id , type, tag\n cd-1 ,\tvoice , x \n")
    assert (row.campaign_id, row.campaign_type, row.row) == ("cd-1", "voice", {"tag": " x "})


def test_short_and_long_rows(rows_of_csv: ReadCsv) -> None:
    """A short row lacks its last cells; non-empty cells after the last column are carried along."""
    rows = rows_of_csv(b"id,type,tag\ncd-1\ncd-2,sms\ncd-3,sms,x,,y\n,, \n,,\ncd-4,sms,x, ,\n")
    assert faults(rows) == [(2, None), (3, None), (4, None), (7, None)]
    assert [row.row for row in rows] == [None, None, {"tag": "x", "(column 5)": "y"}, {"tag": "x"}]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("name,id", "Sale, autumn,cd-1"),
        ("id,name", "Sale, autumn,cd-1"),
        ("id,name,account_id", "cd-1,Sale, autumn,65b1ee85b0c6d8e2f4234b86"),
        ("id,name,type", "cd-1,Sale, autumn,voice"),
        ("id,name", "cd-1,Sale,cd-2"),
        ("id,name", "A17,Sale,autumn"),
    ],
)
def test_shifted_rows(rows_of_csv: ReadCsv, header: str, row: str) -> None:
    """A row with more cells than the header is invalid if its cells may be under the wrong columns."""
    (first, second) = rows_of_csv(f"{header}\n{row}\ncd-9,x\n".encode())
    assert isinstance(first, Result)
    assert re.search(r"\d cells, but the header names|campaign_type is 'autumn'", first.error or "")
    assert second.line == 3


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["id,type", "cd-1,sms", "id,type", "cd-2,sms"], [(2, "cd-1"), (4, "cd-2")]),
        (["campaign_id,name", "cd-1,x", "name,campaign_id", "y,cd-2"], [(2, "cd-1"), (4, "cd-2")]),
        (["campaign_id,name", "cd-1,x", "\ufeffCampaign ID , name", "cd-2,y"], [(2, "cd-1"), (4, "cd-2")]),
        (["id,owner", "cd-1,x", "owner,id", "y,cd-2"], [(2, "cd-1"), (4, "cd-2")]),
        (["id,owner", "cd-1,x", "kanal,campaignId,type", "y,cd-2,sms"], [(2, "cd-1"), (4, "cd-2")]),
        (["cd-1,x", "campaign_id,type", "cd-2,sms"], [(1, "cd-1"), (3, "cd-2")]),
        (["id,name", "cd-1,id", "A17,ID", "A18,campaign"], [(2, "cd-1"), (3, "A17"), (4, "A18")]),
        (["id,type,name", "cd-1,sms,x", "A,sms,campaign_id", "B,Voice,y"], [(2, "cd-1"), (3, "A"), (4, "B")]),
        (["id,type,name", "cd-1,sms,x", "A,'sms',campaign_id", "B,Voice,y"], [(2, "cd-1"), (3, "A"), (4, "B")]),
        (["id,type,name", "cd-1,sms,x", "A,sms,stream_id", "B,voice,y"], [(2, "cd-1"), (3, "A"), (4, "B")]),
    ],
)
def test_header_once_more(rows_of_csv: ReadCsv, lines: list[str], expected: list[tuple[int, str]]) -> None:
    """A header in the middle, as in files put one after another, is not a row; its columns hold from there on."""
    rows = rows_of_csv("\n".join(lines).encode())
    assert [(row.line, row.campaign_id) for row in rows if isinstance(row, Campaign)] == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize("content", [b"", b"\n\r\n \n", b"\xef\xbb\xbf"])
def test_empty(rows_of_csv: ReadCsv, content: bytes) -> None:
    """A file without a header is an error; one without rows has no rows."""
    with pytest.raises(InputError, match=r"list\.csv: is empty"):
        rows_of_csv(content)
    assert rows_of_csv(b"\n\ncampaign_id\n\n") == []


def test_header_without_id(rows_of_csv: ReadCsv) -> None:
    """A header that names no id column is an error with the columns seen and the names accepted."""
    with pytest.raises(InputError) as caught:
        rows_of_csv(b"\nname;Campaign\nx;y\n")
    assert str(caught.value).endswith(
        "list.csv: line 2: no column with campaign ids among 'name', 'Campaign'; "
        'name it campaign_id, campaignId, id or _id, or give id_column="NAME"'
    )
    with pytest.raises(InputError, match=r"'c9' and 5 more"):
        rows_of_csv(",".join(f"c{n}" for n in range(15)).encode())


@pytest.mark.parametrize("line", [b"6512f0aa", b"x,cid-1", b"x,cd-1"])
def test_a_first_line_that_is_no_header(rows_of_csv: ReadCsv, line: bytes) -> None:
    """A list that begins with what may be an id, but is not a likely one, is an error that says how to read it."""
    with pytest.raises(InputError, match="this line looks like an id: no_header=True reads"):
        rows_of_csv(line + b"\n")


def test_bytes_that_are_not_utf8(rows_of_csv: ReadCsv) -> None:
    """A line that is not UTF-8 is read as Windows-1252; the others, and UTF-8 itself, are not touched."""
    rows = rows_of_csv(
        "id,Café\ncd-1,é\n".encode() + b"cd-2,caf\xe9\n" + "cd-3é,😀\n".encode() + b"cd-4,\xed\xa0\x80\n"
    )
    assert [(row.campaign_id, row.row) for row in rows] == [
        ("cd-1", {"Café": "é"}),
        ("cd-2", {"Café": "café"}),
        ("cd-3é", {"Café": "😀"}),
        ("cd-4", {"Café": "\u00ed\u00a0\u20ac"}),
    ]
    assert [isinstance(row, Campaign) for row in rows] == [True, True, False, True]


def test_header_that_is_not_utf8(rows_of_csv: ReadCsv) -> None:
    """The names of columns are read as Windows-1252 as well."""
    (row,) = rows_of_csv(b"id,caf\xe9\ncd-1,x\n")
    assert (row.campaign_id, row.row) == ("cd-1", {"café": "x"})


def test_nul_bytes(rows_of_csv: ReadCsv) -> None:
    """A row with a NUL byte anywhere is invalid, the next is not."""
    rows = rows_of_csv(b'id,tag\ncd-1,"a\0\nb"\ncd-\x002,x\ncd-3,x\n')
    reason = "the row holds a NUL byte"
    assert faults(rows) == [(2, reason), (4, reason), (5, None)]
    assert rows[1].campaign_id == "cd-\ufffd2"


@pytest.mark.parametrize("delimiter", [b",", b";"])
@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (b"", b"", 1),
        (b'"', b'"', 1),
        (b'"""', b'"""', 1),
        (b'"a\nb', b'\n""\n"', 4),
        (b'"' + b"x\n" * 50_000, b'"', 50_001),
    ],
)
@pytest.mark.parametrize("size", [2**20, 10_000_000])
def test_field_of_10_mb(
    rows_of_csv: ReadCsv, before: bytes, after: bytes, lines: int, size: int, delimiter: bytes
) -> None:
    """A huge field, quoted or not, only invalidates its own row; later rows have their lines."""
    huge = before + b"x" * size + after
    text = b'id,tag,type\ncd-0,,\ncd-1,%b,sms\ncd-2,a,sms\ncd-3,"b\nc",sms\n' % huge
    rows = rows_of_csv(text.replace(b",", delimiter))
    assert [(row.line, row.campaign_id) for row in rows] == [
        (2, "cd-0"),
        (3, "cd-1"),
        (3 + lines, "cd-2"),
        (4 + lines, "cd-3"),
    ]
    bad = rows[1]
    assert isinstance(bad, Result)
    assert (bad.error or "").startswith("the row is longer than 1,048,576 characters")
    assert bad.outcome is Outcome.INVALID
    assert len(repr(bad)) < 200_000


def test_large_fields_that_fit(rows_of_csv: ReadCsv) -> None:
    """A field beyond the csv module's own limit is read, and that global limit is restored."""
    before = csv.field_size_limit()
    big = "x" * 500_000
    rows = rows_of_csv(f'id,tag\ncd-1,{big}\ncd-2,"{big}\n{big}"\ncd-3,\n'.encode())
    assert [len((row.row or {})["tag"]) for row in rows] == [500_000, 1_000_001, 0]  # type: ignore[arg-type]
    assert csv.field_size_limit() == before
    limits = [
        csv.field_size_limit()
        for _ in read(
            ["-"],
            defaults=Defaults(),
            fmt="csv",
            stdin=io.BytesIO(f'id,tag\ncd-1,{big}\ncd-2,"{"x" * 2_000_000}"\ncd-3,"{big}"x\n'.encode()),
        )
    ]
    assert limits == [before] * 3


def test_low_limit_of_the_process(rows_of_csv: ReadCsv) -> None:
    """A process that has lowered the limit of the csv module reads the same rows."""
    before = csv.field_size_limit(3)
    try:
        rows = rows_of_csv(b"campaign_id,tag\ncd-100,abcdefgh\n")
        assert csv.field_size_limit() == 3
    finally:
        csv.field_size_limit(before)
    assert [(row.campaign_id, row.row) for row in rows] == [("cd-100", {"tag": "abcdefgh"})]


def test_quote_never_closed(rows_of_csv: ReadCsv) -> None:
    """A quote without an end is an error: the rows behind it would be lost."""
    for tail in (b"", b"cd-3,y\ncd-4,z\n", b"x" * 3_000_000, b"cd-5,y\n" * 300_000):
        with pytest.raises(InputError, match=r"list\.csv: line 3: a quote .* never closed"):
            rows_of_csv(b'id,tag\ncd-1,x\ncd-2,"oops\n' + tail)
    with pytest.raises(InputError, match=r"list\.csv: line 1: a quote .* never closed"):
        rows_of_csv(b'id,"tag\ncd-1,x\n')


def test_quotes_that_do_not_fit(rows_of_csv: ReadCsv) -> None:
    """A misplaced quote costs the lines it makes unreadable, each with its own invalid row, and no others."""
    rows = rows_of_csv(b'id,tag\ncd-1,"big "sale" now"\ncd-2,5" disk\ncd-3,"open\ncd-4,x\ncd-5,"y"\ncd-6,z\n')
    assert [(row.line, isinstance(row, Campaign)) for row in rows] == [
        (2, False),
        (3, True),
        (4, False),
        (5, False),
        (6, False),
        (7, True),
    ]
    assert [row.campaign_id for row in rows] == ["cd-1", "cd-2", "cd-3", "", "", "cd-6"]
    reasons = [row.error or "" for row in rows if isinstance(row, Result)]
    assert "lines 4 to 6" in reasons[1]
    assert all("may belong to the row of line 4" in reason for reason in reasons[2:])


SWALLOWED = "its quotes include lines that look like rows"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
@pytest.mark.parametrize(
    ("lines", "torn"),
    [
        ([b"id,name", b'cd-1,"24/7 help', b"cd-2,plain", b'cd-3,open 24"', b"cd-4,x"], [2, 3, 4]),
        ([b"name,id", b'"Big sale,cd-1', b"plain,cd-2", b'screen 15",cd-3', b"x,cd-4"], [2, 3, 4]),
        ([b"id,name", b'cd-1,"24/7 help', b'cd-3,open 24"', b"cd-4,x"], [2, 3]),
        ([b"name,id", b'"Big sale,cd-1', b'screen 15",cd-2', b"x,cd-4"], [2, 3]),
        ([b"id,name", b'"cd-1,x', b'cd-2",y', b"cd-4,x"], [2, 3]),
        ([b"id,name", b'cd-1,"', b'cd-2,"', b"cd-4,x"], [2, 3]),
        ([b"id", b'"cd-1', b'cd-2"', b"cd-4"], [2, 3]),
        ([b"id", b'"a', b"b", b'c"', b"cd-4"], [2, 3, 4]),
        ([b"id,name,type", b'cd-1,"24/7,sms', b"", b"cd-2,plain", b'cd-3,24"', b"cd-4,x,sms"], [2, 4, 5]),
        ([b"id,name,tag", b'cd-1,"a,1', b'cd-2,b","c', b'cd-3,d",1', b"cd-4,x,1"], [2, 3, 4]),
        ([b"name,id,tag", b'x,cd-1,"t', b'y",cd-2,u', b"z,cd-4,v"], [2, 3]),
        ([b"id,name", b'cd-1,"""24/7', b'cd-2,24"""', b"cd-4,x"], [2, 3]),
        ([b"id,name,type", b'A1,"24/7,sms', b'B1,24",sms', b"C1,x,sms"], [2, 3]),
        ([b"name,id", b'"24/7,A1', b'24",B1', b"x,C1"], [2, 3]),
        ([b"id,name,type", b'A1,"24/7,sms', b"B1,short", b'C1,24",sms', b"D1,x,sms"], [2, 3, 4]),
        ([b"id,name,type", b'cd-1,"x', b'cd-2,y",z\rw', b"cd-4,x,sms"], [2, 3]),
        ([b"id,name,type", b'cd-1,"x\0', b'cd-2,y",sms', b"cd-4,x,sms"], [2, 3]),
    ],
)
def test_swallowed_rows(
    rows_of_csv: ReadCsv, lines: list[bytes], torn: list[int], delimiter: bytes, end: bytes
) -> None:
    """Two stray quotes make one cell of the lines between them: where these look like rows, each is invalid."""
    rows = rows_of_csv(end.join(line.replace(b",", delimiter) for line in lines) + end)
    assert [row.line for row in rows if isinstance(row, Result)] == torn
    assert [row.line for row in rows if isinstance(row, Campaign)] == [len(lines)]
    for row in rows[1:-1]:
        assert isinstance(row, Result)
        assert (row.error or "").startswith(f"it may belong to the row of line {torn[0]}: ")


def test_reasons_of_swallowed_rows(rows_of_csv: ReadCsv) -> None:
    """The first of them names the lines and the remedy, and each has its id."""
    rows = rows_of_csv(b'id,name\ncd-1,"24/7 help\ncd-2,plain\ncd-3,open 24"\ncd-4,x\n')
    assert faults(rows) == [
        (2, f"{SWALLOWED} (lines 2 to 4); close or double a stray quote"),
        (3, f"it may belong to the row of line 2: {SWALLOWED}"),
        (4, f"it may belong to the row of line 2: {SWALLOWED}"),
        (5, None),
    ]
    assert [row.campaign_id for row in rows] == ["cd-1", "cd-2", "cd-3", "cd-4"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("id,name", ["cd-1", "24/7 help\nopen\n\nall day"]),
        ("name,id", ["Big sale\nautumn", "cd-1"]),
        ("name,id", ["Big sale, autumn\nand winter, too, as ever", "cd-1"]),
        ("id,address,type", ["cd-1", "12 Main St\nSpringfield, IL 62701\nUSA", "sms"]),
        ("id,address,type", ["cd-1", "12 Main St, Springfield\nIL 62701, USA", "sms"]),
        ("address,id", ["12 Main St, 62701\nSpringfield", "cd-1"]),
        ("id,note,type", ["cd-1", "date,calls\n2025-01-01,5\n2025-01-02,6", "sms"]),
        ("id,note,type", ["cd-1", "see cd-7\nand cd-8", "sms"]),
        ("id,note", ["cd-1", "one\n,\ntwo"]),
        ("id,note", ["cd-1\n", "x"]),
        ("id", ["cd-1\n"]),
        ("note,id,parent", ["one\ntwo", "cd-1", "cd-2"]),
        ("id,note", ["A1", "call\n555\nback"]),
    ],
)
def test_lines_of_a_cell(rows_of_csv: ReadCsv, header: str, cells: list[str], end: str) -> None:
    """A cell whose lines do not look like rows stays what it is, and so does its row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end)
    writer.writerows([header.split(","), [cell.replace("\n", end) for cell in cells]])
    (row,) = rows_of_csv(text.getvalue().encode())
    assert isinstance(row, Campaign), row
    assert row.campaign_id in ("cd-1", "A1")


@pytest.mark.parametrize(
    "header",
    [
        b'id,"name\ncd-1,x\ncd-2,y"',
        b'id,"name\ncd-1,x"',
        b'name,"id\n",cd-1',
        b'id,"name,type\nA1,x",sms',
        b'"name\nx",id,cd-1',
    ],
)
def test_header_that_swallows_rows(rows_of_csv: ReadCsv, header: bytes) -> None:
    """A header whose quotes include rows is an error, because the rows would be lost unnoticed."""
    with pytest.raises(InputError, match=r"list\.csv: line 1: the header includes lines that look like rows"):
        rows_of_csv(header + b"\ncd-9,z\n")


@pytest.mark.full
def test_a_huge_cell_of_rows(rows_of_csv: ReadCsv) -> None:
    """In a cell that is too long, each line that looks like a row is invalid, and none is kept in memory."""
    count = 200_000
    for inside, end in ((b"cd-1,x\n", b'y"'), (b"1,x\n", b'y"'), (b"cd-1,x\n", b'"y"')):
        rows = rows_of_csv(b'id,tag\ncd-0,"open\n' + inside * count + b"cd-2," + end + b"\ncd-3,z\n")
        assert len(rows) == count + 3
        assert [row.line for row in rows if isinstance(row, Campaign)] == [count + 4]


def test_stray_carriage_return(rows_of_csv: ReadCsv) -> None:
    """A carriage return outside quotes does not end a row, because the rest would be read as another campaign."""
    rows = rows_of_csv(b'id,tag\ncd-1,x\rcd-2,y\ncd-3,"x\ry"\ncd-4,x\ry"z"\r\ncd-5,"a\nb"\n')
    reason = "the row has a carriage return outside quotes"
    assert faults(rows) == [(2, reason), (3, None), (4, reason), (5, None)]


def test_torn_header(rows_of_csv: ReadCsv) -> None:
    """A header that cannot be read is an error."""
    for header in (b'id,"a"b\n', b"id," + b"x" * 2_000_000 + b"\n", b" " * 2_000_000 + b"\nid\n"):
        with pytest.raises(InputError, match=r"line 1: the header cannot be read: "):
            rows_of_csv(header + b"cd-1\n")


DIALECTS = st.sampled_from(
    [(d, q, e) for d in ",;\t|" for q in (csv.QUOTE_ALL, csv.QUOTE_MINIMAL) for e in ("\n", "\r\n")]
)


# Lines that look like rows are no part of a cell; what is a comment, a blank row or a header is no row.
IDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n#")).map(lambda text: f"A{text}")
TAGS = st.text(st.characters(codec="utf-8", exclude_characters=",;\t|cC"))


@settings(max_examples=200)
@given(DIALECTS, st.lists(st.tuples(IDS, TAGS)))
@example((",", csv.QUOTE_ALL, "\n"), [("0", "\r")])
def test_every_record_is_a_row(dialect: tuple[str, int, str], records: list[tuple[str, str]]) -> None:
    """For any content, there are as many rows as records, in their order."""
    delimiter, quoting, end = dialect
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("campaign_id", "tag"), *records])
    stdin = io.BytesIO(text.getvalue().encode())
    defaults = Defaults(CampaignType.SMS, "a", "s")
    rows = list(read(["-"], defaults=defaults, fmt="csv", stdin=stdin, any_id=True))
    assert len(rows) == len(records)
    for row, (campaign_id, tag) in zip(rows, records, strict=True):
        if isinstance(row, Campaign):
            assert row.campaign_id == campaign_id.strip()
            # Unquoted before a line feed, a last return is the line's end.
            assert (row.row or {})["tag"] in (tag, tag.removesuffix("\r"))


@settings(max_examples=200)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n#"))))
@example(["TYPE"])
@example(["name", "Stream ID"])
def test_every_record_of_a_single_column_is_a_row(ids: list[str]) -> None:
    """A single quoted column loses none either; what is blank is not a row."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["campaign_id"], *([value] for value in ids)])
    stdin = io.BytesIO(text.getvalue().encode())
    rows = list(read(["-"], defaults=Defaults(CampaignType.SMS, "a", "s"), fmt="csv", stdin=stdin))
    assert len(rows) == sum(bool(value.strip()) and field_of(value) != "campaign_id" for value in ids)


@st.composite
def tables_with_stray_quotes(draw: st.DrawFn) -> str:
    """Write a table as any program would, and put quotes into it, most of them where a cell begins or ends."""
    delimiter, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n"]))
    width = draw(st.integers(1, 4))
    id_at = draw(st.integers(0, width - 1))
    cells = st.text(st.sampled_from("ab1 \",;'|"), max_size=6)
    rows = [[draw(cells) for _ in range(width)] for _ in range(draw(st.integers(1, 7)))]
    for number, row in enumerate(rows):
        row[id_at] = f"cd-{number:07x}"
    header = ["campaign_id" if place == id_at else f"c{place}" for place in range(width)]
    out = io.StringIO(newline="")
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([header, *rows])  # type: ignore[arg-type]
    text = out.getvalue()
    for _ in range(draw(st.integers(1, 4))):
        edges = [0, *(m.end() for m in re.finditer(f"[{delimiter}\n]", text))]
        edges += [m.start() for m in re.finditer(f"[{delimiter}\r\n]", text)]
        at = draw(st.sampled_from(edges) | st.integers(0, len(text)))
        text = f'{text[:at]}"{text[at:]}'
    return text


@pytest.mark.full
@settings(max_examples=500)
@given(tables_with_stray_quotes())
@example('c0,"campaign_id\n",1",cd-0000000\n,cd-0000001\n')
@example('campaign_id\ncd-0000000\n"cd-0000001\ncd-0000002"\n')
def test_no_id_vanishes(text: str) -> None:
    """With stray quotes anywhere, the line of each id is a row or an invalid line, or the list is refused."""
    stdin = io.BytesIO(text.encode())
    try:
        rows = {row.line: row for row in read(["-"], defaults=DEFAULTS, fmt="csv", stdin=stdin)}
    except InputError:
        return
    if "\r" in text.partition("\n")[0].removesuffix("\r"):
        return  # then CR ends lines, and a quote may stand in one of its own
    for number, line in enumerate(text.split("\n")[1:], start=2):
        if "cd-" in line:
            row = rows[number]
            assert isinstance(row, Result) or row.campaign_id in line
