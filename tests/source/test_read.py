"""read(): inputs of every form, in their order, lazily, or one clear error."""

import gzip
import io
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Outcome, Result, Row
from bulkstop.source import read

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Read = Callable[[str, bytes], list[Row]]
SAMPLES = Path(__file__).parents[2] / "samples"
CSV = b"campaign_id\ncd-1\ncd-2\n"


def ids(rows: list[Row]) -> list[str]:
    """Return the campaign ids of rows that are all campaigns."""
    assert all(isinstance(row, Campaign) for row in rows), rows
    return [row.campaign_id for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", CSV),
        ("LIST.CSV", CSV),
        ("list.jsonl", b'{"campaign_id": "cd-1"}\n"cd-2"\n'),
        ("list.ndjson", b'"cd-1"\n{"id": "cd-2"}\n'),
        ("list.txt", b"cd-1\ncd-2\n"),
    ],
)
def test_every_form_by_name(rows_of: Read, name: str, content: bytes) -> None:
    """The ending of a name, in any letter case, tells the form; packed with gzip it reads the same."""
    assert ids(rows_of(name, content)) == ["cd-1", "cd-2"]
    packed = gzip.compress(content[:9], mtime=0) + gzip.compress(content[9:])
    assert ids(rows_of(name + ".Gz", packed)) == ["cd-1", "cd-2"]


def test_source_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defaults: Defaults) -> None:
    """Inputs follow one another; each row carries its file, as given, and its line."""
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(CSV)
    Path("b.txt").write_bytes(b"\ncd-3\n..\n")
    rows = list(read(["b.txt", "./a.csv"], defaults=defaults))
    assert [(row.source, row.line, row.campaign_id) for row in rows] == [
        ("b.txt", 2, "cd-3"),
        ("b.txt", 3, ".."),
        ("./a.csv", 2, "cd-1"),
        ("./a.csv", 3, "cd-2"),
    ]


def test_no_inputs(defaults: Defaults) -> None:
    """No inputs give no rows."""
    assert list(read([], defaults=defaults)) == []


@pytest.mark.parametrize(("fmt", "content"), [("csv", CSV), ("jsonl", b'"cd-1"\n"cd-2"'), ("txt", b"cd-1\r\ncd-2")])
def test_standard_input(defaults: Defaults, fmt: str, content: bytes) -> None:
    """`-` is standard input in the given format; it stays open."""
    stdin = io.BytesIO(content)
    rows = list(read(["-"], defaults=defaults, fmt=fmt, stdin=stdin))
    assert ids(rows) == ["cd-1", "cd-2"]
    assert {row.source for row in rows} == {"-"}
    assert not stdin.closed


def test_standard_input_of_the_process(defaults: Defaults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stream of its own, `-` reads the process's standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cd-1\n")))
    assert ids(list(read(["-"], defaults=defaults, fmt="txt"))) == ["cd-1"]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="closed"):
        list(read(["-"], defaults=defaults, fmt="txt"))


def test_what_tells_no_form(defaults: Defaults) -> None:
    """If nothing tells the format of an input, --format must; an unknown format is an error at once."""
    with pytest.raises(InputError, match=r"^-: the format is unknown: .*format csv\|json\|jsonl\|txt\|xlsx$"):
        list(read(["-"], defaults=defaults, stdin=io.BytesIO(b"A17\nA18\n")))
    with pytest.raises(InputError, match=r"^-: is empty$"):
        list(read(["-"], defaults=defaults, stdin=io.BytesIO(b"\n")))
    with pytest.raises(InputError, match=r"^format xml: .*csv\|json\|jsonl\|txt\|xlsx$"):
        read(["-"], defaults=defaults, fmt="xml")


def test_standard_input_only_once(defaults: Defaults) -> None:
    """Standard input cannot be read twice."""
    with pytest.raises(InputError, match="twice"):
        read(["-", "-"], defaults=defaults, fmt="txt")


def test_unknown_ending(tmp_path: Path, defaults: Defaults) -> None:
    """The given format overrides the name, and a name without a known ending leaves it to the content."""
    odd, plain = tmp_path / "list.dat", tmp_path / "list.txt"
    odd.write_bytes(CSV)
    plain.write_bytes(b"A17\n")
    assert ids(list(read([str(odd), str(plain)], defaults=defaults))) == ["cd-1", "cd-2", "A17"]
    with pytest.raises(InputError, match=r"list\.txt: line 1: no column with campaign ids among 'A17'"):
        list(read([str(odd), str(plain)], defaults=defaults, fmt="csv"))


