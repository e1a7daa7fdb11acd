"""The manifest is replaced as a whole, private, and proves the lines that it vouches for."""

import json
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.errors import OutputError
from bulkstop.report.stop.ledger import Mark
from bulkstop.report.stop.manifest import Manifest, RunSection, check_writable, flaw_in, manifest_path

LINES = [b'{"line":%d}\n' % number for number in range(12)]


def facts(**more: Any) -> dict[str, Any]:
    """Make the facts about a run."""
    about = {"run_id": "r", "began_at": "2025-12-05T12:01:35.312Z", "user": "u", "machine": "m", "pid": 1}
    return about | {"settings": {}, "inputs": {}, "plan": {"rows": 3}} | more


def section(**more: Any) -> RunSection:
    """Make what is said about a run."""
    return RunSection.read(facts(**more))


def mark_of(lines: int) -> Mark:
    """Return the mark of the first so many of LINES."""
    data = b"".join(LINES[:lines])
    return Mark(len(data), lines, sha256(data).hexdigest())


def manifest_of(*lines: int, closed: bool = True) -> Manifest:
    """Make the manifest of runs that had so many lines in the file at their ends."""
    sections = [section(ledger=mark_of(count)._asdict(), closed=closed) for count in lines]
    return Manifest("m.run.json", sections)


def names(folder: Path) -> set[str]:
    """Name what is in a folder."""
    return {path.name for path in folder.iterdir()}


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
    """Name a manifest."""
    return Path(manifest_path(str(tmp_path / "r.jsonl")))


