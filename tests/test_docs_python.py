"""Every example of docs/python.md works unchanged, and passes strict type checks.

Only the address differs: http://127.0.0.1:8080 is that of a simulator on a free port.
"""

import re
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from bulkstop import Simulator
from tests.processes import ROOT
from tests.test_public import NAMES

ADDRESS = "http://127.0.0.1:8080"
WEB, FIXTURE = "In a web handler", "The simulator as a fixture"


def examples() -> dict[str, str]:
    """Return the code of each example by its heading; a second one below a heading is numbered."""
    codes = dict[str, str]()
    for part in re.split(r"^#+ ", (ROOT / "docs/python.md").read_text(), flags=re.MULTILINE)[1:]:
        heading = part.splitlines()[0]
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", part, re.MULTILINE | re.DOTALL), start=1):
            codes[heading if number == 1 else f"{heading} {number}"] = code
    return codes


EXAMPLES = examples()
SCRIPTS = {
    "bulkstop from Python": (r"Counter\({<Outcome.STOPPED: 'stopped'>: 2}\)", 2),
    "Watch and steer a run": (r"50\nCounter\({<Outcome.STOPPED: 'stopped'>: 50}\)", 50),
    "A plan first": (r"3 rows, 2 to send, at the earliest done at 20.*", 2),
    "From a database, in several runs": (r"Counter\({<Outcome.STOPPED: 'stopped'>: 3}\)", 3),
    "Results into a database": ("True", 2),
    "Approval before each send": ("cd-2-vip rejected\ncd-1 stopped|cd-1 stopped\ncd-2-vip rejected", 1),
    "Approval before each send 2": (r"Counter\({<Outcome.STOPPED: 'stopped'>: 1}\)", 1),
    "A token source of your own": ("True", 1),
    "What runs, and what still runs": (r"{<State.NOT_RUNNING: 'not_running'>: \d+.*} (True|False)", None),
    "Many accounts": (r"Counter\({<Outcome.STOPPED: 'stopped'>: 2}\)", 2),
    "Load in a CI job": (r"{.*'p99'.*}", None),
}
"""The output of each script, and the number of campaigns it stops, if known."""


@pytest.fixture
def service() -> Iterator[Simulator]:
    """Run a service with some campaigns."""
    with Simulator(campaigns=20) as simulator:
        yield simulator


def write(heading: str, folder: Path, url: str = ADDRESS) -> Path:
    """Write an example into a file, for a service at a URL."""
    path = folder / f"test_{re.sub(r'[^a-z0-9]+', '_', heading.lower())}.py"
    path.write_text(EXAMPLES[heading].replace(ADDRESS, url))
    return path


def test_every_example_is_run() -> None:
    """No example is left out below."""
    assert {*SCRIPTS, WEB, FIXTURE} == set(EXAMPLES)


@pytest.mark.real
@pytest.mark.parametrize(
    "heading", [pytest.param(each, marks=[pytest.mark.alone] if "Load" in each else []) for each in SCRIPTS]
)
def test_script(
    heading: str,
    service: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A script works unchanged, and stops the stated number of campaigns."""
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("campaigns.db") as database:
        database.execute("CREATE TABLE campaigns (id INTEGER PRIMARY KEY, campaign_id TEXT, type TEXT)")
        rows = [("cd-1", "voice"), ("cd-2", "sms"), ("cd-3", "voice")]
        database.executemany("INSERT INTO campaigns (campaign_id, type) VALUES (?, ?)", rows)
    database.close()
    runpy.run_path(str(write(heading, tmp_path, service.url)), run_name="__main__")
    pattern, stops = SCRIPTS[heading]
    printed = capsys.readouterr().out.strip()
    assert re.fullmatch(pattern, printed), printed
    stopped = {request.campaign_id for request in service.requests if request.operation == "stop"}
    assert len(stopped) == stops or (stops is None and stopped)


@pytest.mark.real
async def test_web_handler(service: Simulator, tmp_path: Path) -> None:
    """The web application begins a run on request, and shows its state."""
    made = runpy.run_path(str(write(WEB, tmp_path, service.url)))["make_app"]()
    async with TestClient(TestServer(made)) as client:
        begun = await client.post("/stops", json=["cd-1", "cd-2"])
        run_id = (await begun.json())["run"]
        assert begun.status == 202
        state = None
        while state != "ended":
            shown = await (await client.get(f"/stops/{run_id}")).json()
            state = shown["state"]
        assert (shown["done"], shown["of"]) == (2, 2)
        assert {service.states["cd-1"], service.states["cd-2"]} == {"Stopped"}


@pytest.mark.full
@pytest.mark.real
def test_fixture(tmp_path: Path) -> None:
    """The fixture works under pytest, with warnings as errors, as these tests are run."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "-p", "no:cacheprovider"]
    path = write(FIXTURE, tmp_path)
    done = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.full
@pytest.mark.real
def test_types(tmp_path: Path) -> None:
    """Every example passes `mypy --strict` as users' code, which knows each public name and finds a misspelt one."""
    files = [write(heading, tmp_path) for heading in EXAMPLES]
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        f"from bulkstop import {', '.join(NAMES)}\n"
        "from bulkstop import stopp\n"
        "Settings(hots='h')\n"
        "Simulator(campaign=1)\n"
        "reveal_type(Run.drain)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run([*command, *map(str, [*files, wrong])], capture_output=True, text=True, check=False, cwd=ROOT)
    errors = [line.partition("wrong.py:")[2].partition(":")[0] for line in done.stdout.splitlines() if "error:" in line]
    assert errors == ["2", "3", "4"], done.stdout
    assert 'wrong.py:5: note: Revealed type is "def (self: bulkstop.runs' in done.stdout
