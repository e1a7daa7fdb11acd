"""Make the files of this folder again, each by the program that makes such files where people work.

    python tests/source/forms/make.py           # all of them
    python tests/source/forms/make.py jq go-    # those whose names begin so

Needs soffice (LibreOffice Calc), go, jq, iconv, sqlite3, node, zip, zstd, and Python with openpyxl, pandas and what
pandas needs for each form:

    apt-get install libreoffice-calc golang jq sqlite3 nodejs zip
    python3 -m venv /tmp/forms && /tmp/forms/bin/pip install openpyxl pandas tabulate lxml zstandard

The tests read the files as they are committed, and need none of these.
"""

import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

from tests.source.forms.campaigns import HEADER, IDS, ROWS  # noqa: E402 - from its own folder

A, B, C, D, E = IDS.values()
FILES = HERE / "files"
OBJECTS = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
WIDE = [*ROWS[:4], (*ROWS[4][:5], "Zażółć \N{EN DASH} 東京 📞")]
SIMPLE = [("campaign_id", "campaign_type"), (A, "voice"), (B, "sms"), (C, "voice")]
PAGES = [
    {
        "status": "success",
        "message": "Campaign details fetched",
        "data": {
            "results": [
                {
                    "_id": A,
                    "name": "Müller",
                    "status": "Active",
                    "priority": "1",
                    "schedule": {"isSchedulingEnabled": False},
                },
                {"_id": B, "name": "A {brace} and a [bracket]", "status": "Ready", "priority": "5"},
            ],
            "skip": 0,
            "limit": 2,
            "hasMore": True,
            "totalResults": 3,
        },
    },
    {
        "status": "success",
        "data": {"results": [{"id": C, "name": "SMS", "priority": "2"}], "skip": 2, "hasMore": False},
    },
]
Maker = Callable[[], bytes]


def run(*command: str, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    """Return what a program writes."""
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True, cwd=cwd).stdout


def table(rows: object = ROWS, **dialect: Any) -> str:
    """Return rows under the header as Python's csv module writes them."""
    file = io.StringIO()
    csv.writer(file, **{"lineterminator": "\n", **dialect}).writerows([HEADER, *rows])  # type: ignore[misc]
    return file.getvalue()


# --- LibreOffice Calc


def calc(target: str, rows: object = None) -> Maker:
    """Convert a workbook with LibreOffice Calc; the name of a filter may follow the ending."""

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "list.xlsx").write_bytes(workbook(rows or [HEADER, *ROWS])())
            profile = f"-env:UserInstallation=file://{tempfile.gettempdir()}/forms-calc"
            run(
                "soffice", profile, "--headless", "--convert-to", target, "--outdir", name + "/out", name + "/list.xlsx"
            )
            return next((folder / "out").iterdir()).read_bytes()

    return make


def calc_csv(separator: str, charset: int, quote_all: bool = False, rows: object = None) -> Maker:
    """Have LibreOffice Calc export CSV: its charset 1 is Windows-1252, 22 ISO-8859-15, 76 UTF-8, 65535 UTF-16."""
    options = f"{ord(separator)},34,{charset},1,,0,{str(quote_all).lower()},true,false"
    return calc(f"csv:Text - txt - csv (StarCalc):{options}", rows)


TITLED = [("Campaigns to stop",), ("as of 12 March",), (), HEADER, *ROWS[:3]]
CLEARED = [
    (*HEADER, None, None),
    (*ROWS[0], None, None),
    (None,) * 8,
    (*ROWS[1], " ", None),
    (None, None, None, None, None, None, None, " "),
    ROWS[2],
]

