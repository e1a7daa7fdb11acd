"""Unpacks an input to the bytes of its lists, whatever its name, within limits."""

import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from bulkstop.errors import InputError
from bulkstop.naming import name_setting
from bulkstop.source.encoding import Begun
from bulkstop.source.inputs import MOST_BYTES, STDIN, Input
from bulkstop.text import format_count, format_size, replace_controls, shorten, write_install
from bulkstop.text.faults import explain_os, explain_unpacking

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MOST_TIMES = 200
"""Most times its size that a packed list may unpack to; ids and names reach 10, equal rows 100."""
HARMLESS_BYTES = 2**20
"""Bytes that any packed list may unpack to."""
SMALL_BYTES = 2**20
"""Largest packed file that is unpacked once in advance, which takes half a second at most."""
STEP = 2**20
"""Bytes between two notices of progress."""
MOST_LAYERS = 3
"""Most layers of packing: `a.csv.gz` in a zip has two."""
MOST_MEMBERS = 1000
_MEMORY_BYTES = 2**20
_DIRECTORY_BYTES = 2**10 * MOST_MEMBERS
_DIRECTORY_END_BYTES = 22 + 2**16
_TAR_END_BYTES = 1024
_ENCRYPTED = 0x1
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
_HEAD_BYTES = 265
"""Bytes that identify even a tar archive."""


class Packing(StrEnum):
    """The packing of lists; the values are the usual endings of names."""

    GZIP = "gz"
    ZSTD = "zst"
    BZIP2 = "bz2"
    XZ = "xz"
    ZIP = "zip"
    TAR = "tar"


