"""The campaigns of result files, each once; what is refused before any call; the verdict as JSON."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkstop.errors import BulkstopError, CredentialsError, InputError, OutputError, SettingsError
from bulkstop.model import Campaign, CampaignType, ListedCampaign, Outcome, Result, Scope, State
from bulkstop.report.lists.verification import UNREAD_SHOWN, Finding, Unread, Verification
from bulkstop.report.stop import formats
from bulkstop.report.stop.ledger import Mark
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.runs.lists.states import Targets
from bulkstop.runs.lists.verify import read_targets
from bulkstop.settings import Settings

HOST = "https://kore.test"
HERE = Settings(host=HOST, token="t")
GROUP = Scope("a1", "st-1", "st-1", CampaignType.VOICE)


def result(campaign_id: str, outcome: Outcome = Outcome.STOPPED, line: int = 2, **more: Any) -> Result:
    """Make the result of a voice campaign."""
    known: dict[str, Any] = {"campaign_type": CampaignType.VOICE, "account_id": "a1", "stream_id": "st-1"}
    return Result(campaign_id=campaign_id, outcome=outcome, source="in.csv", line=line, **(known | more))


def written(path: Path, *results: Result) -> str:
    """Write a result file, as its name wants it."""
    is_csv = path.suffix == ".csv"
    head = formats.csv_header() if is_csv else b""
    path.write_bytes(head + b"".join(map(formats.to_csv if is_csv else formats.to_json, results)))
    return str(path)


def with_manifest(path: str, *, rows: int, host: str = HOST, **mark: Any) -> str:
    """Write a manifest beside a result file."""
    section = {
        "began_at": "",
        "user": "",
        "machine": "",
        "inputs": {},
        "closed": bool(mark),
        "settings": {"host": host},
        "plan": {"rows": rows},
        **({"ledger": mark} if mark else {}),
    }
    Path(manifest_path(path)).write_text(json.dumps({"runs": [section]}))
    return path


def outcomes(*paths: str) -> dict[str, Outcome | None]:
    """Read the campaigns of the one group that result files name."""
    targets = read_targets(paths, HERE)
    assert list(targets.by_scope) == [GROUP]
    return targets.by_scope[GROUP]


# --- what is named --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_each_campaign_once(name: str, tmp_path: Path) -> None:
    """The latest line of a campaign counts; rows without a campaign are counted, and a torn end is ignored."""
    path = written(
        tmp_path / name,
        result("", Outcome.INVALID, 3),
        result("..", Outcome.INVALID, 4),
        result("cd-1", Outcome.DUPLICATE, 5),
        result("cd-1", Outcome.NOT_SENT),
        result("=cd-2\u00e9", Outcome.SERVER_ERROR, 6),
        result("cd-1", Outcome.STOPPED),
    )
    with Path(path).open("ab") as file:
        file.write(b'{"campaign_id":"cd-3","campa')
    targets = read_targets([path], replace(HERE, any_id=True))
    assert targets.by_scope == {GROUP: {"cd-1": Outcome.STOPPED, "=cd-2\u00e9": Outcome.SERVER_ERROR}}
    assert (targets.invalid, targets.unlisted, targets.notes, targets.campaigns) == (2, 0, [], 2)
    strict = read_targets([path], HERE)
    assert (strict.by_scope, strict.invalid) == ({GROUP: {"cd-1": Outcome.STOPPED}}, 3)


def test_several_files(tmp_path: Path) -> None:
    """Campaigns of several files, in either form, are looked at once, and a file that is given twice is read once."""
    one = written(tmp_path / "one.jsonl", result("cd-1"), result("cd-2"), result("", Outcome.INVALID))
    two = written(tmp_path / "two.csv", result("cd-2", Outcome.ALREADY_STOPPED), result("cd-3"))
    assert set(outcomes(one, two)) == {"cd-1", "cd-2", "cd-3"}
    assert read_targets([one, two, one], HERE).invalid == 1


def test_groups(tmp_path: Path) -> None:
    """Campaigns belong to the account, stream and type of their line; the application is the stream, or --iid."""
    path = written(
        tmp_path / "r.jsonl",
        result("cd-1"),
        result("cd-1", campaign_type=CampaignType.SMS),
        result("cd-1", account_id="a2"),
        result("cd-1", stream_id="st-2"),
    )
    assert set(read_targets([path], HERE).by_scope) == {
        GROUP,
        GROUP._replace(campaign_type=CampaignType.SMS),
        GROUP._replace(account_id="a2"),
        GROUP._replace(stream_id="st-2", iid="st-2"),
    }
    other = Settings(host=HOST, token="t", iid="app-9")
    assert {group.iid for group in read_targets([path], other).by_scope} == {"app-9"}


def test_what_a_line_does_not_say(tmp_path: Path) -> None:
    """A line without account, stream or type gets those of the settings, else it names no campaign."""
    path = written(
        tmp_path / "r.jsonl", result("cd-1"), result("cd-2", account_id=None, stream_id=None, campaign_type=None)
    )
    assert read_targets([path], HERE).invalid == 1
    filled = Settings(host=HOST, token="t", account_id="a9", stream_id="st-9", type=CampaignType.SMS)
    assert set(read_targets([path], filled).by_scope) == {GROUP, Scope("a9", "st-9", "st-9", CampaignType.SMS)}


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "x" * 2000])
def test_an_id_that_cannot_be_sent(name: str, tmp_path: Path) -> None:
    """A campaign with an id for which no call can be made is not checked, whatever its line says."""
    path = written(tmp_path / "r.jsonl", result(name, Outcome.STOPPED), result("cd-1"))
    targets = read_targets([path], HERE)
    assert (targets.invalid, targets.campaigns) == (1, 1)


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_rows_that_could_not_be_used(name: str, tmp_path: Path) -> None:
    """A row that was invalid for another reason than its id names a campaign, which may run."""
    path = written(
        tmp_path / name,
        result("cd-1"),
        result("cd-2", Outcome.INVALID, 3, error="priority is '1.5'; it must be a whole number"),
        result("cd-3", Outcome.INVALID, 4, error="no account_id in the row; give account_id", account_id=None),
    )
    filled = Settings(host=HOST, token="t", account_id="a1")
    targets = read_targets([path], filled)
    assert targets.by_scope == {GROUP: {"cd-1": Outcome.STOPPED, "cd-2": Outcome.INVALID, "cd-3": Outcome.INVALID}}
    assert (targets.invalid, targets.unread) == (0, [])
    assert read_targets([path], HERE).unread == [
        Unread("in.csv", 4, "cd-3", "no account_id in the row; give account_id")
    ]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (result("", Outcome.INVALID, error="no campaign id"), "no campaign id"),
        (result("..", error="HTTP 404"), "campaign id '..' is a path step, not an id"),
        (result("12.5", Outcome.INVALID, error="campaign_id is a number with a fraction"), "campaign_id is a number"),
        (result('{"id":"cd-1', Outcome.INVALID, error="not JSON: Expecting (column 9)"), "not JSON: Expecting"),
        (result("x" * 200, Outcome.INVALID, error="priority is 'a'"), "priority is 'a'"),
        (result("cd-1", account_id=None), "no account_id"),
        (result("cd-1", stream_id="st 1"), "stream_id 'st 1' holds U+0020 SPACE"),
        (result("cd-1", campaign_type=None), "no campaign_type; give type"),
        (result("cd-1", Outcome.INVALID, campaign_type=None, error="campaign_type is 'fax'"), "campaign_type is 'fax'"),
    ],
)
def test_what_cannot_be_looked_at(bad: Result, said: str, tmp_path: Path) -> None:
    """A row that names no campaign for which a call can be made is named, by the file and line that it came from."""
    targets = read_targets([written(tmp_path / "r.jsonl", bad)], HERE)
    (unread,) = targets.unread
    assert (targets.campaigns, targets.invalid, unread[:3]) == (0, 1, ("in.csv", 2, bad.campaign_id))
    assert unread.reason.startswith(said)


def test_many_that_cannot_be_looked_at(tmp_path: Path) -> None:
    """The first few are named, the others counted; one that came from no file is named by its line in the results."""
    path = written(tmp_path / "r.jsonl", *(result("", Outcome.INVALID, 0, error="no id") for _ in range(99)))
    targets = read_targets([path], HERE)
    assert (targets.invalid, [row.line for row in targets.unread]) == (99, [*range(1, UNREAD_SHOWN + 1)])
    assert {row.source for row in targets.unread} == {path}


def test_no_line_at_all(tmp_path: Path) -> None:
    """A file without a line is not one of results, unless a run was killed before its first: then all are without."""
    path = written(tmp_path / "r.jsonl")
    with pytest.raises(InputError, match="no row names a campaign"):
        read_targets([path], HERE)
    assert read_targets([with_manifest(path, rows=7)], HERE).unlisted == 7


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ("protected", Outcome.PROTECTED),
        ("protected duplicate", Outcome.PROTECTED),
        ("not_sent protected", Outcome.PROTECTED),
        ("protected not_sent", Outcome.NOT_SENT),
        ("protected stopped", Outcome.STOPPED),
        ("stopped protected", Outcome.STOPPED),
        ("rejected protected duplicate", Outcome.REJECTED),
        ("duplicate stopped", Outcome.STOPPED),
        ("stopped duplicate", Outcome.STOPPED),
        ("unknown not_sent", Outcome.NOT_SENT),
        ("stopped invalid", Outcome.STOPPED),
        ("invalid stopped", Outcome.STOPPED),
        ("invalid protected", Outcome.PROTECTED),
        ("protected invalid", Outcome.PROTECTED),
    ],
)
def test_protected_or_not(told: str, counts: Outcome, tmp_path: Path) -> None:
    """A campaign is expected to run only if it was protected and never sent; the row's place does not matter."""
    words = list(map(Outcome, told.split()))
    one = written(tmp_path / "one.jsonl", *(result("cd-1", outcome, line) for line, outcome in enumerate(words, 2)))
    assert outcomes(one) == {"cd-1": counts}
    files = [written(tmp_path / f"{n}.jsonl", result("cd-1", outcome)) for n, outcome in enumerate(words)]
    assert outcomes(*files) == {"cd-1": counts}


IDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=8)
"""Ids as a result file gives them back: a CSV cell has no line breaks, which only invalid rows could hold."""


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(IDS, st.sampled_from(Outcome), st.sampled_from(["a1", "", "a 1"]))), csv=st.booleans())
def test_every_row_is_a_campaign_or_counted(rows: list[tuple[str, Outcome, str]], csv: bool, tmp_path: Path) -> None:
    """Each line is one of a campaign that is looked at, or an invalid one; no campaign is invented."""
    results = [result(name, outcome, account_id=account) for name, outcome, account in rows]
    path = written(tmp_path / ("r.csv" if csv else "r.jsonl"), *results)
    usable = [
        name
        for name, outcome, account in rows
        if Campaign.of_row(name, CampaignType.VOICE, account, "st-1", "st-1", "", 0).fault is None
        and (outcome is not Outcome.INVALID or re.fullmatch(r"[A-Za-z0-9_.~-]+", name))
    ]
    if not rows:
        with pytest.raises(InputError):
            read_targets([path], HERE)
        return
    targets = read_targets([path], HERE)
    assert set(targets.by_scope.get(GROUP, ())) == set(usable)
    assert targets.invalid == len(rows) - len(usable)


GOOD = formats.to_json(result("cd-1"))
PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [GOOD, GOOD[:-9], formats.csv_header(), formats.to_csv(result("=cd-2")), b"\0\0\n", b"\n", b"{}\n", b'"']
    ),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=6), beside=st.none() | st.binary(max_size=40), csv=st.booleans())
