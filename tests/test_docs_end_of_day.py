"""docs/end-of-day.md and samples/end-of-day describe a working set-up: each command is run unchanged."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT, TOKEN, WAIT_S, environment, simulator, with_command

pytestmark = pytest.mark.real
PAGE = (ROOT / "docs" / "end-of-day.md").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder of the page."""
    here = tmp_path / "here"
    shutil.copytree(ROOT / "samples" / "end-of-day", here)
    shutil.copy(ROOT / "samples" / "campaigns.csv", here)
    (here / "bulkstop.toml").chmod(0o600)
    (here / "token").write_text(TOKEN)
    (here / "token").chmod(0o600)
    toml = (here / "bulkstop.toml").read_text()
    assert 'verify = "2m"' in toml
    (here / "bulkstop.toml").write_text(toml.replace('verify = "2m"', 'verify = "1ms"').replace('"18:30"', '"+30m"'))
    return here


@pytest.mark.full
def test_commands(folder: Path) -> None:
    """Each command of the page succeeds, and prints what the page shows."""
    path = with_command(folder.parent / "bin")
    steps = [
        (command, block)
        for text in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
        for command, block in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    ]
    assert len(steps) >= 10
    with simulator(folder.parent) as sim:
        for command, block in steps:
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=folder,
                env=environment(PATH=path, BULKSTOP_HOST=sim.url, BULKSTOP_TOKEN=None),
                capture_output=True,
                text=True,
                timeout=WAIT_S,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            for line in filter(None, (each.partition("…")[0].strip() for each in block.splitlines())):
                assert line.replace("18:30", "+30m") in done.stdout, (command, line, done.stdout)
        assert len(sim.ids()) >= 24
    units = sorted((folder / "units").iterdir())
    if shutil.which("systemd-analyze"):
        for unit in units:
            unit.write_text(unit.read_text().replace("/opt/bulkstop/bin/bulkstop", "/bin/true"))
        verify = subprocess.run(
            ["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        assert (verify.returncode, verify.stderr) == (0, "")
        service = str(folder / "units" / "bulkstop-eod.service")
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", service]
        assert subprocess.run(command, capture_output=True, check=False, timeout=WAIT_S).returncode == 0
