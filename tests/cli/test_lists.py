"""Lists as people have them: how the plan says they were read, what is refused, and corrected rows."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Here
from tests.processes import Simulated, results

pytestmark = pytest.mark.real

ONE, TWO = "cd-fb797fa-b7d6-467b-2f5a-522af87f43fd", "cd-db53334-fb03-23a1-d576-d4155ec17dbe"
WHERE = ("--host", "http://127.0.0.1:9", "--account-id", "a1", "--stream-id", "st-1", "--type", "voice")


def plan(here: Here, *args: str) -> list[str]:
    """Return what the plan says about how the lists were read."""
    run = here("stop", *args, *WHERE, "--dry-run")
    assert run.code == 0, run.err
    lines = [line.strip() for line in run.err.splitlines()]
    return [line.removeprefix("read as").strip() for line in lines if line.startswith("read as")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", f"campaign_id,name\n{ONE},x\n", None),
        ("list.txt", f"{ONE}\n{TWO}\n", None),
        ("list.csv", f"id;name\n{ONE};x\n", "cells end at semicolons"),
        ("list.csv.txt", f"id,name\n{ONE},x\n", "csv, by its content"),
        ("list.csv", f"id,campaign_id\n7,{ONE}\n", "ids from 'campaign_id', not from 'id'; columns not used: 'id'"),
        ("list.csv", f"{ONE},sms\n", "no header, campaign_id from column 1, campaign_type from column 2"),
        ("list.csv", f"id,channel\n{ONE},sms\n", "columns not used: 'channel'"),
        ("list.csv", f"id\n#x\n#y\n{ONE}\n", "2 comments skipped (first line 2)"),
        ("list.csv", f"id\n{ONE}\nid\n{TWO}\n", "1 repeated header skipped (first line 3)"),
        ("list.txt", f"`{ONE}`\n- {TWO}\n", f"2 ids cleaned (first line 1: '`{ONE}`' is {ONE})"),
        ("list.txt", f"\u200b{ONE}\n", f"1 id cleaned (first line 1: '\\u200b{ONE}' is {ONE})"),
        ("list.txt", f"{ONE};{TWO}\n", f"1 line with several ids (first line 1: '{ONE};{TWO}' is 2 rows)"),
    ],
)
def test_what_the_plan_says(here: Here, name: str, content: str, said: str | None) -> None:
    """The plan says what is not obvious about how a list was read; for a plain list it says nothing."""
    Path(name).write_text(content)
    assert plan(here, name) == ([] if said is None else [f"{name}: {said}"])


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("cp1252", "1 line that is not UTF-8 read as Windows-1252 (first line 2)"),
        ("utf-16", "encoding utf-16-le"),
    ],
)
def test_what_the_plan_says_of_an_encoding(here: Here, encoding: str, said: str) -> None:
    """An encoding other than UTF-8 is reported once."""
    Path("list.csv").write_bytes(f"campaign_id,name\n{ONE},Müller\n".encode(encoding))
    assert plan(here, "list.csv") == [f"list.csv: {said}"]


def told(here: Here, *args: str) -> dict[str, Any]:
    """Return the JSON of a plan about the first list."""
    run = here("stop", *args, *WHERE, "--dry-run", "--json")
    found: dict[str, Any] = json.loads(run.out)["inputs"][0]
    return found


def test_what_a_machine_reads(here: Here) -> None:
    """The JSON has everything that was understood, also what is obvious; that of `check` is the same."""
    Path("list.csv").write_text(f"campaign_id;channel\n`{ONE}`;sms\n")
    found = told(here, "list.csv")
    assert found == {
        "name": "list.csv",
        "form": "csv",
        "form_from": "name",
        "packing": None,
        "encoding": "utf-8",
        "delimiter": ";",
        "sheet": None,
        "has_header": True,
        "columns": {"campaign_id": "campaign_id"},
        "carried": ["channel"],
        "not_taken": [],
        "is_filled": True,
        "met": {"rows_cleaned": {"times": 1, "line": 2, "before": f"`{ONE}`", "after": ONE}},
    }
    run = here("check", "list.csv", *WHERE, "--json")
    assert json.loads(run.out)["read"]["forms"] == [found]
    run = here("check", "list.csv", *WHERE)
    said = (
        "list.csv: csv, campaign_id; carried along: channel; cells end at semicolons; columns not used: 'channel'; 1 id"
    )
    assert said in run.out


def test_options_of_lists(here: Here) -> None:
    """Options set columns, encoding and format, or say that there is no header."""
    Path("list.dat").write_bytes(f"Müller;{ONE};sms\n".encode("cp437"))
    columns = ("--no-header", "--id-column=2", "--column=type=3")
    found = told(here, "list.dat", "--format=csv", "--encoding=cp437", *columns)
    assert (found["form_from"], found["encoding"], found["has_header"]) == ("option", "cp437", False)
    assert found["columns"] == {"campaign_id": "column 2", "campaign_type": "column 3"}
    Path("list.csv").write_text(f"Kampagne,Kanal\n{ONE},sms\n")
    found = told(here, "list.csv", "--id-column=kampagne", "--column=campaign-type=KANAL")
    assert found["columns"] == {"campaign_id": "Kampagne", "campaign_type": "Kanal"}


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--encoding=latin-99", "--encoding: 'latin-99' is not a text encoding"),
        ("--encoding=hex", "--encoding: 'hex' is not a text encoding"),
        ("--column=Channel", "--column: 'Channel' does not name a field and its column, such as campaign_type=Channel"),
        ("--column=colour=x", "--column: 'colour=x' does not name a field and its column"),
        ("--id-column=Kampagne", "no column 'Kampagne' among 'campaign_id'"),
        ("--format=xml", "'xml'"),
    ],
)
def test_options_that_cannot_be(here: Here, option: str, why: str) -> None:
    """An option that cannot be applied is one line, and exit 2."""
    Path("list.csv").write_text(f"campaign_id\n{ONE}\n")
    run = here("stop", "list.csv", *WHERE, "--dry-run", option)
    assert run.code == 2
    assert why in run.err.replace("Invalid value for '--", "--").replace("': '", ": '")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"`{ONE}`\n{TWO}\n", f"1 row holds more than an id (first list.txt line 1: '`{ONE}`')"),
        (f"{ONE} {TWO}\n", "1 row holds more than an id (first list.txt line 1: "),
        (f"{ONE}\n..\n", "1 row cannot be used"),
    ],
)
def test_strict(here: Here, content: str, why: str) -> None:
    """With --strict any cleaning is exit 2, as is an unusable row; a clean list is read."""
    Path("list.txt").write_text(content)
    run = here("stop", "list.txt", *WHERE, "--dry-run", "--strict")
    assert run.code == 2
    assert f"--strict: {why}" in run.err
    Path("list.txt").write_text(f"# mine\n {ONE} \n\n{TWO}\n")
    assert here("stop", "list.txt", *WHERE, "--dry-run", "--strict").code == 0


def test_a_column_of_no_ids(here: Here) -> None:
    """A column in which most cells cannot be ids is refused as a whole, with its name and the first reason."""
    Path("list.csv").write_text(f"campaign_id,name\n{ONE},x\n6.7E+23,y\n5.1E+22,z\n")
    run = here("stop", "list.csv", *WHERE, "--dry-run")
    assert run.code == 2
    assert "list.csv: 2 of 3 cells of column 'campaign_id' cannot be campaign ids (first line 3: '6.7E+23' i" in run.err
    Path("list.csv").write_text(f"campaign_id,name\n{ONE},x\n6.7E+23,y\n{TWO},z\n")
    assert here("stop", "list.csv", *WHERE, "--dry-run").code == 0


def test_a_mended_row(here: Here, sim: Simulated) -> None:
    """After an invalid row is corrected in the list, --resume sends only that row."""
    ids = [f"cd-{uuid.uuid4()}" for _ in range(4)]
    where = ("--host", sim.url, "--account-id", "a1", "--stream-id", "st-1", "--type", "voice", "--yes")
    rows = ["campaign_id,name", f"{ids[0]},n1", ",n2", f"{ids[1]},n3", f"{ids[2][:9]}\u2026,n4"]
    Path("list.csv").write_text("".join(f"{row}\n" for row in rows))
    run = here("stop", "list.csv", *where)
    assert run.code == 1
    way_on = run.err.splitlines()[-1]
    assert way_on.startswith("To go on, correct the invalid rows of the list: bulkstop stop list.csv ")
    assert way_on.endswith(" --resume")
    rows[2], rows[4] = f"{ids[2]},n2", f"{ids[3]},n4"
    Path("list.csv").write_text("".join(f"{row}\n" for row in rows))
    before = len(sim.ids())
    run = here("stop", "list.csv", *where, "--resume")
    assert (run.code, sorted(sim.ids()[before:])) == (0, sorted(ids[2:])), run.err
    lines = results(Path("list.csv.results.jsonl"))
    assert [(line["line"], line["outcome"]) for line in lines[-2:]] == [(3, "stopped"), (5, "stopped")]
    assert here("report", "list.csv.results.jsonl", "--check").code == 0
    assert here("stop", "list.csv", *where, "--resume").code == 2, "nothing is left"


def test_several_ids_on_a_line_are_gone_on_with(here: Here, sim: Simulated) -> None:
    """A run of a list with several ids on a line can be resumed: each id is a row."""
    ids = [f"cd-{uuid.uuid4()}" for _ in range(4)]
    where = ("--host", sim.url, "--account-id", "a1", "--stream-id", "st-1", "--type", "voice", "--yes")
    Path("list.txt").write_text(f"{ids[0]} {ids[1]}\n")
    assert here("stop", "list.txt", *where).code == 0
    Path("list.txt").write_text(f"{ids[0]} {ids[1]}\n{ids[2]}, {ids[3]}\n")
    before = len(sim.ids())
    run = here("stop", "list.txt", *where, "--resume")
    assert (run.code, sorted(sim.ids()[before:])) == (0, sorted(ids[2:])), run.err
    assert here("report", "list.txt.results.jsonl", "--check").code == 0


def test_own_files_are_lists(here: Here, sim: Simulated) -> None:
    """Result files of either format, and the list of failed rows, are read as lists, by their columns."""
    ids = [f"cd-{uuid.uuid4()}" for _ in range(2)]
    where = ("--host", sim.url, "--account-id", "a1", "--stream-id", "st-1", "--type", "voice")
    Path("list.txt").write_text(f"- {ids[0]}\n{ids[1]},\n")
    assert here("stop", "list.txt", *where, "--yes").code == 0
    assert here("stop", "list.txt", *where, "--yes", "-o", "r.csv").code in (0, 1)
    assert here("report", "r.csv", "--failed", "--retry", "not_found", "-o", "again.csv").code == 0
    assert here("report", "r.csv", "--latest", "-o", "latest.jsonl").code == 0
    for name in ("list.txt.results.jsonl", "r.csv", "latest.jsonl"):
        run = here("stop", name, "--host", sim.url, "--dry-run", "--json", "-o", "new.jsonl")
        assert run.code == 0, run.err
        found = json.loads(run.out)
        assert (found["to_send"], found["invalid"], found["inputs"][0]["met"]) == (2, 0, {}), name
    assert Path("again.csv").read_text().startswith("campaign_id,")