_MAGIC: Sequence[tuple[int, tuple[bytes, ...], Packing]] = (
    (0, (b"\x1f\x8b\x08",), Packing.GZIP),
    (0, (b"\x28\xb5\x2f\xfd", *(bytes((first, 0x2A, 0x4D, 0x18)) for first in range(0x50, 0x60))), Packing.ZSTD),
    (0, tuple(b"BZh%d%b" % (level, block) for level in range(1, 10) for block in _BZIP2_BLOCKS), Packing.BZIP2),
    (0, (b"\xfd7zXZ\x00",), Packing.XZ),
    (0, (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"), Packing.ZIP),
    (257, (b"ustar",), Packing.TAR),
)
"""The bytes that identify a packing, with their offset."""
_UNREADABLE = (
    (b"7z\xbc\xaf\x27\x1c", "is packed with 7-Zip"),
    (b"Rar!\x1a\x07", "is a RAR archive"),
    (b"\x1f\x9d", "is packed with compress"),
    (b"\x04\x22\x4d\x18", "is packed with lz4"),
    (b"\x89LZO", "is packed with lzop"),
    (b"LZIP", "is packed with lzip"),
)
_ENDINGS = re.compile(r"\.(?:gz|zst|bz2|xz|zip|tgz)$", re.IGNORECASE)
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
_WORKBOOKS = ("xl/workbook.xml", "xl/workbook.bin")
_NO_LISTS = ("word/document.xml", "ppt/presentation.xml", "Index/Document.iwa", "mimetype")
"""Files that only documents of other programs contain; their tables can be saved as CSV."""
_ODS = b"application/vnd.oasis.opendocument.spreadsheet"
_BESIDE = re.compile(r"(?:^|/)(?:__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)")
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:[/\\]|(?:^|[/\\])\.\.(?:[/\\]|$)")


@dataclass(slots=True)
class Budget:
    """The limit of an input: `most` bytes, and if it is packed what lists of `packed_size` bytes may unpack to.

    `packed_size` grows while an input is read from a pipe.
    """

    most: int | None
    packed_size: int = 0
    is_packed: bool = False
    taken: int = 0
    put_aside: int = 0

    def take(self, size: int, label: str) -> None:
        """Count bytes of lists; raises InputError when there are too many."""
        self.taken += size
        self._check(self.taken, label)

    def put(self, size: int, label: str) -> None:
        """Count bytes that are unpacked only to be unpacked again; raises InputError when there are too many."""
        self.put_aside += size
        self._check(self.put_aside, label)

    def _check(self, size: int, label: str) -> None:
        most = MOST_BYTES if self.most is None else self.most
        if size > most:
            raise InputError(
                f"{label}: {'unpacks to' if self.is_packed else 'has'} more than {format_size(most)}; {_remedy()}"
            )
        if self.most is None and self.is_packed and size > max(HARMLESS_BYTES, self.packed_size * MOST_TIMES):
            times = f"{MOST_TIMES} times its {format_size(self.packed_size)}"
            raise InputError(f"{label}: unpacks to more than {times}, which no list does; {_remedy()}")


def _remedy() -> str:
    return f"give {name_setting('max_input_size', '4GB')}, or more, if this is right"


Readable = Any
"""A stream, read by `read1` if it has that; those of libraries and callers share no type."""
Faults = tuple[type[Exception], ...]
"""Errors of a library for a damaged file besides OSError, EOFError and zlib.error."""


class Metered(io.BufferedIOBase):
    """A stream that counts bytes with `count`, which raises InputError at a limit, and raises OSError for damage.

    It calls `notice` after every STEP bytes.
    """

    def __init__(self, raw: Readable, label: str, count: Callable[[int, str], None], faults: Faults = ()) -> None:
        self.taken = 0
        self.notice: Callable[[], object] = lambda: None
        self._read = getattr(raw, "read1", raw.read)
        self._label = label
        self._count = count
        self._faults = faults
        self._next_notice = STEP

    def readable(self) -> bool:
        """Tell that the stream can be read."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `read1` does; a text reads again until it gets nothing."""
        return self.read1(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes."""
        try:
            data: bytes = self._read(size)
        except self._faults as fault:
            raise OSError(str(fault)) from None  # without a number, as for any damaged file
        self.taken += len(data)
        if self.taken >= self._next_notice:
            self._next_notice = self.taken + STEP
            self.notice()
        self._count(len(data), self._label)
        return data


class _Tail(Metered):
    """The bytes of a tar archive; the last ones are kept, because they show whether the archive was cut off."""

    _tail = b""

    def read1(self, size: int = -1, /) -> bytes:
        data = super().read1(size)
        self._tail = (self._tail + data)[-_TAR_END_BYTES:]
        return data

    def check_end(self) -> None:
        while self.read1(STEP):
            pass
        if self._tail.strip(b"\0") or not self._tail:
            raise EOFError


@dataclass(frozen=True, slots=True)
class Member:
    """A list in an input: the name that is shown, its bytes, and its packing, outermost first."""

    label: str
    stream: Metered
    packing: tuple[Packing, ...] = ()
    is_workbook: bool = False


def open_members(entry: Input, stdin: BinaryIO | None = None, most: int | None = None) -> Iterator[Member]:
    """Yield each list in an input, which must be read before the next; most inputs are a single list.

    Standard input (`stdin`, or the process's own) stays open. Raises InputError for what cannot be unpacked; so does
    reading more than `most` bytes, or more than the default limits.
    """
    with ExitStack() as stack:
        raw, size = _open(entry, stdin, stack)
        budget = Budget(most, size or 0)
        layer = _Layer(raw if size is not None else _Pipe(raw, budget), entry.label, seekable=size is not None)
        if entry.name != STDIN and _is_cut_off(layer.head, entry.name):
            raise InputError(
                f"{entry.label}: is empty, so it was cut off: even a packed empty list has some bytes; fetch it again"
            )
        budget.is_packed = layer.packing is not None
        if budget.is_packed and size and size <= SMALL_BYTES and most is None:
            _refuse_bomb(entry, size)
        yield from _Unpacking(budget, stack).members(layer)


def _refuse_bomb(entry: Input, size: int) -> None:
    """Raise InputError in advance for a small file that unpacks to too much, because making its rows takes long."""
    with suppress(OSError, EOFError, zlib.error), Path(entry.name).open("rb") as raw, ExitStack() as stack:
        budget = Budget(None, size, is_packed=True)
        for member in _Unpacking(budget, stack).members(_Layer(raw, entry.label, seekable=True)):
            while member.stream.read1(STEP):
                pass


def _open(entry: Input, stdin: BinaryIO | None, stack: ExitStack) -> tuple[BinaryIO, int | None]:
    """Return the bytes of an input, and their number; None if that is unknown."""
    if entry.name == STDIN:
        return stdin or _standard_input(), None
    try:
        raw = stack.enter_context(Path(entry.name).open("rb"))  # noqa: SIM115 - the stack closes it
        status = os.fstat(raw.fileno())
    except OSError as error:
        raise InputError(f"{entry.label}: cannot be read: {explain_os(error)}") from None
    return raw, status.st_size if stat.S_ISREG(status.st_mode) else None


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("- (standard input): is closed; pipe a list into it, or name a file")
    return sys.stdin.buffer


def _is_cut_off(head: bytes, name: str) -> bool:
    return len(head) < 2 and bool(_ENDINGS.search(name))


class _Pipe:
    """A stream of unknown size, such as a pipe, whose bytes are counted as they are read."""

    def __init__(self, raw: Readable, budget: Budget) -> None:
        self._read = getattr(raw, "read1", raw.read)
        self._budget = budget

    def read1(self, size: int = -1) -> bytes:
        data: bytes = self._read(size)
        self._budget.packed_size += len(data)
        return data

    read = read1


class _Layer:
    """Bytes that may be packed again, with the name that is shown and their outer packings."""

    def __init__(
        self,
        raw: Readable,
        label: str,
        packing: tuple[Packing, ...] = (),
        faults: Faults = (),
        *,
        seekable: bool = False,
    ) -> None:
        self.label = label
        self.outer = packing
        self.faults = faults
        self.is_seekable = seekable
        try:
            self.head = _read_head(raw)
        except (OSError, EOFError, zlib.error, *faults) as error:  # type: ignore[misc]  # mypy cannot see into the last
            raise InputError(f"{label}: line 1: cannot be read further: {_explain(error)}") from None
        if seekable:
            raw.seek(0)
        self.raw: Readable = raw if seekable else Begun(self.head, raw)
        self.packing = next((packing for at, magic, packing in _MAGIC if self.head.startswith(magic, at)), None)


def _read_head(raw: Readable) -> bytes:
    """Return the first bytes, enough to identify them; for a text only those of a single read."""
    read = getattr(raw, "read1", raw.read)
    head: bytes = read(_HEAD_BYTES)
    while head and _may_be_packed(head) and (more := read(_HEAD_BYTES - len(head))):
        head += more
    return head


def _may_be_packed(head: bytes) -> bool:
    """Return whether more bytes are needed; a packed file never begins with a line of text."""
    return len(head) < _HEAD_BYTES and (b"\n" not in head or b"\0" in head or not head.isascii())


def _explain(error: Exception) -> str:
    return explain_unpacking(error if isinstance(error, OSError | EOFError) else OSError(str(error)))


@dataclass(slots=True)
class _Unpacking:
    """Unpacks one input, layer by layer; the bytes of all members count together."""

    budget: Budget
    stack: ExitStack

    def members(self, layer: _Layer) -> Iterator[Member]:
        """Yield the lists in these bytes."""
        if layer.packing is None:
            _refuse_unreadable(layer)
            stream = Metered(layer.raw, layer.label, self.budget.take, layer.faults)
            yield Member(layer.label, stream, layer.outer, is_workbook=layer.head.startswith(_OLD_WORKBOOK))
            return
        if len(layer.outer) == MOST_LAYERS:
            raise InputError(f"{layer.label}: is packed more than {format_count(MOST_LAYERS, 'time')}; unpack it")
        packing = (*layer.outer, layer.packing)
        if layer.packing is Packing.ZIP:
            yield from self._of_zip(layer, packing)
        elif layer.packing is Packing.TAR:
            yield from self._of_tar(layer, packing)
        else:
            stream, faults = _open_packed(layer)
            with stream:
                yield from self.members(_Layer(stream, layer.label, packing, (*layer.faults, *faults)))

    def _of_zip(self, layer: _Layer, packing: tuple[Packing, ...]) -> Iterator[Member]:
        from zipfile import ZipFile  # most lists are no zip

        file = layer.raw if layer.is_seekable else self._spool(layer)
        _check_directory(file, layer.label)
        try:
            archive = ZipFile(file)
        except (OSError, EOFError, *zip_faults()) as error:  # type: ignore[misc]  # mypy cannot see into the last
            raise InputError(f"{layer.label}: cannot be read: {_explain(error)}") from None
        with archive:
            if _is_workbook(archive, layer.label):
                file.seek(0)
                yield Member(layer.label, Metered(file, layer.label, self.budget.take), layer.outer, is_workbook=True)
                return
            faults = (*layer.faults, *zip_faults())
            for info, label in _list_members(archive, layer.label):
                with _open_member(archive, info, label) as stream:
                    yield from self.members(_Layer(stream, label, packing, faults))

    def _of_tar(self, layer: _Layer, packing: tuple[Packing, ...]) -> Iterator[Member]:
        import tarfile  # most lists are no tar archive

        counted = _Tail(layer.raw, layer.label, self.budget.put, layer.faults)
        seen = set[str]()
        try:
            with tarfile.open(fileobj=counted, mode="r|") as archive:
                for info in archive:
                    label = _label_member(layer.label, info.name, seen)
                    if not info.isdir() and not _BESIDE.search(info.name):
                        if not info.isfile():
                            raise InputError(f"{label}: is a link; pack the file itself")
                        faults: Faults = (*layer.faults, tarfile.TarError)
                        if info.size:
                            yield from self.members(_Layer(archive.extractfile(info), label, packing, faults))
            counted.check_end()
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise InputError(f"{layer.label}: cannot be read: {_explain(error)}") from None

    def _spool(self, layer: _Layer) -> IO[bytes]:
        """Copy bytes to a seekable file, because the directory of a zip is at its end."""
        from tempfile import SpooledTemporaryFile  # most lists need none

        file = self.stack.enter_context(SpooledTemporaryFile(_MEMORY_BYTES, prefix="bulkstop-"))  # noqa: SIM115 - the stack closes it
        source = Metered(layer.raw, layer.label, self.budget.put, layer.faults)
        try:
            while data := source.read1(STEP):
                file.write(data)
        except (EOFError, zlib.error, OSError) as error:
            raise InputError(f"{layer.label}: cannot be unpacked to a temporary file: {_explain(error)}") from None
        file.seek(0)
        return file


def _refuse_unreadable(layer: _Layer) -> None:
    for magic, what in _UNREADABLE:
        if layer.head.startswith(magic):
            raise InputError(f"{layer.label}: {what}; unpack it, or pack it as .zip or .gz")


def _open_gzip(raw: Readable) -> tuple[Any, Faults]:
    from gzip import GzipFile  # most lists are not packed so

    return GzipFile(fileobj=raw), ()


def _open_bzip2(raw: Readable) -> tuple[Any, Faults]:
    from bz2 import BZ2File  # most lists are not packed so

    return BZ2File(raw), ()


def _open_xz(raw: Readable) -> tuple[Any, Faults]:
    from lzma import LZMAError, LZMAFile  # most lists are not packed so

    return LZMAFile(raw), (LZMAError,)


def _open_zstd(raw: Readable) -> tuple[Any, Faults]:
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError, ZstdFile
    else:
        from backports.zstd import ZstdError, ZstdFile
    return ZstdFile(raw), (ZstdError,)


def _open_packed(layer: _Layer) -> tuple[Any, Faults]:
    assert layer.packing is not None  # noqa: S101 - asked before
    try:
        return _OPENERS[layer.packing](layer.raw)
    except ImportError as error:
        remedy = f"run {write_install('backports.zstd')}" if layer.packing is Packing.ZSTD else "unpack it first"
        why = f"is packed with {layer.packing}, for which this Python lacks {error.name}"
        raise InputError(f"{layer.label}: {why}; {remedy}") from None


_OPENERS: Mapping[Packing, Callable[[Readable], tuple[Any, Faults]]] = {
    Packing.GZIP: _open_gzip,
    Packing.BZIP2: _open_bzip2,
    Packing.XZ: _open_xz,
    Packing.ZSTD: _open_zstd,
}


def zip_faults() -> Faults:
    """Return the additional errors of reading a damaged zip; its library checks little of what it reads."""
    from lzma import LZMAError  # zipfile has imported it already
    from struct import error as struct_error
    from zipfile import BadZipFile

    return (BadZipFile, LZMAError, struct_error, NotImplementedError, RuntimeError, ValueError, IndexError)


def _check_directory(file: IO[bytes], label: str) -> None:
    """Raise InputError for a zip with too many members."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - _DIRECTORY_END_BYTES))
    end = file.read(_DIRECTORY_END_BYTES)
    at = end.rfind(b"PK\5\6")
    count, size = int.from_bytes(end[at + 10 : at + 12], "little"), int.from_bytes(end[at + 12 : at + 16], "little")
    if at >= 0 and (count > MOST_MEMBERS or size > _DIRECTORY_BYTES):
        raise InputError(
            f"{label}: holds more than {format_count(MOST_MEMBERS, 'file')}; put the lists into fewer files"
        )
    file.seek(0)


def _is_workbook(archive: "ZipFile", label: str) -> bool:
    """Return whether a zip is a workbook; raises InputError for another document."""
    names = set(archive.namelist())
    if not names.isdisjoint(_WORKBOOKS):
        return True
    if "mimetype" in names and archive.getinfo("mimetype").file_size < _MEMORY_BYTES:
        with suppress(Exception):  # a damaged file is not a workbook
            return archive.read("mimetype").startswith(_ODS)
    if not names.isdisjoint(_NO_LISTS):
        raise InputError(f"{label}: is a document, not a list; save its table as CSV (UTF-8)")
    return False


def _list_members(archive: "ZipFile", label: str) -> list[tuple["ZipInfo", str]]:
    """Return the possible lists of an archive, and their names; raises InputError for one that cannot be read."""
    seen = set[str]()
    found: list[tuple[ZipInfo, str]] = []
    for info in archive.infolist():
        if info.filename.endswith("/") or _BESIDE.search(info.filename):
            continue
        name = _label_member(label, info.filename, seen)
        if info.flag_bits & _ENCRYPTED:
            raise InputError(f"{name}: is encrypted; unpack it with its password")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{name}: is a link; pack the file itself")
        if info.file_size:
            found.append((info, name))
    if not found:
        raise InputError(f"{label}: contains no list{': what is in it is empty' if seen else ''}")
    return found


def _label_member(label: str, name: str, seen: set[str]) -> str:
    """Return the shown name of a member; raises InputError for one that occurs twice, or leads outside."""
    shown = f"{label}/{replace_controls(name)}"
    if _OUTSIDE.search(name):
        raise InputError(f"{label}: holds {shorten(name)!r}, a name that points outside of it; pack the lists again")
    if shown in seen:
        raise InputError(f"{shown}: is in it twice; pack the lists again")
    if len(seen) == MOST_MEMBERS:
        raise InputError(
            f"{label}: holds more than {format_count(MOST_MEMBERS, 'file')}; put the lists into fewer files"
        )
    seen.add(shown)
    return shown


@contextmanager
def _open_member(archive: "ZipFile", info: "ZipInfo", label: str) -> Iterator[IO[bytes]]:
    try:
        stream = archive.open(info)
    except NotImplementedError:
        method = f"method {info.compress_type}"
        raise InputError(f"{label}: is packed in a way that cannot be read ({method}); pack it as usual") from None
    except Exception as error:  # noqa: BLE001 - a damaged archive can cause any error
        raise InputError(f"{label}: cannot be read: {_explain(error)}") from None
    with stream:
        yield stream