CALC: Mapping[str, Maker] = {
    "calc-comma.csv": calc_csv(",", 76),
    "calc-semicolon-cp1252.csv": calc_csv(";", 1),
    "calc-tab-utf16.csv": calc_csv("\t", 65535),
    "calc-tab.tsv": calc_csv("\t", 76),
    "calc-quoted.csv": calc_csv(",", 76, quote_all=True),
    "calc-pipe-latin9.csv": calc_csv("|", 22),
    "calc-titles.csv": calc_csv(",", 76, rows=TITLED),
    "calc-cleared-rows.csv": calc_csv(";", 1, rows=CLEARED),
    "calc.xlsx": calc("xlsx"),
    "calc.ods": calc("ods"),
    "calc.xls": calc("xls"),
    "calc.html": calc("html"),
    "calc.slk": calc("slk"),
    "calc.dif": calc("dif"),
    "calc.fods": calc("fods"),
    "calc-web-page.xls": calc("html"),
    "calc-tabs.xls": calc_csv("\t", 76),
}


# --- openpyxl


def workbook(*sheets: Any, change: Callable[[Any], None] | None = None) -> Maker:
    """Have openpyxl write a workbook of these sheets, each a list of rows."""

    def make() -> bytes:
        book = import_module("openpyxl").Workbook()
        book.remove(book.active)
        for number, rows in enumerate(sheets, start=1):
            sheet = book.create_sheet(f"Sheet{number}")
            for row in rows:
                sheet.append(row)
        if change:
            change(book)
        file = io.BytesIO()
        book.save(file)
        return file.getvalue()

    return make


def _rich_text(book: Any) -> None:
    rich, fonts = import_module("openpyxl.cell.rich_text"), import_module("openpyxl.cell.text")
    bold = fonts.InlineFont(b=True)
    book.active["A2"] = rich.CellRichText(A[:5], rich.TextBlock(bold, A[5:]))


def _numbers(book: Any) -> None:
    from datetime import datetime

    sheet = book.active
    sheet["A2"], sheet["A3"], sheet["A4"] = 5.464e23, datetime(2026, 3, 5), True  # noqa: DTZ001 - a cell has no zone
    sheet["A5"] = E


def _errors(book: Any) -> None:
    for cell, text in (("A2", "#N/A"), ("A3", "=NA()")):
        book.active[cell] = text


def _hidden(book: Any) -> None:
    book.active.auto_filter.ref = "A1:F6"
    for row in (3, 4):
        book.active.row_dimensions[row].hidden = True
    book.active.column_dimensions["C"].hidden = True
    book.active.freeze_panes = "A2"


def _links(book: Any) -> None:
    for row in range(2, 7):
        cell = book.active.cell(row, 1)
        cell.hyperlink = f"https://platform.example/campaigns/{cell.value}"


def _active_second(book: Any) -> None:
    book.active = 1


def _moved(book: Any) -> None:
    book.active.move_range("A1:F6", rows=3, cols=2)


DIRTY = [
    ("Campaign ID", "Campaign Type"),
    (f"\u00a0{A} ", "voice"),
    (f"'{B}'", " SMS "),
    (f"{C}\n", "voice"),
    (f"{D} {E}x", "sms"),
]
OPENPYXL: Mapping[str, Maker] = {
    "openpyxl.xlsx": workbook([HEADER, *ROWS]),
    "openpyxl.xlsm": workbook([HEADER, *ROWS]),
    "openpyxl-named.csv": workbook([HEADER, *ROWS]),
    "openpyxl-numbers.xlsx": workbook([HEADER, *ROWS], change=_numbers),
    "openpyxl-sheets.xlsx": workbook(SIMPLE, [HEADER, ROWS[3], ROWS[4]]),
    "openpyxl-cover.xlsx": workbook([("Read this first",), ("Written by the night shift",)], [HEADER, *ROWS]),
    "openpyxl-second-active.xlsx": workbook(SIMPLE, [HEADER, *ROWS[3:]], change=_active_second),
    "openpyxl-titles.xlsx": workbook(TITLED),
    "openpyxl-rich-text.xlsx": workbook([HEADER, *ROWS], change=_rich_text),
    "openpyxl-no-header.xlsx": workbook([(A,), (B,), (C,)]),
    "openpyxl-decorated.xlsx": workbook(DIRTY),
    "openpyxl-cleared-rows.xlsx": workbook(CLEARED),
    "openpyxl-errors.xlsx": workbook([HEADER, *ROWS], change=_errors),
    "openpyxl-hidden.xlsx": workbook([HEADER, *ROWS], change=_hidden),
    "openpyxl-links.xlsx": workbook([HEADER, *ROWS], change=_links),
    "openpyxl-moved.xlsx": workbook([HEADER, *ROWS], change=_moved),
    "openpyxl-empty.xlsx": workbook([]),
    "openpyxl-header-again.xlsx": workbook([*SIMPLE, ("name", "campaign_id"), ("x", D)]),
}


