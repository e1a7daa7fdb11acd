"""Files that are written whole, new, or not at all."""

import itertools
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from bulkstop.errors import OutputError
from bulkstop.files.places import Place, open_in_place, open_place
from bulkstop.naming import name_setting

DRAFT = ".bulkstop."
"""The start of an incomplete file's name, used instead of the file's own, which may have the full length."""
NAME_BYTES = 255
"""The longest name of a file."""


class AtomicFile:
    """Writes `path` at once by `save`: a new file, private to the user.

    Raises OutputError, which names `option` unless that is the usual `-o`, if the file exists (unless it may be
    overwritten) or cannot be written; this is checked at once. The old content stays until all of the new one is on the
    disk. A device or a pipe is written directly, but refused for a name that `is_derived` from another, because the
    user did not choose it.
    """

    def __init__(
        self, path: str, option: str | None = None, *, overwrite: bool = False, is_derived: bool = False
    ) -> None:
        self.name = f"{option} {path}" if option else path
        self._other = "another file" if option else "-o with another file"
        self._path = Path(path)
        self._overwrite, self._is_derived = overwrite, is_derived
        self._fd = -1
        try:
            if is_device(path) and not is_derived:
                with open_place(path) as place:
                    self._fd = open_in_place(place, os.O_WRONLY)
            elif os.path.lexists(path) and not overwrite and not self._path.is_dir():
                raise refuse_existing(self.name, self._other)
            else:
                check_place(self._path, is_derived=is_derived)
        except OSError as error:
            raise self._fault("opened", error, f"; give {self._other}") from None

    def save(self, data: bytes) -> None:
        """Write the file."""
        self.save_blocks([data])

    def save_blocks(self, blocks: Iterable[bytes]) -> None:
        """Write the file block by block; an exception from `blocks` leaves the old content."""
        try:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                with os.fdopen(fd, "wb") as file:
                    file.writelines(blocks)
            else:
                write_atomically(self._path, blocks, replace=self._overwrite, is_derived=self._is_derived)
        except FileExistsError:
            raise refuse_existing(self.name, self._other) from None
        except OSError as error:
            raise self._fault("written", error) from None

    def close(self) -> None:
        """Close a device or a pipe that was not written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _fault(self, what: str, error: OSError, advice: str = "") -> OutputError:
        return OutputError(f"{self.name}: cannot be {what} ({error.strerror}){advice}")


def check_place(path: Path, *, is_derived: bool = True) -> None:
    """Raise OSError if `write_atomically` could not write a file of this name now."""
    with open_place(path) as place:
        _check(place, is_derived=is_derived)
        draft = _new_draft(place)
        os.close(draft[1])
        os.unlink(draft[0], dir_fd=place.folder)


def write_atomically(path: Path, blocks: Iterable[bytes], *, replace: bool = True, is_derived: bool = True) -> None:
    """Write a file so that it always holds either all of these blocks or the old content; raises OSError.

    It is private to the user. For a link, its target is written. Without `replace` an existing file stays, and
    FileExistsError is raised. For a name that `is_derived`, anything that is not a file is refused.
    """
    with open_place(path) as place:
        _check(place, is_derived=is_derived)
        draft, fd = _new_draft(place)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
                file.writelines(blocks)
                file.flush()
                os.fsync(fd)  # otherwise a power failure could leave an empty file instead of the old one
            _name_draft(place, draft) if replace else _place_new(place, draft)
        finally:
            with suppress(OSError):
                os.unlink(draft, dir_fd=place.folder)


def beside(path: str, ending: str) -> str:
    """Return a companion file's name: the name of a file plus an ending, truncated if too long."""
    folder, name = os.path.split(path)
    data, room = os.fsencode(name), NAME_BYTES - len(os.fsencode(ending))
    if len(data) <= room:
        return f"{path}{ending}"
    mark = f"~{sha256(data).hexdigest()[:8]}"
    return str(Path(folder, data[: room - len(mark)].decode(errors="ignore") + mark + ending))


def find_free_name(stem: str, ending: str) -> str:
    """Return the name of a file that does not exist yet: these two parts, with a number from 2 on if needed."""
    names = (beside(stem, f"{number and f'-{number}'}{ending}") for number in itertools.chain([""], itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def is_device(path: str) -> bool:
    """Return whether a path is a device, a pipe or a socket, which keeps nothing that is written."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def refuse_existing(name: str, other: str = "another file") -> OutputError:
    """Return the error for a file that exists and was not to be replaced."""
    return OutputError(f"{name}: exists already; give {name_setting('overwrite', True)}, or {other}")


def _check(place: Place, *, is_derived: bool) -> None:
    """Raise OSError for a place that no file can take, or that has something other than a file."""
    place.refuse_directory()  # a name may be too long as well
    place.refuse_fixed()
    if is_derived and not place.is_regular:
        place.refuse_foreign()
        place.refuse_irregular()


def _new_draft(place: Place) -> tuple[str, int]:
    """Create an incomplete file for the user alone; return its name and descriptor."""
    name = f"{DRAFT}{os.urandom(8).hex()}"
    return name, Place(place.folder, name).open(os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def _name_draft(place: Place, draft: str) -> None:
    os.replace(draft, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)


def _place_new(place: Place, draft: str) -> None:
    """Give a finished draft its name unless that exists; raises FileExistsError."""
    try:  # only a hard link never replaces anything
        os.link(draft, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if place.status() is not None:
            raise FileExistsError from None
        _name_draft(place, draft)