def test_not_there(tmp_path: Path, defaults: Defaults) -> None:
    """A missing file, a directory and an impossible name are errors before anything is read."""
    good = tmp_path / "good.txt"
    good.write_bytes(b"cd-1\n")
    for name, why in (("missing.csv", "No such file"), ("nul\0.csv", "no file of this name")):
        with pytest.raises(InputError, match=why):
            read([str(good), str(tmp_path / name)], defaults=defaults)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="directory"):
        read([str(good), str(tmp_path / "folder.csv")], defaults=defaults)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_not_allowed(tmp_path: Path, defaults: Defaults) -> None:
    """A file that may not be read is an error that says so."""
    path = tmp_path / "secret.csv"
    path.write_bytes(CSV)
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        list(read([str(path)], defaults=defaults))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens but cannot be read")
def test_fails_while_reading(defaults: Defaults) -> None:
    """A file that cannot be read further is one error with the line."""
    with pytest.raises(InputError, match=r"^/proc/self/mem: line 1: cannot be read further: "):
        list(read(["/proc/self/mem"], defaults=defaults, fmt="txt"))


def test_truncated_gzip(tmp_path: Path, defaults: Defaults) -> None:
    """A cut-off .gz is one error with file and line, after the rows before the cut."""
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(b"".join(b"cd-%d\n" % n for n in range(50_000)))[:-5000])
    rows: list[Row] = []
    with pytest.raises(InputError) as caught:
        rows.extend(read([str(path)], defaults=defaults))
    assert ids(rows) == [f"cd-{n}" for n in range(len(rows))]
    assert 1000 < len(rows) < 50_000
    assert str(caught.value).startswith(f"{path}: line {len(rows) + 1}: cannot be read further: ")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(gzip.compress(b"cd-1\n", mtime=0)[:-9], id="cut off"),
        pytest.param(gzip.compress(b"cd-1\n", mtime=0) + b"rubbish", id="followed by rubbish"),
        pytest.param(gzip.compress(b"c", mtime=0)[:5], id="cut off in its header"),
        pytest.param(gzip.compress(b"c", mtime=0)[:10] + b"\xff" * 50, id="damaged"),
    ],
)
def test_corrupt_gzip(rows_of: Read, content: bytes) -> None:
    """A .gz that is empty, damaged or followed by rubbish is an error, never a shorter list."""
    with pytest.raises(InputError, match=r"list\.txt\.gz: "):
        rows_of("list.txt.gz", content)


def test_damaged_gzip(rows_of: Read) -> None:
    """A .gz with a flipped byte is an error."""
    packed = bytearray(gzip.compress(b"".join(b"cd-%d\n" % (n * 7919) for n in range(2000))))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(InputError, match="cannot be read further"):
        rows_of("list.txt.gz", bytes(packed))


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.txt"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04....", "the packed file is damaged; fetch it again"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "cannot be read as a workbook; save it as CSV"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "is packed with 7-Zip; unpack it, or pack it as .zip or .gz"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xef\xbb\xbf<!DOCTYPE html>\n", "web page"),
    ],
)
def test_foreign_contents(rows_of: Read, name: str, content: bytes, why: str) -> None:
    """Content of a foreign format is one error with the remedy."""
    with pytest.raises(InputError, match=rf"{name}: (line 1: )?.*{why}"):
        rows_of(name, content)


@pytest.mark.parametrize(
    ("name", "content"), [("list.csv", CSV), ("list.jsonl", b'"cd-1"\n"cd-2"'), ("list.txt", b"cd-1\ncd-2")]
)
def test_byte_order_mark(rows_of: Read, name: str, content: bytes) -> None:
    """A UTF-8 byte order mark is not a part of the first line, not even of a blank one."""
    assert ids(rows_of(name, b"\xef\xbb\xbf" + content)) == ["cd-1", "cd-2"]
    assert ids(rows_of(name, b"\xef\xbb\xbf\n" + content)) == ["cd-1", "cd-2"]


