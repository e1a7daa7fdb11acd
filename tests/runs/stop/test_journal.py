"""The result file and its manifest, through runs, crashes, resumes and tampering; no call is made here."""

import errno
import json
import os
import re
import signal
import stat
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bulkstop.errors import BulkstopError, GuardError, InputError, OutputError, SettingsError
from bulkstop.model import WORTH_A_RETRY, Campaign, CampaignType, Outcome, Result, unsent_result, utc_text
from bulkstop.redact import HIDDEN
from bulkstop.report.stop import ledger as ledger_module
from bulkstop.report.stop.formats import read_lines
from bulkstop.report.stop.ledger import Mode
from bulkstop.report.stop.manifest import Manifest
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs.review import review_results
from bulkstop.runs.stop.journal import RunJournal, choose_mode
from bulkstop.settings import NO_LIMIT, Settings
from bulkstop.source.plan import Plan
from bulkstop.text import format_count
from tests.processes import WAIT_S
from tests.strangers import IS_ROOT, NOBODY, make_giver

HOST = "https://platform.example.com"
AT = "2025-12-05T12:01:35.312Z"
Outcomes = Callable[[Campaign], Outcome]


def with_token(**more: Any) -> Settings:
    """Make settings for a host that is never called."""
    return Settings(**{"host": HOST, "token": "a-token", "quota_store": "memory", **more})


def campaigns(count: int) -> list[Campaign]:
    """Make campaigns of one account."""
    return [
        Campaign.of_row(f"cd-{n}", CampaignType.VOICE, "acc", "st", "st", "list.csv", n + 1)
        for n in range(1, count + 1)
    ]


def write_list(count: int) -> None:
    """Write `list.csv` with as many campaigns."""
    rows = [f"cd-{n},voice,acc,st\n" for n in range(1, count + 1)]
    Path("list.csv").write_text("campaign_id,type,account_id,stream_id\n" + "".join(rows))


def result_of(campaign: Campaign, outcome: Outcome = Outcome.STOPPED, run_id: str = "run") -> Result:
    """Make the result of a campaign, as the pool does."""
    result, at = replace(unsent_result(campaign, outcome, ""), error=None, run_id=run_id), utc_text(time.time())
    return result if outcome is Outcome.NOT_SENT else replace(result, started_at=at, finished_at=at, attempts=1)


def carried_out(journal: RunJournal, plan: Plan, outcome_of: Outcomes, settings: Settings) -> StopSummary:
    """Write a line for every row of a plan, without a call, and end the record."""
    run_id = str(uuid.uuid4())
    journal.open(plan, settings, ["bulkstop", "stop", "list.csv"], run_id)
    stats, results = Stats(), [replace(each, run_id=run_id) for each in plan.held_results()]
    for account in plan.accounts:
        results += [result_of(each, outcome_of(each), run_id) for each in plan.campaigns(account)]
    fault: BulkstopError | None = None
    for result in results:
        try:
            journal.write([result])
            stats.add(result)
        except OutputError as error:
            fault = fault or error
    return journal.end(StopSummary(stats, plan.rows, 1, 0.5, run_id, fault=fault, settled=dict(plan.settled)))


def run(
    path: Path,
    inputs: Sequence[str] | Iterable[Campaign] = ("list.csv",),
    outcome_of: Outcomes = lambda campaign: Outcome.STOPPED,
    *,
    mode: Mode = Mode.RESUME,
    retry: Set[Outcome] = frozenset(),
    trust: bool = False,
    **more: Any,
) -> StopSummary:
    """Run a list to its end with the outcomes given."""
    settings = with_token(**more)
    with RunJournal(str(path), mode=mode, retry=retry, trust=trust) as record, record.plan(inputs, settings) as plan:
        return carried_out(record, plan, outcome_of, settings)


def until(line: int) -> Outcomes:
    """Stop the campaigns up to a line; the rest is not sent."""
    return lambda campaign: Outcome.STOPPED if campaign.line <= line else Outcome.NOT_SENT


def killed(path: Path, vouched: int, more: int) -> None:
    """Let another process write some proven and some unproven lines, tear one and be killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a thread of another test may still end
        pid = os.fork()
    if not pid:
        try:
            write_and_die(path, vouched, more)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def write_and_die(path: Path, vouched: int, more: int) -> None:
    """Do that in this process."""
    ledger_module.SYNC_EVERY_S = 0.005
    record = RunJournal(str(path), mode=Mode.RESUME)
    plan = record.plan(["list.csv"], with_token())
    run_id = str(uuid.uuid4())
    record.open(plan, with_token(), ["bulkstop"], run_id)
    campaigns_left, ledger = plan.campaigns("acc"), record._ledger
    assert ledger is not None
    if vouched:
        for _ in range(vouched):
            record.write([result_of(next(campaigns_left), run_id=run_id)])
        while manifest(path)[-1].get("ledger", {}).get("lines") != ledger.mark.lines:
            pass
    ledger_module.SYNC_EVERY_S = WAIT_S
    if ledger._keeper is not None:
        ledger._keeper.stop()
    for _ in range(more):
        record.write([result_of(next(campaigns_left), run_id=run_id)])
    os.write(ledger._fd, b'{"campaign_id":"torn')
    os.kill(os.getpid(), signal.SIGKILL)


def manifest(path: Path) -> list[dict[str, Any]]:
    """Read the sections of a manifest."""
    found: list[dict[str, Any]] = json.loads(Path(f"{path}.run.json").read_bytes())["runs"]
    return found


def lines(path: Path) -> list[tuple[int, str]]:
    """Return the row and outcome of every line in a result file."""
    with path.open("rb") as file:
        results = [line.result for line in read_lines(file, path.name)]
    return [(each.line or 0, each.outcome.value) for each in results if each]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return all files of a folder with what they hold and when they were changed."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a result file in the working directory, beside a list of five campaigns."""
    monkeypatch.chdir(tmp_path)
    write_list(5)
    return Path("r.jsonl")


