"""A long list of any form is planned in little memory: the command itself, as a process."""

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import watched
from bare_loop import ACCOUNT, STREAM

pytestmark = pytest.mark.full

MOST_MB = 250
ROWS = 1_000_000
SHEET_ROWS = 200_000
HEADER = ("campaign_id", "campaign_type", "account_id", "stream_id", "name")


def rows(count: int) -> Iterator[tuple[str, ...]]:
    """Yield campaigns that are all different."""
    for number in range(count):
        yield (f"cd-{number:07x}-5f0a-4b1e-9c3d-2a7e8f6b1c0d", "voice", ACCOUNT, STREAM, f"Reminder {number}")


def write_csv(path: Path) -> None:
    """Write a table."""
    with path.open("w") as file:
        file.writelines(",".join(row) + "\n" for row in (HEADER, *rows(ROWS)))


def write_lines(path: Path) -> None:
    """Write an object a line."""
    with path.open("w") as file:
        file.writelines(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in rows(ROWS))


def write_array(path: Path) -> None:
    """Write one array, all on one line."""
    with path.open("w") as file:
        file.write("[")
        for number, row in enumerate(rows(ROWS)):
            file.write(", " * (number > 0) + json.dumps(dict(zip(HEADER, row, strict=True))))
        file.write("]\n")


def write_answer(path: Path) -> None:
    """Write one answer of the list API, pretty printed."""
    with path.open("w") as file:
        file.write('{\n  "status": "success",\n  "data": {\n    "results": [\n')
        for number, row in enumerate(rows(ROWS)):
            file.write(
                ",\n" * (number > 0) + f'      {{\n        "_id": "{row[0]}",\n        "name": "{row[4]}"\n      }}'
            )
        file.write("\n    ]\n  }\n}\n")


def write_workbook(path: Path) -> None:
    """Write a workbook as spreadsheet programs do, with its texts in a table of their own."""
    texts = [*HEADER, "voice", ACCOUNT, STREAM]
    sheet = io.StringIO()
    sheet.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>')
    sheet.write(_row(1, range(5)))
    for number, (campaign_id, *_, name) in enumerate(rows(SHEET_ROWS), start=2):
        sheet.write(_row(number, (len(texts), 5, 6, 7, len(texts) + 1)))
        texts += (campaign_id, name)
    sheet.write("</sheetData></worksheet>")
    strings = "".join(f"<si><t>{text}</t></si>" for text in texts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in _PARTS.items():
            archive.writestr(name, _XML + content)
        archive.writestr("xl/worksheets/sheet1.xml", sheet.getvalue())
        archive.writestr("xl/sharedStrings.xml", f'{_XML}<sst xmlns="{_MAIN}" count="{len(texts)}">{strings}</sst>')


def _row(number: int, places: Iterator[int] | range | tuple[int, ...]) -> str:
    cells = "".join(
        f'<c r="{column}{number}" t="s"><v>{at}</v></c>' for column, at in zip("ABCDE", places, strict=True)
    )
    return f'<row r="{number}">{cells}</row>'


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
    f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_TYPE}.sharedStrings+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets>'
    '<sheet name="Campaigns" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_DOCUMENT}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_DOCUMENT}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
}


@pytest.mark.parametrize(
    ("name", "write", "count"),
    [
        ("list.csv", write_csv, ROWS),
        ("list.jsonl", write_lines, ROWS),
        ("list.json", write_array, ROWS),
        ("answer.json", write_answer, ROWS),
        ("list.xlsx", write_workbook, SHEET_ROWS),
    ],
)
def test_memory(tmp_path: Path, name: str, write: Callable[[Path], None], count: int) -> None:
    """1,000,000 rows of text and 200,000 of a workbook are planned within 250 MB, and none is missing."""
    if name.endswith(".xlsx"):
        pytest.importorskip("python_calamine")
    write(tmp_path / name)
    command = [sys.executable, "-m", "bulkstop", "stop", name, "--dry-run", "--json", "--quiet", "--type", "voice"]
    command += ["--account-id", ACCOUNT, "--stream-id", STREAM, "--host", "https://api.example"]
    ran = watched.run(command, cwd=tmp_path, env=watched.environment(tmp_path))
    assert json.loads(ran.out)["to_send"] == count
    assert ran.peak_mb <= MOST_MB
