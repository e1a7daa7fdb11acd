"""The result file: locked, appended to line by line, made durable, and truncated where a crash tore it."""

import contextlib
import errno
import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from bulkstop.errors import OutputError
from bulkstop.files.ownership import others_who_write
from bulkstop.files.places import open_in_place, open_place
from bulkstop.files.whole import is_device
from bulkstop.model import Outcome, Result
from bulkstop.naming import name_setting
from bulkstop.outbox import Outbox, start_thread
from bulkstop.report.stop.formats import COLUMNS, csv_header, is_csv, to_csv, to_json
from bulkstop.report.stop.loss import Loss, Rescue, loss_of, rescue

if TYPE_CHECKING:
    from hashlib import _Hash

SYNC_EVERY_S = 1.0
"""The interval of making new lines durable; a power failure can lose the lines of this time and of one fsync."""
BLOCK = 1024 * 1024
LOOK_EVERY_LINES = 4096
"""The most lines between two looks at the file; as many are remembered in case they are lost."""
RECENT_LINES = 4 * LOOK_EVERY_LINES
HEAD_BYTES = 256
"""The bytes at the start of a file that tell it from one that was emptied and has grown again."""
Holder = Callable[[int | None], str]


class Mode(StrEnum):
    """What may be done with a result file that exists."""

    NEW = "new"
    OVERWRITE = "overwrite"
    RESUME = "resume"


class Mark(NamedTuple):
    """A proof of content: the SHA-256 of the first `size` bytes of a file, which hold `lines` lines."""

    size: int
    lines: int
    sha256: str