class TestManifest:
    """The contents of a manifest."""

    def test_section(self, path: Path) -> None:
        """A section says who ran what, where, when, with which settings and inputs, and how it ended."""
        ended = run(path, mode=Mode.NEW)
        (section,) = manifest(path)
        assert (ended.exit_code, ended.fault) == (0, None)
        assert section["command"] == ["bulkstop", "stop", "list.csv"]
        assert section["pid"] == os.getpid()
        assert section["folder"] == str(Path.cwd())
        assert {"version", "user", "machine", "python", "began_at", "ended_at"} <= section.keys()
        assert section["settings"]["host"] == HOST
        assert section["settings"]["quota"] == ["60/60s"]
        assert section["inputs"]["list.csv"]["rows"] == 5
        assert section["plan"] == {"rows": 5, "to_send": 5, "not_sent": {}, "ended_before": {}}
        assert (section["exit_code"], section["reason"], section["outcomes"]) == (0, "all sent", {"stopped": 5})
        assert section["ledger"]["sha256"] == sha256(path.read_bytes()).hexdigest()
        assert stat.S_IMODE(Path(f"{path}.run.json").stat().st_mode) == 0o600

    def test_no_secret(self, path: Path) -> None:
        """Nothing that may hold a secret is in it: only that it was given."""
        secrets: dict[str, Any] = {
            "token": "SECRET-token",
            "proxy": "http://user:SECRET-proxy@127.0.0.1:3128",
            "quota_store": "redis://:SECRET-redis@127.0.0.1/0",
        }
        run(path, mode=Mode.NEW, **secrets)
        command: dict[str, Any] = {"token": None, "token_command": "echo SECRET-command"}
        run(path, mode=Mode.OVERWRITE, outcome_of=until(3), **command)
        secret: dict[str, Any] = {"token": None, "client_id": "cs-1", "client_secret": "SECRET-client"}
        run(path, **secret)
        assert "SECRET" not in Path(f"{path}.run.json").read_text()
        first, second = manifest(path)
        assert first["settings"]["token_command"] == HIDDEN
        assert second["settings"]["client_secret"] == HIDDEN
        assert second["settings"]["proxy"] is None
        run(path, mode=Mode.OVERWRITE, quota_store="memory", proxy="http://127.0.0.1:3128")
        (shown,) = manifest(path)
        assert (shown["settings"]["quota_store"], shown["settings"]["proxy"]) == ("memory", "http://127.0.0.1:3128")

    def test_every_setting_is_in_it(self, path: Path) -> None:
        """Each setting is in it, of any type; a path is a text."""
        given: dict[str, Any] = {
            "ca": Path("ca.pem"),
            "type": CampaignType.SMS,
            "quota": NO_LIMIT,
            "finish_by": "23:59",
        }
        run(path, mode=Mode.NEW, timeout_s=1.5, **given)
        shown = manifest(path)[0]["settings"]
        assert shown["ca"] == "ca.pem"
        assert (shown["type"], shown["quota"], shown["finish_by"], shown["timeout_s"]) == ("sms", [], "23:59", 1.5)
        assert shown.keys() == set(Settings.__dataclass_fields__)

    def test_a_section_each_run(self, path: Path) -> None:
        """Each resume adds a section with its own plan and mark; the counts of all runs sum up to the rows."""
        run(path, outcome_of=until(3))
        run(path, outcome_of=until(4))
        run(path)
        sections = manifest(path)
        assert [section["plan"]["to_send"] for section in sections] == [5, 3, 2]
        assert [section["plan"]["ended_before"] for section in sections] == [{}, {"stopped": 2}, {"stopped": 3}]
        assert [section["ledger"]["lines"] for section in sections] == [5, 8, 10]
        data = path.read_bytes()
        for mark in (section["ledger"] for section in sections):
            assert sha256(data[: mark["size"]]).hexdigest() == mark["sha256"]

    def test_overwriting_begins_anew(self, path: Path) -> None:
        """A result file that is replaced has one section, and its proof is of the new lines."""
        run(path)
        run(path, outcome_of=until(2), mode=Mode.OVERWRITE)
        assert len(manifest(path)) == 1
        assert review_results(str(path)).flaws == ()

    def test_broken_off(self, path: Path) -> None:
        """A run that ends by an exception is recorded as broken off, with its lines, and can be continued."""
        with pytest.raises(ZeroDivisionError):
            self.break_off(path)
        (section,) = manifest(path)
        assert section["reason"] == "broken off: ZeroDivisionError"
        assert section["ledger"]["lines"] == 1
        assert "exit_code" not in section
        assert run(path).exit_code == 0
        assert lines(path) == [(n, "stopped") for n in range(2, 7)]

    @staticmethod
    def break_off(path: Path) -> None:
        """Raise after one line."""
        with RunJournal(str(path)) as record, record.plan(["list.csv"], with_token()) as plan:
            record.open(plan, with_token(), [], "run")
            record.write([result_of(next(plan.campaigns("acc")))])
            raise ZeroDivisionError

    def test_odd_names(self, path: Path) -> None:
        """Inputs and campaigns with names that are not plain text have their manifest, and can be resumed."""
        given = [each._replace(source="é\n\N{GRINNING FACE}.csv") for each in campaigns(3)]
        run(path, given, until(2))
        assert run(path, given).exit_code == 0
        assert [section["plan"]["to_send"] for section in manifest(path)] == [3, 2]

    def test_devices_have_none(self, path: Path) -> None:
        """A device has no manifest and no mark."""
        settings = with_token()
        before = contents(Path())
        for name in ("/dev/null", "-"):
            with RunJournal(name, mode=Mode.OVERWRITE) as record, record.plan([], settings) as plan:
                record.open(plan, settings, [], "run")
                assert record.mark is None
        assert run(Path("/dev/null"), mode=Mode.NEW).exit_code == 0
        assert contents(Path()) == before
        assert not Path("/dev/null.run.json").exists()


