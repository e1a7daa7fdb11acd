"""Sheets of workbooks: the rows of the first or of the one that is named, or one error that says what to do."""

import io
import sys
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from bulkstop.errors import InputError
from bulkstop.model import Campaign, Defaults, Outcome, Result, Row
from bulkstop.source import read
from bulkstop.source.plan import Plan
from bulkstop.source.rows import ColumnChoice
from bulkstop.source.understood import Finding, Understood

ID = "cd-fb797fa-b7d6-467b-2f5a-522af87f43fd"
OTHER_ID = "cd-db53334-fb03-23a1-d576-d4155ec17dbe"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_STATES = ("visible", "hidden")
_STYLES = '<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="46"/></cellXfs>'
DATE, DURATION = 1, 2
"""The styles of dates and of durations, in the style sheet above."""

Cell = str | int | float | bool | tuple[int, float] | None
"""The value of a cell; a pair is a style with a number."""
Sheet = dict[str, Cell]
"""Cells by their place, such as B2."""


def write_workbook(sheets: dict[str, Sheet], hidden: Sequence[str] = ()) -> bytes:
    """Return an .xlsx with these sheets, as small as it can be."""
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": _links([("officeDocument", "xl/workbook.xml")]),
        "xl/_rels/workbook.xml.rels": _links(
            [("worksheet", f"worksheets/sheet{number}.xml") for number, _ in enumerate(sheets, start=1)]
            + [("styles", "styles.xml")]
        ),
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}"><sheets>'
        + "".join(
            f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}" state="{_STATES[name in hidden]}"/>'
            for number, name in enumerate(sheets, start=1)
        )
        + "</sheets></workbook>",
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}">{_STYLES}</styleSheet>',
    }
    for number, sheet in enumerate(sheets.values(), start=1):
        parts[f"xl/worksheets/sheet{number}.xml"] = _sheet(sheet)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def _links(targets: list[tuple[str, str]]) -> str:
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{LINKS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>'


def _sheet(cells: Sheet) -> str:
    lines: dict[int, list[str]] = {}
    for place, value in cells.items():
        lines.setdefault(int(place.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")), []).append(_cell(place, value))
    rows = "".join(f'<row r="{line}">{"".join(each)}</row>' for line, each in sorted(lines.items()))
    return f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'


def _cell(place: str, value: Cell) -> str:
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    style, number = value if isinstance(value, tuple) else (0, value)
    return f'<c r="{place}" s="{style}"><v>{number}</v></c>'


def table(*lines: Sequence[Cell]) -> Sheet:
    """Return the cells of lines that begin in the first."""
    return {
        f"{'ABCDEFGH'[column]}{row}": value
        for row, line in enumerate(lines, start=1)
        for column, value in enumerate(line)
        if value is not None
    }


Rows = Callable[..., list[Row]]


@pytest.fixture
def rows(tmp_path: Path, defaults: Defaults) -> Rows:
    """Write a workbook, and read its rows."""

    def rows(content: bytes, name: str = "list.xlsx", **options: object) -> list[Row]:
        (tmp_path / name).write_bytes(content)
        return list(read([str(tmp_path / name)], defaults=defaults, **options))  # type: ignore[arg-type]

    return rows


def test_a_sheet(rows: Rows) -> None:
    """Each row of a sheet is a row with its number as the line, except blank ones; whole numbers stay whole."""
    sheet = table(
        ["Campaign ID", "Type", "Account Id", "name", "Priority", "note"],
        [ID, "sms", 4711, "Müller & Söhne", 5, "x"],
        [],
        [f"{OTHER_ID}\u200b", None, None, 24, 1.0, (DATE, 46000)],
    )
    understood: list[Understood] = []
    first, second = rows(write_workbook({"Campaigns": sheet}), understood=understood)
    assert isinstance(first, Campaign)
    assert isinstance(second, Campaign)
    assert (first.line, first.campaign_id, first.campaign_type, first.account_id) == (2, ID, "sms", "4711")
    assert (first.name, first.priority, first.row) == ("Müller & Söhne", 5, {"note": "x"})
    assert (second.line, second.campaign_id, second.name, second.priority) == (4, OTHER_ID, "24", 1)
    assert second.row == {"campaign_id": f"{OTHER_ID}\u200b", "note": "2025-12-09"}
    assert (understood[0].form, understood[0].sheet) == ("xlsx", "Campaigns")
    assert understood[0].counts == {Finding.BLANK_ROWS: 1, Finding.CLEANED: 1}


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("18:00", "2026-03-02T17:00:00.000Z"),
        ((DATE, 46083.75), "2026-03-02T17:00:00.000Z"),
        ((DATE, 0.75), "2026-03-02T17:00:00.000Z"),
        ((DURATION, 0.75), "2026-03-02T17:00:00.000Z"),
        ((DATE, 17 / 24 + 20 / 1440), "2026-03-02T16:20:00.000Z"),
        ((DATE, 46083 + 17 / 24 + 20 / 1440), "2026-03-02T16:20:00.000Z"),
        ((DATE, 46083), "stop_at is '2026-03-02', which has no time of the day"),
        (0.75, "stop_at is not text"),
    ],
)
def test_times_to_stop(rows: Rows, cell: Cell, moment: str) -> None:
    """A cell with a time, or a date and a time, says by when to stop; one that has no time of the day does not."""
    sheet = table(["id", "Ende", "timezone"], [ID, cell, "Europe/Berlin"])
    choice = ColumnChoice.of(None, ("stop_at=Ende",))
    noon = datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp()
    with Plan(iter(rows(write_workbook({"Campaigns": sheet}), choice=choice)), now=noon) as plan:
        said = [each.stop_at for account_id in plan.accounts for each in plan.campaigns(account_id)]
        said += [each.error for each in plan.held_results()]
    assert str(said[0]).startswith(moment)


@pytest.mark.parametrize(
    ("cell", "shown", "kind"),
    [
        (6.7e23, "6.7e+23", "a number"),
        (4711, "4711", "a number"),
        ((DATE, 46000), "2025-12-09", "a date"),
        (True, "True", "true"),
    ],
)
def test_an_id_that_is_no_text(rows: Rows, cell: Cell, shown: str, kind: str) -> None:
    """A spreadsheet has made a number or a date of an id: the row is invalid for that, and never sent."""
    bad, good = rows(write_workbook({"a": table(["name", "id"], ["x", cell], ["y", ID])}))
    assert isinstance(bad, Result)
    assert (bad.outcome, bad.line, bad.campaign_id) == (Outcome.INVALID, 2, shown)
    assert (bad.error or "").startswith(f"{shown!r} is not a campaign id: the spreadsheet turned it into {kind}")
    assert good.campaign_id == ID


def test_a_number_that_lost_digits_is_no_account(rows: Rows) -> None:
    """A number that is too long to be exact is not made a text of its own."""
    (row,) = rows(write_workbook({"a": table(["id", "account_id"], [ID, 6.44e23])}))
    assert isinstance(row, Result)
    assert "account_id is a number" in (row.error or "")


def test_where_a_table_begins(rows: Rows) -> None:
    """Titles, empty rows and empty columns may precede a header, and a header may be repeated."""
    cells: Sheet = {"B2": "List of Monday", "C4": "Id", "D4": "name", "C5": ID, "D5": "x", "C7": "name", "D7": "Id"}
    understood: list[Understood] = []
    found = rows(write_workbook({"a": cells | {"C8": "y", "D8": OTHER_ID}}), understood=understood)
    assert [(row.line, row.campaign_id) for row in found] == [(5, ID), (8, OTHER_ID)]
    assert understood[0].counts[Finding.ABOVE_HEADER] == 1
    assert understood[0].counts[Finding.REPEATED_HEADERS] == 1


def test_no_header(rows: Rows) -> None:
    """A sheet whose rows begin with likely ids needs none; of any other it may be said."""
    assert [row.campaign_id for row in rows(write_workbook({"a": table([ID, "x"], [OTHER_ID])}))] == [ID, OTHER_ID]
    choice = ColumnChoice("2", has_header=False)
    (row,) = rows(write_workbook({"a": {"B1": "A17", "C1": "x"}}), choice=choice)
    assert row.campaign_id == "A17"
    with pytest.raises(InputError, match=r"list\.xlsx: line 1: no column with campaign ids among 'ref', 'x'"):
        rows(write_workbook({"a": table(["ref", "x"], ["A17", "y"])}))


def test_which_sheet(rows: Rows) -> None:
    """The sheet is the first that is shown, or the one that is named, in any letter case, or by its number."""
    book = write_workbook(
        {"Old": table(["id"], ["cd-1"]), "New": table(["id"], ["cd-2"]), "3": table(["id"], ["cd-3"])}, hidden=["Old"]
    )
    for sheet, found in ((None, "cd-2"), ("Old", "cd-1"), ("new ", "cd-2"), ("3", "cd-3"), ("1", "cd-1")):
        assert [row.campaign_id for row in rows(book, sheet=sheet)] == [found]
    with pytest.raises(InputError, match=r"^sheet Older: .*list\.xlsx has no such sheet, but 'Old', 'New', '3'$"):
        rows(book, sheet="Older")


def test_a_workbook_shows_by_its_content(rows: Rows) -> None:
    """A workbook is recognized under any name, unless another format is given; another file is refused."""
    book = write_workbook({"a": table(["id"], [ID])})
    assert rows(book, "list.csv")[0].campaign_id == ID
    assert rows(book, "list")[0].campaign_id == ID
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/list.xlsx", book)
    (row,) = rows(packed.getvalue(), "list.zip")
    assert (row.campaign_id, str(row.source).rpartition("list.zip")[2]) == (ID, "/in/list.xlsx")
    with pytest.raises(InputError, match=r"is a workbook, not csv; leave out format"):
        rows(book, fmt="csv")
    with pytest.raises(InputError, match=r"is not a workbook"):
        rows(b"id\ncd-1\n", fmt="xlsx")
    assert rows(f"id\n{ID}\n".encode())[0].campaign_id == ID


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (write_workbook({"a": {}}), "the sheet is empty; its first row must name the columns"),
        (
            write_workbook({"a": {"A1": "id", "XFD1048576": "x"}}),
            "has 2 cells scattered over 1,048,576 rows",
        ),
        (write_workbook({"a": {"A1": "x" * 9_000_000}}), "unpacks to more than 200 times its .* KB"),
        (write_workbook({"a": table(["id"])})[:-300], "cannot be read: the packed file is damaged; fetch it again"),
        (
            write_workbook({"a": table(["id"])}).replace(b"xl/workbook.xml", b"xl/workbook.bin"),
            "holds no sheet",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "cannot be read as a workbook"),
    ],
    ids=["empty", "scattered", "bomb", "cut off", "torn", "old"],
)
def test_what_cannot_be_read(rows: Rows, content: bytes, why: str) -> None:
    """A workbook that is empty, damaged, or would fill the memory is one error, before the process is in danger."""
    with pytest.raises(InputError, match=rf"list\.xlsx: {why}"):
        rows(content)


def test_a_cell_far_out_among_many(rows: Rows) -> None:
    """A long or a wide sheet is not a scattered one."""
    assert len(rows(write_workbook({"a": {"A1": "id", "A60000": ID}}))) == 1
    assert len(rows(write_workbook({"a": {"A1": "id", "XFD1": "x", "A2": ID}}))) == 1


def test_without_the_extra(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the reader of workbooks, the error says how to install it, and how to do without."""
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(
        InputError, match=r"is a workbook; to read it run .*python-calamine.*, or save its sheet as CSV"
    ):
        rows(write_workbook({"a": table(["id"], [ID])}))
