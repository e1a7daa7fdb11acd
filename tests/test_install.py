"""`make install` and `make uninstall`: in a home of their own, with nothing on the PATH but what a test puts there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.real

TOOLS = ("make", "sh", "dirname", "readlink", "mkdir", "ln", "rm", "cp", "touch", "chmod", "cat")
WAIT_S = 300
PYTHON = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$4/bin"; touch "$4/pyvenv.cfg"; cp "$0" "$4/bin/python" ;;
"-m pip")
    [ -z "${BROKEN:-}" ] || { echo "no network" >&2; exit 1; }
    printf '#!/bin/sh\\necho %s\\n' "$EDITION" > "${0%/*}/bulkstop"; chmod +x "${0%/*}/bulkstop" ;;
esac
"""
PIPX = """#!/bin/sh
case "$1 $3" in
"environment PIPX_BIN_DIR") echo "$HOME/.local/bin" ;;
"environment PIPX_LOCAL_VENVS") echo "$HOME/venvs" ;;
install*) app="$HOME/venvs/bulkstop/bulkstop"; mkdir -p "$HOME/venvs/bulkstop" "$HOME/.local/bin"
    printf '#!/bin/sh\\necho %s by pipx\\n' "$EDITION" > "$app"; chmod +x "$app"
    ln -sfn "$app" "$HOME/.local/bin/bulkstop" ;;
uninstall*) rm -r "$HOME/venvs/bulkstop" "$HOME/.local/bin/bulkstop" ;;
esac
"""
UV = """#!/bin/sh
case "$2 ${3:-}" in
"dir --bin") echo "$HOME/.local/bin" ;;
"dir ") echo "$HOME/tools" ;;
install*) app="$HOME/.local/bin/bulkstop"; mkdir -p "$HOME/tools/bulkstop" "$HOME/.local/bin"
    printf '#!/bin/sh\\necho %s by uv\\n' "$EDITION" > "$app"; chmod +x "$app" ;;
uninstall*) rm -r "$HOME/tools/bulkstop" "$HOME/.local/bin/bulkstop" ;;
esac
"""