class TestResume:
    """Going on with a result file."""

    @pytest.mark.real
    def test_only_what_is_left(self, path: Path) -> None:
        """Exactly the rows that have not ended are planned; when a crash left none, only that is noted."""
        run(path, outcome_of=until(3))
        killed(path, 3, 0)
        assert lines(path)[5:] == [(4, "stopped"), (5, "stopped"), (6, "stopped")]
        ended = run(path)
        assert (ended.exit_code, ended.reason, ended.settled) == (0, "nothing was left to send", {Outcome.STOPPED: 5})
        assert len(lines(path)) == 8
        reasons = [section.get("reason") for section in manifest(path)]
        assert reasons == ["all sent", None, "nothing was left to send"]
        assert review_results(str(path)).flaws == ()

    def test_a_file_that_is_gone(self, path: Path) -> None:
        """If the manifest exists without its results, no new results are begun."""
        run(path)
        path.unlink()
        with pytest.raises(
            OutputError, match=r"^r\.jsonl: does not exist, but r\.jsonl\.run\.json does; restore the first"
        ):
            RunJournal(str(path), mode=Mode.RESUME)

    def test_other_defaults_are_named(self, path: Path) -> None:
        """If a setting has changed the meaning of every row, that setting is named."""
        run(path, outcome_of=until(3))
        settings = replace(with_token(), iid="another")
        with (
            RunJournal(str(path), mode=Mode.RESUME) as record,
            pytest.raises(InputError, match=r"; iid was None then$"),
        ):
            record.plan(["list.csv"], settings)

    @pytest.mark.real
    def test_nothing_is_changed_before_the_first_line(self, path: Path) -> None:
        """Reading, planning and opening change nothing on disk: no torn line, no manifest, and no file's time."""
        run(path, outcome_of=until(3))
        killed(path, 1, 1)
        before = contents(Path())
        settings = with_token()
        with RunJournal(str(path), mode=Mode.RESUME) as record, record.plan(["list.csv"], settings) as plan:
            assert (plan.to_send, plan.settled) == (1, {Outcome.STOPPED: 4})
            record.open(plan, settings, [], "run")
        assert contents(Path()) == before

    def test_none_there(self, path: Path) -> None:
        """Without a file a resumed run is a new one, and without a line it leaves none."""
        settings = with_token()
        with RunJournal(str(path), mode=Mode.RESUME) as record, record.plan(["list.csv"], settings) as plan:
            assert record.past is None
            record.open(plan, settings, [], "run")
        assert {each.name for each in Path().iterdir()} == {"list.csv"}
        assert run(path).exit_code == 0

    def test_a_file_that_came_to_be_meanwhile(self, path: Path) -> None:
        """A file that another run has written since nothing was there is kept: its lines would be lost."""
        settings = with_token()
        with RunJournal(str(path), mode=Mode.RESUME) as late, late.plan(["list.csv"], settings) as plan:
            run(path)
            before = contents(Path())
            with pytest.raises(OutputError, match="exists already; give resume=True"):
                late.open(plan, settings, [], "late")
        assert contents(Path()) == before

    def test_failed_rows_stay(self, path: Path) -> None:
        """Permanent failures of an earlier run are not sent again, and keep the exit code at 1."""
        outcomes = {2: Outcome.REJECTED, 3: Outcome.TIMEOUT, 4: Outcome.NOT_SENT}
        run(path, outcome_of=lambda campaign: outcomes.get(campaign.line, Outcome.STOPPED))
        ended = run(path)
        assert (ended.exit_code, ended.stats.lines) == (1, 1)
        assert ended.rows == ended.rows_with_lines == 5
        retried = run(path, retry=WORTH_A_RETRY)
        assert (retried.exit_code, retried.stats.lines) == (1, 1)
        assert lines(path)[5:] == [(4, "stopped"), (3, "stopped")]

    @pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
    def test_finished(self, name: str, path: Path) -> None:
        """A finished run with nothing left is refused, says when it ended and what to do, and nothing changes."""
        path = Path(name)
        run(path, outcome_of=lambda campaign: Outcome.REJECTED if campaign.line == 2 else Outcome.STOPPED)
        before, at = contents(Path()), manifest(path)[-1]["ended_at"]
        for retry in (frozenset[Outcome](), WORTH_A_RETRY, frozenset({Outcome.NOT_FOUND})):
            with pytest.raises(SettingsError) as caught:
                run(path, retry=retry)
            said = str(caught.value)
            assert said.startswith(f"{name}: its run finished at {at} (4 stopped, 1 rejected); nothing is left to send")
            assert said.endswith('retry_failed=True (nothing to retry) or retry="rejected" (1 rejected)')
        assert contents(Path()) == before
        assert run(path, retry={Outcome.REJECTED}).exit_code == 0
        assert lines(path)[5:] == [(2, "stopped")]

    @pytest.mark.parametrize("how", [{"signum": signal.SIGTERM}, {"fault": GuardError("--max-failures 5: ...")}])
    def test_not_finished(self, how: dict[str, Any], path: Path) -> None:
        """A run that a signal or a guard ended is continued, even after its last row; then it is done."""
        settings = with_token()
        with RunJournal(str(path)) as record, record.plan(["list.csv"], settings) as plan:
            record.open(plan, settings, [], "run")
            stats = Stats()
            for each in map(result_of, plan.campaigns("acc")):
                record.write([each])
                stats.add(each)
            assert record.end(StopSummary(stats, plan.rows, 1, 0.5, "run", **how)).exit_code in (3, 143)
        before = path.read_bytes()
        ended = run(path)
        assert (ended.exit_code, ended.reason, ended.settled) == (0, "nothing was left to send", {Outcome.STOPPED: 5})
        assert path.read_bytes() == before
        assert review_results(str(path)).flaws == ()
        with pytest.raises(SettingsError, match="its run finished at"):
            run(path)

    @pytest.mark.real
    def test_finished_but_for_the_manifest(self, path: Path) -> None:
        """A run that crashed after its last line, before the end in the manifest, is continued once."""
        killed(path, 5, 0)
        assert run(path).exit_code == 0
        with pytest.raises(SettingsError, match="its run finished at"):
            run(path)

    @pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
    def test_a_last_try_that_was_not_the_end(self, name: str, path: Path) -> None:
        """Rows that a closed group refused have no `finished_at`: they have not ended, whatever the end of the run."""
        path, settings = Path(name), with_token()
        with RunJournal(name) as record, record.plan(["list.csv"], settings) as plan:
            record.open(plan, settings, ["bulkstop"], "run")
            stats = Stats()
            for each in plan.campaigns("acc"):
                cut = replace(result_of(each, Outcome.NOT_FOUND), finished_at=None if each.line < 4 else AT)
                record.write([cut])
                stats.add(cut)
            record.end(StopSummary(stats, plan.rows, 1, 0.5, "run"))
        assert run(path).exit_code == 1
        assert lines(path)[5:] == [(2, "stopped"), (3, "stopped")]

    def test_appended_rows(self, path: Path) -> None:
        """Rows added to the list are run as well, and the manifest then knows the longer list."""
        run(path)
        write_list(7)
        assert run(path).exit_code == 0
        assert lines(path)[5:] == [(7, "stopped"), (8, "stopped")]
        assert [section["inputs"]["list.csv"]["rows"] for section in manifest(path)] == [5, 7]
        write_list(5)
        with pytest.raises(InputError, match=r"list\.csv: had 7 rows when the run began, and has 5 now"):
            run(path)

    @pytest.mark.real
    @pytest.mark.parametrize(
        ("was", "now", "said"),
        [
            (
                "cd-2,",
                "cd-x,",
                "list.csv line 3: was voice 'cd-2' of account 'acc', stream 'st' in the run that wrote r.jsonl",
            ),
            ("cd-5,", "cd-x,", "list.csv: a row of lines 2 to 6 has changed"),
            ("cd-5,voice,acc,st\n", "", "list.csv: had 5 rows when the run began, and has 4 now"),
        ],
    )
    def test_a_changed_list(self, was: str, now: str, said: str, path: Path) -> None:
        """A change of the list is refused, also in a row that a crash left without a line, and nothing changes."""
        killed(path, 2, 1)
        text = Path("list.csv").read_text()
        Path("list.csv").write_text(text.replace(was, now))
        before = contents(Path())
        with pytest.raises(InputError) as caught:
            run(path)
        assert str(caught.value).startswith(said)
        assert contents(Path()) == before

    def test_without_a_manifest(self, path: Path) -> None:
        """With trust and a removed manifest, the lines say what is left, and which rows have changed."""
        run(path, outcome_of=until(3))
        Path(f"{path}.run.json").unlink()
        with pytest.raises(OutputError) as caught:
            run(path)
        why = "there is no r.jsonl.run.json to prove its lines"
        assert (
            str(caught.value) == f"r.jsonl: {why}; restore that, or give trust_results=True to go on with it as it is"
        )
        text = Path("list.csv").read_text()
        Path("list.csv").write_text(text.replace("cd-5", "cd-x"))
        with pytest.raises(InputError, match=r"^list\.csv line 6: was voice 'cd-5'"):
            run(path, trust=True)
        write_list(4)
        with pytest.raises(InputError, match=r"^r\.jsonl has lines of 1 row that the inputs no longer have; give the"):
            run(path, trust=True)
        Path("list.csv").write_text(text)
        assert run(path, trust=True, outcome_of=until(4)).exit_code == 1
        (section,) = manifest(path)
        assert (section["unproven_lines_taken_over"], section["trusted"]) == (5, why)
        assert run(path).exit_code == 0, "what was written since is proven"
        flaw = f"the first 5 lines were taken on trust by the run of {section['began_at']}: {why}"
        assert review_results(str(path)).flaws == (flaw,)

    def test_another_host(self, path: Path) -> None:
        """A result file of another host is refused; the same host written another way is the same."""
        run(path, outcome_of=until(3))
        with pytest.raises(SettingsError) as caught:
            run(path, host="https://other.example.com")
        said = f"host https://other.example.com: r.jsonl is of a run at {HOST}; give that, or another output"
        assert str(caught.value) == said
        assert run(path, host="platform.example.com/").exit_code == 0

    @pytest.mark.parametrize("name", ["-", "/dev/null", "pipe"])
    def test_what_keeps_nothing(self, name: str, path: Path) -> None:
        """Only a regular file can be continued."""
        os.mkfifo("pipe")
        with pytest.raises(
            OutputError, match=rf"^resume: {name} cannot be resumed, because it keeps nothing; give output=.FILE.$"
        ):
            RunJournal(name, mode=Mode.RESUME)

    def test_one_answer(self) -> None:
        """A file cannot be both continued and overwritten."""
        with pytest.raises(SettingsError, match="overwrite throws away what resume"):
            choose_mode(overwrite=True, resume=True)
        assert [choose_mode(overwrite=o, resume=r) for o, r in ((False, False), (True, False), (False, True))] == list(
            Mode
        )

    @pytest.mark.real
    def test_csv(self, path: Path) -> None:
        """A CSV result file is continued like any other, with its one header."""
        path = Path("r.csv")
        run(path, outcome_of=until(3))
        killed(path, 1, 1)
        assert run(path).exit_code == 0
        text = path.read_text().splitlines()
        assert [line.startswith("campaign_id,") for line in text] == [True] + [False] * (len(text) - 1)
        assert review_results(str(path)).flaws == ()
        assert review_results(str(path)).outcomes[Outcome.STOPPED] == 5

    def test_several_inputs(self, path: Path) -> None:
        """A list besides may be added, but none left out and none put before another."""
        Path("two.txt").write_text("cd-8\ncd-9\n")
        more: dict[str, Any] = {"type": CampaignType.VOICE, "account_id": "acc", "stream_id": "st"}
        run(path, ["list.csv"], until(3), **more)
        run(path, ["list.csv", "two.txt"], until(3), **more)
        for inputs, said in (
            (["list.csv"], r"^two\.txt: had 2 rows when the run began, and has 0 now"),
            (["two.txt", "list.csv"], "^the inputs are in another order than when the run began: list.csv, two.txt"),
            (["list.csv", "./two.txt"], r"^two\.txt: had 2 rows when the run began, and has 0 now"),
        ):
            with pytest.raises(InputError, match=said):
                run(path, inputs, **more)
        assert run(path, ["list.csv", "two.txt"], **more).exit_code == 0


