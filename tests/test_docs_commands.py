"""Every command on a page works unchanged, and prints what the page shows.

The blocks of a page are typed in order into one shell, in a folder with a copy of `samples`. Four things differ:
http://127.0.0.1:8080 is the address of a simulator on a free port, BULKSTOP_HOST is that address too (so that a
profile's host is not called), the secret that a reader pastes comes from standard input, and a load test may be as late
as a busy machine makes it. In a `console` block lines that begin with `$` are typed and the others must be printed; `…`
stands for anything, alone on a line for any lines. Blocks that are not run are in NOT_RUN, with the reason.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.documents import PAGES, Block, blocks_of, pattern_of
from tests.processes import ROOT, WAIT_S, environment, results, simulator, with_command

ADDRESS = "http://127.0.0.1:8080"
SECRET = "a-secret-of-32-characters-or-more"
BEGIN = "docs/getting-started.md"
NOT_RUN = {
    "make demo": "they set up an environment from a registry, and the tests would run themselves; .ci/run runs both",
    "make install": "it sets up an environment from a registry; tests/test_install.py has homes of its own for it",
    "python benchmarks/verdicts.py": "it takes minutes, and needs a checkout; make bench-smoke runs it with few cases",
    "bulkstop simulate --port 8080": "it runs until Ctrl-C, on a port that may be taken; the tests start their own",
    "bulkstop simulate --port 8080 --campaigns 120 --running 40 --latency 1s": "the same; the tests have 24 that run",
}
RUN = {
    page: [
        each
        for each in blocks_of(page)
        if each.language in {"sh", "console"} and each.name.split("  ")[0] not in NOT_RUN
    ]
    for page in PAGES
    if not (ROOT / f"tests/test_docs_{Path(page).stem.replace('-', '_')}.py").exists()
}
"""The blocks of each page that has no test of its own."""
TYPED = [page for page in RUN if RUN[page]]


@dataclass(frozen=True)
class Session:
    """The result of typing all the blocks of a page."""

    folder: Path
    said: list[str]
    ids: list[str]


def prepare(folder: Path, page: str) -> None:
    """Prepare what the reader of a page has: on the first page the samples, on others also a profile and a list."""
    shutil.copytree(ROOT / "samples", folder / "samples")
    if page == BEGIN:
        return
    for name in ("bulkstop.toml", "campaigns.csv"):
        shutil.copy(ROOT / "samples" / name, folder)
    (folder / "client-secret").write_text(SECRET)
    (folder / "client-secret").chmod(0o600)
    (folder / "results").mkdir()


def type_all(page: str, folder: Path) -> Session:
    """Type every block of a page into one shell."""
    here = folder / "checkout"
    here.mkdir()
    prepare(here, page)
    script = "".join(f"echo @@@\n{block.script}" for block in RUN[page]) + "echo @@@ end\n"
    script = script.replace("bulkstop load ", "bulkstop load --max-late 1s ")
    with simulator(folder, "--campaigns", "120", "--running", "24") as sim:
        done = subprocess.run(
            ["sh", "-c", script.replace(ADDRESS, sim.url)],
            cwd=here,
            env=environment(
                PATH=with_command(folder / "bin"), BULKSTOP_HOST=sim.url, BULKSTOP_TOKEN=None, LC_ALL="C.UTF-8"
            ),
            input=SECRET,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        said = done.stdout.replace(sim.url, ADDRESS).split("@@@\n")
        return Session(here, said[1:], sim.ids())


def check(blocks: list[Block], session: Session) -> None:
    """Check the output of each block, and that the last one finished."""
    for number, (block, said) in enumerate(zip(blocks, session.said, strict=False), start=1):
        assert "Traceback" not in said
        if block.language == "console" and number < len(blocks):
            assert re.fullmatch(pattern_of(block.expected), said), f"{block.name}\n{said}"
    # A block that fails ends the shell, so the last mark is missing.
    *_, last = session.said
    assert last.endswith("@@@ end\n"), last
    assert len(session.said) == len(blocks)
    if blocks[-1].language == "console":
        assert re.fullmatch(pattern_of(blocks[-1].expected), last.removesuffix("@@@ end\n")), last


@pytest.mark.real
@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.full]) for page in TYPED if page != BEGIN])
def test_page(page: str, tmp_path: Path) -> None:
    """Each block of the page works unchanged, and prints what the page shows."""
    check(RUN[page], type_all(page, tmp_path))


@pytest.mark.real
def test_first_run(tmp_path: Path) -> None:
    """The first page works to its end: both samples are stopped, and the secret is private."""
    session = type_all(BEGIN, tmp_path)
    check(RUN[BEGIN], session)
    assert len(results(session.folder / "campaigns.csv.results.jsonl")) == 24
    assert len(results(session.folder / "one.csv.results.jsonl")) == 1
    assert len(set(session.ids)) >= 24
    assert (session.folder / "client-secret").stat().st_mode & 0o077 == 0


def test_not_run_is_there() -> None:
    """A block that is not run is in a page."""
    names = {block.name.split("  ")[0] for page in PAGES for block in blocks_of(page)}
    assert set(NOT_RUN) - names == set()
