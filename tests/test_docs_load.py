"""docs/load-testing.md is true: its examples run unchanged, at a simulator on a free port.

In a `console` block lines that begin with `$` are typed and the others must be printed; `…` stands for anything, and
alone on a line for any lines. The tables of exit codes and of the JSON are compared with the code.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bulkstop import Simulator
from bulkstop.cli.load.command import command
from tests.processes import ROOT, WAIT_S, environment, with_command

PAGE = (ROOT / "docs/load-testing.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Type all blocks into one shell; return the folder, and what each block brought."""
    folder = tmp_path_factory.mktemp("reader")
    script = "".join(
        "echo @@@\n" + "".join(f"{line[2:]}\n" for line in block.splitlines() if line.startswith("$ "))
        for block in BLOCKS
    )
    with Simulator() as service:
        done = subprocess.run(
            ["sh", "-c", script.replace(ADDRESS, service.url)],
            cwd=folder,
            env=environment(PATH=with_command(folder / "bin"), BULKSTOP_TOKEN=None, LC_ALL="C.UTF-8"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
    return folder, [part.lstrip("\n") for part in done.stdout.replace(service.url, ADDRESS).split("@@@")[1:]]


@pytest.mark.full
@pytest.mark.real
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number: int, reader: tuple[Path, list[str]]) -> None:
    """An example brings what is printed below it."""
    lines = [line for line in BLOCKS[number].splitlines() if not line.startswith("$ ")]
    parts = ["(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n" for line in lines]
    assert re.fullmatch("".join(parts), reader[1][number]), reader[1][number]


@pytest.mark.full
@pytest.mark.real
def test_keys(reader: tuple[Path, list[str]]) -> None:
    """The table has every key of the JSON, and no other."""
    rows = PAGE.partition("### `bulkstop-load/1`")[2].partition("\n## ")[0].splitlines()
    named = {key for row in rows if row.startswith("| `") for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    told: dict[str, Any] = json.loads((reader[0] / "old.json").read_text())
    assert named == set(told)
    assert told["schema"] == "bulkstop-load/1"


def test_exit_codes() -> None:
    """The exit codes are those of the command's own help."""
    rows = PAGE.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| (\d+) \|", rows, re.MULTILINE))
    assert named == set(re.findall(r"^  (\d+) +\w", (command.epilog or "").partition("Exit codes:")[2], re.MULTILINE))