def test_any_file(pieces: list[bytes], beside: bytes | None, csv: bool, tmp_path: Path) -> None:
    """Any file, with anything beside it, names campaigns, or is refused in one line."""
    path = tmp_path / ("r.csv" if csv else "r.jsonl")
    path.write_bytes(b"".join(pieces))
    manifest = Path(manifest_path(str(path)))
    manifest.unlink(missing_ok=True)
    if beside is not None:
        manifest.write_bytes(beside)
    found, said = None, ""
    try:
        found = read_targets([str(path)], HERE)
    except BulkstopError as refused:
        said = str(refused)
    assert said.isprintable()
    assert found is None or found.by_scope or found.invalid
    assert found is None or all(found.by_scope.values())


# --- what stands beside ---------------------------------------------------------------------------------------------


def test_rows_that_have_no_line(tmp_path: Path) -> None:
    """Rows of the list that never got a line, as their run was killed, are known from the manifest."""
    path = written(tmp_path / "r.jsonl", result("cd-1", line=2), result("cd-1", line=2), result("cd-2", line=3))
    assert read_targets([with_manifest(path, rows=2)], HERE).unlisted == 0
    assert read_targets([with_manifest(path, rows=7)], HERE).unlisted == 5


def test_a_file_that_was_altered(tmp_path: Path) -> None:
    """Lines that are not as they were written are noted: they may name other campaigns than were to be stopped."""
    path = with_manifest(written(tmp_path / "r.jsonl", result("cd-1")), rows=1, **Mark(1, 1, "0" * 64)._asdict())
    (note,) = read_targets([path], HERE).notes
    assert note == f"{path}: line 1 is not as it was written; it may not name what was to be stopped"


