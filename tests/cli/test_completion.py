"""Tab completes what docs/completion.md promises, in real shells, set up by the lines of that page."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import click
import pytest

from bulkstop.cli import COMMANDS, commands
from tests.processes import ROOT, WAIT_S, environment

PAGE = (ROOT / "docs" / "completion.md").read_text()
PROMPT = b"ready> "
AT_ITS_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs a command whose terminal is its standard input, because a shell needs its own."""
PROGRAM = f"""#!/bin/sh
[ -z "$_BULKSTOP_COMPLETE" ] || exec {sys.executable} -m bulkstop "$@"
printf '<%s>' "$@"; echo .
"""
"""Completes like the command, but only prints its arguments."""
FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}
PROMPTS = {"bash": "PS1='ready> '", "zsh": "PS1='ready> '", "fish": "function fish_prompt; echo -n 'ready> '; end"}
TYPED = [
    ("stop --dry", "<stop><--dry-run>."),
    ("stop --order priority-", "<stop><--order><priority-ascending>."),
    ("stop camp", "<stop><campaigns.csv>."),
    ("verify --targets targ", "<verify><--targets><targets.csv>."),
]


@dataclass(frozen=True)
class Terminal:
    """A shell at a terminal."""

    fd: int

    def type(self, text: str, until: bytes) -> bytes:
        """Type a text, and return the output up to it."""
        os.write(self.fd, text.encode())
        shown, end = b"", monotonic() + WAIT_S
        while until not in shown:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - monotonic()))
            assert ready, shown
            shown += os.read(self.fd, 4096)
        return shown


@contextmanager
def opened(shell: str, home: Path) -> Iterator[Terminal]:
    """Open a shell that is set up as the page says."""
    lines = re.search(rf"^```{shell}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert lines is not None
    (home / FILES[shell]).parent.mkdir(parents=True, exist_ok=True)
    (home / FILES[shell]).write_text(f"{lines[1]}{PROMPTS[shell]}\n")
    (home / "bin").mkdir()
    (home / "bin" / "bulkstop").write_text(PROGRAM)
    (home / "bin" / "bulkstop").chmod(0o755)
    for name in ("campaigns.csv", "targets.csv"):
        (home / name).touch()
    env = environment(
        HOME=str(home), PATH=f"{home / 'bin'}:{os.environ['PATH']}", TERM="dumb", ZDOTDIR=None, XDG_CONFIG_HOME=None
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", AT_ITS_TERMINAL, shell, "-i"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=home, env=env) as process:
        os.close(theirs)
        try:
            terminal = Terminal(ours)
            terminal.type("", PROMPT)
            yield terminal
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.real
@pytest.mark.parametrize(
    "shell", ["bash", pytest.param("zsh", marks=pytest.mark.full), pytest.param("fish", marks=pytest.mark.full)]
)
def test_tab(shell: str, tmp_path: Path) -> None:
    """Tab completes commands, options, words and files in a shell that was set up as the page says."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here; .ci/run installs it")
    with opened(shell, tmp_path) as terminal:
        for words, completed in TYPED:
            terminal.type(f"bulkstop {words}\t\r", completed.encode())


def test_every_file_and_word() -> None:
    """FILE, INPUT, RESULTS and STORE in a help page complete as files, and `a|b` as its words."""
    with click.Context(commands) as ctx:
        every = [(name, param) for name in COMMANDS for param in find_command(ctx, name).params]
    files, words = set[str](), set[str]()
    for name, param in every:
        offered = param.shell_complete(click.Context(find_command(ctx, name)), "")
        label = f"{name} {param.opts[0]}"
        if re.match(r"\[?(FILE|INPUT|RESULTS|STORE)", param.metavar or ""):
            files.add(label)
            assert [item.type for item in offered] == ["file"], label
        elif re.fullmatch(r"\w{2,}(\|[\w-]{2,})+", param.metavar or ""):
            words.add(label)
            assert [item.value for item in offered] == (param.metavar or "").split("|"), label
    assert {"stop inputs", "stop -o", "verify paths", "load --html", "hold --targets", "report paths"} <= files
    assert {"stop --order", "check --api", "token --jwt-alg", "load --transport"} <= words


def find_command(ctx: click.Context, name: str) -> click.Command:
    """Return a command by its name."""
    found = commands.get_command(ctx, name)
    assert found is not None
    return found
