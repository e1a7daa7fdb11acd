"""`--dry-run` finds everything that a run would find before its first call, in the same words."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest

from bulkstop.report.stop.ledger import Ledger
from tests.cli.conftest import Here

pytestmark = pytest.mark.real

HOST = ("--host", "http://127.0.0.1:9", "--attempts", "1", "--quiet")
RESULTS = "campaigns.csv.results.jsonl"
EXPIRED = jwt.encode({"exp": 1000}, "a-secret-of-32-characters-or-more")

FAULTS: dict[str, tuple[tuple[str, ...], dict[str, str | None], str]] = {
    "no credentials": ((), {"BULKSTOP_TOKEN": None}, "no credentials: set BULKSTOP_TOKEN"),
    "expired token": ((), {"BULKSTOP_TOKEN": EXPIRED}, "the token expired at 1970-01-01T00:16:40Z"),
    "no token file": (("--token-file", "gone"), {"BULKSTOP_TOKEN": None}, "token file 'gone' cannot be read"),
    "no secret": (
        ("--client-id", "cs-1", "--client-secret-file", "gone"),
        {"BULKSTOP_TOKEN": None},
        "--client-secret-file gone: cannot be read",
    ),
    "key of another kind": (
        ("--client-id", "cs-1", "--jwt-alg", "RS256"),
        {"BULKSTOP_TOKEN": None, "BULKSTOP_CLIENT_SECRET": "no key"},
        "no token can be signed",
    ),
    "no token command": (
        ("--token-command", "no-such-command --print"),
        {"BULKSTOP_TOKEN": None},
        "token command failed with exit code 127 (the shell has not found it)",
    ),
    "token command not to be run": (
        ("--token-command", "./campaigns.csv"),
        {"BULKSTOP_TOKEN": None},
        "token command failed with exit code 126 (it cannot be run)",
    ),
    "no protect file": (("--protect", "gone"), {}, "--protect gone: cannot be read"),
    "no password file": (
        ("--proxy", "http://user@127.0.0.1:9", "--proxy-password-file", "gone"),
        {},
        "--proxy-password-file gone: cannot be read",
    ),
    "no authorities": (("--ca", "gone"), {}, "--ca gone: "),
    "file of no authorities": (("--ca", "campaigns.csv"), {}, "--ca campaigns.csv: "),
    "no place for the quota": (
        ("--quota-store", "campaigns.csv/quota", "--quota", "60/60s"),
        {},
        "campaigns.csv/quota: cannot be made",
    ),
    "file that is not a quota": (("--quota-store", ".", "--quota", "60/60s"), {}, "Is a directory"),
    "no place for results": (("-o", "gone/r.jsonl"), {}, "gone/r.jsonl: cannot be opened"),
    "folder for results": (("-o", "."), {}, ".: "),
}


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("name", FAULTS)
def test_what_the_run_would_find(name: str, here: Here, tmp_path: Path) -> None:
    """A dry run reports every fault that prevents a run, with the same exit code, and writes nothing."""
    words, variables, said = FAULTS[name]
    before = sorted(tmp_path.iterdir())
    run = here("stop", "campaigns.csv", *HOST, *words, "--yes", variables=variables)
    dry = here("stop", "campaigns.csv", *HOST, *words, "--dry-run", variables=variables)
    (line,) = (line for line in dry.err.splitlines() if line.startswith("bulkstop: "))
    assert said in line
    assert line in run.err.splitlines()
    assert (run.code, dry.code) == (2, 2)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("three")
def test_results_that_are_there(here: Here) -> None:
    """An existing or locked result file is refused, and not changed."""
    Path(RESULTS).write_text("mine\n")
    assert (
        f"{RESULTS}: exists already; give --resume"
        in (refused := here("stop", "campaigns.csv", *HOST, "--dry-run")).err
    )
    assert refused.code == 2
    with held(RESULTS):
        locked = here("stop", "campaigns.csv", *HOST, "--dry-run", "--overwrite")
    assert (locked.code, "another run" in locked.err) == (2, True)
    assert here("stop", "campaigns.csv", *HOST, "--dry-run", "--overwrite").code == 0
    assert Path(RESULTS).read_text() == "mine\n"


@contextmanager
def held(path: str) -> Iterator[None]:
    """Lock a result file, as a run in another process does."""
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        from bulkstop.report.stop.ledger import Mode

        Ledger(path, mode=Mode.OVERWRITE)
        os.write(theirs, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(ours, 1)
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ours)
        os.close(theirs)


@pytest.mark.usefixtures("three")
def test_all_is_found_at_once(here: Here) -> None:
    """Every fault has its line, so that one dry run is enough; with --json the plan is printed too."""
    Path(RESULTS).touch()
    words = ("--ca", "gone", "--dry-run")
    run = here("stop", "campaigns.csv", *HOST, *words, "--json", variables={"BULKSTOP_TOKEN": None})
    assert (run.code, run.err.count("bulkstop: "), json.loads(run.out)["to_send"]) == (2, 3, 3)


@pytest.mark.usefixtures("three")
def test_a_deadline_that_cannot_be_met(here: Here) -> None:
    """For a deadline that cannot be met, exit code 4, and how many are left, even with --quiet."""
    words = ("--finish-by", "23:59", "--quota", "1/24h", "--quota-store", "memory", "--dry-run")
    run = here("stop", "campaigns.csv", *HOST, *words, variables={"BULKSTOP_QUOTA": None})
    assert run.code == 4
    assert "--finish-by cannot be met: at least 2 of 3 cannot be sent by 23:59" in run.err
    assert here("stop", "campaigns.csv", *HOST, *words, "--quota", "none").code == 2


@pytest.mark.usefixtures("three")
def test_a_token_command_is_not_run(here: Here) -> None:
    """A dry run only checks that the token command exists, because running it may cost something, and says so."""
    words = ("--token-command", "touch ran; echo token", "--dry-run")
    run = here("stop", "campaigns.csv", *HOST, *words, variables={"BULKSTOP_TOKEN": None})
    assert (run.code, run.err) == (0, "Dry run: nothing was sent, and the token command was not run.\n")
    assert not Path("ran").exists()
