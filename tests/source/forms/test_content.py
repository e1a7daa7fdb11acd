"""Which form an input has: what is typed, else what fits its name, else what its first lines show."""

import io
from pathlib import Path

import pytest

from bulkstop.errors import InputError
from bulkstop.model import CampaignType, Defaults, Row
from bulkstop.source import read
from bulkstop.source.forms.format import Format, FormatOrigin, form_of_name
from bulkstop.source.understood import Understood

DEFAULTS = Defaults(CampaignType.VOICE, "a1", "st-1")
ONE, TWO = "cd-fb797fa-b7d6-467b-2f5a-522af87f43fd", "cd-db53334-fb03-23a1-d576-d4155ec17dbe"


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("a.CSV", "csv"), ("a.tsv", "csv"), ("a.tab", "csv"), ("a.json", "json"), ("a.ndjson", "jsonl")),
        *(("a.lst", "txt"), ("a.txt", "txt"), ("a.xlsx", "xlsx"), ("a.csv.gz", "csv"), ("a.json.zst.gz", "json")),
        *(("a", None), ("a.gz", None), (".csv", None), ("a.csv.bak", None)),
    ],
)
def test_what_a_name_tells(name: str, form: str | None) -> None:
    """The last ending tells the form, in any letter case; those of packings tell nothing."""
    assert form_of_name(name) == form


def taken_for(path: Path, content: str, fmt: str | None = None) -> tuple[Format | None, FormatOrigin | None, list[Row]]:
    """Read a file, and return its recognized format."""
    path.write_text(content)
    understood: list[Understood] = []
    rows = list(read([str(path)], defaults=DEFAULTS, fmt=fmt, understood=understood))
    return understood[0].form, understood[0].form_from, rows


@pytest.mark.parametrize(
    ("name", "content", "form", "ids"),
    [
        ("list", f"{ONE}\n{TWO}\n", "txt", [ONE, TWO]),
        ("list", f"# mine\n\n- {ONE}\n- {TWO}\n", "txt", [ONE, TWO]),
        ("list", f"{ONE}, {TWO}\n", "txt", [ONE, TWO]),
        ("list", f"{ONE},sms\n{TWO},voice\n", "csv", [ONE, TWO]),
        ("list.csv.txt", f"campaign_id,campaign_type\n{ONE},sms\n", "csv", [ONE]),
        ("list.txt", f"Campaign Id\n{ONE}\n", "csv", [ONE]),
        ("list.txt", f"sep=;\nid;name\n{ONE};x\n", "csv", [ONE]),
        ("list.txt", f"{ONE};Müller\n{TWO};Meier\n", "csv", [ONE, TWO]),
        ("list.txt", f"{ONE}\tMüller\n", "csv", [ONE]),
        ("list.txt", f'{{"id": "{ONE}"}}\n', "json", [ONE]),
        ("list.csv", f'{{"id": "{ONE}"}}\n', "json", [ONE]),
        ("list.csv", f"{ONE} {TWO}\n", "txt", [ONE, TWO]),
        ("list.jsonl", f"{ONE}\n{TWO}\n", "txt", [ONE, TWO]),
        ("list.json", f"id,name\n{ONE},x\n", "csv", [ONE]),
    ],
)
def test_a_name_that_does_not_fit(name: str, content: str, form: str, ids: list[str], tmp_path: Path) -> None:
    """If the first lines prove another format, or the name tells none, the content decides."""
    found, origin, rows = taken_for(tmp_path / name, content)
    assert (found, origin) == (form, FormatOrigin.CONTENT)
    assert [row.campaign_id for row in rows] == ids


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("list.txt", f"{ONE}\n{TWO};\n`{ONE[:-1]}1`\n", "txt"),
        ("list.txt", f"{ONE} # a, b; c\n", "txt"),
        ("list.txt", "A17,x\nB18,y\n", "txt"),
        ("list.csv", f"{ONE}\n{TWO}\n", "csv"),
        ("list.csv", f"- {ONE}\n- {TWO}\n", "csv"),
        ("list.jsonl", f'"{ONE}"\n"{TWO}"\n', "jsonl"),
        ("list.jsonl", '{"id": "A17"\n{"id": "A18"}\n', "jsonl"),
        ("list.txt", f"[ ] {ONE}\n[x] {TWO}\n", "txt"),
    ],
)
def test_a_name_that_fits(name: str, content: str, form: str, tmp_path: Path) -> None:
    """A name whose form the content can have is believed."""
    assert taken_for(tmp_path / name, content)[:2] == (form, FormatOrigin.NAME)


def test_what_is_typed_wins(tmp_path: Path) -> None:
    """A given format overrides name and content."""
    form, origin, rows = taken_for(tmp_path / "list.csv", f"{ONE}\n{TWO}\n", "txt")
    assert (form, origin, len(rows)) == ("txt", "option", 2)
    with pytest.raises(InputError, match="no column with campaign ids"):
        taken_for(tmp_path / "list.txt", "A17\n", "csv")


@pytest.mark.parametrize(
    ("content", "why"), [("A17\n", "the format is unknown"), ("", "is empty"), ("<!doctype html>", "is a web page")]
)
def test_what_tells_nothing(content: str, why: str) -> None:
    """An input of unknown format is refused, with the ways to set it."""
    with pytest.raises(InputError, match=f"^-: {why}"):
        list(read(["-"], defaults=DEFAULTS, stdin=io.BytesIO(content.encode())))
