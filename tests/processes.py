"""The real command and the real simulator, as processes."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STALLS = ROOT / "tests" / "stalls" / "site"
"""Has each interpreter that is started note when its event loop is held for too long."""
COMMAND = (sys.executable, "-m", "bulkstop")
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2VjcmV0LXNlY3JldC1zZWNyZXQ"
"""The token of every run; no run may ever show it."""
WAIT_S = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Simulated:
    """A simulator that answers at `url` and logs each request."""

    url: str
    log: Path

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests so far, except a line that is being written."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def ids(self) -> list[str]:
        """Return the campaign id of each request that has one; list requests of other tests have none."""
        return [request["campaign_id"] for request in self.requests() if request["campaign_id"] is not None]


def environment(**more: str | None) -> dict[str, str]:
    """Return an environment without what the developer has set for real use; a value of None takes a variable out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BULKSTOP_", "_BULKSTOP"))}
    kept |= {"PYTHONPATH": f"{STALLS}:{ROOT}", "BULKSTOP_TOKEN": TOKEN, "COLUMNS": "200"}
    return {name: value for name, value in {**kept, **more}.items() if value is not None}


def bulkstop(*args: str, cwd: Path, stdin: str | None = None, **variables: str | None) -> Ended:
    """Run the command until it ends, and check that it shows neither a traceback nor the token."""
    done = subprocess.run(
        [*COMMAND, *args],
        cwd=cwd,
        env=environment(**variables),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return checked(Ended(done.returncode, done.stdout, done.stderr))


def checked(ended: Ended) -> Ended:
    """Make sure that a command kept its manners."""
    said = ended.out + ended.err
    assert "Traceback" not in said
    assert "internal error" not in said
    assert TOKEN not in said
    return ended


def started(*args: str, cwd: Path, **variables: str | None) -> "subprocess.Popen[str]":
    """Start the command with pipes for all that it says."""
    return subprocess.Popen(
        [*COMMAND, *args],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Ended:
    """Wait for a started command; what was read of it before is gone."""
    out, err = process.communicate(timeout=WAIT_S)
    return checked(Ended(process.returncode, out or "", err or ""))


@contextmanager
def simulator(folder: Path, *options: str, **variables: str | None) -> Iterator[Simulated]:
    """Hold a simulator open; its log is in `folder`."""
    log = folder / "requests.jsonl"
    log.touch()
    process = started("simulate", "--log", str(log), *options, cwd=folder, **variables)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), ended(process)
        yield Simulated(url, log)
    finally:
        process.terminate()
        ended(process)


def with_command(folder: Path) -> str:
    """Put a command `bulkstop` into a folder of its own; return a PATH on which it is found first."""
    folder.mkdir()
    script = folder / "bulkstop"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    script.chmod(0o755)
    return f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"


def shell(script: str, *, cwd: Path) -> Ended:
    """Run a script in a shell that finds the command `bulkstop`."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        env=environment(PATH=with_command(cwd / "bin")),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return checked(Ended(done.returncode, done.stdout, done.stderr))


def bulkstop_to(fd: int, *args: str, cwd: Path) -> Ended:
    """Run the command with its standard output going there."""
    done = subprocess.run(
        [*COMMAND, *args],
        cwd=cwd,
        env=environment(),
        stdout=fd,
        stderr=subprocess.PIPE,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return checked(Ended(done.returncode, "", done.stderr))


def results(path: Path) -> list[dict[str, Any]]:
    """Read a JSON result file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def apart(path: Path) -> None:
    """Return each campaign of a list a stream of its own, so that as many may be in flight from the beginning."""
    head, *rows = path.read_text().splitlines()
    path.write_text(
        "\n".join([head, *(row.replace(",st-1", f",st-{number}") for number, row in enumerate(rows))]) + "\n"
    )


def campaigns(path: Path, ids: Sequence[str]) -> Path:
    """Write a list of voice campaigns of one account."""
    rows = [f"{campaign_id},voice,644e9b61138c7160307450fa,st-1\n" for campaign_id in ids]
    path.write_text("campaign_id,campaign_type,account_id,stream_id\n" + "".join(rows))
    return path
