"""Tables: which column is which, where the header is, and which records are rows."""

import io

import pytest

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Result, Row
from bulkstop.source import read
from bulkstop.source.rows import ColumnChoice
from bulkstop.source.understood import Finding, Understood

DEFAULTS = Defaults(CampaignType.VOICE, "a1", "st-1")
ONE, TWO = "cd-fb797fa-b7d6-467b-2f5a-522af87f43fd", "cd-db53334-fb03-23a1-d576-d4155ec17dbe"


def table(
    *lines: str,
    id_column: str | None = None,
    columns: tuple[str, ...] = (),
    has_header: bool = True,
    any_id: bool = False,
) -> tuple[list[Row], Understood]:
    """Read these lines as a table, and tell what was understood."""
    understood: list[Understood] = []
    choice = ColumnChoice.of(id_column, columns, has_header=has_header)
    stdin = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    rows = list(
        read(["-"], defaults=DEFAULTS, fmt="csv", stdin=stdin, any_id=any_id, choice=choice, understood=understood)
    )
    return rows, understood[0]


def ids(rows: list[Row]) -> list[str]:
    """Return the ids of campaigns."""
    return [row.campaign_id for row in rows if isinstance(row, Campaign)]


@pytest.mark.parametrize(
    "name", ["Campaign ID", "campaign-id", "Campaign Id *", "CAMPAIGN.ID", "\u200bcampaign_id", "#Id"]
)
def test_names_by_letters_and_digits(name: str) -> None:
    """Names are compared by letters and digits alone."""
    (row,), understood = table(f"{name};Campaign Type;Account.Id;Stream - ID", f"{ONE};SMS;a9;st-9")
    assert isinstance(row, Campaign)
    assert row[:4] == (ONE, "sms", "a9", "st-9")
    assert list(understood.columns) == ["campaign_id", "campaign_type", "account_id", "stream_id"]


def test_other_words() -> None:
    """Columns that are called otherwise can be named; what they are called otherwise is carried along."""
    (row,), understood = table(
        "id,Kampagne,Kanal,type", f"7,{ONE},sms,x", id_column="kampagne", columns=("campaign_type=Kanal",)
    )
    assert isinstance(row, Campaign)
    assert (row.campaign_id, row.campaign_type, row.row) == (ONE, "sms", {"id": "7", "type": "x"})
    assert understood.columns == {"campaign_id": "Kampagne", "campaign_type": "Kanal"}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"id_column": "Kampagn"}, "no column 'Kampagn' among .*'Kampagne' may be meant"),
        ({"columns": ("iid=App",)}, "no column 'App'"),
    ],
)
def test_a_column_that_is_not_there(how: dict[str, object], why: str) -> None:
    """A column that is named and not there is an error, not a column that says nothing."""
    with pytest.raises(InputError, match=why):
        table("id,Kampagne", f"{ONE},x", **how)  # type: ignore[arg-type]


def test_two_columns_that_may_be_the_id() -> None:
    """Beside campaign_id another column is not the id, with a message."""
    rows, understood = table("id,campaign_id", f"7,{ONE}")
    assert (ids(rows), understood.id_not_taken) == ([ONE], ("id",))


def test_two_columns_of_what_is_not_needed() -> None:
    """A second column for a name or a priority is allowed: the first one counts."""
    (row,), _ = table("id,name,Name,priority,Priority", f"{ONE},x,y,1,2")
    assert isinstance(row, Campaign)
    assert (row.name, row.priority, row.row) == ("x", 1, {"Name": "y", "Priority": "2"})


def test_without_a_header() -> None:
    """A table whose first records all begin with a likely id has no header; a column of types is the type."""
    with pytest.raises(InputError, match="this line looks like an id: no_header=True reads"):
        table(f"{ONE},sms,x", f'"{TWO}",voice,y', "A17,voice,z")
    rows, understood = table(f"{ONE},sms,x", f'"{TWO}",voice,y', *[f"cd-{n:07x},sms" for n in range(30)], "A17,voice,z")
    assert [row.campaign_type for row in rows[:3]] == ["sms", "voice", "sms"]
    assert [row.row for row in rows[:3]] == [{"(column 3)": "x"}, {"(column 3)": "y"}, None]
    assert not understood.has_header
    assert isinstance(rows[-1], Result)
    assert (rows[-1].error or "").startswith("does not begin with a campaign id")


def test_columns_of_the_time_to_stop() -> None:
    """A column that is named for the time, or its zone, is that; one that is only called so keeps its number."""
    header, cells = "id,Ende,Zone,stop_at", f"{ONE},18:00,UTC,x"
    (row,), understood = table(header, cells, columns=("stop_at=ende", "timezone=Zone"))
    assert row.row == {"stop_at": "18:00", "timezone": "UTC", "stop_at (column 4)": "x"}
    assert understood.columns == {"campaign_id": "id", "stop_at": "Ende", "timezone": "Zone"}
    (row,), understood = table(f"{ONE},18:00Z", columns=("stop_at=2",))
    assert row.row == {"stop_at": "18:00Z"}
    assert understood.columns == {"campaign_id": "column 1", "stop_at": "column 2"}


