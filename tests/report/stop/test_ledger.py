"""The result file: locked by the kernel, appended to, made durable, and never left with half a line."""

import asyncio
import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.errors import OutputError
from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.report.stop import ledger as ledger_module
from bulkstop.report.stop.formats import csv_header, to_csv, to_json
from bulkstop.report.stop.ledger import BLOCK, SYNC_EVERY_S, Ledger, Mark, Mode, hashes
from tests.processes import WAIT_S, environment

PLAIN = Result("cd-1", CampaignType.VOICE, "a", "st", Outcome.STOPPED, 200, 1, 12.5, source="list.csv", line=2)
LINE = to_json(PLAIN)
HOLD = """
import subprocess, sys
from bulkstop.model import Outcome, Result
from bulkstop.report.stop.ledger import Ledger, Mode
ledger = Ledger(sys.argv[1], mode=Mode.RESUME)
child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
ledger.close()
print("closed", flush=True)
sys.stdin = None
child.wait()
"""


def marked(data: bytes, lines: int) -> Mark:
    """Return the mark of a file that holds this."""
    return Mark(len(data), lines, sha256(data).hexdigest())


def write_until_refused(ledger: Ledger) -> None:
    """Write lines until one is refused; a thread may have to find out first."""
    while True:
        ledger.write(PLAIN)


