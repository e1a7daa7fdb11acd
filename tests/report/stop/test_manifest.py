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
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import OutputError
from bulkstop.report.stop.ledger import Mark
from bulkstop.report.stop.manifest import Manifest, RunSection, check_writable, manifest_path

LINES = [b'{"line":%d}\n' % number for number in range(12)]


def facts(**more: Any) -> dict[str, Any]:
    """Make the facts about a run."""
    about = {"run_id": "r", "began_at": "2025-12-05T12:01:35.312Z", "user": "u", "machine": "m", "pid": 1}
    return about | {"settings": {}, "inputs": {}, "plan": {"rows": 3}} | more


def section(**more: Any) -> RunSection:
    """Return the section of a run."""
    return RunSection.read(facts(**more))


def mark_of(lines: int) -> Mark:
    """Return the mark of the first so many of LINES."""
    data = b"".join(LINES[:lines])
    return Mark(len(data), lines, sha256(data).hexdigest())


def manifest_of(*lines: int, closed: bool = True) -> Manifest:
    """Return the manifest of runs with these numbers of lines at their ends."""
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
        """It is beside the result file, with a name made from that."""
        assert manifest_path("a/b.csv.results.jsonl") == "a/b.csv.results.jsonl.run.json"

    def test_a_section_each_run(self, path: Path) -> None:
        """Each run adds a section, notes its marks there and then its end; the earlier ones stay as they were."""
        for run in range(3):
            manifest = Manifest.read(str(path)) or Manifest(str(path))
            earlier = manifest.sections
            manifest.begin(section(run_id=str(run)))
            manifest.vouch(mark_of(run + 1))
            manifest.vouch(mark_of(run + 2))
            manifest.end(reason="all sent", exit_code=run)
            assert manifest.sections[:-1] == earlier
        found = Manifest.read(str(path))
        assert found is not None
        assert [each.facts["run_id"] for each in found.sections] == ["0", "1", "2"]
        assert found.marks == [mark_of(2), mark_of(3), mark_of(4)]
        assert found.last.exit_code == 2
        assert found.last.reason == "all sent"

    def test_what_another_version_wrote(self, path: Path) -> None:
        """Unknown keys of another version stay in the earlier sections, in order, byte for byte."""
        earlier = {"a_new_fact": [1.0, None]} | facts(ledger=mark_of(1)._asdict() | {"more": 1}, reason=None)
        path.write_text(json.dumps({"a_new_key": 2, "runs": [earlier]}))
        manifest = Manifest.read(str(path))
        assert manifest is not None
        manifest.begin(section())
        written = {"schema": 1, "a_new_key": 2, "runs": [earlier, facts()]}
        assert path.read_text() == json.dumps(written, indent=2) + "\n"

    def test_private(self, path: Path) -> None:
        """It is private to its owner, with any umask."""
        usual = os.umask(0)
        try:
            Manifest(str(path)).begin(section())
        finally:
            os.umask(usual)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert names(path.parent) == {path.name}

    def test_any_text(self, path: Path) -> None:
        """A name that is not UTF-8 is stored as plain ASCII, in any encoding of the machine."""
        command = ["bulkstop", os.fsdecode(b"\xff.csv"), "é\u2028\N{GRINNING FACE}"]
        Manifest(str(path)).begin(section(command=command))
        assert path.read_bytes().isascii()
        found = Manifest.read(str(path))
        assert found is not None
        assert found.last.facts["command"] == command

    def test_never_half(self, path: Path) -> None:
        """A reader during a replacement sees one state or the next, completely."""
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
        fsync, replace = os.fsync, os.replace

        def noted_fsync(fd: int) -> None:
            fsync(fd)
            order.append(f"fsync of {os.fstat(fd).st_size} bytes")

        def noted_replace(source: str, target: str, **folders: int) -> None:
            order.append("replace")
            replace(source, target, **folders)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "replace", noted_replace)
        Manifest(str(path)).begin(section())
        assert order == [f"fsync of {path.stat().st_size} bytes", "replace"]


class TestFullDisk:
    """Effects of a manifest that cannot be written."""

    def test_the_old_one_stays(self, path: Path) -> None:
        """A full disk leaves only the old manifest; the lines matter more, so it is reported at the end."""
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
            with pytest.raises(OutputError, match=rf": cannot be written \({why}\); give output with another file$"):
                check_writable(name)

    def test_one_that_is_there_is_kept(self, path: Path) -> None:
        """To find out changes nothing."""
        path.write_text("{}")
        check_writable(str(path))
        assert path.read_text() == "{}"
        assert names(path.parent) == {path.name}


class TestReading:
    """A file is read as a manifest, or refused."""

    def test_absent(self, path: Path) -> None:
        """A missing manifest is None."""
        assert Manifest.read(str(path)) is None

    def test_a_directory(self, tmp_path: Path) -> None:
        """An unreadable manifest is one line with the reason."""
        with pytest.raises(OutputError, match=r": cannot be read \(Is a directory\); restore it, or give"):
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
        """A file that is not a manifest is one line with the remedy."""
        path.write_text(text)
        with pytest.raises(
            OutputError, match=r"cannot be read \(it is not a manifest, or was damaged\); restore it, or giv"
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
        with pytest.raises(OutputError, match="it is not a manifest, or was damaged"):
            Manifest.read(str(path))

    @pytest.mark.parametrize("schema", [1, 1.7, 2, 2.0, 17, 10**400, None, True, "1", [], -1, float("inf")])
    def test_schema(self, schema: object, path: Path) -> None:
        """A manifest of a higher version is refused as such; an invalid version is damage."""
        path.write_text(json.dumps({"schema": schema, "runs": [facts()]}))
        if isinstance(schema, int | float) and schema is not True and schema < 2:
            assert Manifest.read(str(path)) is not None
            return
        said = "use that version$" if schema in (2, 17, 10**400) else "it is not a manifest, or was damaged"
        with pytest.raises(OutputError, match=said) as caught:
            Manifest.read(str(path))
        assert ("is of a newer version of bulkstop (its schema is 2" in str(caught.value)) is (schema == 2)

    @pytest.mark.parametrize("key", ["run_id", "trusted", "outcomes", "unproven_lines_taken_over"])
    def test_another_kind(self, key: str, path: Path) -> None:
        """Values that are read later are type-checked at once."""
        path.write_text(json.dumps({"runs": [facts(**{key: [1]})]}))
        with pytest.raises(OutputError, match="it is not a manifest, or was damaged"):
            Manifest.read(str(path))

    @given(st.binary())
    def test_any_bytes(self, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
        """Arbitrary bytes are an OutputError and nothing else."""
        path = tmp_path_factory.mktemp("any") / "m.run.json"
        path.write_bytes(data)
        with pytest.raises(OutputError):
            Manifest.read(str(path))