def test_rows_without_lines_of_their_own(tmp_path: Path) -> None:
    """Campaigns without a file have no line: they are checked, and nothing is reported as missing."""
    path = written(tmp_path / "r.jsonl", result("cd-1", line=0), result("cd-2", line=0))
    targets = read_targets([with_manifest(path, rows=2)], HERE)
    assert (targets.campaigns, targets.unlisted, targets.notes) == (2, 0, [])


def test_another_host(tmp_path: Path) -> None:
    """Results of another host are refused: there, the same ids would say nothing of those campaigns."""
    path = with_manifest(written(tmp_path / "r.jsonl", result("cd-1")), rows=1, host="https://other.test\x1b[2J")
    with pytest.raises(SettingsError) as refused:
        read_targets([path], HERE)
    assert str(refused.value) == (
        f"host {HOST}: {path} is of a run at https://other.test\N{REPLACEMENT CHARACTER}[2J; "
        "give that, or other results"
    )


@pytest.mark.parametrize(
    ("name", "text", "kind", "said"),
    [
        ("r.jsonl", "", InputError, "r.jsonl: no row names a campaign; nothing was read"),
        ("list.csv", "campaign_id\ncd-1\n", OutputError, "list.csv line 1: is not the header of a result file"),
        ("list.txt", "cd-1\n", OutputError, "list.txt line 1: is not a result line"),
        ("list.jsonl", '{"campaign_id":"cd-1"}\n', OutputError, "list.jsonl line 1: is not a result line"),
    ],
)
def test_what_is_no_result_file(name: str, text: str, kind: type[BulkstopError], said: str, tmp_path: Path) -> None:
    """A list is not mistaken for results, nor results without a campaign for a proof."""
    (tmp_path / name).write_text(text)
    with pytest.raises(kind) as refused:
        read_targets([str(tmp_path / name)], HERE)
    assert said in str(refused.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    """A file that is not there, a folder, and a damaged manifest are refused."""
    for path, said in [("gone", "cannot be read (No such file"), ("", "cannot be read (Is a directory)")]:
        with pytest.raises(OutputError, match=r".*") as refused:
            read_targets([str(tmp_path / path)], HERE)
        assert said in str(refused.value)
    path = written(tmp_path / "r.jsonl", result("cd-1"))
    Path(manifest_path(path)).write_text("{}")
    with pytest.raises(OutputError, match=r"\.run\.json: cannot be read"):
        read_targets([path], HERE)


# --- the verdict ----------------------------------------------------------------------------------------------------


def verdict(states: dict[State, int], **more: Any) -> Verification:
    """Return a verification with only the relevant values."""
    return Verification(states, {}, (), more.pop("invalid", 0), more.pop("unlisted", 0), (), 7, 1.23456, **more)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (verdict({}), 0),
        (verdict({State.NOT_RUNNING: 9}), 0),
        (verdict({State.NOT_RUNNING: 9, State.RUNNING: 1}), 1),
        (verdict({State.NOT_RUNNING: 9, State.SCHEDULED: 1}), 1),
        (verdict({State.NOT_RUNNING: 9, State.RUNS_AGAIN: 1}), 1),
        (verdict({State.NOT_RUNNING: 9, State.NOT_FOUND: 1}), 1),
        (verdict({State.NOT_RUNNING: 9, State.UNKNOWN: 1}), 1),
        (verdict({State.NOT_RUNNING: 9}, unlisted=1), 1),
        (verdict({State.NOT_RUNNING: 9}, invalid=1), 1),
        (verdict({}, invalid=1), 1),
        (verdict({State.UNKNOWN: 9}), 3),
        (verdict({State.UNKNOWN: 9}, fault=CredentialsError("no token")), 3),
        (verdict({State.NOT_RUNNING: 9}, signum=2), 130),
        (verdict({State.UNKNOWN: 9}, signum=15), 143),
    ],
)
def test_exit_code(found: Verification, code: int) -> None:
    """Only the proof that nothing runs is a success."""
    assert found.exit_code == code


