"""CSV: columns by name, records whole, nothing lost."""

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Outcome, Result, Row
from bulkstop.source import read

Read = Callable[[str, bytes], list[Row]]


@pytest.fixture
def rows_of_csv(rows_of: Read) -> Callable[[bytes], list[Row]]:
    """Read the rows of a CSV file with this content."""
    return lambda content: rows_of("list.csv", content)


ReadCsv = Callable[[bytes], list[Row]]


def faults(rows: list[Row]) -> list[tuple[int | None, str | None]]:
    """Return line and reason of each invalid row; a campaign stands as line and None."""
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
    """The id column goes by several names, in any letter case; a single column is enough."""
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
    ["id,_id", "campaign_id,x,Campaign_Id", "id,type,campaign_type", "id,accountId,account_id", "id,name,Name"],
)
def test_two_columns_for_one_field(rows_of_csv: ReadCsv, header: str) -> None:
    """Two columns that mean the same are an error that names them: none is chosen by guessing."""
    with pytest.raises(InputError, match=r"list\.csv: line 1: '.*' and '.*' both give the [a-z_]+; keep one"):
        rows_of_csv(header.encode() + b"\n1,2,3\n")


def test_unnamed_and_repeated_columns(rows_of_csv: ReadCsv) -> None:
    """No carried cell hides another, whatever the header calls them."""
    (row,) = rows_of_csv(b"id,tag,,tag,\ncd-1,a,b,c,d\n")
    assert row.row == {"tag": "a", "(column 3)": "b", "tag (column 4)": "c", "(column 5)": "d"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(rows_of_csv: ReadCsv, delimiter: str) -> None:
    """The delimiter is the one that makes known names of the header, whatever else stands in the file."""
    others = ",;\t|".replace(delimiter, "")
    text = f"campaign_id{delimiter}notes{others * 3}{delimiter}type\ncd-1{delimiter}{others * 9}{delimiter}sms\n"
    (row,) = rows_of_csv(text.encode())
    assert isinstance(row, Campaign)
    assert (row.campaign_id, row.campaign_type) == ("cd-1", "sms")
    assert list((row.row or {}).values()) == [others * 9]


def test_single_column_is_not_split(rows_of_csv: ReadCsv) -> None:
    """Under one column a cell is a cell, whichever other delimiters it holds."""
    rows = rows_of_csv(b"campaign_id\ncd-1;x|y\n")
    assert [row.campaign_id for row in rows] == ["cd-1;x|y"]
    assert faults(rows) == [(2, None)]


def test_quoted_newlines(rows_of_csv: ReadCsv) -> None:
    """A record that spans lines stands on the line where it starts; a quoted blank is a cell, a blank line is none."""
    rows = rows_of_csv(b'id,"not\nes"\r\ncd-1,"a\r\n\r\nb"\r\n\r\ncd-2,"say ""x"""\r\n"",\r\n')
    assert [(row.line, row.campaign_id) for row in rows] == [(3, "cd-1"), (7, "cd-2"), (8, "")]
    assert rows[0].row == {"not\nes": "a\r\n\r\nb"}
    assert rows[1].row == {"not\nes": 'say "x"'}
    assert faults(rows)[2] == (8, "no campaign id")


def test_blanks_around_cells(rows_of_csv: ReadCsv) -> None:
    """Blanks around a known value are no part of it; what is only carried along stays as it is."""
    (row,) = rows_of_csv(b"id , type, tag\n cd-1 ,\tvoice , x \n")
    assert (row.campaign_id, row.campaign_type, row.row) == ("cd-1", "voice", {"tag": " x "})


def test_short_and_long_rows(rows_of_csv: ReadCsv) -> None:
    """A short row lacks its last cells; a row longer than the header cannot be told into columns."""
    rows = rows_of_csv(b"id,type,tag\ncd-1\ncd-2,sms\ncd-3,sms,x,y\n,,\ncd-4,sms,x\n")
    assert faults(rows) == [
        (2, None),
        (3, None),
        (4, "4 cells, but the header names 3"),
        (5, "no campaign id"),
        (6, None),
    ]
    assert [row.row for row in rows] == [None, None, {"tag": "x"}, {"tag": ""}, {"tag": "x"}]
    assert [row.campaign_id for row in rows] == ["cd-1", "cd-2", "cd-3", "", "cd-4"]


def test_header_once_more(rows_of_csv: ReadCsv) -> None:
    """The header in the middle, as in files put one after another, is no campaign."""
    rows = rows_of_csv(b"id,type\ncd-1,sms\nid,type\ncd-2,sms\n")
    assert faults(rows) == [(2, None), (3, "the header once more, not a campaign"), (4, None)]


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
        "name it campaign_id, campaignId, id or _id"
    )
    with pytest.raises(InputError, match=r"'c9' and 5 more"):
        rows_of_csv(",".join(f"c{n}" for n in range(15)).encode())