class TestCrash:
    """After `kill -9`."""

    @pytest.mark.real
    @pytest.mark.parametrize(("vouched", "more"), [(0, 0), (0, 3), (2, 0), (2, 2), (0, 5), (4, 1)])
    def test_taken_over(self, vouched: int, more: int, path: Path) -> None:
        """Lines of a killed run after its last mark are reported, vouched for by the resume, and then proven."""
        killed(path, vouched, more)
        if vouched + more:
            flaws = review_results(str(path)).flaws
            are_missing = f"5 rows were planned, {vouched + more} have a line" in flaws
            assert are_missing is (vouched + more < 5)
            unproven = f"the last {format_count(more, 'line is', 'lines are')} not vouched for"
            assert any(flaw.startswith(unproven) for flaw in flaws) is bool(more)
            assert "ended_at" not in manifest(path)[0]
        assert run(path).exit_code == 0
        assert lines(path) == [(n, "stopped") for n in range(2, 7)]
        assert manifest(path)[-1].get("unproven_lines_taken_over", 0) == more
        assert review_results(str(path)).flaws == ()

    @pytest.mark.real
    def test_again_and_again(self, path: Path) -> None:
        """Any number of crashes and resumes later every row has its line, and all of them are proven."""
        write_list(8)
        for _ in range(3):
            killed(path, 1, 1)
        assert run(path).exit_code == 0
        assert lines(path) == [(n, "stopped") for n in range(2, 10)]
        assert len(manifest(path)) == 4
        assert review_results(str(path)).flaws == ()


