"""docs/incident.md is true: its commands run unchanged, against a disaster in four accounts.

Each account is a service with an app of its own: 75 campaigns, of which 15 run. `prod` is a profile that names them
all, as on the page. In a `console` block lines that begin with `$` are typed and the others must be printed; `…` stands
for anything, and alone on a line for any lines.
"""

import os
import pty
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulkstop import Simulator
from bulkstop.simulator.campaigns import CALLING
from tests.processes import ROOT, WAIT_S, Ended, checked, environment, with_command

PAGE = (ROOT / "docs/incident.md").read_text()
FIRST, *REST = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FIRST_SCREEN = PAGE.partition("\n## ")[0]
ACCOUNTS, CAMPAIGNS, RUNNING = ("north", "south", "east", "west"), 75, 15
SCREEN_LINES = 32
HOST = "https://platform.kore.ai"
QUESTION = re.compile(r"type (?P<plan>\d+) here|(?P<most>\d+) campaigns at most, type that number")


@dataclass(frozen=True)
class Disaster:
    """Four services with running campaigns, and the folder of their operator."""

    services: tuple[Simulator, ...]
    folder: Path

    @property
    def running(self) -> int:
        """How many campaigns run."""
        return sum(state in CALLING for service in self.services for state in service.states.values())

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a shell that finds the command."""
        path = f"{self.folder.parent / 'bin'}:{os.environ['PATH']}"
        return environment(PATH=path, BULKSTOP_TOKEN=None, LC_ALL="C.UTF-8")

    def type(self, command: str) -> Ended:
        """Type a command elsewhere than on a terminal."""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        said = re.sub(r"http://127\.0\.0\.1:\d+", HOST, done.stdout)
        return checked(Ended(done.returncode, said, ""))

    def type_on_a_terminal(self, command: str) -> Ended:
        """Type a command on a terminal, and then the number that it asks for, if it does."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["sh", "-c", command], cwd=self.folder, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        said, is_answered = "", False
        while more := _read(ours):
            said += more
            if not is_answered and said.rstrip().endswith(":") and (asked := QUESTION.search(said)):
                is_answered = True
                os.write(ours, f"{asked['plan'] or asked['most']}\n".encode())
        os.close(ours)
        return checked(Ended(process.wait(WAIT_S), said.replace("\r\n", "\n"), ""))


def _read(fd: int) -> str:
    try:
        return os.read(fd, 65536).decode(errors="replace")
    except OSError:  # the other end is closed
        return ""


def make_service(number: int) -> Simulator:
    """Return a service of which so many campaigns run."""
    service = Simulator(campaigns=CAMPAIGNS, seed=number, client_id=f"app-{number}", client_secret=secret(number))
    for position, campaign in enumerate(service.campaigns.values()):
        if position < RUNNING or campaign.status in CALLING:
            campaign.status = "Active" if position < RUNNING else "Completed"
            campaign.scheduled = campaign.recurring = False
    return service


def secret(number: int) -> str:
    """Return the secret of an app."""
    return f"secret-{number}-of-32-characters-or-more"


@pytest.fixture
def disaster(tmp_path: Path) -> Iterator[Disaster]:
    """Hold four services open, and have their profiles in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    with_command(tmp_path / "bin")
    with ExitStack() as opened:
        services = tuple(opened.enter_context(make_service(number)) for number in range(len(ACCOUNTS)))
        lines = ["[profile.prod]", "max_campaigns = 200"]
        for number, (name, service) in enumerate(zip(ACCOUNTS, services, strict=True)):
            key = folder.parent / f"{name}.key"
            key.write_text(secret(number))
            key.chmod(0o600)
            lines[2:2] = ["[[profile.prod.target]]", f'profile = "{name}"']
            lines += [f"[profile.{name}]", f'host = "{service.url}"', f'account_id = "account-{name}"']
            lines += ['stream_id = "st-1"', f'client_id = "app-{number}"', f'client_secret_file = "{key}"']
        (folder / "bulkstop.toml").write_text("\n".join(lines))
        (folder / "bulkstop.toml").chmod(0o600)
        (folder / "keep.txt").write_text("cd-1234*\n")
        yield Disaster(services, folder)


def commands_of(block: str) -> list[tuple[str, str]]:
    """Return the commands of a block, each with its expected output."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def pattern_of(expected: str) -> str:
    """Return a pattern for the expected output."""
    lines = (r"(?:.*\n)*?" if line == "…" else f"{_pattern_of(line)}\n" for line in expected.splitlines())
    return "".join(lines)


def _pattern_of(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("…"))


@pytest.mark.real
def test_the_first_minute(disaster: Disaster) -> None:
    """From an empty folder and a profile two commands of the first screen stop all and prove it, on a terminal."""
    stop, prove = (commands_of(block)[0][0] for block in (FIRST, REST[0]))
    assert disaster.running == len(ACCOUNTS) * RUNNING
    before = disaster.type_on_a_terminal(prove)
    assert (before.code, "NOT AS EXPECTED: 60 campaigns" in before.out) == (1, True), before.out
    stopped = disaster.type_on_a_terminal(stop)
    assert (stopped.code, stopped.out.splitlines()[-1]) == (0, "DONE: all 60 stopped"), stopped.out
    assert disaster.running == 0
    proof = disaster.type_on_a_terminal(prove)
    assert proof.code == 0
    assert re.match("DONE: .* in 8 lists, as expected; ", proof.out.splitlines()[-1]), proof.out
    stops = Counter(
        request.campaign_id for service in disaster.services for request in service.requests if request.campaign_id
    )
    assert (len(stops), max(stops.values())) == (len(ACCOUNTS) * RUNNING, 1)


@pytest.mark.real
@pytest.mark.full
def test_what_it_looks_like(disaster: Disaster) -> None:
    """Each command of the page works, and prints what the page shows."""
    seen = [part for block in REST[2:] for part in commands_of(block)]
    assert len(seen) >= 6
    for command, expected in seen:
        run = disaster.type(command)
        assert re.fullmatch(pattern_of(expected), run.out), f"{command}\n{run.out}"
        assert run.code == 0 or "--dry-run" in command, f"{command}\n{run.out}"


@pytest.mark.real
def test_hold_of_the_page(disaster: Disaster) -> None:
    """The third command asks for its number, and holds what is stopped until its time."""
    command = commands_of(REST[1])[0][0]
    assert "--until 08:00 --profile prod" in command
    short = command.replace("--until 08:00", "--for 200ms")
    held = disaster.type_on_a_terminal(short)
    assert held.code == 0, held.out
    assert held.out.splitlines()[-1].startswith("DONE: "), held.out
    assert disaster.running == 0


def test_the_first_screen_is_one() -> None:
    """The first screen has the commands that stop and prove, three at most."""
    assert len(FIRST_SCREEN.splitlines()) <= SCREEN_LINES
    assert FIRST_SCREEN.count("\n$ ") == 3


def test_the_profiles_of_the_page() -> None:
    """The profile that the page shows names profiles that it shows as well."""
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    profiles = tomllib.loads(text)["profile"]
    assert {each["profile"] for each in profiles["prod"]["target"]} == profiles.keys() - {"prod"}