@pytest.mark.parametrize("line", [b"cd-5c1a7be-77d0-4d7e-9f33-0a1b2c3d4e5f,voice", b"6512f0aa", b"x,cid-1"])
def test_headless_list(rows_of_csv: ReadCsv, line: bytes) -> None:
    """A list that begins with an id is an error that says what is missing."""
    with pytest.raises(InputError, match="looks like an id: put the names of the columns above it"):
        rows_of_csv(line + b"\n")


def test_utf16_without_mark(rows_of_csv: ReadCsv) -> None:
    """UTF-16 is recognised by its NUL bytes, too."""
    with pytest.raises(InputError, match="save it as UTF-8"):
        rows_of_csv("campaign_id\ncd-1\n".encode("utf-16-le"))


def test_bytes_that_are_not_utf8(rows_of_csv: ReadCsv) -> None:
    """A row that is not UTF-8 is invalid and can be written out; the others, and UTF-8 itself, are not touched."""
    rows = rows_of_csv(
        "id,Café\ncd-1,é\n".encode() + b"cd-2,caf\xe9\n" + "cd-3é,😀\n".encode() + b"cd-4,\xed\xa0\x80\n"
    )
    assert [(row.campaign_id, row.row) for row in rows] == [
        ("cd-1", {"Café": "é"}),
        ("cd-2", {"Café": "caf\ufffd"}),
        ("cd-3é", {"Café": "😀"}),
        ("cd-4", {"Café": "\ufffd\ufffd\ufffd"}),
    ]
    reason = "the row holds bytes that are not UTF-8"
    assert faults(rows) == [(2, None), (3, reason), (4, None), (5, reason)]


def test_header_that_is_not_utf8(rows_of_csv: ReadCsv) -> None:
    """A broken name of a column that is only carried along keeps nobody from the ids."""
    (row,) = rows_of_csv(b"id,caf\xe9\ncd-1,x\n")
    assert (row.campaign_id, row.row) == ("cd-1", {"caf\ufffd": "x"})


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
    """A huge field, quoted or not, costs its own row only; the rows after it stand on their lines."""
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
    """A field beyond the csv module's own limit is read, and that limit, which is everybody's, is as before."""
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


def test_stray_carriage_return(rows_of_csv: ReadCsv) -> None:
    """A carriage return outside quotes does not end a row: the rest of it would be taken for another campaign."""
    rows = rows_of_csv(b'id,tag\ncd-1,x\rcd-2,y\ncd-3,"x\ry"\ncd-4,x\ry"z"\r\ncd-5,"a\nb"\n')
    reason = "a carriage return stands in the row outside quotes"
    assert faults(rows) == [(2, reason), (3, None), (4, reason), (5, None)]


def test_swallowed_rows_are_counted(rows_of_csv: ReadCsv) -> None:
    """A stray quote that swallows more than a row may hold leaves an invalid row for each line it swallowed."""
    count = 200_000
    rows = rows_of_csv(b'id,tag\ncd-0,"open\n' + b"cd-1,x\n" * count + b'cd-2,"y"\ncd-3,z\n')
    assert len(rows) == count + 3
    assert [row.line for row in rows if isinstance(row, Campaign)] == [count + 4]


def test_torn_header(rows_of_csv: ReadCsv) -> None:
    """A header that cannot be read is an error."""
    for header in (b'id,"a"b\n', b"id," + b"x" * 2_000_000 + b"\n", b" " * 2_000_000 + b"\nid\n"):
        with pytest.raises(InputError, match=r"line 1: the header cannot be read: "):
            rows_of_csv(header + b"cd-1\n")


DIALECTS = st.sampled_from(
    [(d, q, e) for d in ",;\t|" for q in (csv.QUOTE_ALL, csv.QUOTE_MINIMAL) for e in ("\n", "\r\n")]
)


@settings(max_examples=200)
@given(DIALECTS, st.lists(st.tuples(st.text(), st.text())))
@example((",", csv.QUOTE_ALL, "\n"), [("0", "\r")])
def test_every_record_is_a_row(dialect: tuple[str, int, str], records: list[tuple[str, str]]) -> None:
    """As many rows come out as records were written, in their order, whatever is in them."""
    delimiter, quoting, end = dialect
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("campaign_id", "tag"), *records])
    stdin = io.BytesIO(text.getvalue().encode(errors="surrogatepass"))
    rows = list(read(["-"], defaults=Defaults(CampaignType.SMS, "a", "s"), fmt="csv", stdin=stdin))
    assert len(rows) == len(records)
    for row, (campaign_id, tag) in zip(rows, records, strict=True):
        if isinstance(row, Campaign):
            assert row.campaign_id == campaign_id.strip()
            # Unquoted before a line feed, a last return is the line's end.
            assert (row.row or {})["tag"] in (tag, tag.removesuffix("\r"))


@settings(max_examples=200)
@given(st.lists(st.text()))
def test_every_record_of_a_single_column_is_a_row(ids: list[str]) -> None:
    """A single quoted column loses none either, be the id empty or blank."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["campaign_id"], *([value] for value in ids)])
    stdin = io.BytesIO(text.getvalue().encode())
    rows = list(read(["-"], defaults=Defaults(CampaignType.SMS, "a", "s"), fmt="csv", stdin=stdin))
    assert len(rows) == len(ids)