# --- pandas


def pandas(method: str, *, rows: object = None, name: str | None = None, **options: Any) -> Maker:
    """Write the campaigns with pandas' `DataFrame.to_…`, to a file of that name where the name matters."""

    def make() -> bytes:
        frame = import_module("pandas").DataFrame(list(rows or ROWS), columns=list(HEADER))  # type: ignore[call-overload]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name or "list.csv")
            result = getattr(frame, method)(path, **options) if method != "to_string" else frame.to_string()
            return path.read_bytes() if path.exists() else str(result).encode()

    return make


PANDAS: Mapping[str, Maker] = {
    "pandas.csv": pandas("to_csv", index=False, rows=WIDE),
    "pandas-index.csv": pandas("to_csv", rows=WIDE),
    "pandas-semicolon.csv": pandas("to_csv", index=False, sep=";", decimal=",", encoding="cp1252"),
    "pandas-quoted.csv": pandas("to_csv", index=False, quoting=csv.QUOTE_ALL, lineterminator="\r\n"),
    "pandas-nonnumeric.csv": pandas("to_csv", index=False, quoting=csv.QUOTE_NONNUMERIC),
    "pandas-escaped.csv": pandas("to_csv", index=False, doublequote=False, escapechar="\\"),
    "pandas-utf16.csv": pandas("to_csv", index=False, encoding="utf-16", rows=WIDE),
    "pandas-bom.csv": pandas("to_csv", index=False, encoding="utf-8-sig", rows=WIDE),
    "pandas-no-header.csv": pandas("to_csv", index=False, header=False),
    "pandas-index-no-header.csv": pandas("to_csv", header=False),
    "pandas.csv.gz": pandas("to_csv", index=False, compression={"method": "gzip", "mtime": 1}),
    "pandas.csv.bz2": pandas("to_csv", index=False, name="list.csv.bz2"),
    "pandas.csv.xz": pandas("to_csv", index=False, name="list.csv.xz"),
    "pandas.csv.zst": pandas("to_csv", index=False, name="list.csv.zst"),
    "pandas.csv.zip": pandas("to_csv", index=False, name="list.csv.zip"),
    "pandas-bz2-named.csv": pandas("to_csv", index=False, name="list.csv.bz2"),
    "pandas-records.json": pandas("to_json", orient="records", rows=WIDE),
    "pandas-records-indented.json": pandas("to_json", orient="records", indent=2, force_ascii=False),
    "pandas-lines.json": pandas("to_json", orient="records", lines=True),
    "pandas-lines.jsonl.xz": pandas("to_json", orient="records", lines=True, name="list.jsonl.xz"),
    "pandas-split.json": pandas("to_json", orient="split"),
    "pandas-columns.json": pandas("to_json"),
    "pandas-index.json": pandas("to_json", orient="index"),
    "pandas-values.json": pandas("to_json", orient="values"),
    "pandas-table.json": pandas("to_json", orient="table", index=False),
    "pandas.xlsx": pandas("to_excel", index=False, name="list.xlsx"),
    "pandas-index.xlsx": pandas("to_excel", name="list.xlsx"),
    "pandas.md": pandas("to_markdown", index=False),
    "pandas-string.txt": pandas("to_string"),
    "pandas.html": pandas("to_html"),
    "pandas.xml": pandas("to_xml"),
}


# --- Go


_GO = """package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
)

var rows = [][]string{ROWS}

func objects() (all []map[string]string) {
	for _, row := range rows[1:] {
		object := map[string]string{}
		for at, name := range rows[0] {
			object[name] = row[at]
		}
		all = append(all, object)
	}
	return all
}

func main() {
	writer, encoder := csv.NewWriter(os.Stdout), json.NewEncoder(os.Stdout)
	BODY
	writer.Flush()
	_ = encoder
}
"""


