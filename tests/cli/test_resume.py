"""`bulkstop stop --resume` for a user: exactly the rows that have not ended are sent, nothing else changes."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bulkstop import Settings
from bulkstop.cli.stop.command import command_line
from bulkstop.errors import OutputError, SettingsError
from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.redact import HIDDEN
from bulkstop.report.stop.formats import csv_header, to_csv, to_json
from bulkstop.report.stop.manifest import Manifest, RunSection
from bulkstop.runs.api import stop as stop_here
from bulkstop.runs.api import stop_async
from tests.cli.conftest import Here, MakeList
from tests.processes import (
    TOKEN,
    WAIT_S,
    Simulated,
    apart,
    bulkstop,
    ended,
    results,
    simulator,
    started,
)
from tests.servers import Connection, listening

pytestmark = pytest.mark.real

LIST = "campaigns.csv"
LINE = f"{LIST}.results.jsonl"
AT = "2025-12-05T12:01:35.312Z"


def arrived(sim: Simulated, ids: Sequence[str]) -> list[str]:
    """Return the campaigns that the simulator was asked to stop, once per request."""
    return [campaign_id for campaign_id in sim.ids() if campaign_id in ids]


def lived_through(folder: Path, ids: Sequence[str], outcomes: Sequence[Outcome], output: str = LINE) -> None:
    """Write the result file of an earlier run of `campaigns.csv`, with these outcomes of its first rows."""
    is_csv = output.endswith(".csv")
    lines = [csv_header()] if is_csv else []
    for number, (campaign_id, outcome) in enumerate(zip(ids, outcomes, strict=False), start=2):
        at = None if outcome in (Outcome.NOT_SENT, Outcome.INVALID) else AT
        names = campaign_id, CampaignType.VOICE, "644e9b61138c7160307450fa", "st-1"
        result = Result(*names, outcome, source=LIST, line=number, started_at=at, finished_at=at, run_id="earlier")
        lines.append((to_csv if is_csv else to_json)(result))
    leave(folder / output, lines, len(outcomes))


def leave(path: Path, lines: Sequence[bytes], rows: int) -> None:
    """Write a result file and its manifest as left by a run that was killed after its last mark."""
    path.write_bytes(b"".join(lines))
    path.chmod(0o600)
    mark = {"size": path.stat().st_size, "lines": rows, "sha256": sha256(path.read_bytes()).hexdigest()}
    about = {"run_id": "earlier", "began_at": AT, "user": "u", "machine": "m", "settings": {}, "inputs": {}}
    section = RunSection.read(about | {"plan": {"rows": rows}, "ledger": mark, "command": ["earlier"]})
    Manifest(f"{path}.run.json").begin(section)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the contents and modification times of all files in a folder."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def manifest(folder: Path, output: str = LINE) -> list[dict[str, Any]]:
    """Read the sections of a manifest."""
    found: list[dict[str, Any]] = json.loads((folder / f"{output}.run.json").read_bytes())["runs"]
    return found


def states(path: Path) -> dict[str, str]:
    """Return the latest outcome of each campaign of a result file."""
    return {line["campaign_id"]: line["outcome"] for line in results(path)}


@contextmanager
def held(cwd: Path, *args: str, calls: int = 1) -> Iterator["subprocess.Popen[str]"]:
    """Run with calls in flight that are never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_S)
        host = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = started("stop", LIST, "--yes", "--host", host, *args, cwd=cwd)
        taken = []
        try:
            for _ in range(calls):
                taken.append(server.accept()[0])
                assert taken[-1].recv(65536).startswith(b"POST ")
            yield process
        finally:
            for connection in taken:
                connection.close()
            process.kill()
            process.communicate()