class Ledger:
    """Appends result lines to a file, each write in one system call, so that a killed run has lost none.

    Every second its thread makes new lines durable and passes their Mark to `vouch`. The kernel locks the file for this
    process, so that no other run writes it, and releases it after a crash. A new file is private to the user. The file
    starts with its first line, or when `begin` is called: until then the old content stays, a torn last line is not
    truncated, and a new file without a line is removed. `holder` describes the run that has the lock, given its process
    id if the kernel states it.

    Raises OutputError if the file exists (unless `mode` permits it), cannot be opened, is in use by another run, or can
    no longer be written; after a failed write, or a `look` that found the file changed, it takes no more lines.

    A pipe, a device or standard output (`-`) gets its lines through an `outbox`, so that nothing waits for the reader;
    after closing, `missing` counts the lines that the reader did not take, and `unwritten` has their results.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: Mode = Mode.NEW,
        stdout_fd: int = 1,
        holder: Holder = lambda pid: "",
        begin: Callable[[], None] = lambda: None,
        vouch: Callable[[Mark], None] = lambda mark: None,
    ) -> None:
        self.name = "standard output" if path == "-" else path
        self.is_file = path != "-" and not is_device(path)
        self.fault: OutputError | None = None
        self.lost: str | None = None
        self.outbox: Outbox[Result | None] | None = None
        self.unwritten: list[Result] = []
        self.missing = 0
        self._is_csv = is_csv(path)
        self._columns: tuple[str, ...] = COLUMNS
        self._begin_with, self._vouch = begin, vouch
        self.is_begun = self.is_torn = False
        self._size, self._lines, self._hash = 0, 0, sha256()
        self._head = b""
        self._recent: deque[bytes] = deque(maxlen=RECENT_LINES)
        self._unseen = 0
        self._loss: Loss | None = None
        self._lock = threading.Lock()
        self._keeper: _Keeper | None = None
        self._is_new = self.is_file and not os.path.lexists(path)
        self._fd = os.dup(stdout_fd) if path == "-" else self._open_file(mode, holder)
        if not self.is_file:
            self.outbox = Outbox(self._fd, self.name, paces_each=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, with everything written made durable."""
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more lines."""
        return self._fd < 0

    @property
    def mark(self) -> Mark:
        """The mark of the file's content so far."""
        with self._lock:
            return Mark(self._size, self._lines, self._hash.hexdigest())

    def digest_with(self, more: bytes) -> str:
        """Return the SHA-256 of the file's content followed by some bytes."""
        with self._lock:
            digest = self._hash.copy()
        digest.update(more)
        return digest.hexdigest()

    def others_who_write(self) -> str | None:
        """Return who can write the file besides this user and root; None if nobody can."""
        return others_who_write(self._fd)

    def go_on_at(self, size: int, lines: int, columns: tuple[str, ...] = COLUMNS) -> None:
        """Keep the first `size` bytes, which hold `lines` lines, and append after them; CSV in its own columns."""
        self._size, self._lines, self._hash, self._columns = size, lines, sha256(), columns
        if size:
            ((_, self._hash),) = hashes(self._fd, [size])
            self._head = os.pread(self._fd, min(size, HEAD_BYTES), 0)

    def look(self) -> None:
        """Raise OutputError if the file was moved, removed, replaced or truncated.

        For a pipe or a device, raise it if writing has failed.
        """
        if self.is_file and self._loss is None and not self.is_closed:
            with self._lock:
                self._loss = loss_of(self._fd, self.name, self._size, self._head)
                self._unseen = 0
            if self._loss:
                self.lost = f"{self.name}: was {self._loss.what} during the run, so sending stops"
                self.fault = self.fault or OutputError(self.lost)
        if self.outbox is not None:
            self.fault = self.fault or self._outbox_fault(self.outbox)
        if self.fault and (self._loss or self.outbox is not None):
            raise self.fault

    def rescue(self) -> Rescue | None:
        """Save what a `look` has found to be lost, while the file is still open; return None if nothing is."""
        if self._loss is None or self.is_closed:
            return None
        now = loss_of(self._fd, self.name, self._size, self._head)  # it may have been put back meanwhile
        if now is None:
            return Rescue()
        return rescue(now, self._fd, self.name, self._size, self._lines, self._recent, self._columns)

    def start_thread(self) -> None:
        """Start the thread that makes lines durable; raises OutputError if the system refuses."""
        if self.is_file and self._keeper is None:
            self._keeper = _Keeper(self._keep, self.name)

    def begin(self) -> None:
        """Start the file if that was not done; raises OutputError if it cannot be written."""
        if self.is_begun:
            return
        if self.fault is not None:
            raise self.fault
        if self.is_file:
            self._begin_file()
        self.is_begun = True
        if self._is_csv and not self._size:
            self._put([csv_header()], ())

    def write(self, *results: Result) -> None:
        """Append a line for each result; raises OutputError, and appends none, if they cannot be written completely."""
        if not self.is_begun:
            self.begin()
        to_line = partial(to_csv, columns=self._columns) if self._is_csv else to_json
        self._put(list(map(to_line, results)), results)

    def close(self) -> None:
        """Make the content durable, vouch for it, then close the file; `fault` has what failed."""
        if self.is_closed:
            return
        if self.outbox is not None:
            self._close_outbox(self.outbox)
            return
        if self._keeper is not None:
            self._keeper.stop()
            self._keep()
        if self._is_new and not os.fstat(self._fd).st_size and not self.is_begun and _is_at(self._fd, self.name):
            Path(self.name).unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1

    def _open_file(self, mode: Mode, holder: Holder) -> int:
        return _open_locked(self.name, mode, holder) if self.is_file else _open(self.name, os.O_WRONLY, mode)

    def _close_outbox(self, outbox: Outbox[Result | None]) -> None:
        """Wait for pending writes, and count the lines that were not written."""
        outbox.close()
        self._fd = -1
        self.fault = self.fault or self._outbox_fault(outbox)
        for result in filter(None, outbox.unwritten):
            self._miss(result)

    def _outbox_fault(self, outbox: Outbox[Result | None]) -> OutputError | None:
        return None if outbox.fault is None else self._write_fault(outbox.fault)

    def _write_fault(self, error: OSError) -> OutputError:
        return OutputError(f"{self.name}: cannot write results ({error.strerror}); sending stops")

    def _begin_file(self) -> None:
        """Truncate the file first; if that fails, what is there must not be appended to."""
        try:
            self.look()
            self._begin_with()
            os.ftruncate(self._fd, self._size)
        except OutputError as fault:
            self.fault = fault
            raise
        except OSError as error:
            self.fault = OutputError(f"{self.name}: cannot be cut to be written ({error.strerror}); sending stops")
            raise self.fault from None
        self.start_thread()

    def _put(self, lines: Sequence[bytes], results: Sequence[Result]) -> None:
        if self.outbox is not None:
            self.fault = self.fault or self._outbox_fault(self.outbox)
        if self.fault is not None:
            raise self.fault
        if self.outbox is None:
            self._append(lines, len(results))
            return
        for line, result in zip_longest(lines, results):
            if not self.outbox.put(line, result) and result is not None:
                self._miss(result)

    def _miss(self, result: Result) -> None:
        """Count an unread line, and keep its result if it reports a call."""
        self.missing += 1
        if result.outcome is not Outcome.NOT_SENT:  # those could be the whole list
            self.unwritten.append(result)

    def _append(self, lines: Sequence[bytes], results: int) -> None:
        if self._unseen >= LOOK_EVERY_LINES:
            self.look()
        data = lines[0] if len(lines) == 1 else b"".join(lines)
        with self._lock:
            try:
                done = os.write(self._fd, data)
                while done < len(data):
                    done += os.write(self._fd, data[done:])
            except BaseException as error:
                self._cut()
                if not isinstance(error, OSError):
                    raise  # a second Ctrl-C strikes right after a write: the lines count as unwritten, so they go
                self.fault = self._write_fault(error)
                raise self.fault from None
            self._hash.update(data)
            self._size += len(data)
            self._lines += results
            self._head = self._head or data[:HEAD_BYTES]
            self._recent += map(_copy, lines)
            self._unseen += len(lines)

    def _cut(self) -> None:
        """Remove the lines of an incomplete write."""
        try:
            if os.fstat(self._fd).st_size > self._size:  # extending a truncated file would fill it with zeros
                os.ftruncate(self._fd, self._size)
        except OSError:
            self.is_torn = True

    def _keep(self) -> None:
        mark, keeper = self.mark, self._keeper
        if keeper is None or keeper.is_broken or mark.size == keeper.kept or not self.is_begun:
            return
        try:
            os.fsync(self._fd)
            if keeper.kept < 0:
                _sync_folder(self.name)
            self._vouch(mark)
            keeper.kept = mark.size
        except OSError as error:
            keeper.is_broken = True  # the kernel has dropped what it could not write: a later fsync proves nothing
            self.fault = self.fault or OutputError(f"{self.name}: cannot be made durable ({error.strerror})")