class TestTampering:
    """A line that is not as it was written is found, by the check and before a resume."""

    @pytest.mark.parametrize("change", ["altered", "swapped", "inserted", "deleted", "cut", "appended"])
    def test_a_change(self, change: str, path: Path) -> None:
        """Any change to the lines is found by the check, and no run continues them or changes the file."""
        run(path, outcome_of=until(4))
        found = path.read_bytes().splitlines(keepends=True)
        forged = found[4].replace(b"not_sent", b"stopped")
        match change:
            case "altered":
                found[4] = forged
            case "swapped":
                found[0], found[1] = found[1], found[0]
            case "inserted":
                found.insert(2, forged)
            case "deleted":
                del found[1]
            case "cut":
                del found[4]
            case _:
                found.append(forged)
        path.write_bytes(b"".join(found))
        before = contents(Path())
        (flaw, *_) = review_results(str(path)).flaws
        assert "not as they were written" in flaw or "shorter than" in flaw or "something was added" in flaw
        with pytest.raises(OutputError) as caught:
            run(path)
        said = f"r.jsonl: {flaw}; restore it, or give trust_results=True to go on with it as it is"
        assert str(caught.value) == said
        assert contents(Path()) == before

    @pytest.mark.parametrize("text", ["", "{}", '{"runs":[]}', '{"runs":[{"ledger":null}]}'])
    def test_a_damaged_manifest(self, text: str, path: Path) -> None:
        """A manifest that cannot be read is one line that says what to do, to a resume and to the check."""
        run(path)
        Path(f"{path}.run.json").write_text(text)
        for read in (review_results, lambda name: RunJournal(name, mode=Mode.RESUME)):
            with pytest.raises(OutputError, match=r"^r\.jsonl\.run\.json: cannot be read \(it is not a manifest"):
                read(str(path))

    @pytest.mark.parametrize("given", [{"rows": 5}, "x", {"rows": 5000, "sha256": "a", "marks": []}])
    def test_a_damaged_digest(self, given: object, path: Path) -> None:
        """A manifest that does not say any more what the list was is refused as well."""
        run(path, outcome_of=until(3))
        sections = manifest(path)
        sections[0]["inputs"]["list.csv"] = given
        Path(f"{path}.run.json").write_text(json.dumps({"runs": sections}))
        with pytest.raises(OutputError, match=r"^r\.jsonl\.run\.json: cannot be read"):
            run(path)


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the sections of a manifest."""
    sections = manifest(path)
    change(sections)
    Path(f"{path}.run.json").write_text(json.dumps({"runs": sections}))


def later(at: str, seconds: float) -> str:
    """Return a time so much later."""
    return utc_text(datetime.fromisoformat(at).timestamp() + seconds)


class TestForged:
    """A manifest and a file that are not of the same runs."""

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda runs: runs.pop(0), "line 1 is of a run that r.jsonl.run.json does not have"),
            (lambda runs: runs.pop(1), "line 6 is of a run that r.jsonl.run.json does not have"),
            (lambda runs: runs.pop(), "something was added after line 8"),
            (lambda runs: (runs.pop(), runs[1].pop("closed")), "lines 6 to 10 are not those that run 2 wrote"),
            (lambda runs: runs.reverse(), "something was added after line 5"),
            (lambda runs: runs.append(runs[0]), "something was added after line 5"),
            (lambda runs: runs[0].update(run_id=runs[1]["run_id"]), "line 1 is of a run that"),
            (lambda runs: runs[1].update(unproven_lines_taken_over=1), "lines 1 to 6 are not those that run 1 wrote"),
            (lambda runs: runs[2].update(unproven_lines_taken_over=9), "lines 6 to 17 are not those that run 2 wrote"),
            (lambda runs: runs[0].update(unproven_lines_taken_over=5), "its first 5 lines are of no run in"),
            (lambda runs: runs[0]["ledger"].update(lines=4), "lines 1 to 4 are not as they were written"),
            (
                lambda runs: runs[2]["outcomes"].update(stopped=5),
                r"run 3 has other outcomes in its lines \(2 stopped\)",
            ),
            (lambda runs: runs[1].pop("outcomes"), r"run 2 has other outcomes in its lines \(1 stopped, 2 not_sent\)"),
            (lambda runs: runs[0].update(exit_code=0), r"run 1 did not end with exit code 0 \(all sent\)"),
            (lambda runs: runs[2].update(exit_code=1), r"run 3 did not end with exit code 1 \(all sent\)"),
            (lambda runs: runs[2].update(exit_code=3), r"run 3 did not end with exit code 3 \(all sent\)"),
            (lambda runs: runs[2].update(exit_code=143), r"run 3 did not end with exit code 143 \(all sent\)"),
            (lambda runs: runs[2].update(exit_code=7, reason="tired"), "run 3 did not end with exit code 7"),
            (lambda runs: runs[0].update(reason="at noon"), r"run 1 did not end with exit code 1 \(at noon\)"),
            (lambda runs: runs[0].update(reason=None), r"run 1 did not end with exit code 1 \(None\)"),
            (lambda runs: (runs[0].pop("exit_code"), runs[0].pop("outcomes")), "run 1 ended without an exit code"),
            (lambda runs: runs[0].pop("exit_code"), "run 1 ended without an exit code"),
            (lambda runs: runs[2]["plan"].update(rows=1), "run 3 has 2 lines, more than it had rows"),
            (lambda runs: runs[2]["plan"].update(rows=4), "run 3 has 2 lines, more than it had rows"),
            (lambda runs: runs[2]["plan"].update(ended_before={"stopped": 2, "rejected": 1}), "run 3 did not end with"),
            (lambda runs: runs[0]["plan"].update(rows=9), ""),
        ],
    )
    def test_a_manifest(self, change: Any, said: str, path: Path) -> None:
        """The runs in a manifest, their order, lines, outcomes, reasons and exit codes are compared with the lines."""
        run(path, outcome_of=until(3))
        run(path, outcome_of=until(4))
        run(path)
        rewrite(path, change)
        flaws = review_results(str(path)).flaws
        assert (re.match(said, flaws[0]) is not None) if said else not flaws
        if said:
            with pytest.raises(OutputError, match=rf"^r\.jsonl: {said}.*; restore it, or give trust_results=True"):
                run(path)

    @pytest.mark.real
    @pytest.mark.parametrize(
        ("forged", "said"),
        [
            ({}, ""),
            ({"run_id": None}, "lines 1 to 3 are not those that run 1 wrote there"),
            ({"run_id": "another"}, "lines 1 to 3 are not those that run 1 wrote there"),
            ({"started_at": later(utc_text(time.time()), -86400)}, ""),  # its clock was set back
            ({"line": 9}, ""),
        ],
    )
    def test_behind_the_last_mark(self, forged: dict[str, Any], said: str, path: Path) -> None:
        """Lines after the last mark of a killed run are accepted as its lines, for any clock."""
        killed(path, 1, 1)
        data = path.read_bytes()
        torn = data.index(b'{"campaign_id":"torn')
        last = json.loads(data[:torn].splitlines()[-1]) | {"campaign_id": "cd-3", "line": 4} | forged
        path.write_bytes(data[:torn] + json.dumps(last).encode() + b"\n")
        if said:
            with pytest.raises(OutputError, match=rf"^r\.jsonl: {said}"):
                run(path)
        elif "line" in forged:
            with pytest.raises(InputError, match="has lines of 1 row that the inputs no longer have"):
                run(path)
        else:
            assert run(path).exit_code == 0

    @pytest.mark.real
    def test_more_than_there_were_rows(self, path: Path) -> None:
        """A killed run cannot have had more lines than rows, however they are made."""
        killed(path, 4, 1)
        first = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*first[:5], first[0]]))
        with pytest.raises(OutputError, match=r"^r\.jsonl: run 1 has 6 lines, more than it had rows; restore it"):
            run(path)

    @pytest.mark.parametrize("what", ["r.jsonl", "r.jsonl.run.json"])
    @pytest.mark.parametrize("mode", [0o666, 0o602, 0o660])
    def test_others_can_write(self, mode: int, what: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that others can write, or whose manifest they can, is only continued with trust."""
        run(path, outcome_of=until(3))
        Path(what).chmod(mode)
        if mode == 0o660:
            if not IS_ROOT:
                pytest.skip("only root can give a file to a group that is not the user's own")
            os.chown(what, 0, NOBODY)
        who = "others" if mode == 0o660 else "everybody on this machine"
        with pytest.raises(
            OutputError, match=rf"^r\.jsonl: .*{who} can write it \([^)]*\); make it yours alone, or give trust"
        ):
            run(path)
        assert run(path, trust=True).exit_code == 0
        assert len(manifest(path)) == 2

    @pytest.mark.parametrize("what", ["r.jsonl", "r.jsonl.run.json"])
    def test_of_another_user(self, what: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is one of another user, in any folder."""
        run(path, outcome_of=until(3))
        make_giver(monkeypatch)(Path(what))
        with pytest.raises(OutputError, match=r"^r\.jsonl: .*it belongs to user \S+, not to you or root; make"):
            run(path)
        monkeypatch.undo()
        os.chdir(path.parent)

    @pytest.mark.skipif(not IS_ROOT, reason="only root can make a file another user's")
    def test_trusted_in_a_shared_folder(self, path: Path, tmp_path: Path) -> None:
        """With trust another user's file is continued, also in a folder that others can write."""
        run(path, outcome_of=until(3))
        for name in (path, f"{path}.run.json"):
            os.chown(name, NOBODY, NOBODY)
        tmp_path.chmod(0o1777)
        assert run(path, trust=True).exit_code == 0

    def test_nothing_in_it(self, path: Path) -> None:
        """A file without a line says nothing that would have to be believed."""
        path.touch(0o600)
        assert run(path).exit_code == 0
        assert "trusted" not in manifest(path)[0]

    def test_emptied_and_trusted(self, path: Path) -> None:
        """With trust an emptied file is begun anew, and what is written from then on is proven."""
        run(path, outcome_of=until(3))
        os.truncate(path, 0)
        with pytest.raises(OutputError, match="it is shorter than the 5 lines that were written; restore it"):
            run(path)
        assert run(path, trust=True).exit_code == 0
        (flaw,) = review_results(str(path)).flaws
        assert flaw.startswith("the first 0 lines were taken on trust by the run of 2")
        assert flaw.endswith("Z: it is shorter than the 5 lines that were written")

    def test_damaged_and_trusted(self, path: Path) -> None:
        """With trust a manifest that cannot be read is done without; one of a newer version never is."""
        run(path, outcome_of=until(3))
        Path(f"{path}.run.json").write_text('{"schema": 2}')
        with pytest.raises(OutputError, match="newer version of bulkstop"):
            run(path, trust=True)
        Path(f"{path}.run.json").write_text("{")
        assert run(path, trust=True).exit_code == 0
        assert len(manifest(path)) == 1

    def test_one_digest_of_both(self, path: Path) -> None:
        """The digest of a run is that of its file and manifest together, and the check shows the same."""
        settings = with_token()
        with RunJournal(str(path), mode=Mode.RESUME) as record, record.plan(["list.csv"], settings) as plan:
            assert record.digest is None
            carried_out(record, plan, until(9), settings)
            digest = record.digest
        both = path.read_bytes() + Path(f"{path}.run.json").read_bytes()
        assert digest == sha256(both).hexdigest() == review_results(str(path)).sha256
        rewrite(path, lambda runs: runs[0].update(user="somebody else"))
        review = review_results(str(path))
        assert review.flaws == ()
        assert review.sha256 != digest


class TestFaults:
    """The disk fails."""

    @pytest.mark.parametrize("mode", [Mode.NEW, Mode.RESUME])
    def test_no_place_for_a_manifest(self, mode: Mode, path: Path) -> None:
        """If no manifest can be written, the run is refused when it opens its file, before any call."""
        if mode is Mode.RESUME:
            path.touch()
        settings = with_token()
        record = RunJournal(str(path), mode=mode)
        Path(f"{path}.run.json").mkdir()
        with (
            record,
            record.plan(["list.csv"], settings) as plan,
            pytest.raises(OutputError, match=r"r\.jsonl\.run\.json: cannot be written \(Is a directory\)"),
        ):
            record.open(plan, settings, [], "run")
        assert path.exists() is (mode is Mode.RESUME)

    def test_a_disk_that_keeps_nothing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the last lines cannot be made durable the run ends with exit code 3, and the manifest says the same."""
        fsync = os.fsync

        def fail(fd: int) -> None:
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(fd)

        monkeypatch.setattr(os, "fsync", fail)
        ended = run(path, mode=Mode.NEW)
        assert (ended.exit_code, str(ended.fault)) == (3, "r.jsonl: cannot be made durable (Input/output error)")
        (section,) = manifest(path)
        assert (section["exit_code"], section["reason"]) == (3, str(ended.fault))
        assert "ledger" not in section
        monkeypatch.setattr(os, "fsync", fsync)
        assert run(path).exit_code == 0

    def test_a_manifest_that_cannot_be_ended(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the end of a run cannot be recorded, exit code 3; the lines exist, and a resume continues."""
        end = Manifest.end

        def fail(self: Manifest, **how: Any) -> None:
            raise OutputError("r.jsonl.run.json: cannot be written (No space left on device)")

        monkeypatch.setattr(Manifest, "end", fail)
        ended = run(path)
        assert (ended.exit_code, "No space left on device" in str(ended.fault)) == (3, True)
        monkeypatch.setattr(Manifest, "end", end)
        assert run(path).exit_code == 0
        assert lines(path) == [(n, "stopped") for n in range(2, 7)]

    def test_a_line_that_could_not_be_taken_back(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """When a full disk left half a line that cannot even be cut, the next run still takes it for what it is."""
        write, truncate = os.write, os.ftruncate
        calls = list[int]()

        def half(fd: int, data: bytes) -> int:
            calls.append(fd)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, data[: 50 if len(calls) == 2 else None])

        def refuse(fd: int, size: int) -> None:
            if calls:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            truncate(fd, size)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            patch.setattr(os, "ftruncate", refuse)
            assert run(path).exit_code == 3
        assert len(path.read_bytes().splitlines()[1]) == 50
        assert run(path).exit_code == 0
        assert lines(path) == [(n, "stopped") for n in range(2, 7)]


class TestOverlap:
    """A second run on the same file."""

    def test_while_the_first_writes(self, path: Path) -> None:
        """The message names the holder of the file from the manifest: process, user, machine and since when."""
        settings = with_token()
        with RunJournal(str(path)) as record, record.plan(["list.csv"], settings) as plan:
            record.open(plan, settings, [], "run")
            record.write([result_of(next(plan.campaigns("acc")))])
            (section,) = manifest(path)
            who = f"process {os.getpid()} of {section['user']} on {section['machine']}, since {section['began_at']}"
            self.refused(path, f" ({who})")

    @pytest.mark.real
    def test_before_the_first_line(self, path: Path) -> None:
        """Before the first line the message names only the process, never the earlier run of the manifest."""
        settings = with_token()
        killed(path, 1, 0)
        with RunJournal(str(path), mode=Mode.RESUME) as record, record.plan(["list.csv"], settings):
            self.refused(path, f" (process {os.getpid()})")
        run(path, outcome_of=until(3))
        with RunJournal(str(path), mode=Mode.RESUME):
            self.refused(path, f" (process {os.getpid()})")

    @pytest.mark.real
    def test_where_the_kernel_does_not_tell(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the kernel names no process the manifest is used, unless it says that its run has ended."""
        monkeypatch.setattr(ledger_module, "_find_locker", lambda of: None)
        run(path, outcome_of=until(3))
        with RunJournal(str(path), mode=Mode.RESUME):
            self.refused(path, "")
        killed(path, 1, 0)
        pid, machine = manifest(path)[-1]["pid"], manifest(path)[-1]["machine"]
        with RunJournal(str(path), mode=Mode.RESUME):
            self.refused(path, rf" (process {pid} of", f" on {machine}, since ")

    @staticmethod
    def refused(path: Path, *said: str) -> None:
        """Try a second run in each way, and compare its message with the expected one."""
        before = contents(Path())
        for mode in (Mode.RESUME, Mode.OVERWRITE):
            with pytest.raises(OutputError) as caught:
                run(path, mode=mode)
            text = str(caught.value)
            assert text.startswith(f"r.jsonl: another run is writing it{said[0]}")
            assert text.endswith("; wait for its end, or end it")
            assert said[-1] in text
            assert said[0] or "(" not in text
        assert contents(Path()) == before