def go(*body: str) -> Maker:
    """Have a program in Go write the campaigns to standard output."""

    def make() -> bytes:
        texts = [["" if cell is None else str(cell) for cell in row] for row in [HEADER, *ROWS]]
        rows = ", ".join("{" + json.dumps(row, ensure_ascii=False)[1:-1] + "}" for row in texts)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "main.go")
            path.write_text(_GO.replace("ROWS", rows).replace("BODY", "; ".join(body)))
            return run("go", "run", str(path), cwd=Path(folder))

    return make


_EACH_OBJECT = "for _, object := range objects() { encoder.Encode(object) }"
GO: Mapping[str, Maker] = {
    "go.csv": go("writer.WriteAll(rows)"),
    "go-semicolon-crlf.csv": go("writer.Comma = ';'", "writer.UseCRLF = true", "writer.WriteAll(rows)"),
    "go-tab.tsv": go("writer.Comma = '\\t'", "writer.WriteAll(rows)"),
    "go-leading-space.csv": go('for _, row := range rows { row[5] = " " + row[5] }', "writer.WriteAll(rows)"),
    "go-objects.jsonl": go(_EACH_OBJECT),
    "go-objects-indented.json": go('encoder.SetIndent("", "\\t")', _EACH_OBJECT),
    "go-ids.json": go(
        "ids := []string{}", "for _, row := range rows[1:] { ids = append(ids, row[0]) }", "encoder.Encode(ids)"
    ),
}


# --- jq


def jq(*options: str, value: object = OBJECTS) -> Maker:
    """Have jq write something of the campaigns."""
    return lambda: run("jq", *options, stdin=json.dumps(value, ensure_ascii=False).encode())


def _pages(indent: int | None, between: str) -> Maker:
    return lambda: between.join(json.dumps(page, indent=indent, ensure_ascii=False) for page in PAGES).encode()


JQ: Mapping[str, Maker] = {
    "jq-raw": jq("-r", ".[].campaign_id"),
    "jq-quoted.txt": jq(".[].campaign_id"),
    "jq-pretty.json": jq("."),
    "jq-pretty-objects.json": jq(".[]"),
    "jq-pretty-tabs.json": jq("--tab", "."),
    "jq-compact.jsonl": jq("-c", ".[]"),
    "jq-compact.json": jq("-c", "."),
    "jq-ids.json": jq("map(.campaign_id)"),
    "jq-ids-compact": jq("-c", "map(.campaign_id)"),
    "jq-csv.txt": jq("-r", ".[] | [.campaign_id, .campaign_type, .name] | @csv"),
    "jq-header-csv": jq("-r", "(.[0] | keys_unsorted), (.[] | [.[]]) | @csv"),
    "jq-tsv.tsv": jq("-r", "(.[0] | keys_unsorted), (.[] | [.[]]) | @tsv"),
    "jq-seq.jsonl": lambda: run("jq", "--seq", "-c", ".[]", stdin=b"\x1e" + json.dumps(OBJECTS).encode()),
    "jq-colours.json": jq("-C", "."),
    "jq-glued.txt": jq("-j", ".[].campaign_id"),
    "jq-two-fields.txt": jq("-r", '.[] | "\\(.campaign_id) \\(.campaign_type)"'),
    "jq-rows.json": jq("-c", ".[] | [.campaign_id, .campaign_type]"),
    "jq-lookup.json": jq("map({(.campaign_id): .campaign_type}) | add"),
    "jq-lists.json": jq("{campaign_id: map(.campaign_id), name: map(.name)}"),
    "api-page.json": _pages(None, "\n"),
    "api-pages-pretty.json": _pages(2, "\n"),
    "api-pages-glued.json": _pages(None, ""),
    "api-pages-array.json": jq("-s", ".[]", value=PAGES),
    "api-results.json": jq("map(.data.results[])", value=PAGES),
    "api-no-results.json": jq(".", value={"status": "success", "data": {"results": [], "hasMore": False}}),
    "api-error.json": jq(
        ".", value={"status": "error", "message": "not allowed", "errors": [{"msg": "no scope", "code": 4002}]}
    ),
    "api-status.json": jq(".", value={"status": "success", "data": {"id": A, "status": "Active", "name": "x"}}),
}


