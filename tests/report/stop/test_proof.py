"""A result file and its manifest prove one another, or what shows a change is named."""

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.errors import OutputError
from bulkstop.report.stop.manifest import Manifest
from bulkstop.report.stop.proof import flaw_in
from tests.report.stop.test_manifest import LINES, manifest_of, mark_of, section


class TestProof:
    """Evidence that lines have changed."""

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
        """Lines added after the end of a run are found; after a killed run they may be its last lines."""
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

    def test_lines_are_counted(self, ledger: Path) -> None:
        """A mark with the right hash but another number of lines is no proof."""
        sections = [section(ledger=mark_of(12)._asdict() | {"lines": 11}, closed=True)]
        assert flaw_in(str(ledger), Manifest("m", sections)) == "lines 1 to 11 are not as they were written"

    def test_the_header_is_no_line(self, tmp_path: Path) -> None:
        """The header of a CSV file is not counted."""
        path, data = tmp_path / "r.csv", b"campaign_id,outcome,source,line\n1,2,3,4\n"
        path.write_bytes(data)
        mark = {"size": len(data), "lines": 1, "sha256": sha256(data).hexdigest()}
        assert flaw_in(str(path), Manifest("m", [section(ledger=mark, closed=True)])) is None
