"""What the documents say is so: the README's blocks are run as they stand, its tables compared with the code.

Every `sh`, `console` and `python` block of the README is run, in order, by one shell in an empty folder with a copy of
`samples`, as by a reader who types them. Three things differ: http://127.0.0.1:8080 is the address of a simulator on a
free port, BULKSTOP_HOST is that address too (so that a profile's host is not called), and the secret that a reader
pastes comes from standard input. In a `console` block lines that begin with `$` are typed and the others must come out;
`…` stands for anything. Blocks that are not run are in NOT_RUN, with the reason.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from bulkstop.cli.stop.command import command as stop_command
from bulkstop.model import Outcome
from bulkstop.report.stop.formats import COLUMNS
from bulkstop.runs.load.targets import PREFIX
from bulkstop.settings import OPTION_SPECS, default_of, key_of
from tests.processes import ROOT, WAIT_S, Simulated, environment, results, simulator, with_command

README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
SECRET = "a-secret-of-32-characters-or-more"
NOT_RUN = {
    "make demo": "they set up an environment from a registry, and the tests would run themselves; .ci/run runs both",
    "make install": "it sets up an environment from a registry; tests/test_install.py has homes of its own for it",
    "bulkstop simulate --port 8080": "it runs until Ctrl-C, on a port that may be taken; the tests start their own",
}


@dataclass(frozen=True)
class Block:
    """A block of code: its language and its lines, not indented."""

    language: str
    text: str

    @property
    def is_run(self) -> bool:
        """Tell whether it is run at all."""
        return not self.text.startswith(tuple(NOT_RUN))

    @property
    def script(self) -> str:
        """Return what a shell is to do."""
        if self.language == "python":
            return f"python - <<'END'\n{self.text}END\n"
        if self.language == "console":
            return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line.startswith("$ "))
        return f"set -e\n{self.text}set +e\n"

    @property
    def expected(self) -> list[str]:
        """Return the lines that must come out."""
        return [line for line in self.text.splitlines() if not line.startswith("$ ")]


def blocks() -> list[Block]:
    """Read the blocks of the README."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return [Block(language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]


RUN = [block for block in blocks() if block.is_run]


def name_of(block: Block) -> str:
    """Name a test after the first line of its block."""
    return block.text.splitlines()[0].removeprefix("$ ")


@dataclass(frozen=True)
class Session:
    """What came of typing all the blocks."""

    sim: Simulated
    folder: Path
    said: list[list[str]]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Type every block into one shell; return the lines that each of them brought."""
    folder = tmp_path_factory.mktemp("reader")
    here = folder / "checkout"
    shutil.copytree(ROOT / "samples", here / "samples")
    script = "".join(f"echo @@@\n{block.script}" for block in RUN) + "echo @@@ end\n"
    with simulator(folder) as sim:
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
        said = done.stdout.replace(sim.url, ADDRESS)
        return Session(sim, here, [part.splitlines()[1:] for part in said.split("@@@")[1:]])


@pytest.mark.real
@pytest.mark.parametrize("number", range(len(RUN)), ids=[name_of(block) for block in RUN])
def test_block(number: int, session: Session) -> None:
    """The block works as it stands, and brings what is printed below it."""
    # A block that fails ends the shell, so the next mark is missing.
    assert len(session.said) > number + 1, session.said[-1]
    block, said = RUN[number], session.said[number]
    assert "Traceback" not in "\n".join(said)
    if block.language == "console":
        patterns = [".*".join(re.escape(part) for part in line.split("…")) for line in block.expected]
        assert len(said) == len(patterns), said
        for line, pattern in zip(said, patterns, strict=True):
            assert re.fullmatch(pattern, line)


@pytest.mark.real
def test_what_the_blocks_did(session: Session) -> None:
    """The campaigns of both samples have arrived at the service, and every row has its line."""
    assert len(results(session.folder / "campaigns.csv.results.jsonl")) == 24
    assert len(results(session.folder / "one.csv.results.jsonl")) == 1
    assert len(results(session.folder / "python.results.jsonl")) == 24
    ids = set(session.sim.ids())
    assert sum(not each.startswith(PREFIX) for each in ids) == 6 + 24
    assert sum(each.startswith(PREFIX) for each in ids) == 600 + 64
    assert session.said[-2] == ["already_stopped: 24"]


@pytest.mark.real
def test_secret_is_private(session: Session) -> None:
    """The file that the reader pastes the secret into can be read by nobody else."""
    assert (session.folder / "client-secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("block", [block for block in RUN if "bulkstop load" in block.script], ids=["load", "limit"])
def test_load_test_by_itself(block: Block) -> None:
    """A reader who has come no further than to the simulator can do a load test: it takes no profile and no file."""
    assert ADDRESS in block.script
    assert not re.search(r"--profile|--config|_file|-file", block.script)
    (set_, unset) = (re.search(rf"^{word} (.*)$", block.script, re.MULTILINE) for word in ("export", "unset"))
    assert set_ is not None
    assert unset is not None
    assert re.findall(r"(BULKSTOP_\w+)=", set_[1]) == unset[1].split()


def test_not_run_is_there() -> None:
    """A block that is not run is in the README."""
    skipped = [block for block in blocks() if not block.is_run]
    assert len(skipped) == len(NOT_RUN)
    assert {block.language for block in blocks()} == {"sh", "console", "python"}


def table(first: str) -> list[list[str]]:
    """Return the cells of the table whose header begins with this."""
    lines = README[README.index(f"| {first}") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def shown(default: object) -> str:
    """Write a default as the table does."""
    if default in (None, "", ()):
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return f"`{' '.join(map(str, default))}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_settings_table() -> None:
    """The table of settings is what the code has: the words, the names and the defaults."""
    wanted = []
    for name, knob in OPTION_SPECS.items():
        key = key_of(name)
        option, in_profile = ("", "") if knob.secret else (f"`{knob.option(name)}`", f"`{key}`")
        wanted.append([knob.help, option, f"`BULKSTOP_{key.upper()}`", in_profile, shown(default_of(name))])
    assert table("what it is") == wanted


def test_every_option_is_named() -> None:
    """Every option of `stop` is in the README."""
    options = {flag for param in stop_command.params if isinstance(param, click.Option) for flag in param.opts}
    assert {flag for flag in options if f"`{flag}`" not in README} == set()


def test_outcomes() -> None:
    """The table of outcomes has each of them, in the order of the code."""
    assert [row[0] for row in table("outcome")] == [f"`{outcome}`" for outcome in Outcome]


def test_columns() -> None:
    """The keys of a result line are listed in their order."""
    assert f"`{', '.join(COLUMNS)}`" in README


def test_exit_codes() -> None:
    """The exit codes are those of the command's own help."""
    told = {code for row in table("exit code") for code in row[0].split(", ")}
    assert told == set(re.findall(r"\b(?:\d|1\d\d)\b(?=  | by)", stop_command.epilog or ""))


@pytest.mark.parametrize(
    "document",
    [
        *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"),
        *("docs/incident.md", "docs/input.md", "docs/load-testing.md", "docs/python.md"),
    ],
)
def test_links(document: str) -> None:
    """A link to a file of the project leads somewhere."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text())
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_python_is_linked() -> None:
    """Whoever reads of Python in the README is led to the examples."""
    assert "](docs/python.md)" in README.partition("\n## From Python\n")[2]
