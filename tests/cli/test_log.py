"""`--log-level` and `--log-json`, as a user sees them on standard error, among other output."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bulkstop.cli import log
from bulkstop.cli.log import log_to_stderr
from bulkstop.report.log import LOG
from tests.processes import ROOT, TOKEN, WAIT_S, Ended, Simulated, bulkstop, checked, environment

pytestmark = pytest.mark.real

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +(\S.*)")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the lines for standard error."""
    lines: list[str] = []
    monkeypatch.setattr(log, "print_err", lines.append)
    return lines


def log_everything() -> None:
    """Log at each level, as the program and as a library."""
    for logger in (logging.getLogger("bulkstop.kore.token"), logging.getLogger("aiohttp.client")):
        for level in log.LEVELS:
            getattr(logger, level)("%s of %s", level, logger.name)


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [
        ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
        ("info", ["info", "warning", "error"], ["warning", "error"]),
        ("warning", ["warning", "error"], ["warning", "error"]),
        ("error", ["error"], ["error"]),
    ],
)
def test_what_a_level_lets_through(said: list[str], level: str, ours: list[str], theirs: list[str]) -> None:
    """At each level the program logs its records from that on, and libraries only warnings and errors."""
    with log_to_stderr(level, as_json=True):
        log_everything()
    found = [json.loads(line) for line in said]
    assert [each["level"] for each in found if each["logger"] == "bulkstop.kore.token"] == ours
    assert [each["level"] for each in found if each["logger"] == "aiohttp.client"] == theirs


def test_a_library_cannot_turn_itself_up(said: list[str]) -> None:
    """A library that sets its own level is still only logged from warnings on."""
    logger = logging.getLogger("another_library")
    logger.setLevel(logging.DEBUG)
    try:
        with log_to_stderr("debug", as_json=False):
            logger.info("hello")
            logger.warning("hello\nthere")
    finally:
        logger.setLevel(logging.NOTSET)
    assert [match[2] for line in said if (match := LINE.fullmatch(line))] == [r"another_library: hello\nthere"]
    assert len(said) == 1


def test_afterwards_all_is_as_before(said: list[str]) -> None:
    """After the block nothing is logged, and the levels are as before."""
    root = logging.getLogger()
    before = (root.level, [*root.handlers], LOG.level)
    with log_to_stderr("debug", as_json=False):
        LOG.debug("inside")
    LOG.debug("outside")
    assert (root.level, root.handlers, LOG.level) == before
    assert len(said) == 1


def test_python_warnings_are_records(said: list[str]) -> None:
    """A warning of the interpreter is a line of the log."""
    import warnings

    with log_to_stderr("warning", as_json=True), warnings.catch_warnings():
        logging.captureWarnings(True)  # again, because pytest shows them in its own way
        warnings.simplefilter("always")
        warnings.showwarning("odd\x1b[2J", UserWarning, "some.py", 7, line="code")
    (line,) = said
    assert line.isprintable()
    assert json.loads(line)["logger"] == "py.warnings"


# Records of libraries and asyncio for a failure, in a process of its own.
BREAKS = """
import asyncio, logging, sys
from bulkstop.cli.log import log_to_stderr

async def leak():
    raise RuntimeError("with " + sys.argv[2])

async def run():
    odd = {"message": "odd\\n\\x1b[2J", "exception": ValueError(sys.argv[2])}
    asyncio.get_running_loop().call_exception_handler(odd)
    task = asyncio.ensure_future(leak())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    import gc; gc.collect()
    try:
        await leak()
    except RuntimeError:
        logging.getLogger("aiohttp.server").exception("request %s failed", {"auth": sys.argv[2]})
    logging.getLogger("redis").error("%d", "not a number " + sys.argv[2])

with log_to_stderr("warning", as_json=sys.argv[1] == "json", secrets=[sys.argv[2]]):
    asyncio.run(run())
"""


def broken(form: str, secret: str) -> list[str]:
    """Run code that fails and return the lines on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", BREAKS, form, secret],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("secret", ["an-opaque-secret", "two\nlines of a secret", TOKEN])
@pytest.mark.parametrize("form", ["text", "json"])
def test_what_breaks_is_one_line_without_a_secret(form: str, secret: str) -> None:
    """An uncaught exception, a traceback and a bad record of a library are one line each, with the secret masked."""
    lines = broken(form, secret)
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert all(part not in line for line in lines for part in secret.splitlines())
    assert all("[masked]" in line for line in lines[:3])  # the last one has lost its argument
    if form == "json":
        assert [json.loads(line)["logger"] for line in lines] == ["asyncio", "asyncio", "aiohttp.server", "redis"]
        assert "RuntimeError at <string>:" in json.loads(lines[1])["error"]
    else:
        assert all(LINE.fullmatch(line) for line in lines)


def stop(sim: Simulated, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Stop `campaigns.csv` at the simulator."""
    return bulkstop("stop", "campaigns.csv", "--host", sim.url, *args, cwd=cwd, **variables)