class _Keeper:
    """Calls `keep` every second on a thread, because fsync may take long; `kept` is the durable part so far."""

    def __init__(self, keep: Callable[[], None], name: str) -> None:
        self.kept = -1
        self.is_broken = False
        self._keep = keep
        self._stopped = threading.Event()
        self._thread = start_thread(self._run, "bulkstop-sync", name)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(SYNC_EVERY_S):
            self._keep()


def hashes(fd: int, sizes: Iterable[int]) -> Iterator[tuple[int, "_Hash"]]:
    """Yield each of the rising `sizes` with the SHA-256 of as many first bytes; ends at the end of the file."""
    digest, at = sha256(), 0
    for size in sizes:
        while at < size:
            block = os.pread(fd, min(BLOCK, size - at), at)
            if not block:
                return
            digest.update(block)
            at += len(block)
        yield size, digest.copy()


def _copy(line: bytes) -> bytes:
    """Return a copy of a line in minimal memory: orjson's keeps its buffer, 8 KB per line."""
    return bytes(memoryview(line))


def exists_already(path: str) -> OutputError:
    """Return the error for a result file that exists although no mode permits it."""
    resume, overwrite = name_setting("resume", True), name_setting("overwrite", True)
    another = f"{name_setting('output')} with another file"
    return OutputError(f"{path}: exists already; give {resume} to continue it, {overwrite}, or {another}")


def _open_locked(path: str, mode: Mode, holder: Holder) -> int:
    """Open and lock a file; if another run removes its new file in between, open it again."""
    while True:
        fd = _open(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if mode is Mode.NEW else 0), mode)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
        except OSError as error:
            pid = _find_locker(os.fstat(fd))
            os.close(fd)
            if error.errno == errno.EWOULDBLOCK:
                who = holder(pid)
                raise OutputError(f"{path}: another run is writing it{who}; wait for its end, or end it") from None
            raise OutputError(f"{path}: cannot be locked ({error.strerror}); give -o on another file system") from None
        os.close(fd)


def _find_locker(of: os.stat_result) -> int | None:
    """Return which process has locked a file, according to the kernel; None if that is unknown."""
    file = f"{os.major(of.st_dev):02x}:{os.minor(of.st_dev):02x}:{of.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            match line.split():
                case [_, "FLOCK", _, _, pid, locked, *_] if locked == file and int(pid) > 0:
                    return int(pid)
    return None


def _is_at(fd: int, path: str) -> bool:
    """Return whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(fd), Path(path).stat())
    except FileNotFoundError:
        return False


def _open(path: str, flags: int, mode: Mode) -> int:
    """Open a file for writing; another user's file is continued if that is trusted."""
    try:
        if Path(path).is_dir():
            flags &= ~os.O_EXCL  # otherwise an existing file would be refused
        with open_place(path) as place:
            if mode is Mode.RESUME and place.is_regular:
                place.refuse_alias()
                return place.open(flags | os.O_APPEND)
            return open_in_place(place, flags | os.O_APPEND)
    except FileExistsError:
        raise exists_already(path) from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be opened for results ({error.strerror}); give -o FILE") from None


def _sync_folder(path: str) -> None:
    """Make the name of a new file durable too."""
    fd = os.open(Path(path).absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
