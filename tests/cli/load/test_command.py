"""`bulkstop load` as a process, against the simulator as a process: what it sends, says, writes and exits with."""

import asyncio
import html
import json
import os
import pty
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from bulkstop.report.load.requests import KEYS
from bulkstop.text import write_install
from tests.cli.conftest import MakeList
from tests.loads import NOWHERE, PATIENT, WHERE, refusal
from tests.processes import (
    COMMAND,
    ROOT,
    TOKEN,
    WAIT_S,
    Ended,
    Simulated,
    bulkstop,
    ended,
    environment,
    results,
    shell,
    simulator,
    started,
)
from tests.servers import Connection, http, listening

pytestmark = pytest.mark.real

SHORT = ("--rate", "100/s", "--count", "20")


def load(sim: Simulated | str, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Run the command against a service, with tolerance for this machine's delays."""
    host = sim if isinstance(sim, str) else sim.url
    return bulkstop("load", "--host", host, *PATIENT, *args, cwd=cwd, **variables)


def asked_for(sim: Simulated, prefix: str) -> list[str]:
    """Return the ids with this beginning in the requests that the simulator has counted."""
    return [campaign_id for campaign_id in sim.ids() if campaign_id.startswith(prefix)]


def counted(path: Path) -> int:
    """Return the requests that the bands of a page show."""
    charts = json.loads(path.read_text().split('id="charts">')[1].split("</script>")[0])
    bars = [trace for trace in charts["bands"]["data"] if trace["type"] == "bar"]
    number: float = sum(y * width for each in bars for y, width in zip(each["y"], each["width"], strict=True))
    return round(number)


def words_of(path: Path) -> str:
    """Return the text of a page before its charts."""
    head = path.read_text().split("<body>")[1].split("<script")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", head)).split())


# --- what is sent and told ------------------------------------------------------------------------------------------


def test_all_is_counted(sim: Simulated, tmp_path: Path) -> None:
    """Made-up campaigns: the simulator's log, the lines, the JSON and the summary have the same number of requests."""
    run = load(
        sim,
        *(*WHERE, "--rate", "200/s", "--duration", "1s", "--id-prefix", "all-", "--json"),
        *("--results", "r.jsonl", "--hdr", "h.hlog", "--require", "errors<1%", "--require", "service.p99<60s"),
        cwd=tmp_path,
    )
    assert run.code == 0
    ids = asked_for(sim, "all-")
    rows = results(tmp_path / "r.jsonl")
    assert len(ids) == len(set(ids)) == 200
    assert sorted(row["campaign_id"] for row in rows) == sorted(ids)
    assert {tuple(row) for row in rows} == {KEYS}
    report = json.loads(run.out)
    assert (report["requests"], report["outcomes"], report["planned"]) == (200, {"stopped": 200}, 200)
    assert report["latency_ms"]["max"] == max(row["latency_ms"] for row in rows)
    assert (report["exit_code"], report["ended"], report["unsent"]) == (0, "all sent", 0)
    assert [each["held"] for each in report["required"]] == [True, True]
    assert run.err.startswith("Load test: every request is a real stop\n")
    assert "  load       200/s, for 1.0 s: 200 requests\n" in run.err
    assert "  campaigns  made up: voice campaigns all-...\n" in run.err
    assert "  stopped    200\n" in run.err
    assert "  required   errors<1%: held (0%)\n" in run.err
    assert run.err.endswith("\nDONE: all 200 requests sent, all that is required held\n")
    assert (tmp_path / "h.hlog").read_text().startswith("#[Histogram log format version 1.3]\n#[StartTime: ")


@pytest.mark.full
def test_list_once(sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """Without a duration or count, each campaign of the list is sent once; what cannot be sent is reported."""
    with make_list(5).open("a") as file:
        file.write(",voice,a1,st-1\n")
    run = load(sim, "campaigns.csv", "--rate", "500/s", "--json", cwd=tmp_path)
    assert run.code == 0
    assert json.loads(run.out)["outcomes"] == {"stopped": 5}
    line = "campaigns  5 of campaigns.csv, in its order, each once; not used: 1 invalid; first campaigns.csv line 7: "
    assert line in run.err
    first = load(sim, "campaigns.csv", "--rate", "500/s", "--count", "2", cwd=tmp_path)
    assert "campaigns  the first 2 of the 5 of campaigns.csv, in its order, each once; not used: 1 " in first.err


@pytest.mark.full
def test_failures_are_told(tmp_path: Path) -> None:
    """Each failed request is an error once; a threshold that does not hold is named, with exit 1."""
    with simulator(tmp_path, "--fail", "100%") as sim:
        run = load(
            sim,
            *(*WHERE, "--rate", "100/s", "--count", "20", "--quiet", "--require", "errors<1%"),
            *("--require", "answered.rate>0/s", "--require", "server_error<=100%"),
            cwd=tmp_path,
        )
        assert len(sim.requests()) == 20
    assert (run.code, run.out) == (1, "")
    assert run.err == (
        "bulkstop: WARNING: no request stopped a campaign: all 20 requests ended as server_error (HTTP 503); "
        "the figures are those of answering so\n"
        "NOT DONE: errors<1%: FAILED (100%)\n"
    )


@pytest.mark.full
def test_why_requests_failed(tmp_path: Path) -> None:
    """The reason is in the summary, in the JSON and before the verdict, for any number of processes."""
    args = (*WHERE, "--rate", "100/s", "--count", "8", "--json", "--processes", "2")
    run = load("http://127.0.0.1:1", *args, cwd=tmp_path)
    assert run.code == 1
    (reason,) = json.loads(run.out)["reasons"]
    assert (reason["outcome"], reason["requests"]) == ("connection_error", 8)
    assert "127.0.0.1:1" in reason["error"]
    assert f"  reason            8 connection_error: {reason['error']}\n" in run.err
    last = f"no request was answered: all 8 requests ended as connection_error ({reason['error']})"
    assert run.err.splitlines()[-2:] == [f"bulkstop: {last}", f"NOT DONE: no request was answered: {reason['error']}"]


async def test_secrets_stay_secret(tmp_path: Path) -> None:
    """A token that a server repeats is in no line, log or summary."""

    async def handle(connection: Connection) -> None:
        while (request := await connection.request()) is not None:
            await connection.write(http(request, "Location: /" + TOKEN, status="302 Elsewhere"))

    async with listening(handle) as server:
        args = (*WHERE, "--closed", "--count", "5", "--results", "r.jsonl", "--log-level", "debug")
        run = await asyncio.to_thread(load, server.url, *args, cwd=tmp_path)
        assert TOKEN.encode() in server.requests[0]
    assert run.code == 0
    assert len(results(tmp_path / "r.jsonl")) == 5
    assert TOKEN not in (tmp_path / "r.jsonl").read_text()


# --- how it ends early ----------------------------------------------------------------------------------------------


async def test_signal(tmp_path: Path) -> None:
    """After a signal no further request is sent; those in flight finish, and all outputs report what was done."""
    process: subprocess.Popen[str] | None = None

    async def handle(connection: Connection) -> None:
        while await connection.request() is not None:
            if len(server.requests) == 10 and process is not None:
                process.send_signal(signal.SIGHUP)
            await connection.write(http())

    async with listening(handle) as server:
        process = started(
            *("load", "--host", server.url, *WHERE, "--rate", "50/s", "--duration", "10m", "--json"),
            *("--results", "r.jsonl", "--hdr", "h.hlog", "--html", "p.html"),
            cwd=tmp_path,
        )
        run = await asyncio.to_thread(ended, process)
        sent = len(server.requests)
    assert run.code == 129
    report = json.loads(run.out)
    assert report["requests"] == report["outcomes"]["stopped"] == sent == len(results(tmp_path / "r.jsonl")) >= 10
    assert report["ended"] == "by SIGHUP, before all were sent"
    assert "  ended      by SIGHUP, before all were sent\n" in run.err
    assert run.err.endswith(f"\nNOT DONE: ended by SIGHUP after {sent} of 30,000 requests\n")
    assert "\nTag=service," in (tmp_path / "h.hlog").read_text()
    assert "ENDED EARLY: by SIGHUP, before all were sent" in words_of(tmp_path / "p.html")
    assert counted(tmp_path / "p.html") == sent


def test_reader_that_goes(sim: Simulated, tmp_path: Path) -> None:
    """`--results - | head -1` gives its line and ends the run without a traceback."""
    script = (
        f"bulkstop load --host {sim.url} {' '.join(WHERE)} --rate 100/s --duration 10m --id-prefix gone- --results - "
        "| head -1; echo ${PIPESTATUS[0]}"
    )
    run = shell(script, cwd=tmp_path)
    line, code = run.out.splitlines()
    assert json.loads(line)["campaign_id"].startswith("gone-")
    assert code == "3"
    assert run.err.endswith("\nNOT DONE: --results -: cannot be written (Broken pipe); sending stops\n")
    assert "  ended " in run.err


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("--rate", "5/s"), "--duration 30s or --count: neither is given"),
        (("--rate", "fast", "--count", "1"), "'fast': a rate is written 500/s"),
        (("--rate", "5/s", "--duration", "0"), "'0' is not a time"),
        (("--rate", "5/s", "--count", "0"), "'0' is not a whole number"),
        (("--rate", "5/s", "--count", "1", "--require", "p99<fast"), "'p99<fast' is not a condition"),
        (("--rate", "5/s", "--count", "1", "--concurrency", "5"), "--concurrency: only works with --closed"),
        (("--closed", "--count", "9", "--concurrency", "3", "--processes", "4"), "--processes 4: more than the 3 "),
        (("--rate", "5/s", "--count", "1", "--processes", "0"), "'0' is not a whole number"),
        (("--closed", "--count", "1", "--max-in-flight", "5"), "--max-in-flight: does not work with --closed"),
        (("--rate", "5/s", "--count", "1", "--json", "--results", "-"), "--json: standard output is taken"),
        (("--rate", "5/s", "--count", "1", "--results", "there"), "--results there: exists already; give --overwrite"),
        (("--rate", "5/s", "--count", "1", "--hdr", "none/h", "--results", "r"), "--hdr none/h: cannot be opened"),
        (("--rate", "5/s", "--count", "1", "--id-prefix", "a\tb"), "--id-prefix, "),
        (("there", "--rate", "5/s", "--id-prefix", "x"), "--id-prefix: only works without INPUT"),
        (
            ("--rate", "5/s", "--count", "1", "--format", "csv"),
            "--format: only works with INPUT; give INPUT, or leave it out",
        ),
        (("--rate", "5/s", "--count", "1", "--json", "--hdr", "-"), "--json: standard output is taken by --hdr -"),
        ((*SHORT, "--results", "r", "--hdr", "./r"), "--hdr ./r: is also what --results writes"),
        (("there", "--format", "csv", *SHORT, "--hdr", "there", "--overwrite"), "--hdr there: is INPUT itself"),
        (("missing.csv", "--rate", "5/s"), "missing.csv"),
        (("there", "--format", "csv", "--rate", "5/s"), "there: holds no campaign that can be sent"),
        (("--rate", "5/s", "--count", "1", "--results", "r.CSV"), "--results r.CSV: its lines are JSON, not CSV"),
        *(((*SHORT, option), "No such option") for option in ("--quota=5/s", "--only-running", "--disable-schedule")),
        (("--rate", "5/s", "--count", "3", "--max-campaigns", "2"), "--max-campaigns 2: 3 campaigns would be made up"),
        (("--closed", "--duration", "1s", "--max-campaigns", "2"), "--max-campaigns 2: as many campaigns as there is"),
        (("--find-limit", "--max-campaigns", "2"), "--max-campaigns 2: as many campaigns as there is time for"),
        (("--closed", "--count", "9", "--warmup", "5s"), "--warmup: goes with a closed model only together with"),
        (("--closed", "--count", "9", "--arrivals", "poisson"), "--arrivals: a closed model has no times"),
        ((*SHORT, "--abort-on", "often"), "'often' is not a condition"),
        ((*SHORT, "--max-regression", "5%"), "--max-regression: goes with --compare OLD.json"),
        ((*SHORT, "--compare", "there", "--max-regression", "5"), "'5' is not a percentage, such as 10%"),
        (
            (*SHORT, "--compare", "there"),
            "--compare there: is not JSON; give the file that --json has written; nothing was sent",
        ),
        ((*SHORT, "--compare", "none"), "--compare none: cannot be read (No such file or directory); nothing was sent"),
        (("--find-limit", "--warmup", "5s"), "--warmup: does not go with --find-limit"),
        ((*SHORT, "--html", "-"), "--html -: a page is a file; give --html FILE; nothing was sent"),
        ((*SHORT, "--html", "there"), "--html there: exists already; give --overwrite, or another file"),
        ((*SHORT, "--html", "r", "--results", "./r"), "--html r: is also what --results or --hdr writes; give another"),
        ((*SHORT, "--html", "no/p"), "--html no/p: cannot be opened (No such file or directory); give another file"),
        (("--find-limit", "--html", "p.html"), "--html: does not go with --find-limit"),
        (
            ("--rate", "5/s", "--count", "3", "--protect", "protected.txt"),
            "--protect: made-up campaigns are protected by protected.txt line 1 (bulkstop-load*)",
        ),
    ],
)
def test_refused(args: tuple[str, ...], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake is named in one line, and no file remains."""
    (tmp_path / "there").write_text("campaign_id\n")
    (tmp_path / "protected.txt").write_text("bulkstop-load*\n")
    assert error in refusal(monkeypatch, tmp_path, *args)


def test_refused_as_a_process(sim: Simulated, tmp_path: Path) -> None:
    """A refusal is exit 2 and one line after the plan; nothing was sent."""
    args = (*WHERE, "--rate", "5/s", "--count", "1", "--id-prefix", "never-")
    run = load(sim, *args, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (run.code, run.out) == (2, "")
    assert [line for line in run.err.splitlines() if line.startswith("bulkstop: ")] == run.err.splitlines()[-1:]
    assert "no credentials: " in run.err
    assert asked_for(sim, "never-") == []


class TestVendor:
    """The vendor's own hosts need to be named; no test gets further than a dead proxy."""

    def test_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host of the vendor is refused, even if another one is allowed."""
        args = ("--rate", "5/s", "--count", "1", "--allow-host", "other.kore.ai", "--host", "https://PLATFORM.kore.ai")
        error = refusal(monkeypatch, tmp_path, *args)
        assert "is the vendor's own service, which others use as well; a load test there needs --allow-host" in error

    def test_allowed(self, tmp_path: Path) -> None:
        """A host in --allow-host may be loaded."""
        args = (*WHERE, "--rate", "5/s", "--count", "1", "--allow-host", "Platform.Kore.ai", "--quiet")
        run = bulkstop("load", *NOWHERE, "--host", "https://platform.kore.ai:443", *args, *PATIENT, cwd=tmp_path)
        assert run.code == 1
        assert run.err.startswith("bulkstop: no request was answered: the only request ended as connection_error (")

    @pytest.mark.parametrize(("typed", "code"), [("PLATFORM.kore.ai", 1), ("kore.ai", 2)])
    def test_typed(self, typed: str, code: int, tmp_path: Path) -> None:
        """On a terminal the user must type the host's name; another name is refused."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "load", *NOWHERE, "--host", "platform.kore.ai", *WHERE, "--closed", "--count", "1"],
            cwd=tmp_path,
            env=environment(),
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        os.write(ours, f"{typed}\n".encode())
        screen = read_all(ours)
        assert process.wait(WAIT_S) == code
        assert "platform.kore.ai is the vendor's own service, which others use as well. To load it, type" in screen
        assert ("not confirmed: platform.kore.ai was not typed; nothing was sent" in screen) is (code == 2)


def read_all(fd: int) -> str:
    """Read a terminal until all writers have closed it."""
    screen = b""
    try:
        while data := os.read(fd, 65536):
            screen += data
    except OSError:  # Linux reports the closed terminal in this way
        pass
    os.close(fd)
    return screen.decode()


@pytest.mark.full
class TestPage:
    """`--html` writes a page of the run, however it ends."""

    def test_written(self, sim: Simulated, tmp_path: Path) -> None:
        """The page of several processes has every request, as the summary has; only the user can read it."""
        (tmp_path / "p.html").write_text("old")
        run = load(
            sim,
            *(*WHERE, "--rate", "100/s", "--duration", "1500ms", "--processes", "2", "--hdr", "h.hlog", "--json"),
            *("--require", "errors<1%", "--require", "p99<1us", "--html", "p.html", "--overwrite"),
            cwd=tmp_path,
        )
        assert run.code == 1
        assert "--html p.html: written\n" in run.err
        report, page = json.loads(run.out), words_of(tmp_path / "p.html")
        assert f"Load test of {sim.url} 100/s, for 1.5 s: 150 requests" in page
        for words in (report["run_id"], report["began_at"], "errors<1%: held (0%)", "p99<1us: FAILED", "processes 2"):
            assert words in page
        assert f"{report['latency_ms']['max']:,.3f}"[:4] in page
        assert counted(tmp_path / "p.html") == 150
        assert stat.S_IMODE((tmp_path / "p.html").stat().st_mode) == 0o600
        assert TOKEN not in (tmp_path / "p.html").read_text()
        assert (tmp_path / "h.hlog").read_text().count("Tag=service") >= 2

    def test_nothing_began(self, sim: Simulated, tmp_path: Path) -> None:
        """A run that could not begin leaves neither a page nor other files."""
        run = load(sim, *WHERE, *SHORT, "--html", "p.html", cwd=tmp_path, BULKSTOP_TOKEN=None)
        assert run.code in (2, 3)
        assert list(tmp_path.iterdir()) == []

    def test_not_installed(self, sim: Simulated, tmp_path: Path) -> None:
        """Without the library, one line before the run says what to install; other runs do not need it."""
        (tmp_path / "without").mkdir()
        (tmp_path / "without" / "sitecustomize.py").write_text("import sys\nsys.modules['plotly'] = None\n")
        without = f"{tmp_path / 'without'}:{ROOT}"
        args = (*WHERE, *SHORT, "--id-prefix", "none-", "--quiet")
        run = load(sim, *args, "--html", "p.html", cwd=tmp_path, PYTHONPATH=without)
        needs = f"nothing was sent; leave it out, or install the package plotly: {write_install('plotly>=7,<8')}"
        assert (run.code, run.err) == (2, f"bulkstop: --html: {needs}\n")
        assert asked_for(sim, "none-") == []
        assert not (tmp_path / "p.html").exists()
        assert load(sim, *args, cwd=tmp_path, PYTHONPATH=without).code == 0

    def test_full_disk(self, sim: Simulated, tmp_path: Path) -> None:
        """A page that could not be written is reported after the summary, with exit code 3."""
        run = load(sim, *WHERE, *SHORT, "--html", "/dev/full", "--json", cwd=tmp_path)
        assert run.code == 3
        assert run.err.endswith("\nNOT DONE: --html /dev/full: cannot be written (No space left on device)\n")
        assert "  stopped    20\n" in run.err
        assert json.loads(run.out)["exit_code"] == 3