class TestGoingOn:
    """What is sent, and the result."""

    def test_from_nothing_to_all_done(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """Without a result file a run begins one; once all is done, it says when and what to do, with exit 2."""
        first = here.stop(sim, "--resume", "--yes")
        assert (first.code, states(tmp_path / LINE)) == (0, dict.fromkeys(three, "stopped"))
        before = (tmp_path / LINE).read_bytes()
        again = here.stop(sim, "--resume", "--yes")
        assert again.code == 2
        at = manifest(tmp_path)[0]["ended_at"]
        assert again.err == (
            f"bulkstop: {LINE}: its run finished at {at} (3 stopped); nothing is left to send. To stop the list once "
            "more give -o with the date in its name, or --overwrite; what failed is sent again by --retry-failed "
            "(nothing to retry)\n"
        )
        assert sorted(arrived(sim, three)) == sorted(three)
        assert (tmp_path / LINE).read_bytes() == before

    def test_what_is_left(self, here: Here, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """Exactly the rows that have not ended are sent, and the rows of both runs add up."""
        ids = [line.split(",")[0] for line in make_list(6).read_text().splitlines()[1:]]
        ends = [Outcome.STOPPED, Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.ALREADY_STOPPED]
        lived_through(tmp_path, ids, ends)
        run = here.stop(sim, "--resume", "--expect", "6")
        assert run.code == 0
        assert "to stop       4 (4 voice)" in run.err
        assert "rows = lines  6 = 2 + 4" in run.err
        assert sorted(arrived(sim, ids)) == sorted([ids[1], *ids[2:3], *ids[4:]])
        assert len(results(tmp_path / LINE)) == 8
        assert set(states(tmp_path / LINE).values()) == {"stopped", "already_stopped"}

    @pytest.mark.parametrize("retry", [False, True])
    def test_failed_rows(self, retry: bool, here: Here, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """Failed rows keep the exit code at 1; `--retry-failed` sends only those worth a retry."""
        ids = [line.split(",")[0] for line in make_list(8).read_text().splitlines()[1:]]
        worth = [Outcome.TIMEOUT, Outcome.SERVER_ERROR, Outcome.THROTTLED, Outcome.UNCONFIRMED]
        ends = [*worth, Outcome.REJECTED, Outcome.NOT_FOUND, Outcome.UNAUTHORIZED, Outcome.REJECTED]
        lived_through(tmp_path, ids, ends)
        run = here("stop", LIST, "--host", sim.url, "--expect", "8", "--retry-failed" if retry else "--resume")
        assert run.code == 1
        assert sorted(arrived(sim, ids)) == (sorted(ids[:4]) if retry else [])
        assert f"rows = lines  8 = {'4 + 4' if retry else '8 + 0'}" in run.err

    def test_retry_of_outcomes(self, here: Here, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """`--retry` sends only rows with the outcomes it names, which the plan lists."""
        ids = [line.split(",")[0] for line in make_list(4).read_text().splitlines()[1:]]
        lived_through(tmp_path, ids, [Outcome.NOT_FOUND, Outcome.REJECTED, Outcome.TIMEOUT, Outcome.UNAUTHORIZED])
        run = here("stop", LIST, "--host", sim.url, "--yes", "--retry", "not_found, Rejected")
        assert (run.code, sorted(arrived(sim, ids))) == (1, sorted(ids[:2]))
        assert "sent again    what ended as not_found, rejected\n" in run.err
        run = here("stop", LIST, "--host", sim.url, "--yes", "--retry", "timeout", "--retry", "unauthorized")
        assert (run.code, sorted(arrived(sim, ids))) == (0, sorted(ids))

    def test_a_failed_run_names_the_way_on(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """A finished run with permanent failures is refused, with the option that sends them again."""
        lived_through(tmp_path, three, [Outcome.STOPPED, Outcome.NOT_FOUND])
        first = here.stop(sim, "--resume", "--yes")
        assert first.code == 1
        assert re.search(
            r"^NOT STOPPED: 1 of 3 \(1 not_found\)\nTo send what failed again: .* --yes .*--retry not_found\n\Z",
            first.err,
            re.MULTILINE,
        )
        for args in ([], ["--retry-failed"], ["--retry", "rejected"], ["--dry-run"]):
            again = here.stop(sim, "--resume", "--yes", *args)
            assert (again.code, len(again.err.splitlines())) == (2, 1)
            assert "(2 stopped, 1 not_found); nothing is left to send" in again.err
            assert again.err.endswith(" or --retry not_found (1 not_found)\n")

    def test_priority(self, here: Here, sim: Simulated, tmp_path: Path) -> None:
        """The remaining rows are sent in the order of priority, the highest first."""
        ids = [f"cd-{uuid.uuid4()}" for _ in range(5)]
        rows = [f"{each},voice,acc,st-1,{place}\n" for each, place in zip(ids, (4, 1, 5, 2, 3), strict=True)]
        (tmp_path / LIST).write_text("id,type,account_id,stream_id,priority\n" + "".join(rows))
        done = Result(ids[3], CampaignType.VOICE, "acc", "st-1", Outcome.STOPPED, source=LIST, line=5, run_id="earlier")
        leave(tmp_path / LINE, [to_json(done)], 1)
        run = here.stop(sim, "--resume", "--yes", "--order", "priority", "--concurrency", "1")
        assert run.code == 0
        assert arrived(sim, ids) == [ids[2], ids[0], ids[4], ids[1]]

    def test_after_a_signal(self, three: list[str], here: Here, sim: Simulated, tmp_path: Path) -> None:
        """After a signal the message says how to continue, and the next run sends the calls that were cut off."""
        apart(tmp_path / LIST)
        with held(tmp_path, "--grace", "50ms", calls=3) as process:
            process.send_signal(signal.SIGTERM)
            cut = ended(process)
        assert cut.code == 143
        assert re.search(r"^To go on: .* stop campaigns.csv .*--grace 50ms.* --resume$", cut.err.splitlines()[-1])
        assert set(states(tmp_path / LINE).values()) == {"unknown"}
        assert manifest(tmp_path)[0]["exit_code"] == 143
        Path(tmp_path / f"{LINE}.run.json").unlink()  # it names the host that never answers
        run = here.stop(sim, "--resume", "--yes", "--trust-results")
        assert (run.code, sorted(arrived(sim, three))) == (0, sorted(three))


class TestForms:
    """Any input and both formats of result files."""

    def test_standard_input(self, here: Here, sim: Simulated, tmp_path: Path) -> None:
        """A list from standard input is resumed when it is piped again, and another list is refused."""
        ids = [f"cd-{uuid.uuid4()}" for _ in range(3)]
        args = ("stop", "-", "--format", "txt", "--type", "voice", "--account-id", "a", "--stream-id", "s", "--yes")
        options = (*args, "--host", sim.url, "-o", "r.jsonl", "--resume", "--quiet")
        assert here(*options, stdin="\n".join(ids[:2])).code == 0
        assert here(*options, stdin="\n".join(ids)).code == 0
        assert sorted(arrived(sim, ids)) == sorted(ids)
        other = here(*options, stdin="\n".join(reversed(ids)))
        assert (other.code, other.err.startswith(f"bulkstop: - line 1: was voice '{ids[0]}' of")) == (2, True)
        assert [path.name for path in sorted(tmp_path.iterdir())] == [
            "r.jsonl",
            "r.jsonl.run.json",
        ]


class TestRefused:
    """What is refused with exit 2, before anything is sent or changed."""

    def refused(self, here: Here, sim: Simulated, *args: str, said: str) -> None:
        """Resume the results of `campaigns.csv` in a way that must be refused."""
        before = contents(Path())
        run = here.stop(sim, "--resume", "--yes", *args)
        assert run.code == 2, run.err
        assert said in run.err.splitlines()[-1]
        assert contents(Path()) == before

    def test_wrong_options(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """Refused are --overwrite, a device, and another number of campaigns than expected."""
        lived_through(tmp_path, three, [Outcome.STOPPED, Outcome.NOT_SENT])
        self.refused(here, sim, "--overwrite", said="--overwrite throws away what --resume and --retry-failed go on")
        self.refused(here, sim, "-o", "-", said="--resume: - cannot be resumed, because it keeps nothing; give -o FILE")
        self.refused(
            here, sim, "-o", "/dev/null", said="--resume: /dev/null cannot be resumed, because it keeps nothing"
        )
        self.refused(
            here, sim, "--retry", "not_fuond", said="--retry: 'not_fuond' is not an outcome; did you mean not_found?"
        )
        self.refused(
            here, sim, "--retry", "stopped", said="--retry: what is stopped is done and is never sent again; give"
        )
        self.refused(here, sim, "--retry", "protected", said="what is protected was left out on purpose and is never")
        self.refused(here, sim, "--expect", "2", said="--expect: the list has 3 campaigns to stop, not 2; nothing")
        assert arrived(sim, three) == []


class TestDryRun:
    """`--dry-run` with a result file."""

    def test_changes_nothing(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """It shows what would be sent and changes no file, not even a torn line."""
        lived_through(tmp_path, three, [Outcome.STOPPED, Outcome.NOT_SENT])
        with (tmp_path / LINE).open("a") as file:
            file.write('{"campaign_id":"torn')
        before = contents(tmp_path)
        run = here.stop(sim, "--resume", "--dry-run")
        assert run.code == 0
        assert "to stop       2 (2 voice)" in run.err
        assert "earlier runs  1 stopped" in run.err
        assert contents(tmp_path) == before
        assert arrived(sim, three) == []


class TestOverlap:
    """Two runs on one result file."""

    def test_while_another_writes(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """The second run is exit 2 with the process that holds the file; the first run is not affected."""
        with (tmp_path / LIST).open("a") as file:
            file.write("..,voice,a,s\n")  # its line is written before the first call
        with held(tmp_path, "--grace", "50ms") as first:
            said = rf"^bulkstop: {LINE}: another run is writing it \(process {first.pid} of \S+ on \S+, since 2\S+Z\);"
            for way in ("--resume", "--overwrite", "--retry-failed"):
                run = here("stop", LIST, "--host", sim.url, "--yes", way)
                assert run.code == 2
                assert re.search(said, run.err, re.MULTILINE)
            first.send_signal(signal.SIGTERM)
            assert ended(first).code == 143
        assert arrived(sim, three) == []
        assert len(results(tmp_path / LINE)) == 4


class TestSecrets:
    """The manifest never contains a secret."""

    @pytest.mark.full
    def test_of_a_real_run(self, three: list[str], tmp_path: Path) -> None:
        """It contains neither the token, nor its command, nor the passwords of the proxy and the store."""
        proxy = "http://user:SECRET-proxy@127.0.0.1:9"
        command = f"echo {TOKEN} # SECRET-command"
        args = ("--host", "http://127.0.0.1:9", "--yes", "--attempts", "1", "--token-command", command)
        run = bulkstop("stop", LIST, *args, "--resume", cwd=tmp_path, BULKSTOP_TOKEN=None, BULKSTOP_PROXY=proxy)
        assert run.code == 1, run.err
        for path in tmp_path.iterdir():
            assert "SECRET" not in path.read_text()
            assert TOKEN not in path.read_text()
        assert "SECRET" not in run.err
        (section,) = manifest(tmp_path)
        assert section["command"][-3:] == ["--token-command", HIDDEN, "--resume"]
        assert (section["settings"]["proxy"], section["settings"]["token_command"]) == (HIDDEN, HIDDEN)

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--token-command", "SECRET", "a.csv"], ["--token-command", HIDDEN, "a.csv"]),
            (["--token-command=SECRET=x", "a.csv"], [f"--token-command={HIDDEN}", "a.csv"]),
            (["--proxy", "http://u:SECRET@h"], ["--proxy", HIDDEN]),
            (["--proxy=http://u:SECRET@h"], [f"--proxy={HIDDEN}"]),
            (["--quota-store", "redis://:SECRET@h"], ["--quota-store", HIDDEN]),
            (["--proxy", "--quota-store", "redis://:SECRET@h"], ["--proxy", "--quota-store", HIDDEN]),
            (["--quota-store", "memory", "--proxy=http://u@h"], ["--quota-store", "memory", "--proxy=http://u@h"]),
            (["--quota-store", "/a/b?.db"], ["--quota-store", "/a/b?.db"]),
            (["--quota-store=redis://h?password=SECRET"], [f"--quota-store={HIDDEN}"]),
            (["--token-file", "t", "--", "--x"], ["--token-file", "t", "--", "--x"]),
            ([], []),
        ],
    )
    def test_command_line(self, words: list[str], told: list[str]) -> None:
        """The command line is recorded word for word, except values of options that may hold a secret."""
        assert command_line(["/usr/bin/bulkstop", "stop", *words]) == ["bulkstop", "stop", *told]


class TestFromPython:
    """The same from a program."""

    def test_stop(
        self, here: Here, sim: Simulated, three: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`stop(resume=True)` continues a file, returns only its own results, and counts all rows."""
        monkeypatch.chdir(tmp_path)
        lived_through(tmp_path, three, [Outcome.STOPPED, Outcome.TIMEOUT])
        told: list[str] = []
        settings = Settings(host=sim.url, token=TOKEN, quota_store="memory")
        ended = stop_here(
            [LIST], settings, output=LINE, resume=True, on_result=lambda result: told.append(result.campaign_id)
        )
        assert (ended.exit_code, ended.rows, ended.rows_with_lines, told) == (1, 3, 3, three[2:])
        ended = stop_here([LIST], settings, output=LINE, retry_failed=True)
        assert (ended.exit_code, arrived(sim, three)) == (0, [three[2], three[1]])
        with pytest.raises(
            SettingsError, match=rf"^{re.escape(LINE)}: its run finished at .*; nothing is left to send"
        ):
            stop_here([LIST], settings, output=LINE, resume=True)
        commands = [section["command"] for section in manifest(tmp_path)]
        assert commands == [["earlier"], *[["bulkstop.Engine.run()"]] * 2]
        assert TOKEN not in (tmp_path / f"{LINE}.run.json").read_text()

    async def test_stop_async(
        self, sim: Simulated, three: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`stop_async` does the same."""
        monkeypatch.chdir(tmp_path)
        lived_through(tmp_path, three, [Outcome.STOPPED])
        settings = Settings(host=sim.url, token=TOKEN, quota_store="memory")
        ended = await stop_async([LIST], settings, output=LINE, resume=True)
        assert (ended.exit_code, ended.settled) == (0, {Outcome.STOPPED: 1})
        assert sorted(arrived(sim, three)) == sorted(three[1:])

    async def test_cancelled(
        self, sim: Simulated, three: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A cancelled `stop_async` leaves a line for every row and says that it was aborted; the next run continues."""
        monkeypatch.chdir(tmp_path)
        apart(tmp_path / LIST)
        two_in_flight = asyncio.Barrier(3)

        async def never_answer(connection: Connection) -> None:
            await connection.request()
            await two_in_flight.wait()
            await connection.gone()

        async with listening(never_answer) as silent:
            settings = Settings(host=silent.url, token=TOKEN, quota_store="memory", concurrency=2)
            task = asyncio.create_task(stop_async([LIST], settings, output=LINE))
            await two_in_flight.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert sorted(states(tmp_path / LINE).values()) == ["not_sent", "unknown", "unknown"]
        (section,) = manifest(tmp_path)
        assert (section["reason"], section["ledger"]["lines"]) == ("aborted before all were sent", 3)
        (tmp_path / f"{LINE}.run.json").unlink()  # it names the host that never answers
        settings = Settings(host=sim.url, token=TOKEN, quota_store="memory")
        with pytest.raises(OutputError, match=r"give trust_results=True to go on with it as it is$"):
            await stop_async([LIST], settings, output=LINE, resume=True)
        assert (await stop_async([LIST], settings, output=LINE, trust_results=True)).exit_code == 0
        assert sorted(arrived(sim, three)) == sorted(three)


@pytest.mark.full
def test_a_killed_run_loses_nothing(make_list: MakeList, tmp_path: Path) -> None:
    """After `kill -9` during a run every campaign reaches the server, only those in flight twice; all is proven."""
    ids = [line.split(",")[0] for line in make_list(60).read_text().splitlines()[1:]]
    with simulator(tmp_path) as sim:
        options = (
            "stop",
            LIST,
            "--host",
            sim.url,
            "--yes",
            "--quota-store",
            "memory",
            "--concurrency",
            "4",
            "--resume",
        )
        process = started(*options, "--quota", "30/1h", cwd=tmp_path)
        while process.poll() is None and len(sim.ids()) < 30:
            os.sched_yield()
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        run = bulkstop(*options, "--quota", "none", cwd=tmp_path)
        assert run.code == 0
        assert set(sim.ids()) == set(ids)
        assert len(sim.ids()) <= len(ids) + 4
    lines = results(tmp_path / LINE)
    assert [line["line"] for line in sorted(lines, key=lambda line: int(line["line"]))] == list(range(2, 62))
    assert {line["outcome"] for line in lines} <= {"stopped", "already_stopped"}
    assert bulkstop("report", "--check", LINE, cwd=tmp_path).code == 0