@pytest.mark.parametrize("end", [b"\r\n", b"\r\r\n", b"\n"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", b"id\n\ncd-1\n \ncd-2"),
        ("list.jsonl", b'\n\n"cd-1"\n\t\n"cd-2"'),
        ("list.txt", b"#\n\ncd-1\n\ncd-2"),
    ],
)
def test_line_ends(rows_of: Read, name: str, content: bytes, end: bytes) -> None:
    """Lines end with LF, CR LF, or that converted once too often; blank ones are not rows but count as lines."""
    rows = rows_of(name, content.replace(b"\n", end))
    assert ids(rows) == ["cd-1", "cd-2"]
    assert [row.line for row in rows] == [3, 5]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.txt"])
def test_lines_that_end_with_cr_alone(rows_of: Read, name: str) -> None:
    """Lines may all end with a carriage return alone; what comes behind them may end as it likes."""
    content = {"csv": CSV, "txt": b"cd-1\ncd-2\n", "jsonl": b'{"id": "cd-1"}\n{"id": "cd-2"}\n'}[name[5:]]
    rows = rows_of(name, b"\xef\xbb\xbf" + content.replace(b"\n", b"\r"))
    assert (ids(rows), rows[-1].line) == (["cd-1", "cd-2"], len(content.splitlines()))
    more = rows_of(name, content.replace(b"\n", b"\r") + content + content.replace(b"\n", b"\r\n"))
    assert (ids(more), more[-1].line) == (["cd-1", "cd-2"] * 3, 3 * len(content.splitlines()))


def test_file_name_that_is_no_text(tmp_path: Path, defaults: Defaults) -> None:
    """A file whose name cannot be encoded is read under a name that can."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.txt")
    Path(path).write_bytes(b"cd-1\n")
    (row,) = read([path], defaults=defaults)
    assert row.source == f"{tmp_path}/caf\ufffd\ufffd.txt"


def test_rows_before_the_end(defaults: Defaults) -> None:
    """The first row comes before the input has ended."""
    for fmt, first in (("csv", b"id\ncd-1\n"), ("jsonl", b'"cd-1"\n'), ("txt", b"cd-1\n")):
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as stdin, os.fdopen(writer, "wb", buffering=0) as pipe:
            pipe.write(first)
            rows = read(["-"], defaults=defaults, fmt=fmt, stdin=stdin)
            assert next(rows).campaign_id == "cd-1"
            pipe.write(first.splitlines()[-1].replace(b"1", b"2"))
            pipe.close()
            assert next(rows).campaign_id == "cd-2"
            assert next(rows, None) is None


def test_named_pipe(tmp_path: Path, defaults: Defaults) -> None:
    """A named pipe is an input like a file, packed or not."""
    for name, content in (("list.csv", CSV), ("list.csv.gz", gzip.compress(CSV, mtime=0))):
        path = tmp_path / name
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        assert ids(list(read([str(path)], defaults=defaults))) == ["cd-1", "cd-2"]
        writer.join()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the open files there")
def test_file_is_closed_when_reading_ends_early(tmp_path: Path, defaults: Defaults) -> None:
    """An abandoned iteration leaves no file open."""
    path = tmp_path / "list.csv.gz"
    path.write_bytes(gzip.compress(CSV, mtime=0))
    rows = read([str(path)], defaults=defaults)
    assert next(rows).campaign_id == "cd-1"
    assert path in open_files()
    del rows
    assert path not in open_files()


def open_files() -> set[Path]:
    """Return the files this process has open."""
    return {link.resolve() for link in Path("/proc/self/fd").iterdir()}


class Endless(io.RawIOBase):
    """A line without end, until the reader has taken more than it may."""

    def __init__(self, head: bytes, most: int) -> None:
        self.left, self.head = most, head

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer with the head, then with one letter."""
        view = memoryview(buffer)
        piece = (self.head or b"x" * len(view))[: min(len(view), self.left)]
        self.head = self.head[len(piece) :]
        view[: len(piece)] = piece
        self.left -= len(piece)
        return len(piece)