class TestWriting:
    """How it is written."""

    def test_beside_the_result_file(self) -> None:
        """It is called after the result file and stands beside it."""
        assert manifest_path("a/b.csv.results.jsonl") == "a/b.csv.results.jsonl.run.json"

    def test_a_section_each_run(self, path: Path) -> None:
        """Each run adds a section, notes its marks there and then its end; the earlier ones stay as they were."""
        for run in range(3):
            manifest = Manifest.read(str(path)) or Manifest(str(path))
            earlier = manifest.sections
            manifest.begin(section(run_id=run))
            manifest.vouch(mark_of(run + 1))
            manifest.vouch(mark_of(run + 2))
            manifest.end(reason="all sent", exit_code=run)
            assert manifest.sections[:-1] == earlier
        found = Manifest.read(str(path))
        assert found is not None
        assert [each.facts["run_id"] for each in found.sections] == [0, 1, 2]
        assert found.marks == [mark_of(2), mark_of(3), mark_of(4)]
        assert found.last.exit_code == 2
        assert found.last.reason == "all sent"

    def test_what_another_version_wrote(self, path: Path) -> None:
        """What this version knows nothing of stays in the earlier sections, in its order, byte for byte."""
        earlier = {"a_new_fact": [1.0, None]} | facts(ledger=mark_of(1)._asdict() | {"more": 1}, reason=None)
        path.write_text(json.dumps({"runs": [earlier]}))
        manifest = Manifest.read(str(path))
        assert manifest is not None
        manifest.begin(section())
        assert path.read_text() == json.dumps({"runs": [earlier, facts()]}, indent=2) + "\n"

    def test_private(self, path: Path) -> None:
        """It is its owner's alone, whatever the umask is."""
        usual = os.umask(0)
        try:
            Manifest(str(path)).begin(section())
        finally:
            os.umask(usual)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert names(path.parent) == {path.name}

    def test_any_text(self, path: Path) -> None:
        """A name that is no UTF-8, as a file's may be, is kept in plain ASCII, whatever the machine's encoding is."""
        command = ["bulkstop", os.fsdecode(b"\xff.csv"), "é\u2028\N{GRINNING FACE}"]
        Manifest(str(path)).begin(section(command=command))
        assert path.read_bytes().isascii()
        found = Manifest.read(str(path))
        assert found is not None
        assert found.last.facts["command"] == command

    def test_never_half(self, path: Path) -> None:
        """Who reads it while it is replaced reads one state or the next, whole."""
        manifest = Manifest(str(path))
        manifest.begin(section(filler="x" * 200_000))
        is_over = threading.Event()
        found: list[int] = []

        def read_on() -> None:
            while not is_over.is_set():
                read = Manifest.read(str(path))
                assert read is not None
                found.extend(mark.lines for mark in read.marks)

        reader = threading.Thread(target=read_on)
        reader.start()
        for lines in range(1, 13):
            manifest.vouch(mark_of(lines))
        is_over.set()
        reader.join()
        assert found == sorted(found)

    def test_durable_before_it_takes_the_place(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The new one is made durable before it replaces the old: a power failure leaves one of them, not none."""
        order = list[str]()
        fsync, replace = os.fsync, Path.replace

        def noted_fsync(fd: int) -> None:
            fsync(fd)
            order.append(f"fsync of {os.fstat(fd).st_size} bytes")

        def noted_replace(self: Path, target: Path) -> Path:
            order.append("replace")
            return replace(self, target)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "replace", noted_replace)
        Manifest(str(path)).begin(section())
        assert order == [f"fsync of {path.stat().st_size} bytes", "replace"]


class TestFullDisk:
    """What happens when it cannot be written."""

    def test_the_old_one_stays(self, path: Path) -> None:
        """A full disk leaves the old manifest and nothing besides; the lines matter more, so it is told at the end."""
        manifest = Manifest(str(path))
        manifest.begin(section())
        before = path.read_bytes()
        with file_limit(10):
            manifest.vouch(mark_of(1))
            with pytest.raises(OutputError, match=r"r\.jsonl\.run\.json: cannot be written \(File too large\)"):
                manifest.end(reason="all sent")
        assert path.read_bytes() == before
        assert names(path.parent) == {path.name}
        manifest.end(reason="all sent")
        found = Manifest.read(str(path))
        assert found is not None
        assert found.marks == [mark_of(1)]

    def test_no_place_for_it(self, path: Path) -> None:
        """A place where it could not be is found out beforehand, and nothing is left of the trial."""
        check_writable(str(path))
        assert names(path.parent) == set()
        path.mkdir()
        for name, why in (
            (str(path), "Is a directory"),
            ("/proc/r.run.json", "No such file or directory"),
            (str(path.parent / "no" / "r.run.json"), "No such file or directory"),
            (str(path.parent / ("x" * 256)), "File name too long"),
        ):
            with pytest.raises(OutputError, match=rf": cannot be written \({why}\)$"):
                check_writable(name)

    def test_one_that_is_there_is_kept(self, path: Path) -> None:
        """To find out changes nothing."""
        path.write_text("{}")
        check_writable(str(path))
        assert path.read_text() == "{}"
        assert names(path.parent) == {path.name}


class TestReading:
    """What is read is a manifest, or refused."""

    def test_absent(self, path: Path) -> None:
        """Where there is none there is none."""
        assert Manifest.read(str(path)) is None

    def test_a_directory(self, tmp_path: Path) -> None:
        """What cannot be read is one line that says why."""
        with pytest.raises(OutputError, match=r": cannot be read \(Is a directory\); restore it, or remove it"):
            Manifest.read(str(tmp_path))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            "{}",
            '{"runs":null}',
            '{"runs":[]}',
            '{"runs":{}}',
            '{"runs":{"a":1}}',
            '{"runs":"abc"}',
            '{"runs":[1]}',
            '{"runs":[{}]}',
            '{"runs":[[]]}',
            "[" * 100_000,
            "\0" * 4096,
            "9" * 5_000,
        ],
        ids=lambda text: text[:16],
    )
    def test_garbage(self, text: str, path: Path) -> None:
        """What is no manifest is one line that says what to do."""
        path.write_text(text)
        with pytest.raises(
            OutputError, match=r"cannot be read \(it is no manifest, or was damaged\); restore it, or rem"
        ):
            Manifest.read(str(path))

    @pytest.mark.parametrize("key", ["began_at", "user", "machine", "settings", "inputs", "plan", "ledger"])
    @pytest.mark.parametrize(
        "value", [None, 1, "x", [], {}, {"rows": "1"}, {"size": float("inf"), "lines": 1, "sha256": ""}]
    )
    def test_another_value(self, key: str, value: object, path: Path) -> None:
        """A section whose parts are of another kind is refused, or is of no harm to who reads it."""
        path.write_text(json.dumps({"runs": [facts(ledger=mark_of(1)._asdict(), closed=True) | {key: value}]}))
        try:
            found = Manifest.read(str(path))
        except OutputError:
            return
        assert found is not None
        assert isinstance(found.last.rows, int)
        assert isinstance(found.last.facts[key], str | dict)

    @pytest.mark.parametrize("key", ["began_at", "user", "machine", "settings", "inputs", "plan"])
    def test_a_missing_part(self, key: str, path: Path) -> None:
        """A section without one of its parts is refused."""
        given = facts()
        del given[key]
        path.write_text(json.dumps({"runs": [facts(), given]}))
        with pytest.raises(OutputError, match="it is no manifest, or was damaged"):
            Manifest.read(str(path))

    @given(st.binary())
    def test_any_bytes(self, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
        """Arbitrary bytes are an OutputError and nothing else."""
        path = tmp_path_factory.mktemp("any") / "m.run.json"
        path.write_bytes(data)
        with pytest.raises(OutputError):
            Manifest.read(str(path))


class TestProof:
    """What shows that lines are not as they were written."""

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Path:
        """Write a result file of twelve lines."""
        path = tmp_path / "r.jsonl"
        path.write_bytes(b"".join(LINES))
        return path

    def test_as_it_was_written(self, ledger: Path) -> None:
        """A file that is as it was written has no flaw, over any number of runs."""
        for runs in ([12], [1, 12], [0, 5, 5, 12], list(range(13))):
            assert flaw_in(str(ledger), manifest_of(*runs)) is None

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("altered", "lines 6 to 9 are not as they were written"),
            ("swapped", "lines 6 to 9 are not as they were written"),
            ("inserted", "lines 6 to 9 are not as they were written"),
            ("deleted", "lines 6 to 9 are not as they were written"),
            ("repeated", "lines 6 to 9 are not as they were written"),
            ("cut", "it is shorter than the 9 lines that were written"),
            ("emptied", "it is shorter than the 5 lines that were written"),
        ],
    )
    def test_a_change(self, change: str, said: str, ledger: Path) -> None:
        """A line altered, swapped, put in, taken out or cut off is found, and named to the lines of one run."""
        lines = [*LINES]
        match change:
            case "altered":
                lines[6] = lines[6].replace(b"6", b"7")
            case "swapped":
                lines[6], lines[7] = lines[7], lines[6]
            case "inserted":
                lines.insert(6, LINES[0])
            case "deleted":
                del lines[6]
            case "repeated":
                lines.insert(6, lines[6])
            case "cut":
                del lines[8:]
            case _:
                lines = []
        ledger.write_bytes(b"".join(lines))
        assert flaw_in(str(ledger), manifest_of(5, 9, 12)) == said

    @pytest.mark.parametrize("more", [LINES[0], b"\n", b"\0", b"x"])
    def test_added_at_the_end(self, more: bytes, ledger: Path) -> None:
        """What is added after a run has ended is found; after one that was killed it may be its last lines."""
        ledger.write_bytes(b"".join(LINES) + more)
        said = "something was added after line 12, the last one that was written"
        assert flaw_in(str(ledger), manifest_of(5, 12)) == said
        assert flaw_in(str(ledger), manifest_of(5, 12, closed=False)) is None

    def test_nothing_vouched_for(self, ledger: Path) -> None:
        """A run that was killed before it vouched for anything proves nothing, and finds no flaw."""
        assert flaw_in(str(ledger), Manifest("m", [section()])) is None

    def test_no_file(self, tmp_path: Path) -> None:
        """A result file that is gone is one line that says so."""
        with pytest.raises(OutputError, match=r"gone\.jsonl: cannot be read \(No such file or directory\)$"):
            flaw_in(str(tmp_path / "gone.jsonl"), manifest_of(1))

    @given(st.integers(0, len(b"".join(LINES)) - 1), st.binary(max_size=3), st.integers(0, 3))
    @example(0, b"", 0)
    def test_any_change(self, tmp_path_factory: pytest.TempPathFactory, at: int, put: bytes, taken: int) -> None:
        """Any bytes put in or taken out anywhere are found, and a file that is the same is not accused."""
        was = b"".join(LINES)
        now = was[:at] + put + was[at + taken :]
        path = tmp_path_factory.mktemp("any") / "r.jsonl"
        path.write_bytes(now)
        assert (flaw_in(str(path), manifest_of(4, 9, 12)) is None) is (now == was)