# --- iconv


def iconv(target: str, text: str, bom: bytes = b"") -> Maker:
    """Have iconv encode a text."""
    return lambda: bom + run("iconv", "-f", "UTF-8", "-t", target, stdin=text.encode())


def _named(name: str) -> str:
    return table([*ROWS[:1], (*ROWS[2][:5], name), ROWS[4]])


_LINES = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in OBJECTS)
ICONV: Mapping[str, Maker] = {
    "iconv-utf16le.csv": iconv("UTF-16LE", table(WIDE, lineterminator="\r\n")),
    "iconv-utf16be.csv": iconv("UTF-16BE", table(WIDE)),
    "iconv-utf16be-bom.csv": iconv("UTF-16BE", table(WIDE), b"\xfe\xff"),
    "iconv-utf16-ids.txt": iconv("UTF-16LE", f"{A}\r\n{B}\r\n", b"\xff\xfe"),
    "iconv-utf16.jsonl": iconv("UTF-16LE", _LINES, b"\xff\xfe"),
    "iconv-utf16-array.json": iconv("UTF-16LE", json.dumps(OBJECTS, indent=1), b"\xff\xfe"),
    "iconv-utf32.csv": iconv("UTF-32", table(WIDE)),
    "iconv-latin1.csv": iconv("ISO-8859-1", table(delimiter=";")),
    "iconv-cp1252-ids.txt": iconv("CP1252", f"# für heute\n{A}\u00a0\n{B}\n"),
    "iconv-cp1252.jsonl": iconv("CP1252", _LINES),
    "iconv-mac.csv": iconv("MACINTOSH", table(delimiter=";", lineterminator="\r", quoting=csv.QUOTE_NONNUMERIC)),
    "iconv-cp850.csv": iconv("CP850", table(delimiter=";")),
    "iconv-sjis.csv": iconv("SHIFT_JIS", _named("ソ表能ー|").replace("Müller & Söhne", "予約")),
    "iconv-gbk.csv": iconv("GBK", _named("稟議\N{FULLWIDTH COMMA}停止").replace("Müller & Söhne", "取消")),
    "iconv-utf7.csv": iconv("UTF-7", table()),
    "iconv-ebcdic.csv": iconv("IBM037", table(ROWS[4:])),
}


# --- others


def sqlite(*options: str) -> Maker:
    """Have the shell of SQLite print the campaigns as `options` say."""
    rows = table(lineterminator="\r\n")

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.csv")
            path.write_text(rows, newline="")
            load = [".mode csv", f".import {path} campaigns"]
            query = "select campaign_id, campaign_type, account_id, stream_id, priority, name from campaigns"
            where = " where name <> 'two' || char(10) || 'lines'"
            script = "\n".join([*load, *options, query + where + ";"])
            return run("sqlite3", ":memory:", stdin=script.encode())

    return make


def node(script: str) -> Maker:
    """Have Node print what a script says, given the campaigns as `rows`."""
    return lambda: run("node", "-e", f"const rows = {json.dumps(OBJECTS)}; {script}")


def zipped(*members: tuple[str, bytes], options: tuple[str, ...] = ()) -> Maker:
    """Have zip pack these files."""

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for member, content in members:
                (folder / member).parent.mkdir(exist_ok=True, parents=True)
                (folder / member).write_bytes(content)
            run("zip", "-q", "-X", "-D", *options, "list.zip", *(member for member, _ in members), cwd=folder)
            return (folder / "list.zip").read_bytes()

    return make


def packed(command: str, content: bytes) -> Maker:
    """Have a program pack a text."""
    return lambda: run(*command.split(), stdin=content)


