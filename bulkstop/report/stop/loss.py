"""The loss of a result file during a run: what became of it, and what can be saved."""

import csv
import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bulkstop.files.whole import beside, write_atomically
from bulkstop.model import HELD_BACK, Outcome, Result
from bulkstop.report.stop.formats import COLUMNS, csv_header, from_csv, from_json, is_csv
from bulkstop.text import format_count

BLOCK = 1024 * 1024
LISTED = 1000
"""The most results that are listed singly if a file holds all of them."""
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
Read = Callable[[bytes], Result]
NOT_SENT = HELD_BACK | {Outcome.INVALID, Outcome.NOT_SENT}


class Loss(NamedTuple):
    """What happened to a file: its name is gone if it `is_away`; `is_whole` if the open file has everything written."""

    what: str
    is_away: bool
    is_whole: bool


class Rescue(NamedTuple):
    """What the named file does not hold any more, and where that is now.

    It has lost `gone` lines; `place` has all lines if `is_whole`, else the last of the lost ones. `results` are the
    last ones that were sent: all that are known, but at most LISTED if `place` holds them.
    """

    gone: int = 0
    results: tuple[Result, ...] = ()
    place: str | None = None
    is_whole: bool = True

    @property
    def words(self) -> str:
        """Return in words what is lost and where it is."""
        if not self.gone:
            return "no line is lost"
        if self.is_whole:
            return f"all its lines are in {self.place}"
        last = "it is" if self.gone == 1 else "the last of them are"
        them = "it" if self.gone == 1 else "them"
        rest = f"{last} in {self.place}" if self.place else f"no file could be made to save {them} in"
        return f"{format_count(self.gone, 'of its lines is', 'of its lines are')} gone; {rest}"


def loss_of(fd: int, path: str, size: int, head: bytes) -> Loss | None:
    """Return what happened to an open file that should begin with `head` and have at least `size` bytes.

    Return None if nothing did, or if the file cannot be inspected.
    """
    try:
        harm = _harm(fd, size, head)
        away = _away(fd, path)
    except OSError:
        return None
    what = away or harm
    return None if what is None else Loss(what, is_away=away is not None, is_whole=harm is None)


def rescue(
    loss: Loss, fd: int, path: str, size: int, lines: int, recent: Sequence[bytes], columns: Sequence[str] = COLUMNS
) -> Rescue:
    """Save what is possible of `lines` lines in `size` bytes, `recent` being the last; the file must still be open.

    `columns` are those of a CSV file.
    """
    if not lines:
        return Rescue()
    read: Read = partial(from_csv, columns=columns) if is_csv(path) else from_json
    lines_there, lost = (0, recent) if loss.is_away else _compare(fd, read, recent)
    is_whole = loss.is_whole or sum(map(len, recent)) == size
    place = _name_of(fd) if loss.is_whole else None
    if place is None:
        rest = lost if tuple(columns) == COLUMNS else [csv_header(columns), *lost]  # a reader needs the header
        saved = partial(_blocks, fd, size) if loss.is_whole else lambda: recent if is_whole else rest
        place = _save(saved, path)
    results = [result for line in lost if (result := _result(line, read))]
    sent = [result for result in results if result.outcome not in NOT_SENT]
    gone = max(lines - lines_there, len(results))
    return Rescue(gone, tuple(sent[-LISTED:] if place else sent), place, is_whole=is_whole and place is not None)


def _harm(fd: int, size: int, head: bytes) -> str | None:
    """Return how an open file differs from what was written to it, ignoring lines added at its end."""
    size_now = os.fstat(fd).st_size
    if size_now < size:
        return f"cut to {size_now:,} of {size:,} bytes"
    return None if os.pread(fd, len(head), 0) == head else "written over"


def _away(fd: int, path: str) -> str | None:
    """Return what became of the name of an open file; None if it still has it."""
    try:
        stat = Path(path).stat()
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        now_at = _name_of(fd)
        return f"moved to {now_at}" if now_at else "removed"
    return None if os.path.samestat(stat, os.fstat(fd)) else "replaced by another file"


def _name_of(fd: int) -> str | None:
    """Return the kernel's name for an open file; None if unknown, or if the file has no name."""
    with suppress(OSError):
        name = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - the text may not be a path
        if os.path.samestat(os.fstat(fd), Path(name).stat()):
            return name
    return None


def _compare(fd: int, read: Read, recent: Sequence[bytes]) -> tuple[int, list[bytes]]:
    """Return how many result lines the file holds, and which of `recent` it lacks."""
    lines_there, wanted, present = 0, frozenset(recent), set[bytes]()
    with os.fdopen(os.dup(fd), "rb") as file, suppress(OSError):
        file.seek(0)
        for line in file:
            lines_there += _result(line, read) is not None
            if line in wanted:
                present.add(line)
    return lines_there, [line for line in recent if line not in present]


def _result(line: bytes, read: Read) -> Result | None:
    """Return the result in a line; None for the header, or for a torn line."""
    try:
        return read(line)
    except (ValueError, csv.Error):
        return None


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    for at in range(0, size, BLOCK):
        yield os.pread(fd, min(BLOCK, size - at), at)


def _save(blocks: Callable[[], Iterable[bytes]], path: str) -> str | None:
    """Write a new file, durable and private to the user, beside `path` or elsewhere; return its name."""
    with suppress(OSError):
        return _save_in(Path(path).parent, blocks, Path(path))
    with suppress(OSError):  # the folder may not exist
        return _save_in(Path(tempfile.gettempdir()), blocks, Path(path))
    return None


def _save_in(folder: Path, blocks: Callable[[], Iterable[bytes]], path: Path) -> str:
    """Create a file `NAME.recovered-N.jsonl`; it keeps the suffix, which determines the format."""
    for number in count(1):
        name = beside(str(folder / path.stem), f".recovered-{number}{path.suffix}")
        with suppress(FileExistsError):
            if not os.path.lexists(name):
                write_atomically(Path(name), blocks(), replace=False)
                return name
    raise AssertionError