@dataclass(frozen=True)
class Home:
    """A home, and a folder of programs that is the PATH."""

    folder: Path
    programs: Path

    @property
    def link(self) -> Path:
        """Name what a person types."""
        return self.folder / ".local" / "bin" / "bulkstop"

    def make(self, goal: str, *, path: Sequence[Path] = (), **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run `make`, with folders before the programs on the PATH."""
        own: Mapping[str, str] = {"HOME": str(self.folder), "EDITION": "1", "PYTHON": "python3", **variables}
        kept = {name: text for name, text in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_", "HTTP"))}
        return subprocess.run(
            ["make", "-s", "-C", str(ROOT), goal],
            env={**kept, **own, "PATH": os.pathsep.join(map(str, [*path, self.programs]))},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    def add(self, **programs: str) -> None:
        """Put programs on the PATH."""
        for name, text in programs.items():
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    def ask(self, *words: str) -> str:
        """Run the command that was installed."""
        return subprocess.run([self.link, *words], capture_output=True, text=True, check=True).stdout

    def left(self) -> list[str]:
        """List the files that are left."""
        return [path.name for path in self.folder.rglob("*") if not path.is_dir() and ".cache" not in path.parts]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Make a home whose name has a blank, and a PATH with the usual tools and a python that installs nothing."""
    made = Home(tmp_path / "my home", tmp_path / "programs")
    made.folder.mkdir()
    made.programs.mkdir()
    for tool in TOOLS:
        (made.programs / tool).symlink_to(shutil.which(tool) or "/missing")
    made.add(python3=PYTHON)
    return made


WAYS = pytest.mark.parametrize(
    ("programs", "says"),
    [
        ({}, ""),
        ({"pipx": PIPX}, " by pipx"),
        ({"uv": UV}, " by uv"),
        ({"pipx": PIPX, "uv": UV}, " by pipx"),
    ],
)


@WAYS
def test_twice(programs: dict[str, str], says: str, home: Home) -> None:
    """It is installed by pipx, by uv, or with a link; once more it upgrades; and nothing is left in the end."""
    home.add(**programs)
    for edition in ("1", "2"):
        done = home.make("install", path=[home.link.parent], EDITION=edition)
        assert (done.returncode, done.stdout, done.stderr) == (0, "bulkstop is installed; try: bulkstop --help\n", "")
        assert home.ask() == f"{edition}{says}\n"
    done = home.make("uninstall")
    assert (done.returncode, done.stdout, home.left()) == (0, "bulkstop is removed\n", [])
    done = home.make("uninstall")
    assert (done.returncode, "nothing is removed" in done.stdout) == (0, True)


@WAYS
def test_path(programs: dict[str, str], says: str, home: Home) -> None:
    """A folder that is not on the PATH, or too late on it, is reported with the line that adds it."""
    home.add(**programs)
    done = home.make("install")
    line = f'export PATH="{home.link.parent}:$PATH"'
    assert done.stdout.endswith(f"which is not on the PATH; add to your shell's profile: {line}\n")
    found = subprocess.run(["sh", "-c", f"{line}; command -v bulkstop"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(home.link)
    home.add(bulkstop="#!/bin/sh\n")
    done = home.make("install", path=[home.programs, home.link.parent])
    assert done.stdout == (
        f"bulkstop is installed in {home.link.parent}, but {home.programs}/bulkstop comes before it on the PATH\n"
    )


def test_other_way(home: Home) -> None:
    """A later installation with pipx replaces the environment, so that only one is left."""
    assert home.make("install").returncode == 0
    home.add(pipx=PIPX)
    assert home.make("install").returncode == 0
    assert (home.ask(), (home.folder / ".local" / "share" / "bulkstop").exists()) == ("1 by pipx\n", False)


def test_broken_off(home: Home) -> None:
    """A failed download leaves no command, and can be repeated or removed."""
    assert home.make("install", BROKEN="yes").returncode != 0
    assert not home.link.exists()
    assert (home.make("uninstall").stdout, home.left()) == ("bulkstop is removed\n", [])


def test_foreign_command(home: Home) -> None:
    """An existing command from elsewhere is not changed, in either way."""
    home.link.parent.mkdir(parents=True)
    home.link.write_text("somebody else's")
    done = home.make("install")
    assert (done.returncode != 0, "is there already, and not from here" in done.stderr) == (True, True)
    home.make("uninstall")
    assert home.link.read_text() == "somebody else's"


def test_no_python(home: Home) -> None:
    """A python that is not there is named."""
    done = home.make("install", PYTHON="python9.9")
    assert (done.returncode != 0, "install: there is no python9.9" in done.stderr) == (True, True)


@pytest.fixture(scope="module")
def real_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetch pipx and uv; skips where they cannot be had."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=WAIT_S)
    pip = [str(folder / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install", "pipx", "uv"]
    if subprocess.run(pip, capture_output=True, check=False, timeout=WAIT_S).returncode:
        pytest.skip("pipx and uv cannot be fetched here")
    return folder / "bin"


@pytest.mark.full
@pytest.mark.parametrize("tool", ["pipx", "uv", None])
def test_really(tool: str | None, home: Home, real_tools: Path) -> None:
    """The real tools install a command that works, twice, and take it away."""
    (home.programs / "python3").unlink()
    if tool is not None:
        (home.programs / tool).symlink_to(real_tools / tool)
    system = [home.link.parent, Path("/usr/bin"), Path("/bin")]
    for _ in range(2):
        done = home.make("install", path=system, PYTHON=sys.executable)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("bulkstop is installed; try: bulkstop --help\n")
        assert home.ask("--version").startswith("bulkstop ")
        assert "Usage: bulkstop stop" in home.ask("stop", "--help")
    assert home.make("uninstall", path=system, PYTHON=sys.executable).returncode == 0
    assert not home.link.exists()
    assert "bulkstop" not in home.left()