def test_json() -> None:
    """Every key is there, with plain values."""
    item = ListedCampaign("cd-1", CampaignType.VOICE, "Promo", "Active", 2, True, False)
    runs = Finding(GROUP, item, State.RUNNING, Outcome.NOT_SENT)
    kept = Finding(GROUP, item._replace(campaign_id="cd-2"), State.RUNNING, Outcome.PROTECTED)
    found = Verification(
        {State.RUNNING: 1},
        {State.RUNNING: 1},
        (runs, kept),
        2,
        3,
        ("a note",),
        4,
        0.12345,
        fault=CredentialsError("no token"),
    )
    found = replace(found, unread=(Unread("in.csv", 3, "", "no campaign id"),))
    told = found.as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["findings"][0] == {
        "campaign_id": "cd-1",
        "campaign_type": "voice",
        "account_id": "a1",
        "stream_id": "st-1",
        "iid": "st-1",
        "name": "Promo",
        "state": "running",
        "status": "Active",
        "recurring": False,
        "outcome": "not_sent",
        "error": None,
    }
    assert told["states"] == {
        "running": 1,
        "scheduled": 0,
        "runs_again": 0,
        "not_running": 0,
        "not_found": 0,
        "unknown": 0,
    }
    del told["findings"], told["states"], told["protected"]
    assert told == {
        "campaigns": 1,
        "invalid_rows": 2,
        "not_looked_at": [{"source": "in.csv", "line": 3, "campaign_id": "", "reason": "no campaign id"}],
        "rows_without_line": 3,
        "others": None,
        "others_complete": False,
        "others_count": False,
        "contacts": None,
        "calls": 4,
        "elapsed_s": 0.123,
        "notes": ["a note"],
        "fault": "no token",
        "exit_code": 1,
    }
    assert found.to_stop == (runs,)


def test_targets_of_a_run() -> None:
    """A run with its campaigns in memory adds them without a file."""
    targets = Targets()
    campaign = Campaign.of_row("cd-1", CampaignType.VOICE, "a1", "st-1", "app-1", "in.csv", 2)
    targets.add(campaign, Outcome.NOT_SENT)
    targets.add(campaign, Outcome.STOPPED)
    assert targets.by_scope == {GROUP._replace(iid="app-1"): {"cd-1": Outcome.STOPPED}}
