"""The result file disappears while the real command writes it: sending stops, and no sent call is lost."""

import asyncio
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_world import FEW, UNPACED, Service, listed, sent_of, stopped, told, whole_lines
from tests.processes import bulkstop
from tests.servers import listening

pytestmark = [pytest.mark.real, pytest.mark.full]

OUTPUT = "results.jsonl"
COUNT = 60
FIRST = 20
"""Calls that the quota allows at once; the others would wait for an hour."""
PACED = ("--yes", "--quota", f"{FIRST}/1h", "--pace", "burst", "--quota-store", "memory", "--concurrency", str(FEW))
Deed = Callable[[Path], None]


def remove(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def move(path: Path) -> None:
    """Rename the file, as logrotate does."""
    path.rename(path.with_name("old.jsonl"))


def replace(path: Path) -> None:
    """Replace it by an empty file, as logrotate's `create` does."""
    move(path)
    path.touch()


def link(path: Path) -> None:
    """Replace it by a dangling link."""
    path.unlink()
    path.symlink_to("nowhere")


def truncate(path: Path) -> None:
    """Empty the file, as logrotate's `copytruncate` does."""
    os.truncate(path, 0)


DEEDS: dict[Deed, str] = {
    remove: "removed",
    move: r"moved to \S+/old\.jsonl",
    replace: "replaced by another file",
    link: "removed",
    truncate: r"(cut to [\d,]+ of [\d,]+ bytes|written over)",
}


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
async def test_in_mid_run(deed: Deed, tmp_path: Path) -> None:
    """Sending stops, even while it waits; exit 3; each call is in the file or on standard error.

    The run can continue.
    """
    ids = listed(tmp_path, COUNT)
    path = tmp_path / OUTPUT
    service = Service({10: lambda: deed(path)})
    async with listening(service) as server:
        run = await stopped(server.url, *PACED, "-o", OUTPUT, cwd=tmp_path)
        assert run.code == 3, run.err
        assert re.search(rf"{OUTPUT}: was {DEEDS[deed]} during the run, so sending stops", run.err)
        assert len(service.ids) <= FIRST
        left = whole_lines(path) if path.exists() else []
        assert sorted(sent_of(left) + told(run)) == sorted(service.ids)
        assert re.search(r"rows = lines +60 rows but [\d,]+ lines, [\d,]+ of them gone\n", run.err)
        (back,) = re.findall(r"^To go on: (mv .*) && .* stop .* --resume$", run.err, re.MULTILINE)
        await asyncio.to_thread(subprocess.run, ["sh", "-c", back], cwd=tmp_path, check=True)
        again = await stopped(server.url, *UNPACED, "-o", OUTPUT, "--resume", cwd=tmp_path)
    assert again.code == 0, again.err
    assert sorted(service.ids) == sorted(ids)
    assert bulkstop("report", "--check", OUTPUT, cwd=tmp_path).code == 0


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
async def test_right_before_the_end(deed: Deed, tmp_path: Path) -> None:
    """A file that disappears during the last call is noticed: the run fails, and no sent call is lost."""
    ids = listed(tmp_path, 5)
    path = tmp_path / OUTPUT
    service = Service({5: lambda: deed(path)})
    async with listening(service) as server:
        run = await stopped(server.url, "--yes", "--concurrency", "1", "-o", OUTPUT, cwd=tmp_path)
    assert run.code == 3, run.err
    left = whole_lines(path) if path.exists() else []
    assert sorted(sent_of(left) + told(run)) == sorted(ids) == sorted(service.ids)


async def test_put_back_in_time(tmp_path: Path) -> None:
    """A file that is away for a moment, or is read, copied and inspected, is not lost."""
    listed(tmp_path, 5)
    path = tmp_path / OUTPUT

    def away_and_back() -> None:
        move(path)
        path.with_name("old.jsonl").rename(path)

    async with listening(Service({3: away_and_back})) as server:
        run = await stopped(server.url, "--yes", "--concurrency", "1", "-o", OUTPUT, cwd=tmp_path)
    assert (run.code, told(run), len(whole_lines(path))) == (0, [], 5)
