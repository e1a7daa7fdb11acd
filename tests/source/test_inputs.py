"""Inputs that are made to be long, or have no end, are refused before they fill a memory, a disk or an hour."""

import gzip
import io
from pathlib import Path

import pytest

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults
from bulkstop.source import read, unpack, watch_reading
from bulkstop.source.plan import Plan

DEFAULTS = Defaults(CampaignType.VOICE, "a1", "st-1")
MEANT = 'give max_input_size="4GB", or more, if this is right'


class Endless(io.RawIOBase):
    """Gives the same line for ever."""

    def __init__(self, line: bytes) -> None:
        self._line = line

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer."""
        data = (self._line * (len(buffer) // len(self._line) + 1))[: len(buffer) // len(self._line) * len(self._line)]
        buffer[: len(data)] = data
        return len(data)


def write_packed(path: Path, line: bytes, size: int) -> str:
    """Write a packed file of one line over and over."""
    path.write_bytes(gzip.compress(line * (size // len(line))))
    return str(path)


@pytest.mark.parametrize(
    "line", [b"\n", b"id%500s\n" % b"", b"x", b" "], ids=["blank", "equal rows", "one row", "one blank"]
)
@pytest.mark.parametrize("ending", [".txt.gz", ".jsonl.gz", ".csv.gz"])
def test_a_packed_list_that_is_no_list(tmp_path: Path, line: bytes, ending: str) -> None:
    """A file that unpacks to more than 200 times its size is refused with the remedy, unless a size is given."""
    path = write_packed(tmp_path / f"bomb{ending}", line, 3 * 2**20)
    with pytest.raises(InputError, match=rf"bomb{ending}: unpacks to more than 200 times its \d+ KB, .*; {MEANT}"):
        list(read([path], defaults=DEFAULTS))
    with pytest.raises(InputError, match=rf"bomb{ending}: unpacks to more than 2 MB; {MEANT}"):
        list(read([path], defaults=DEFAULTS, most=2_000_000))


def test_what_a_file_says_of_itself_proves_nothing(tmp_path: Path) -> None:
    """The unpacked size counts, not the size in the last bytes, which a torn file may have from elsewhere."""
    path = tmp_path / "list.txt.gz"
    packed = gzip.compress(b"".join(b"cd-%d\n" % number for number in range(1000)))
    path.write_bytes(packed[:-4] + (10**6 * 3).to_bytes(4, "little"))
    with pytest.raises(InputError, match=r"list\.txt\.gz: line \d+: cannot be read further"):
        list(read([str(path)], defaults=DEFAULTS))
    path.write_bytes(gzip.compress(b"cd-1\n" * 1000))  # more than 100 times its size, and harmless
    assert len(list(read([str(path)], defaults=DEFAULTS))) == 1000


@pytest.mark.parametrize("line", [b"cd-1\n", b"\n", b"cd-1 \n"])
def test_an_input_without_end(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless standard input is refused at the default or given limit."""
    monkeypatch.setattr(unpack, "MOST_BYTES", 100_000)
    for most, size in ((None, "100 KB"), (200_000, "200 KB")):
        stdin = io.BufferedReader(Endless(line))
        with pytest.raises(InputError, match=rf"-: has more than {size}; {MEANT}"):
            for _ in read(["-"], defaults=DEFAULTS, fmt="txt", stdin=stdin, most=most):
                pass


def test_rows_that_take_more_room_than_their_list() -> None:
    """The temporary files of rows are bounded too: a row of five bytes takes a hundred there."""
    campaigns = (Campaign.of_row("cd-1", CampaignType.VOICE, "a1", "st-1", "st-1", "l", n) for n in range(1, 10**6))
    with pytest.raises(InputError, match=rf"rows of the list need more than 100 KB of temporary files; {MEANT}"):
        Plan(campaigns, most=100_000)


@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv"])
@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"   \n", b"\n \r\n"])
def test_blank_lines_cost_nothing(tmp_path: Path, ending: str, blank: bytes) -> None:
    """A million blank lines are passed over in blocks, and every row still knows its line."""
    path, count = tmp_path / f"list{ending}", 100_000
    head = b"campaign_id\n" if ending == ".csv" else b""
    row = b'"cd-%d"\n'
    path.write_bytes(blank + head + b"".join(blank * count + row % number + blank + row % -number for number in (1, 2)))
    lines = blank.count(b"\n")
    first = lines + len(head.splitlines()) + lines * count + 1
    second = first + lines + lines * count + 2
    found = [row.line for row in read([str(path)], defaults=DEFAULTS)]
    assert found == [first, first + lines + 1, second, second + lines + 1]


def test_long_rows_among_blank_lines(tmp_path: Path) -> None:
    """Reading ahead over blank lines loses no part of the rows after them, however long they are."""
    path = tmp_path / "list.jsonl"
    notes = ["x" * size for size in (1, 65_520, 65_536, 200_000, 3)]
    rows = (f'{{"campaign_id": "cd-{n}", "note": "{note}"}}' for n, note in enumerate(notes))
    path.write_text("\n\n\n" + "\n\n".join(rows))
    found = list(read([str(path)], defaults=DEFAULTS))
    assert [row.row and row.row["note"] for row in found] == notes
    assert [row.line for row in found] == [4, 6, 8, 10, 12]


def test_blank_lines_in_a_cell(tmp_path: Path) -> None:
    """Blank lines within quotes are a part of the cell, and count as lines."""
    path = tmp_path / "list.csv"
    path.write_text('campaign_id,note\n\n\ncd-1,"a\n\n\nb"\n\n\ncd-2,\n')
    found = list(read([str(path)], defaults=DEFAULTS))
    assert [(row.line, (row.row or {})["note"]) for row in found] == [(4, "a\n\n\nb"), (10, "")]


def test_tabs_are_no_blank_line(tmp_path: Path) -> None:
    """In a list with tabs, a line of only tabs is not a row, but counts as a line."""
    path = tmp_path / "list.csv"
    path.write_text("campaign_id\tname\n\n\n\t\ncd-1\tx\n")
    assert [row.line for row in read([str(path)], defaults=DEFAULTS)] == [5]


def test_how_far_the_reading_has_come(tmp_path: Path) -> None:
    """A watcher is notified of every megabyte, in bytes and lines, only while it watches."""
    path = tmp_path / "list.jsonl"
    path.write_bytes(b'{"campaign_id": "cd-1", "note": "%01000d"}\n' % 0 * 3200)
    size = path.stat().st_size // 3200
    seen: list[tuple[str, int, int]] = []
    with watch_reading(lambda *notice: seen.append(notice)):
        assert len(list(read([str(path)], defaults=DEFAULTS))) == 3200
    assert [name for name, _, _ in seen] == [str(path)] * 3
    assert all(taken - 20_000 < lines * size <= taken for _, taken, lines in seen)
    list(read([str(path)], defaults=DEFAULTS))
    assert len(seen) == 3
