"""`bulkstop load --html` as a process, against the simulator as a process: the page of a run, however it ends."""

import html
import json
import re
import signal
import stat
from pathlib import Path

import pytest

from tests.loads import PATIENT, WHERE, refusal
from tests.processes import TOKEN, Ended, Simulated, bulkstop, ended, results, simulator, started

pytestmark = pytest.mark.real

SHORT = ("--rate", "100/s", "--count", "20")


def load(sim: Simulated, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Run the command on the simulator, with made-up campaigns."""
    return bulkstop("load", "--host", sim.url, *WHERE, *PATIENT, *args, cwd=cwd, **variables)


def charts(path: Path) -> dict[str, dict[str, list[dict[str, list[float]]]]]:
    """Read what the charts of a page are drawn from."""
    found = re.search(r'id="charts">(.*?)</script>', path.read_text())
    assert found is not None
    return dict(json.loads(found[1]))


def counted(path: Path) -> int:
    """Count the requests that the bands of a page show."""
    bars = [trace for trace in charts(path)["bands"]["data"] if trace["type"] == "bar"]  # type: ignore[comparison-overlap]
    return round(sum(y * width for each in bars for y, width in zip(each["y"], each["width"], strict=True)))


def said(path: Path) -> str:
    """Return what a page says before its charts."""
    head = path.read_text().split("<body>")[1].split("<script")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", head)).split())


def test_page(sim: Simulated, tmp_path: Path) -> None:
    """The page says what was run and how it went, as the summary does; only the user may read it; it has no token."""
    run = load(
        sim, *SHORT, *("--html", "p.html", "--json", "--require", "errors<1%", "--require", "p99<1us"), cwd=tmp_path
    )
    assert run.code == 1
    assert "--html p.html: written\n" in run.err
    found, page = json.loads(run.out), said(tmp_path / "p.html")
    assert f"Load test of {sim.url} 100/s: 20 requests" in page
    for told in (found["run_id"], found["began_at"], "errors<1%: held (0%)", "p99<1us: FAILED", "schedule: kept"):
        assert told in page
    assert f"{found['latency_ms']['max']:,.3f}"[:4] in page
    assert "ENDED EARLY" not in page
    assert counted(tmp_path / "p.html") == 20
    assert stat.S_IMODE((tmp_path / "p.html").stat().st_mode) == 0o600
    assert TOKEN not in (tmp_path / "p.html").read_text()


def test_secrets_and_hostile_names(sim: Simulated, tmp_path: Path) -> None:
    """An id is text, whatever it looks like; a secret in it is masked."""
    secret = "a-secret-of-mine"
    prefix = f"<img src=x>{secret}"
    run = load(sim, *SHORT, "--html", "p.html", "--id-prefix", prefix, "--any-id", cwd=tmp_path, BULKSTOP_TOKEN=secret)
    assert run.code == 0
    text = (tmp_path / "p.html").read_text()
    assert "&lt;img src=x&gt;" in text
    assert "<img" not in text.split("<script")[0]
    assert secret not in text


def test_several_processes(sim: Simulated, tmp_path: Path) -> None:
    """What several processes measured is on one page, to the last request; and in the log as well."""
    out = ("--html", "p.html", "--hdr", "h.hlog", "--processes", "2")
    run = load(sim, "--rate", "100/s", "--duration", "1500ms", *out, cwd=tmp_path)
    assert run.code == 0
    assert counted(tmp_path / "p.html") == 150
    assert "processes 2" in said(tmp_path / "p.html")
    assert (tmp_path / "h.hlog").read_text().count("Tag=service") >= 2


def test_closed(sim: Simulated, tmp_path: Path) -> None:
    """A closed model has service times alone, and no intended rate."""
    run = load(sim, "--closed", "--concurrency", "2", "--count", "30", "--html", "p.html", "--quiet", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    found = charts(tmp_path / "p.html")
    assert (len(found["over-time"]["data"]), len(found["curve"]["data"])) == (4, 1)
    assert counted(tmp_path / "p.html") == 30
    assert "latency" not in said(tmp_path / "p.html").split("Written by")[0]


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C: what was measured until then has its page, which says so first."""
    with simulator(tmp_path) as sim:
        process = started(
            *("load", "--host", sim.url, *WHERE, *PATIENT, "--rate", "50/s", "--duration", "60s"),
            *("--html", "p.html", "--results", "r.jsonl"),
            cwd=tmp_path,
        )
        assert process.stderr is not None
        while "requests, " not in process.stderr.readline():
            pass  # the first line on how it goes comes after a second
        process.send_signal(signal.SIGINT)
        assert ended(process).code == 130
    assert "ENDED EARLY: by SIGINT, before all were sent" in said(tmp_path / "p.html")
    assert counted(tmp_path / "p.html") == len(results(tmp_path / "r.jsonl")) >= 20


def test_why_requests_failed(tmp_path: Path) -> None:
    """The page of a run that nobody answered says why, on top and in a table."""
    run = load(Simulated("http://127.0.0.1:1", tmp_path), *SHORT, "--html", "p.html", "--json", cwd=tmp_path)
    assert run.code == 1
    (reason,) = json.loads(run.out)["reasons"]
    page = said(tmp_path / "p.html")
    assert f"no request was answered: all 20 requests ended as connection_error ({reason['error']})" in page
    assert f"Why requests failed outcome error requests connection_error {reason['error']} 20" in page


def test_nothing_began(sim: Simulated, tmp_path: Path) -> None:
    """A run that could not begin leaves no page, and nothing else."""
    run = load(sim, *SHORT, "--html", "p.html", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code in (2, 3)
    assert list(tmp_path.iterdir()) == []


def test_not_installed(sim: Simulated, tmp_path: Path) -> None:
    """Without the library one line says what to install, before anything is sent; without --html nothing is missed."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text("import sys\nsys.modules['plotly'] = None\n")
    root = Path(__file__).resolve().parents[3]
    without = f"{tmp_path / 'without'}:{root}"
    prefix = ("--id-prefix", "none-")
    run = load(sim, *SHORT, *prefix, "--html", "p.html", "--quiet", cwd=tmp_path, PYTHONPATH=without)
    assert run.code == 2
    needs = "needs the package plotly: pip install 'bulkstop[report]', or leave it out; nothing was sent"
    assert run.err == f"bulkstop: --html: {needs}\n"
    assert not any(campaign_id.startswith("none-") for campaign_id in sim.ids())
    assert not (tmp_path / "p.html").exists()
    assert load(sim, *SHORT, cwd=tmp_path, PYTHONPATH=without).code == 0


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("--html", "-"), "--html -: a page is a file; give --html FILE; nothing was sent"),
        (("--html", "there.html"), "--html there.html: exists already; give --overwrite, or another file"),
        (("--html", "r", "--results", "./r"), "--html r: is also what --results or --hdr writes; give another file"),
        (("--html", "no/p.html"), "--html no/p.html: cannot be opened (No such file or directory); give another file"),
        (("--html", "p.html", "--find-limit"), "--html: does not go with --find-limit"),
    ],
)
def test_refused(args: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be is told in a line, before anything is sent, and no file is left behind."""
    (tmp_path / "there.html").write_text("mine")
    shape = () if "--find-limit" in args else SHORT
    assert refusal(monkeypatch, tmp_path, *shape, "--quiet", *args) == reason


def test_overwritten(sim: Simulated, tmp_path: Path) -> None:
    """With --overwrite the page takes the place of another file."""
    (tmp_path / "p.html").write_text("old")
    assert load(sim, *SHORT, "--html", "p.html", "--overwrite", cwd=tmp_path).code == 0
    assert (tmp_path / "p.html").read_text().startswith("<!DOCTYPE html>")


def test_full_disk(sim: Simulated, tmp_path: Path) -> None:
    """A page that could not be written is told after the summary, and is exit code 3."""
    run = load(sim, *SHORT, "--html", "/dev/full", "--json", cwd=tmp_path)
    assert run.code == 3
    assert run.err.endswith("bulkstop: --html /dev/full: cannot be written (No space left on device)\n")
    assert "  stopped    20\n" in run.err
    assert json.loads(run.out)["exit_code"] == 3
