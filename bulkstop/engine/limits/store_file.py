"""The file of a store: its user's own, or where it is in a folder that a group shares, the group's."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from bulkstop.files.places import Place, open_place
from bulkstop.files.state_folder import expand_home, make_private_folder
from bulkstop.naming import name_setting

BESIDE = ("", "-wal", "-shm", "-journal")
"""How the names of the file, and of those that SQLite puts beside it, end."""
SHARED_MODE = 0o660


def make_file(path: Path) -> None:
    """Make the file if need be, and hold what is there to what SQLite may open.

    SQLite gives what it puts beside a file that file's mode, whatever the umask is. Raises OSError for a file that
    another user may have planted, and for one that this user may not write.
    """
    make_private_folder(path.parent)
    for ending in BESIDE:
        with open_place(f"{path}{ending}") as place:
            place.refuse_irregular()
            place.refuse_alias()
            place.refuse_stranger()
    # Only a new file: to close one that is in use would let go of all locks that this process has on it.
    with suppress(FileExistsError), open_place(path) as place:
        _make_new(place)
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, f"you may not write it: {suggest_sharing()}")


def _make_new(place: Place) -> None:
    fd = place.open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        if place.group is not None:
            os.fchmod(fd, SHARED_MODE)
    finally:
        os.close(fd)


def is_shared(where: str) -> bool:
    """Tell whether a file, be it there or not, is the store of a group."""
    with suppress(OSError, RuntimeError, ValueError), open_place(expand_home(where)) as place:
        status = place.status()
        return place.group is not None and (status is None or bool(status.st_mode & stat.S_IWGRP))
    return False


def suggest_sharing() -> str:
    """Say how users of one machine share a store."""
    where = name_setting("quota_store", "DIR/quota.sqlite")
    return f"users of a group share one in a folder of theirs: install -d -m 2770 -g GROUP DIR, and {where} for each"