@pytest.mark.parametrize(("fmt", "head"), [("csv", b"id\n"), ("csv", b'id\n"'), ("jsonl", b'"'), ("txt", b"")])
def test_memory_is_bounded(defaults: Defaults, fmt: str, head: bytes) -> None:
    """A line of 100 MB is never held as a whole."""
    stdin = io.BufferedReader(Endless(head, 100_000_000))
    tracemalloc.start()
    try:
        if head.endswith(b'\n"'):
            with pytest.raises(InputError, match="never closed"):
                list(read(["-"], defaults=defaults, fmt=fmt, stdin=stdin))
        else:
            (row,) = read(["-"], defaults=defaults, fmt=fmt, stdin=stdin)
            assert isinstance(row, Result)
            assert row.error == "the row is longer than 1,048,576 characters"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@settings(max_examples=300)
@given(st.sampled_from(["csv", "jsonl", "txt"]), st.sampled_from([b"", b"id,name\n", b'id;x\n"']), st.binary())
def test_any_bytes(fmt: str, head: bytes, content: bytes) -> None:
    """Any bytes are rows or one InputError, and every row can be written again."""
    rows, error = read_all(fmt, head + content)
    for row in rows:
        assert f"{row.campaign_id}{row.row}{row.account_id}".encode()
        assert isinstance(row, Campaign) or (row.outcome is Outcome.INVALID and row.error and row.line)
    assert error is None or (error.encode() and "\n" not in error)


def read_all(fmt: str, content: bytes) -> tuple[list[Row], str | None]:
    """Return the rows of this standard input and, if there is one, the error they end with."""
    rows: list[Row] = []
    try:
        rows.extend(read(["-"], defaults=Defaults(CampaignType.SMS, "a", "s"), fmt=fmt, stdin=io.BytesIO(content)))
    except InputError as error:
        return rows, str(error)
    return rows, None


CSV_LIKE = st.lists(
    st.sampled_from([b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"id", b"cd-1", b" ", b"#", b'{"id":', b"}"])
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["csv", "jsonl", "txt"]), CSV_LIKE)
def test_broken_text(fmt: str, parts: list[bytes]) -> None:
    """Text that is nearly right gives rows in the order of their lines, or one InputError."""
    first = {"csv": b"id,name\n", "jsonl": b"\n", "txt": b"#\n"}[fmt]
    rows, error = read_all(fmt, first + b"".join(parts))
    assert error is None or "never closed" in error or "not JSON" in error
    lines = [row.line or 0 for row in rows]
    assert lines == sorted(lines)


def test_samples_of_every_form() -> None:
    """The sample inputs of every form list the same campaigns."""
    whole = list(read([str(SAMPLES / "inputs" / "comma.csv")], defaults=Defaults()))
    defaults = Defaults(CampaignType.VOICE, whole[0].account_id, whole[0].stream_id)
    assert len(whole) == 5
    for path in sorted((SAMPLES / "inputs").iterdir()):
        rows = list(read([str(path)], defaults=defaults))
        assert ids(rows) == ids(whole), path
        for row, same in zip(rows, whole, strict=True):
            assert (row.account_id, row.stream_id, row.campaign_type) == (
                same.account_id,
                same.stream_id,
                same.campaign_type,
            )


def test_sample_campaigns() -> None:
    """The sample list is 24 different campaigns, voice and SMS, of two accounts, none in need of a default."""
    rows = list(read([str(SAMPLES / "campaigns.csv")], defaults=Defaults()))
    assert len(set(ids(rows))) == len(rows) == 24
    assert {row.campaign_type for row in rows} == set(CampaignType)
    assert len({row.account_id for row in rows}) == 2


def test_sample_with_problems() -> None:
    """The sample with problems has exactly one row that cannot be used and one campaign listed twice."""
    rows = list(read([str(SAMPLES / "with-problems.csv")], defaults=Defaults()))
    bad = [row for row in rows if isinstance(row, Result)]
    assert [row.campaign_id for row in bad] == [".."]
    assert len({row.campaign_id for row in rows}) == len(rows) - 1


def test_an_input_named_twice_is_refused(tmp_path: Path) -> None:
    """A row is identified by input and line, so an input may occur only once in a run."""
    path = tmp_path / "list.txt"
    path.write_text("cd-1\n")
    with pytest.raises(InputError, match=r"list\.txt is named twice; name it once$"):
        read([str(path), str(path)], defaults=Defaults())