@pytest.mark.parametrize("header", ["id,stop_at,Stop At", "id,stop_at,stop_at"])
def test_two_columns_of_the_time_to_stop(header: str) -> None:
    """Which of two columns says by when to stop is never guessed; zones alone mean nothing."""
    with pytest.raises(InputError, match=r"both give the stop_at; keep one, or say which: .*stop_at=NAME"):
        table(header, f"{ONE},18:00Z,19:00Z")
    assert ids(table("id,timezone,Time Zone", f"{ONE},x,y")[0]) == [ONE]


def test_no_header_that_is_said() -> None:
    """With --no-header any first column has the ids, or the one of a number."""
    rows, _ = table("A17,x", "B18,y", "id,name", "C19,z", has_header=False)
    assert ids(rows) == ["A17", "B18", "C19"]
    rows, _ = table("x,A17,sms", "y,B18,voice", has_header=False, id_column="2", columns=("campaign_type=3",))
    assert [(row.campaign_id, row.campaign_type, row.row) for row in rows] == [
        ("A17", "sms", {"(column 1)": "x"}),
        ("B18", "voice", {"(column 1)": "y"}),
    ]


def test_columns_by_number() -> None:
    """Without a header a chosen column is known by its number; one that is not there is refused, never a default."""
    rows, _ = table(f"{ONE},x,st-2", f"{TWO},y,st-3", columns=("stream_id=3",))
    assert [(row.campaign_id, row.stream_id) for row in rows] == [(ONE, "st-2"), (TWO, "st-3")]
    for number in ("4", "0", "Stream", "²"):
        with pytest.raises(InputError, match="for the stream_id: there is no header, and it has 3 columns"):
            table(f"{ONE},x,st-2", columns=(f"stream_id={number}",))


@pytest.mark.parametrize("sep", ["sep=;", '"sep=;"', "\ufeffSEP=;", "sep=;\r"])
def test_the_line_that_says_the_delimiter(sep: str) -> None:
    """A first line `sep=;` is not a header, and obeyed."""
    rows, understood = table(sep, "name,x;campaign_id", f"a,b;{ONE}")
    assert (ids(rows), rows[0].line, understood.delimiter) == ([ONE], 3, ";")


def test_comments_and_blank_rows() -> None:
    """Lines that begin with # and rows of only delimiters are not rows, in any place, but counted."""
    rows, understood = table(
        '# a "note", here', "", "campaign_id,name", f"#{ONE},x", ",", '"",  ', f"{TWO},y", '"# quoted",', " # last"
    )
    assert ids(rows) == [TWO]
    assert len(rows) == 1
    assert understood.counts == {Finding.COMMENTS: 4, Finding.BLANK_ROWS: 2}


def test_what_may_be_a_comment() -> None:
    """A line that begins with # is an invalid row if the ids are in another column."""
    rows, _ = table("name,campaign_id", f"#1 Sale,{ONE}", f'"#1 Sale",{TWO}', "# Sale,old")
    assert [(row.line, isinstance(row, Campaign)) for row in rows] == [(2, False), (3, True)]
    assert isinstance(rows[0], Result)
    assert (rows[0].error or "").startswith("it begins with #")


def test_a_header_with_a_hash() -> None:
    """A first line that begins with # and names the ids is the header."""
    rows, _ = table("#campaign_id,campaign_type", f"{ONE},sms")
    assert [(row.campaign_id, row.campaign_type) for row in rows] == [(ONE, "sms")]


def test_with_any_id_a_row_may_begin_with_a_hash() -> None:
    """If ids may have any character, only lines above the header are comments."""
    rows, _ = table("# note", "campaign_id", "#17", any_id=True)
    assert ids(rows) == ["#17"]


def test_lines_above_the_header() -> None:
    """A title above the header is skipped and counted, unless something in it could be an id."""
    rows, understood = table("Campaigns to stop", ";;", "Campaign ID;Name", f"{ONE};x")
    assert (ids(rows), understood.counts[Finding.ABOVE_HEADER]) == ([ONE], 1)
    with pytest.raises(InputError, match="line 1: no column with campaign ids"):
        table("A17;x", "Campaign ID;Name", f"{TWO};x")


def test_several_ids_in_a_cell() -> None:
    """A cell of a table with several ids is not a list: the row is invalid, with what to do."""
    (row,), _ = table("id,name", f'"{ONE}, {TWO}",x')
    assert isinstance(row, Result)
    assert "holds 2 ids; put each in its own row" in (row.error or "")


def test_what_was_cleaned() -> None:
    """An id that was cleaned is carried along as it was, and counted with the first example."""
    rows, understood = table("id,tag", f"`{ONE}`,x", f"{TWO}\u200b,y", f" {ONE[:-1]}1 ,z")
    assert [row.row for row in rows] == [
        {"campaign_id": f"`{ONE}`", "tag": "x"},
        {"campaign_id": f"{TWO}\u200b", "tag": "y"},
        {"tag": "z"},
    ]
    assert understood.counts[Finding.CLEANED] == 2
    assert understood.examples[Finding.CLEANED] == (2, f"`{ONE}`", ONE)
