"""Any table or list yields exactly its campaigns."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Campaign, Result, Row
from tests.source.forms.campaigns import A, B
from tests.source.forms.rows import read_rows

_hex = st.text("0123456789abcdef", min_size=4, max_size=8)
ids = st.builds("cd-{}-{}-{}-{}".format, _hex, _hex, _hex, _hex)
ID_NAMES = ("campaign_id", "Campaign ID", "campaignId", "CAMPAIGN-ID", "Campaign Id *", "id", "_id", "campaign.id")
TYPE_NAMES = ("campaign_type", "Campaign Type", "type", "campaign-type")
# What no cell begins with is `#`: at the beginning of a line it would be a comment.
_texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from(",;|\t\"'=\u00a0"), max_size=12
).filter(lambda text: not text.lstrip().startswith("#"))


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list", content)
    return file.getvalue()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": _zip,
}


def rows_of(name: str, content: bytes, **options: Any) -> list[Row]:
    """Return the rows of bytes in a file of this name."""
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return read_rows(path, options)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, bytes, list[tuple[str, str]]]:
    """Draw the name and the bytes of a table, and the campaigns in it with their types."""
    columns = draw(st.permutations([draw(st.sampled_from(ID_NAMES)), draw(st.sampled_from(TYPE_NAMES)), "Note", "x y"]))
    rows = draw(st.lists(st.tuples(ids, st.sampled_from(["voice", "sms"]), _texts, _texts), min_size=1, max_size=5))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]))
    file = io.StringIO(newline="")
    writer = csv.writer(
        file,
        delimiter=draw(st.sampled_from(",;\t|")),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
    )
    writer.writerow(columns)
    for campaign_id, kind, note, other in rows:
        cells = {"Note": note, "x y": other}
        writer.writerow([cells.get(column, campaign_id if column in ID_NAMES else kind) for column in columns])
    # What an encoding has no character for becomes a question mark, as programs write it.
    content = file.getvalue().encode(encoding, errors="replace")
    packing = draw(st.sampled_from(list(PACKINGS)))
    ending = draw(st.sampled_from([".csv", "", ".txt", ".dat", ".tsv"]))
    return f"list{ending}{draw(st.sampled_from([packing, '']))}", PACKINGS[packing](content), [row[:2] for row in rows]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_a_table_in_any_dialect(table: tuple[str, bytes, list[tuple[str, str]]]) -> None:
    """For any columns, delimiter, quoting, line ends, encoding, packing and name: the same campaigns are read."""
    name, content, campaigns = table
    rows = rows_of(name, content)
    assert [(row.campaign_id, row.campaign_type) for row in rows if isinstance(row, Campaign)] == campaigns
    assert len(rows) == len(campaigns)


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, bytes, list[str]]:
    """Draw the name and the bytes of JSON, and the ids in it."""
    campaigns = draw(st.lists(ids, min_size=1, max_size=5))
    key, note = draw(st.sampled_from(ID_NAMES)), draw(_texts)
    ending = draw(st.sampled_from([".json", ".jsonl", ""]))
    values: list[object] = [draw(st.sampled_from([{key: each}, {"note": note, key: each}])) for each in campaigns]
    if draw(st.booleans()):
        values = list(campaigns)
    indent, between = draw(st.sampled_from([None, 1, 4])), draw(st.sampled_from(["\n", ",\n", "\r\n", "\n\n"]))
    shape = draw(st.sampled_from(["array", "values", "answer", "answers"]))
    ascii_only = draw(st.booleans())

    def dump(value: object) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    answers = [{"status": "success", "data": {"results": [value], "hasMore": True}} for value in values]
    text = {
        "array": lambda: dump(values),
        "values": lambda: between.join(map(dump, values)),
        "answer": lambda: dump({"data": {"skip": 0, "results": values}, "status": "success"}),
        "answers": lambda: between.replace(",", "").join(map(dump, answers)),
    }[shape]()
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]))
    packing = draw(st.sampled_from(list(PACKINGS)))
    return f"list{ending}", PACKINGS[packing](text.encode(encoding)), campaigns


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(objects())
def test_json_of_any_shape(listed: tuple[str, bytes, list[str]]) -> None:
    """Arrays, values one after another and saved answers, of ids or objects, pretty or not: the same ids come back."""
    name, content, campaigns = listed
    rows = rows_of(name, content)
    assert [row.campaign_id for row in rows if isinstance(row, Campaign)] == campaigns
    assert len(rows) == len(campaigns)


INVISIBLE = ["\u00a0", "\u200b", "\u200e", "\ufeff", "\u00ad", "\u2060", " ", "\t"]
PAIRS = ['""', "''", "``", "“”", "„“", "«»", "\u2018\u2019", "<>"]
BULLETS = ["- ", "* ", "• ", "1. ", "12) "]
ENDS = [",", ";", " # billing", "  # was 17"]
URLS = ["https://platform.example/campaigns/", "https://x.example/a/65b1ee85b0c6d8e2f4234b86/c/"]


@st.composite
def decorated(draw: st.DrawFn) -> tuple[str, str]:
    """Draw an id, and the same with some of what is copied along with one."""
    campaign_id = draw(ids)
    text = draw(st.sampled_from(["", *URLS])) + campaign_id
    for pair in draw(st.lists(st.sampled_from([*PAIRS, *(each * 2 for each in INVISIBLE)]), max_size=3)):
        text = pair[0] + text + pair[1]
    text = draw(st.sampled_from(["", *BULLETS])) + text + draw(st.sampled_from(["", *ENDS]))
    return campaign_id, draw(st.sampled_from(["", *INVISIBLE])) + text + draw(st.sampled_from(["", *INVISIBLE]))


def _sent(rows: list[Row]) -> list[str]:
    return [row.campaign_id for row in rows if isinstance(row, Campaign)]


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(decorated(), st.sampled_from(["ids.txt", "ids"]))
def test_an_id_with_what_is_copied_along(one: tuple[str, str], name: str) -> None:
    """An id in a list is read clean, or its line is invalid; it is never another, and its line never vanishes."""
    campaign_id, text = one
    rows = rows_of(name, f"{A}\n{text}\n{B}\n".encode())
    assert [row.line for row in rows] == [1, 2, 3]
    assert _sent(rows) in ([A, campaign_id, B], [A, B])


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(decorated(), st.sampled_from(["csv", "json"]))
def test_a_cell_with_what_is_copied_along(one: tuple[str, str], form: str) -> None:
    """The same goes for the cell of a table, and for a value of JSON."""
    campaign_id, text = one
    if form == "csv":
        cell = text.replace('"', '""')
        rows = rows_of("list.csv", f'campaign_type,campaign_id\nsms,{A}\nsms,"{cell}"\n'.encode())
    else:
        rows = rows_of("list.json", json.dumps([{"campaign_id": A}, {"campaign_id": text}]).encode())
    assert len(rows) == 2
    assert _sent(rows) in ([A, campaign_id], [A])


# Anything but what could make it another id that is as likely: that nobody could tell.
_beside = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r-0123456789abcdefABCDEF"), min_size=1, max_size=6
)


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(ids, _beside, _beside, st.booleans(), st.booleans())
@example(A, ".", ".", False, True)
@example(A, "_", "_", True, True)
@example(A, "~", "~", True, False)
def test_an_id_beside_anything(campaign_id: str, left: str, right: str, has_left: bool, has_right: bool) -> None:
    """With any text beside an id in a list, no longer id that contains it is sent."""
    text = left * has_left + campaign_id + right * has_right
    try:
        rows = rows_of("ids.txt", f"{A}\n{text}\n{B}\n".encode())
    except InputError:
        return
    assert not [each for each in _sent(rows) if campaign_id in each and each != campaign_id]
    assert {A, B} <= set(_sent(rows))
    assert all(isinstance(row, Campaign | Result) for row in rows)


@pytest.mark.parametrize("packing", list(PACKINGS))
def test_packed_whatever_the_name(packing: str) -> None:
    """The packing of a list is recognized by its content, not by its name."""
    content = PACKINGS[packing](f"campaign_id\n{A}\n".encode())
    for name in ("list.csv", "list", "list.csv.gz", "list.zip"):
        assert _sent(rows_of(name, content)) == [A]
