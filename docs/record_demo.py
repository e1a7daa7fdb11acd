"""Draws docs/demo.svg, what a terminal shows of `make demo`: `make demo-picture`, or `python -m docs.record_demo`.

The command runs on a real pseudo-terminal. A terminal emulator (pyte) takes what it writes, and rich draws the screen.
Only the home folder is not that of this machine.
"""

import os
import pty
import struct
import sys
import tempfile
from fcntl import ioctl
from itertools import groupby
from pathlib import Path
from subprocess import Popen
from termios import TIOCSWINSZ

import pyte
from pyte.screens import Char
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "demo.svg"
COMMAND = ("make", "--no-print-directory", "demo")
COLUMNS, LINES = 112, 200
HOME = "/home/you"
LAST = "What to try next:"


def main(picture: Path = PICTURE) -> None:
    """Record the demo, and draw it."""
    with tempfile.TemporaryDirectory() as home:
        said = record(COMMAND, home).replace(home, HOME)
    picture.write_text(draw("$ make demo\r\n" + said))


def record(command: tuple[str, ...], home: str) -> str:
    """Return what a command writes to a terminal, all control sequences included; raises SystemExit if it fails."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BULKSTOP_", "XDG_"))}
    variables = kept | {"HOME": home, "TERM": "xterm-256color", "TZ": "UTC", "COLUMNS": str(COLUMNS)}
    process = Popen(command, cwd=ROOT, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    if process.wait():
        sys.exit(f"{' '.join(command)} failed:\n{said.decode(errors='replace')}")
    return said.decode()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # the other end is closed
        return b""


def draw(said: str) -> str:
    """Return the picture of a screen on which this was written."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.Stream(screen).feed(said)
    rows = [_row(screen, row) for row in range(LINES)]
    last = next((number for number, row in enumerate(rows) if row.plain.startswith(LAST)), LINES)
    while last and not rows[last - 1].plain.strip():
        last -= 1
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for row in rows[:last]:
            row.rstrip()
            console.print(row, no_wrap=True, overflow="crop", highlight=False)
        return _without_fonts(console.export_svg(title="bulkstop", unique_id="demo"))


def _row(screen: pyte.Screen, row: int) -> Text:
    chars = [screen.buffer[row][column] for column in range(screen.columns)]
    parts = [("".join(char.data for char in alike), style) for style, alike in groupby(chars, _style_of)]
    return Text.assemble(*parts)


def _style_of(char: Char) -> Style:
    color = None if char.fg == "default" else char.fg.replace("brown", "yellow")
    return Style(bold=char.bold, color=color.replace("bright", "bright_") if color else None)


def _without_fonts(svg: str) -> str:
    """Return a picture without the fonts that it would load from the network."""
    begin, end = svg.find("@font-face"), svg.find(".demo-matrix")
    return svg[:begin] + svg[end:] if 0 <= begin < end else svg


if __name__ == "__main__":
    main()
