"""Runs a command and measures its processor time and memory, including all its processes."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bare_loop import TOKEN

LOOK_EVERY_S = 0.05
SAID_CHARS = 2000
ROOT = Path(__file__).resolve().parent.parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Look(NamedTuple):
    """The kernel's figures for a command's processes at one moment; `cpu_s` is that of the first process."""

    unix_s: float
    cpu_s: float
    resident_mb: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: its seconds, its output, and the looks taken meanwhile."""

    code: int
    elapsed_s: float
    cpu_s: float
    """Of all its processes."""
    out: str
    looks: Sequence[Look]

    @property
    def peak_mb(self) -> float:
        """The peak memory: the sum of each process's peak."""
        return max(look.peak_mb for look in self.looks)


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    codes: Sequence[int] = (0,),
) -> Ran:
    """Run a command until it ends; another exit code than these ends the benchmark too."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        looks = []
        try:
            while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
                looks.append(look(process.pid))
                time.sleep(LOOK_EVERY_S)
        except BaseException:
            process.kill()
            raise
        elapsed_s, usage = time.monotonic() - began, ended[2]
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        out.seek(0), err.seek(0)
        if process.returncode not in codes:
            said = err.read().decode(errors="replace")[-SAID_CHARS:]
            raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{said}")
        return Ran(process.returncode, elapsed_s, usage.ru_utime + usage.ru_stime, out.read().decode(), looks)


def look(pid: int) -> Look:
    """Return the kernel's figures for a command; a process that has just ended has no memory."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    memory = [memory_mb(each) for each in tree(pid)]
    return Look(time.time(), cpu_s, sum(now for now, _ in memory), sum(peak for _, peak in memory))


def tree(pid: int) -> Iterator[int]:
    """Yield a process and all that it has started."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):  # none if it has ended
        with suppress(OSError):
            for child in path.read_text().split():
                yield from tree(int(child))


def memory_mb(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process, current and peak."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0, 0.0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return kib.get("VmRSS", 0) / 1024, kib.get("VmHWM", 0) / 1024


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment without the user's settings, in which the command is this tree's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BULKSTOP_")}
    return {**kept, "PYTHONPATH": str(ROOT), "BULKSTOP_TOKEN": TOKEN, "XDG_STATE_HOME": str(folder), **more}