def events(run: Ended) -> list[dict[str, Any]]:
    """Return the logged events; with JSON there is no other output."""
    return [json.loads(line) for line in run.err.splitlines()]


def test_by_default_nothing_is_logged(sim: Simulated, three: list[str], tmp_path: Path) -> None:
    """A run without problems logs nothing."""
    run = stop(sim, "--yes", cwd=tmp_path)
    assert run.code == 0
    assert [line for line in run.err.splitlines() if LINE.fullmatch(line)] == []


def test_debug_logs_every_try(sim: Simulated, three: list[str], tmp_path: Path) -> None:
    """At debug level each attempt is logged once, with its outcome."""
    run = stop(sim, "--yes", "--log-level", "debug", "--log-json", cwd=tmp_path)
    found = events(run)
    assert run.code == 0
    tries = [each for each in found if each["event"] == "attempt"]
    assert sorted(each["campaign_id"] for each in tries) == sorted(three)
    assert {(each["level"], each["outcome"], each["http_status"], each["again"]) for each in tries} == {
        ("debug", "stopped", 200, "no")
    }
    at = datetime.fromisoformat(tries[0]["time"])
    assert tries[0]["time"].endswith("Z")
    assert abs((datetime.now(UTC) - at).total_seconds()) < 3600


def test_json_has_the_run_from_beginning_to_end(sim: Simulated, three: list[str], tmp_path: Path) -> None:
    """With `--log-json` standard error has only JSON objects, one a line, for the whole run."""
    run = stop(sim, "--expect", "3", "--log-json", "--log-level", "info", cwd=tmp_path)
    found = events(run)
    names = [each["event"] for each in found if each["event"] != "progress"]
    assert names == ["began", "ended"]
    assert found[0]["to_send"] == 3
    assert (found[-1]["exit_code"], found[-1]["outcomes"]) == (0, {"stopped": 3})


def test_variables_say_it_too(sim: Simulated, three: list[str], tmp_path: Path) -> None:
    """In a container the environment sets the level."""
    run = stop(sim, "--yes", cwd=tmp_path, BULKSTOP_LOG_LEVEL="INFO", BULKSTOP_LOG_JSON="1")
    assert [each["event"] for each in events(run) if each["event"] != "progress"] == ["began", "ended"]


def test_a_level_that_does_not_exist_is_refused(sim: Simulated, three: list[str], tmp_path: Path) -> None:
    """An unknown level is refused before anything is sent, with the valid ones."""
    run = stop(sim, "--yes", "--log-level", "verbose", cwd=tmp_path)
    assert run.code == 2
    assert "'--log-level'" in run.err
    assert "'verbose' is not one of debug, info, warning, error" in run.err


def test_on_a_terminal_the_bar_and_the_log_do_not_tear_each_other(
    sim: Simulated, three: list[str], tmp_path: Path
) -> None:
    """Every log line is on its own terminal line, however long, with the bar below it."""
    command = [sys.executable, "-m", "bulkstop", "stop", "campaigns.csv", "--host", sim.url, "--yes"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, "--log-level", "debug", "--concurrency", "1", "--quota", "2/1s", "--quota-store", "memory"],
        cwd=tmp_path,
        env=environment(TERM="xterm", COLUMNS="60"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    while more := _read(ours):
        written += more
    os.close(ours)
    assert process.wait(WAIT_S) == 0
    run = checked(Ended(0, "", written.decode()))
    assert "\x1b[" in run.err  # a bar was drawn
    shown = [re.sub(r"^.*\r|\x1b\[[0-9;?]*[A-Za-z]", "", line.rstrip("\r")) for line in run.err.split("\n")]
    tries = [match[2] for line in shown if (match := LINE.fullmatch(line)) and match[2].startswith("attempt ")]
    assert len(tries) == 3
    assert all(re.search(r"outcome=stopped .*message=", line) for line in tries)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # the other end is closed
        return b""
