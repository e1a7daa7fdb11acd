"""`bulkstop check`: what a profile reaches, on one screen, by one call."""

import json
from pathlib import Path

import pytest

from bulkstop.runs.lists.check import read_clock
from tests.cli.conftest import Here, MakeList
from tests.processes import Simulated, simulator

pytestmark = pytest.mark.real

WHERE = ("--account-id", "a1", "--stream-id", "st-1")


def test_all_is_well(here: Here, make_list: MakeList, tmp_path: Path) -> None:
    """One page of the list is read, nothing is stopped, and the verdict is the last line; the input is told, too."""
    make_list(7)
    with simulator(tmp_path, "--campaigns", "300") as sim:
        run = here("check", "campaigns.csv", "--host", sim.url, *WHERE)
        requests = sim.requests()
    assert (run.code, run.err, [request["operation"] for request in requests]) == (0, "", ["list"])
    lines = [" ".join(line.split()) for line in run.out.splitlines()]
    assert f"host {sim.url} (plain http)" in lines
    assert "scope voice campaigns of account a1, stream st-1" in lines
    assert "input 7 rows: 7 to stop, 0 unusable, 0 held back" in lines
    assert next(line for line in lines if line.startswith("first ids ")).count("cd-") == 5
    assert next(line for line in lines if line.startswith("runs now ")).endswith("on the first page; there are more")
    assert "clock as the service's" in lines
    assert lines[-1].startswith("READY: ")


@pytest.mark.parametrize(
    ("words", "variables", "cause"),
    [
        (("--host", "http://127.0.0.1:9"), {}, "ECONNREFUSED"),
        ((), {"BULKSTOP_TOKEN": None}, "no credentials: set BULKSTOP_TOKEN"),
        (("--token-file", "gone"), {"BULKSTOP_TOKEN": None}, "token file 'gone' cannot be read"),
        (("--ca", "gone"), {}, "--ca gone: "),
    ],
)
def test_the_cause(
    words: tuple[str, ...], variables: dict[str, str | None], cause: str, here: Here, sim: Simulated
) -> None:
    """What is in the way is the verdict, with exit code 1, for a machine as well."""
    run = here("check", "--host", sim.url, *WHERE, *words, variables=variables)
    verdict = run.out.splitlines()[-1]
    assert (run.code, verdict.startswith("NOT READY: "), cause in verdict) == (1, True, True)
    told = json.loads(here("check", "--host", sim.url, *WHERE, *words, "--json", variables=variables).out)
    assert (told["exit_code"], told["is_listed"], cause in told["fault"]) == (1, False, True)


def test_a_wrong_secret(here: Here, tmp_path: Path) -> None:
    """A secret that signs a token which the service refuses is found, which `bulkstop token` cannot."""
    secret = "a-secret-of-32-characters-or-more"
    with simulator(tmp_path, "--client-id", "c", BULKSTOP_CLIENT_SECRET=secret) as sim:
        words = ("check", "--host", sim.url, *WHERE, "--client-id", "c")
        wrong = here(*words, variables={"BULKSTOP_TOKEN": None, "BULKSTOP_CLIENT_SECRET": secret[::-1]})
        assert (wrong.code, "NOT READY: HTTP 401" in wrong.out) == (1, True)
        right = here(*words, variables={"BULKSTOP_TOKEN": None, "BULKSTOP_CLIENT_SECRET": secret})
        assert (right.code, "renewed when needed" in right.out) == (0, True)


def test_unusable_rows(here: Here, sim: Simulated, make_list: MakeList) -> None:
    """A row that cannot be used is counted, and the first is named; a list that cannot be read is exit code 2."""
    with make_list(2).open("a") as file:
        file.write("..,voice,a,st\n")
    run = here("check", "campaigns.csv", "--host", sim.url, *WHERE)
    assert (run.code, run.out.splitlines()[-1]) == (1, "NOT READY: 1 of 3 rows cannot be used")
    assert "campaigns.csv line 4: campaign id '..' is a path step" in run.out
    assert here("check", "gone.csv", "--host", sim.url, *WHERE).code == 2


def test_clock() -> None:
    """The difference of the clocks is that to the `Date` header."""
    assert read_clock("Thu, 01 Jan 1970 00:01:00 GMT", 90.0) == 30.0
    assert read_clock("yesterday", 90.0) is None