_CSV = table().encode()
_IDS = f"{A}\n{B}\n".encode()
OTHERS: Mapping[str, Maker] = {
    "sqlite.csv": sqlite(".headers on"),
    "sqlite-list.txt": sqlite(".mode list", ".headers on"),
    "sqlite-tabs": sqlite(".mode tabs", ".headers on"),
    "sqlite-box.txt": sqlite(".mode box"),
    "sqlite-table.txt": sqlite(".mode table"),
    "sqlite-markdown.md": sqlite(".mode markdown"),
    "sqlite-column.txt": sqlite(".mode column", ".headers on"),
    "sqlite-line.txt": sqlite(".mode line"),
    "sqlite-insert.sql": sqlite(".mode insert campaigns"),
    "sqlite-quote.txt": sqlite(".mode quote", ".headers on"),
    "sqlite.json": sqlite(".mode json"),
    "node-array.txt": node("console.log(rows.map(row => row.campaign_id))"),
    "node-objects.txt": node("console.log(rows)"),
    "node-table.txt": node("console.table(rows.map(row => ({campaign_id: row.campaign_id, type: row.campaign_type})))"),
    "node-cut-emoji.json": node("console.log(JSON.stringify(rows.map(row => ({...row, name: '📞'.slice(0, 1)}))))"),
    "python-nan.jsonl": lambda: "".join(
        json.dumps({**each, "priority": float("nan")}) + "\n" for each in OBJECTS
    ).encode(),
    "python-ids.txt": lambda: repr([A, B, C]).encode(),
    "python-objects.txt": lambda: repr([{"campaign_id": A, "campaign_type": "sms"}]).encode(),
    "zip-two.zip": zipped(("b.csv", _CSV), ("a.txt", _IDS.replace(A.encode(), b"# " + A.encode()))),
    "zip-from-a-mac.zip": zipped(
        ("list.csv", _CSV), ("__MACOSX/._list.csv", b"\0\5\x16\7" + bytes(40)), (".DS_Store", b"\0\0\0\1Bud1")
    ),
    "zip-folder.zip": zipped(("out/2026/list.jsonl", _LINES.encode())),
    "zip-secret.zip": zipped(("list.csv", _CSV), options=("-P", "secret")),
    "zip-named.csv": zipped(("list.csv", _CSV)),
    "zip-workbook.zip": lambda: zipped(("list.xlsx", workbook(SIMPLE)()))(),
    "zip-in-zip.zip": lambda: zipped(("inner.zip", zipped(("list.csv", _CSV))()))(),
    "zip-readme.zip": zipped(("README.md", b"Made by the night shift.\n"), ("list.csv", _CSV)),
    "gzip-no-name": packed("gzip -cn", _CSV),
    "gzip-named.csv": packed("gzip -cn", _CSV),
    "gzip-not.csv.gz": lambda: _CSV,
    "gzip-twice.csv.gz": lambda: packed("gzip -cn", packed("gzip -cn", _CSV)())(),
    "gzip-two-joined.txt.gz": lambda: packed("gzip -cn", _IDS)() + packed("gzip -cn", C.encode())(),
    "zstd.jsonl.zst": packed("zstd -qc", _LINES.encode()),
    "tar.tgz": lambda: packed("gzip -cn", _tar())(),
    "tar.tar": lambda: _tar(),
}


def _tar() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "list.csv").write_bytes(_CSV)
        options = ("--format=ustar", "--mtime=@1", "--owner=0", "--group=0", "--numeric-owner")
        return run("tar", "-c", *options, "-f", "-", "list.csv", cwd=Path(folder))


MAKERS: Mapping[str, Maker] = {**CALC, **OPENPYXL, **PANDAS, **GO, **JQ, **ICONV, **OTHERS}


def main() -> None:
    """Write the files whose names begin as the arguments say, or all."""
    FILES.mkdir(exist_ok=True)
    starts = tuple(sys.argv[1:]) or ("",)
    for name, make in MAKERS.items():
        if name.startswith(starts):
            (FILES / name).write_bytes(make())


if __name__ == "__main__":
    main()
