"""The packing of lists is recognized by their first bytes; the members of an archive are inputs in order."""

import bz2
import gzip
import io
import lzma
import os
import struct
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bulkstop.errors import InputError
from bulkstop.model import Defaults, Row
from bulkstop.source import read
from bulkstop.source.inputs import resolve_input
from bulkstop.source.protect import read_protection
from bulkstop.source.understood import Understood
from bulkstop.source.unpack import MOST_MEMBERS, open_members

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CSV = b"campaign_id\ncd-1\ncd-2\n"
MEANT = 'give max_input_size="4GB", or more, if this is right'


def make_zip(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def make_tar(members: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of these members; one whose name ends with a slash is a folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda content: make_zip({"list.csv": content}),
    "tar": lambda content: make_tar({"list.csv": content}),
}


@pytest.fixture(params=["file", "standard input", "pipe"])
def rows(request: pytest.FixtureRequest, tmp_path: Path, defaults: Defaults) -> Callable[..., list[Row]]:
    """Read an input as a file, or as a stream that can be read but once."""

    def rows(content: bytes, name: str = "list", understood: list[Understood] | None = None) -> list[Row]:
        path = tmp_path / name
        if request.param == "standard input":
            stdin = io.BytesIO(content)
            found = list(read(["-"], defaults=defaults, stdin=stdin, understood=understood))
            assert not stdin.closed
            return found
        if request.param == "file":
            path.write_bytes(content)
            return list(read([str(path)], defaults=defaults, understood=understood))
        os.mkfifo(path)
        writer = threading.Thread(target=_write, args=(path, content))
        writer.start()
        try:
            return list(read([str(path)], defaults=defaults, understood=understood))
        finally:
            writer.join()
            path.unlink()

    return rows


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except BrokenPipeError:
        return


Rows = Callable[..., list[Row]]


@pytest.mark.parametrize("packing", PACKERS)
def test_packings(rows: Rows, packing: str) -> None:
    """A list is unpacked under any name, from any source, and also packed twice."""
    understood: list[Understood] = []
    packed = PACKERS[packing](CSV)
    assert [row.campaign_id for row in rows(packed, "list.txt", understood)] == ["cd-1", "cd-2"]
    assert understood[0].packing == packing
    again = [row.campaign_id for row in rows(gzip.compress(packed), "list.csv", understood)]
    assert (again, understood[1].packing) == (["cd-1", "cd-2"], f"gz, {packing}")


@pytest.mark.parametrize("packing", ["gz", "zst", "bz2", "xz"])
def test_several_in_one(rows: Rows, packing: str) -> None:
    """Concatenated packed parts are one list."""
    pack = PACKERS[packing]
    assert [row.campaign_id for row in rows(pack(b"campaign_id\ncd") + pack(b"-1\ncd-2\n"))] == ["cd-1", "cd-2"]


@pytest.mark.parametrize("pack", [make_zip, make_tar])
def test_members(tmp_path: Path, defaults: Defaults, pack: Callable[[Mapping[str, bytes]], bytes]) -> None:
    """The members of an archive are inputs in order, each in its format; system files are ignored."""
    members = {
        "b/": b"",
        "b/list.csv": CSV,
        "__MACOSX/b/._list.csv": b"\0\5\x16\7",
        "b/.DS_Store": b"\0\0\0\1Bud1",
        "empty.csv": b"",
        "a.txt": b"A17\n",
        "c.jsonl.gz": gzip.compress(b'{"id": "cd-3"}\n'),
        "in.zip": make_zip({"d.txt": b"cd-4\n"}),
    }
    path = tmp_path / "lists.zip"
    path.write_bytes(pack(members))
    found = list(read([str(path)], defaults=defaults))
    assert [(row.source, row.line, row.campaign_id) for row in found] == [
        (f"{path}/b/list.csv", 2, "cd-1"),
        (f"{path}/b/list.csv", 3, "cd-2"),
        (f"{path}/a.txt", 1, "A17"),
        (f"{path}/c.jsonl.gz", 1, "cd-3"),
        (f"{path}/in.zip/d.txt", 1, "cd-4"),
    ]


def _encrypted() -> bytes:
    packed = bytearray(make_zip({"list.csv": CSV}))
    packed[packed.find(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def _of_method(method: int) -> bytes:
    packed = bytearray(make_zip({"list.csv": CSV}))
    for header, place in ((b"PK\1\2", 10), (b"PK\3\4", 8)):
        struct.pack_into("<H", packed, packed.find(header) + place, method)
    return bytes(packed)


def _twice() -> bytes:
    return make_zip({"list.csv": CSV, "lisu.csv": CSV}).replace(b"lisu.csv", b"list.csv")


def _linked() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("list.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


def _linked_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("list.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_encrypted(), r"/list\.csv: is encrypted; unpack it with its password"),
        (_of_method(9), r"/list\.csv: is packed in a way that cannot be read \(method 9\)"),
        (_twice(), r"/list\.csv: is in it twice; pack the lists again"),
        (_linked(), r"/list\.csv: is a link; pack the file itself"),
        (_linked_tar(), r"/list\.csv: is a link; pack the file itself"),
        (make_zip({"../list.csv": CSV}), r": holds '\.\./list\.csv', a name that points outside of it"),
        (make_tar({"/etc/list.csv": CSV}), r": holds '/etc/list\.csv', a name that points outside of it"),
        (make_zip({"C:\\list.csv": CSV}), r": holds 'C:.+list\.csv', a name that points outside of it"),
        (make_zip({f"{n}.txt": b"cd-1" for n in range(MOST_MEMBERS + 1)}), ": holds more than 1,000 files"),
        (make_tar({f"{n}.txt": b"A17\n" for n in range(MOST_MEMBERS + 1)}), ": holds more than 1,000 files"),
        (make_zip({}), ": contains no list$"),
        (make_zip({"list.csv": b""}), ": contains no list: what is in it is empty"),
        (make_zip({"word/document.xml": b"<x/>"}), r": is a document, not a list; save its table as CSV"),
        (gzip.compress(gzip.compress(gzip.compress(gzip.compress(CSV)))), ": is packed more than 3 times"),
        (b"Rar!\x1a\x07\1\0", ": is a RAR archive; unpack it, or pack it as .zip or .gz"),
        (gzip.compress(b"7z\xbc\xaf\x27\x1c\0\4"), ": is packed with 7-Zip; unpack it, or pack it as .zip or .gz"),
    ],
    ids=lambda value: value[2:30] if isinstance(value, str) else "",
)
def test_what_cannot_be_unpacked(rows: Rows, content: bytes, why: str) -> None:
    """An archive without lists, or an unsafe one, is one line with the remedy."""
    with pytest.raises(InputError, match=why) as caught:
        rows(content)
    assert "\n" not in str(caught.value)


LONG = b"campaign_id\n" + b"".join(b"cd-%d\n" % (number * 7919) for number in range(5000))


@pytest.mark.parametrize("cut", [0.02, 0.5, 0.85])
@pytest.mark.parametrize("packing", PACKERS)
def test_cut_off(rows: Rows, packing: str, cut: float) -> None:
    """A file that was cut off anywhere is an error, never a shorter list."""
    packed = PACKERS[packing](LONG)
    with pytest.raises(InputError, match=r"breaks off|damaged"):
        rows(packed[: int(len(packed) * cut)])


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zip"])
def test_damaged(rows: Rows, packing: str) -> None:
    """A flipped bit is an error where the packing has a checksum."""
    packed = bytearray(PACKERS[packing](LONG))
    packed[len(packed) // 2] ^= 1
    with pytest.raises(InputError, match="the packed file is damaged; fetch it again"):
        rows(bytes(packed))


@pytest.mark.parametrize("packing", PACKERS)
def test_bombs(rows: Rows, packing: str) -> None:
    """A file that unpacks to more than 200 times its size is refused in any packing, also nested."""
    bomb = PACKERS[packing](b"campaign_id\ncd-1" + b" " * 3_000_000)
    packed = gzip.compress(bomb) if packing == "tar" else bomb
    for content in (packed, make_zip({"list.txt": packed})):
        with pytest.raises(InputError, match=rf"unpacks to more than 200 times its .* KB, which no list does; {MEANT}"):
            rows(content)


def test_many_members_are_one_input(tmp_path: Path, defaults: Defaults) -> None:
    """The members of an archive count together."""
    path = tmp_path / "lists.zip"
    path.write_bytes(make_zip({f"{number}.txt": LONG for number in range(4)}))
    with pytest.raises(InputError, match=rf"lists\.zip/2\.txt: unpacks to more than 150 KB; {MEANT}"):
        list(read([str(path)], defaults=defaults, most=150_000))


@pytest.mark.parametrize("ending", ["gz", "zip", "zst", "tgz"])
def test_what_was_cut_to_nothing(tmp_path: Path, defaults: Defaults, ending: str) -> None:
    """An empty file that is called packed was cut off, for even an empty list has a header then."""
    path = tmp_path / f"list.csv.{ending}"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=rf"list\.csv\.{ending}: is empty, so it was cut off"):
        list(read([str(path)], defaults=defaults))


def test_a_list_that_comes_letter_by_letter(defaults: Defaults) -> None:
    """A packing is recognized even if its first bytes arrive one by one."""

    class Slow(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self._content = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1, /) -> bytes:
            return self._content.read(1)

    for pack in (*PACKERS.values(), bytes):
        found = read(["-"], defaults=defaults, stdin=Slow(pack(CSV)))  # type: ignore[arg-type]
        assert [row.campaign_id for row in found] == ["cd-1", "cd-2"]


def test_without_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this Python cannot unpack zstd, the error says how to install it."""
    for name in ("backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "list.csv.zst"
    path.write_bytes(zstd.compress(CSV))
    with pytest.raises(InputError, match=r"list\.csv\.zst: is packed with zst, .*; run .*backports\.zstd"):
        list(open_members(resolve_input(str(path), None)))


def test_rules_are_unpacked_too(tmp_path: Path) -> None:
    """A file of rules may be packed as a list may be, but is not a workbook."""
    path = tmp_path / "keep.txt"
    path.write_bytes(make_zip({"a.txt": b"cd-1\n", "b.txt": b"name:Hotline\n"}))
    assert read_protection([str(path)]).rules == 2
    path.write_bytes(make_zip({"xl/workbook.xml": b"<x/>"}))
    with pytest.raises(InputError, match=r"^protect .*keep\.txt: is a workbook; save the rules as plain text"):
        read_protection([str(path)])
