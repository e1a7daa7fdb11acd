"""The result file goes away while the real command writes it: sending stops, and what was sent is not lost."""

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
"""Calls that the quota allows at once; the rest would have to wait an hour."""
PACED = ("--yes", "--quota", f"{FIRST}/1h", "--pace", "burst", "--quota-store", "memory", "--concurrency", str(FEW))
Deed = Callable[[Path], None]


def remove(path: Path) -> None:
    """Take the file away."""
    path.unlink()


def move(path: Path) -> None:
    """Return the file another name, as logrotate does."""
    path.rename(path.with_name("old.jsonl"))


def replace(path: Path) -> None:
    """Put an empty file in its place, as logrotate's `create` does."""
    move(path)
    path.touch()


def link(path: Path) -> None:
    """Put a link to nowhere in its place."""
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
    """Sending stops, also while it waits; exit 3, each call stands in the file or on standard error; it can go on."""
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
    """A file that goes away during the last call is noticed as well: no success, and nothing sent is lost."""
    ids = listed(tmp_path, 5)
    path = tmp_path / OUTPUT
    service = Service({5: lambda: deed(path)})
    async with listening(service) as server:
        run = await stopped(server.url, "--yes", "--concurrency", "1", "-o", OUTPUT, cwd=tmp_path)
    assert run.code == 3, run.err
    left = whole_lines(path) if path.exists() else []
    assert sorted(sent_of(left) + told(run)) == sorted(ids) == sorted(service.ids)


async def test_put_back_in_time(tmp_path: Path) -> None:
    """A file that was away for a moment, or is read, copied and looked at, is not a loss."""
    listed(tmp_path, 5)
    path = tmp_path / OUTPUT

    def away_and_back() -> None:
        move(path)
        path.with_name("old.jsonl").rename(path)

    async with listening(Service({3: away_and_back})) as server:
        run = await stopped(server.url, "--yes", "--concurrency", "1", "-o", OUTPUT, cwd=tmp_path)
    assert (run.code, told(run), len(whole_lines(path))) == (0, [], 5)