@contextmanager
def held(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Lock a result file in another process, with a child that inherits everything it can."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        yield process
    finally:
        os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate(timeout=WAIT_S)


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let the kernel refuse to make any file of this process longer, as a full disk does."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a result file that is not there yet."""
    return tmp_path / "results.jsonl"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make new lines durable every few milliseconds."""
    monkeypatch.setattr(ledger_module, "SYNC_EVERY_S", 0.005)


@pytest.fixture
def broken_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let every fsync fail, and tell when one has."""
    failed = threading.Event()

    def fail(fd: int) -> None:
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    return failed


class TestBeginning:
    """A file begins with its first line; until then everything is as it was."""

    def test_private_and_not_taken_twice(self, path: Path) -> None:
        """A new file is private to its owner under any umask, and an existing one is kept by default."""
        usual = os.umask(0)
        try:
            with Ledger(str(path)) as ledger:
                ledger.write(PLAIN)
        finally:
            os.umask(usual)
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(OutputError, match="exists already; give resume=True to continue it, overwrite=True, or"):
            Ledger(str(path))
        assert path.read_bytes() == LINE

    def test_overwriting_begins_with_the_first_line(self, tmp_path: Path) -> None:
        """The old results remain until the first line; then they are gone completely, even if the new are shorter."""
        path = tmp_path / "results.csv"
        path.write_text("old\n" * 1_000)
        with Ledger(str(path), mode=Mode.OVERWRITE) as ledger:
            assert path.read_text() == "old\n" * 1_000
            ledger.write(PLAIN)
            assert path.read_bytes() == csv_header() + to_csv(PLAIN)

    def test_a_torn_line_is_cut_by_the_first_one(self, path: Path) -> None:
        """An incomplete line remains while nothing is written, as in a dry run; the first line removes it."""
        path.write_bytes(LINE + LINE[:7])
        with Ledger(str(path), mode=Mode.RESUME) as ledger:
            ledger.go_on_at(len(LINE), 1)
        assert path.read_bytes() == LINE + LINE[:7]
        with Ledger(str(path), mode=Mode.RESUME) as ledger:
            ledger.go_on_at(len(LINE), 1)
            ledger.write(PLAIN)
            assert path.read_bytes() == LINE * 2

    def test_a_torn_header_is_written_anew(self, tmp_path: Path) -> None:
        """A CSV file of which a crash left only a part of the header begins again, one with a header gets no second."""
        path = tmp_path / "results.csv"
        path.write_bytes(csv_header()[:9])
        for lines in (1, 2):
            with Ledger(str(path), mode=Mode.RESUME) as ledger:
                ledger.go_on_at(0 if lines == 1 else path.stat().st_size, lines - 1)
                ledger.write(PLAIN)
            assert path.read_bytes() == csv_header() + to_csv(PLAIN) * lines

    def test_a_file_without_a_line_is_not_left_behind(self, tmp_path: Path) -> None:
        """A run that never began is not in the way of the next; an older file is not removed with it."""
        new, old, empty = tmp_path / "new.jsonl", tmp_path / "old.jsonl", tmp_path / "empty.jsonl"
        old.write_text("kept\n")
        empty.touch()
        for mode in (Mode.OVERWRITE, Mode.RESUME):
            with Ledger(str(new), mode=mode), Ledger(str(old), mode=mode), Ledger(str(empty), mode=mode):
                assert new.exists()
            assert not new.exists()
            assert old.read_text() == "kept\n"
            assert empty.exists()

    def test_only_its_own_file_is_removed(self, path: Path) -> None:
        """A file that has taken the place of the new empty one, or its lines, are of another run and stay."""
        with Ledger(str(path)):
            path.rename(path.with_suffix(".moved"))
            path.write_bytes(b"")
        assert path.exists()
        path.unlink()
        with Ledger(str(path), mode=Mode.OVERWRITE):
            path.write_bytes(LINE)
        assert path.read_bytes() == LINE

    def test_a_beginning_that_fails(self, path: Path) -> None:
        """If the manifest cannot be begun, no line is ever written, neither after torn nor over old results."""
        path.write_bytes(LINE + LINE[:7])
        begun = []

        def begin() -> None:
            begun.append(True)
            raise OutputError("m.run.json: cannot be written (Read-only file system)")

        with Ledger(str(path), mode=Mode.RESUME, begin=begin) as ledger:
            ledger.go_on_at(len(LINE), 1)
            for _ in range(3):
                with pytest.raises(OutputError, match=r"m\.run\.json: cannot be written"):
                    ledger.write(PLAIN)
            assert not ledger.is_begun
        assert begun == [True]
        assert path.read_bytes() == LINE + LINE[:7]

    def test_a_cut_that_fails(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If an incomplete line cannot be removed, nothing is written after it."""
        path.write_bytes(LINE + LINE[:7])

        def refuse(fd: int, size: int) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "ftruncate", refuse)
        with Ledger(str(path), mode=Mode.RESUME) as ledger:
            ledger.go_on_at(len(LINE), 1)
            for _ in range(2):
                with pytest.raises(OutputError, match=r"cannot be cut to be written \(Operation not permitted\)"):
                    ledger.write(PLAIN)
        assert path.read_bytes() == LINE + LINE[:7]

    def test_it_appends(self, path: Path) -> None:
        """Lines go to the end of the file, even if another process has written; nothing is overwritten."""
        with Ledger(str(path)) as ledger:
            ledger.write(PLAIN)
            with path.open("ab") as file:
                file.write(b"by hand\n")
            ledger.write(PLAIN)
        assert path.read_bytes() == LINE + b"by hand\n" + LINE

    @pytest.mark.parametrize(("name", "why"), [("no/folder/r.jsonl", "No such file"), ("", "Is a directory")])
    def test_no_place(self, name: str, why: str, tmp_path: Path) -> None:
        """A place where no file can be is one line that names the option."""
        with pytest.raises(OutputError, match=rf"cannot be opened for results \({why}.*\); give -o FILE"):
            Ledger(str(tmp_path / name))


class TestLock:
    """Two runs never write one file: the kernel holds the lock, and a crash frees it."""

    @pytest.mark.real
    @pytest.mark.parametrize("mode", [Mode.OVERWRITE, Mode.RESUME])
    def test_the_second_is_refused(self, mode: Mode, path: Path) -> None:
        """Another run gets a message with the process that writes the file, which is unchanged."""
        path.write_bytes(LINE)
        with held(path) as process, pytest.raises(OutputError) as caught:
            Ledger(str(path), mode=mode, holder=lambda pid: f" (process {pid})")
        said = f"{path}: another run is writing it (process {process.pid}); wait for its end, or end it"
        assert str(caught.value) == said
        assert path.read_bytes() == LINE

    def test_by_another_name(self, path: Path) -> None:
        """The lock is the file's: a link to it is not a way around."""
        path.write_bytes(LINE)
        path.with_suffix(".link").symlink_to(path)
        with Ledger(str(path), mode=Mode.RESUME), pytest.raises(OutputError, match="another run is writing it"):
            Ledger(str(path.with_suffix(".link")), mode=Mode.OVERWRITE)

    @pytest.mark.real
    def test_a_crash_frees_it(self, path: Path) -> None:
        """After `kill -9` the file is free at once, though a child of the killed run is still there."""
        with held(path) as process:
            process.kill()
            process.wait(WAIT_S)
            with Ledger(str(path), mode=Mode.RESUME) as ledger:
                ledger.write(PLAIN)
        assert path.read_bytes() == LINE

    @pytest.mark.real
    def test_closing_frees_it(self, path: Path) -> None:
        """Once it is closed the file is free, though a child such as the token command outlives that."""
        path.write_bytes(LINE)
        with held(path) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdin = None
            assert process.stdout.readline() == "closed\n"
            Ledger(str(path), mode=Mode.RESUME).close()

    @pytest.mark.parametrize("mode", Mode)
    def test_removed_between_opening_and_locking(self, mode: Mode, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the owner of a new empty file removes it at that moment, the file is opened again."""
        lock = fcntl.flock
        inodes = list[int]()

        def removed_meanwhile(fd: int, how: int) -> None:
            if not inodes:
                path.unlink()
            inodes.append(os.fstat(fd).st_ino)
            lock(fd, how)

        keep = os.open(path.parent, os.O_RDONLY)
        monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
        with Ledger(str(path), mode=mode) as ledger:
            ledger.write(PLAIN)
        os.close(keep)
        assert len(inodes) == 2
        assert path.read_bytes() == LINE

    def test_replaced_between_opening_and_locking(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If another file takes the name at that moment, that one is locked and written."""
        path.write_bytes(b"old\n")
        lock = fcntl.flock
        calls = []

        def replaced_meanwhile(fd: int, how: int) -> None:
            calls.append(fd)
            if len(calls) == 1:
                path.rename(path.with_suffix(".old"))
                path.write_bytes(LINE)
            lock(fd, how)

        monkeypatch.setattr(fcntl, "flock", replaced_meanwhile)
        with Ledger(str(path), mode=Mode.RESUME) as ledger:
            ledger.go_on_at(len(LINE), 1)
            ledger.write(PLAIN)
        assert path.read_bytes() == LINE * 2
        assert path.with_suffix(".old").read_bytes() == b"old\n"

    def test_no_locks_here(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file system without locks is refused: there two runs could write one file."""

        def refuse(fd: int, how: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(OutputError, match=r"cannot be locked \(No locks available\); give -o on another file"):
            Ledger(str(path))


class TestWriting:
    """A line is in the file completely, or not at all with an error."""

    @settings(max_examples=30)
    @given(st.lists(st.text(), max_size=5), st.sampled_from(["r.jsonl", "r.csv"]), st.booleans())
    def test_mark(self, tmp_path_factory: pytest.TempPathFactory, notes: list[str], name: str, again: bool) -> None:
        """After every line the mark is the file's size, line count and SHA-256, also for a continued file."""
        path = tmp_path_factory.mktemp("mark") / name
        lines = 0
        for _ in range(2 if again else 1):
            with Ledger(str(path), mode=Mode.RESUME) as ledger:
                ledger.go_on_at(path.stat().st_size, lines)
                for note in notes:
                    ledger.write(Result(note, None, None, None, Outcome.INVALID))
                    lines += 1
                    assert ledger.mark == marked(path.read_bytes(), lines)
            assert ledger.mark == marked(path.read_bytes() if notes else b"", lines)

    def test_a_full_device_is_an_error_and_stays_one(self) -> None:
        """An unwritable line raises, and so does every line after it."""
        with Ledger("/dev/full") as ledger:
            ledger.write(PLAIN)
            assert ledger.outbox is not None
            asyncio.run(ledger.outbox.flush())
            for _ in range(2):
                with pytest.raises(OutputError, match=r"/dev/full: cannot write results \(No space left on device\)"):
                    ledger.write(PLAIN)
        assert (ledger.unwritten, ledger.missing) == ([PLAIN], 1)

    @pytest.mark.parametrize("room", [1, len(LINE) - 1, len(LINE), len(LINE) + 1, 3 * len(LINE) - 1])
    def test_a_full_disk_leaves_whole_lines(self, room: int, path: Path) -> None:
        """The line that did not fit is taken away again to its last byte, and none follows when there is room again."""
        marks: list[Mark] = []
        with Ledger(str(path), vouch=marks.append) as ledger:
            with file_limit(room), pytest.raises(OutputError, match=r"cannot write results \(File too large\)"):
                write_until_refused(ledger)
            with pytest.raises(OutputError, match="File too large"):
                ledger.write(PLAIN)
            fault = ledger.fault
        whole = room // len(LINE)
        assert path.read_bytes() == LINE * whole
        assert ledger.mark == marks[-1] == marked(LINE * whole, whole)
        assert ledger.fault is fault

    def test_a_full_disk_at_the_header(self, tmp_path: Path) -> None:
        """If the header of a CSV file does not fit, nothing of it remains."""
        path = tmp_path / "results.csv"
        with Ledger(str(path)) as ledger, file_limit(10), pytest.raises(OutputError, match="File too large"):
            ledger.write(PLAIN)
        assert path.read_bytes() == b""

    def test_interrupted_right_after_a_write(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second Ctrl-C that strikes before a written line is counted takes the line back: file and mark agree."""
        write = os.write

        def interrupted(fd: int, data: bytes) -> int:
            write(fd, data)
            raise KeyboardInterrupt

        with Ledger(str(path)) as ledger:
            ledger.write(PLAIN)
            monkeypatch.setattr(os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ledger.write(PLAIN)
            monkeypatch.setattr(os, "write", write)
            ledger.write(PLAIN)
        assert path.read_bytes() == LINE * 2
        assert ledger.mark == marked(LINE * 2, 2)

    def test_written_in_pieces(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A kernel that takes a line in pieces gets all of them."""
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        with Ledger(str(path)) as ledger:
            ledger.write(PLAIN)
        assert path.read_bytes() == LINE

    def test_closed_twice(self, path: Path) -> None:
        """Closing it once more does nothing, and a line after that is refused."""
        ledger = Ledger(str(path))
        ledger.write(PLAIN)
        ledger.close()
        ledger.close()
        assert ledger.is_closed
        with pytest.raises(OutputError, match="cannot write results"):
            ledger.write(PLAIN)
        assert path.read_bytes() == LINE


class TestDurable:
    """New lines survive a power failure after about a second, and are vouched for only then."""

    def test_within_about_a_second(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line is made durable within the second that is promised, its file's name with it, then vouched for."""
        fsync, order = os.fsync, list[str]()
        vouched = threading.Event()

        def noted(fd: int) -> None:
            fsync(fd)
            order.append(Path(f"/proc/self/fd/{fd}").readlink().name)

        def vouch(mark: Mark) -> None:
            order.append(f"{mark.lines} lines")
            vouched.set()

        monkeypatch.setattr(os, "fsync", noted)
        with Ledger(str(path), vouch=vouch) as ledger:
            began = time.monotonic()
            ledger.write(PLAIN)
            assert vouched.wait(WAIT_S)
            assert time.monotonic() - began < SYNC_EVERY_S + 5
            assert order == [path.name, path.parent.name, "1 lines"]
        assert order == [path.name, path.parent.name, "1 lines"], "nothing was new at the end"

    @pytest.mark.usefixtures("at_once")
    def test_each_mark_is_of_a_beginning(self, path: Path) -> None:
        """Marks given while lines are written are of the first so many lines, and the last one is of all."""
        marks: list[Mark] = []
        with Ledger(str(path), vouch=marks.append) as ledger:
            while len(marks) < 5:
                ledger.write(PLAIN)
        data = path.read_bytes()
        assert [marked(data[: mark.size], mark.size // len(LINE)) for mark in marks] == marks
        assert marks[-1] == ledger.mark == marked(data, len(data) // len(LINE))
        assert len(set(marks)) == len(marks)

    @pytest.mark.usefixtures("at_once")
    def test_a_disk_that_keeps_nothing(self, path: Path, broken_disk: threading.Event) -> None:
        """If new lines cannot be made durable the next line is refused, and none is vouched for."""
        marks: list[Mark] = []
        with Ledger(str(path), vouch=marks.append) as ledger:
            with pytest.raises(OutputError, match=r"cannot be made durable \(Input/output error\)"):
                write_until_refused(ledger)
            assert broken_disk.is_set()
        assert marks == []
        assert ledger.fault is not None

    def test_at_the_very_end(self, path: Path, broken_disk: threading.Event) -> None:
        """When only the last fsync fails that is a fault as well."""
        marks: list[Mark] = []
        with Ledger(str(path), vouch=marks.append) as ledger:
            ledger.write(PLAIN)
        assert broken_disk.is_set()
        assert str(ledger.fault) == f"{path}: cannot be made durable (Input/output error)"
        assert marks == []

    @pytest.mark.usefixtures("at_once")
    def test_a_disk_that_recovers(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """After one failed fsync a later one proves nothing: lines that were dropped stay without a voucher."""
        fsync, failed = os.fsync, threading.Event()
        marks: list[Mark] = []
        ledger = Ledger(str(path), vouch=marks.append)

        def fail_once(fd: int) -> None:
            if failed.is_set():
                fsync(fd)
                return
            ledger.write(PLAIN)  # a line that comes just now is not among those that could be called durable
            failed.set()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", fail_once)
        ledger.write(PLAIN)
        assert failed.wait(WAIT_S)
        ledger.close()
        assert path.read_bytes() == LINE * 2
        assert marks == []


class TestNoFile:
    """A device, a pipe and standard output are just written to: no lock, no manifest, nothing to be durable."""

    def test_devices(self) -> None:
        """Two runs may write to one device."""
        calls: list[object] = []
        given: dict[str, Callable[..., None]] = {"begin": lambda: calls.append("begin"), "vouch": calls.append}
        with Ledger("/dev/null", **given) as one, Ledger("/dev/null", mode=Mode.OVERWRITE, **given) as other:  # type: ignore[arg-type]
            one.write(PLAIN)
            other.write(PLAIN)
            assert not one.is_file
        assert calls == []
        assert one.mark == marked(b"", 0)

    @pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
    def test_a_pipe(self, name: str, tmp_path: Path) -> None:
        """A named pipe gets the lines, with a header if it is called CSV, and stays when it got none."""
        pipe = tmp_path / name
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        Ledger(str(pipe)).close()
        with Ledger(str(pipe)) as ledger:
            ledger.write(PLAIN)
        expected = csv_header() + to_csv(PLAIN) if name.endswith("csv") else LINE
        assert os.read(reader, 65536) == expected
        os.close(reader)
        assert pipe.is_fifo()

    def test_standard_output(self) -> None:
        """Standard output gets the lines and stays open; a reader that has gone is an error."""
        reader, writer = os.pipe()
        with Ledger("-", stdout_fd=writer) as ledger:
            ledger.write(PLAIN)
            assert ledger.name == "standard output"
        os.write(writer, b"open\n")
        assert os.read(reader, 65536) == LINE + b"open\n"
        os.close(reader)
        with Ledger("-", stdout_fd=writer) as ledger:
            ledger.write(PLAIN)
        assert str(ledger.fault) == "standard output: cannot write results (Broken pipe); sending stops"
        assert ledger.unwritten == [PLAIN]
        os.close(writer)

    def test_nobody_reads(self) -> None:
        """No write waits for a reader; what is abandoned is counted, and a result that tells of a call is kept."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        not_sent = replace(PLAIN, outcome=Outcome.NOT_SENT)
        with Ledger("-", stdout_fd=writer) as ledger:
            for _ in range(100):
                ledger.write(PLAIN)
            assert ledger.outbox is not None
            give_up = time.monotonic() + WAIT_S
            while len(ledger.outbox.unwritten) == 100:
                assert time.monotonic() < give_up
            ledger.outbox.abandon()
            ledger.write(not_sent)
            ledger.write(PLAIN)
        os.close(writer)
        lines = os.read(reader, 65536)
        os.close(reader)
        assert lines == LINE * (lines.count(b"\n"))
        assert (ledger.missing, len(ledger.unwritten)) == (102 - lines.count(b"\n"), 101 - lines.count(b"\n"))
        assert ledger.fault is None


class TestHashes:
    """One pass over a file gives the SHA-256 of each of its beginnings."""

    @pytest.mark.parametrize("sizes", [[0], [1, 2], [0, BLOCK, BLOCK + 1, 2 * BLOCK + 5], [3, 3]])
    def test_beginnings(self, sizes: list[int], path: Path) -> None:
        """Each size comes with the hash of as many bytes, across blocks too."""
        data = os.urandom(2 * BLOCK + 5)
        path.write_bytes(data)
        with path.open("rb") as file:
            found = [(size, each.hexdigest()) for size, each in hashes(file.fileno(), sizes)]
        assert found == [(size, sha256(data[:size]).hexdigest()) for size in sizes]

    def test_a_shorter_file(self, path: Path) -> None:
        """A size that the file does not reach is left out."""
        path.write_bytes(b"abc")
        with path.open("rb") as file:
            assert [size for size, _ in hashes(file.fileno(), [2, 3, 4])] == [2, 3]


def test_memory_of_recent_lines(tmp_path: Path) -> None:
    """A line in memory takes little more than its bytes, whatever buffer it was made in."""
    with Ledger(str(tmp_path / "r.jsonl")) as ledger:
        tracemalloc.start()
        try:
            for _ in range(2_000):
                ledger.write(PLAIN)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 2_000 * (len(LINE) + 200)
