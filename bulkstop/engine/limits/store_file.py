"""The file of a store: it belongs to its user, or, in a folder shared by a group, to that group."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from bulkstop.files.places import Place, open_place
from bulkstop.files.state_folder import expand_home, make_private_folder
from bulkstop.naming import name_setting

BESIDE = ("", "-wal", "-shm", "-journal")
"""The suffixes of the file and of those that SQLite creates beside it."""
SHARED_MODE = 0o660


def make_file(path: Path) -> None:
    """Create the file if needed, and check that SQLite may open what exists.

    SQLite gives the files beside it the same mode, whatever the umask. Raises OSError for a file that another user may
    have planted, and for one that this user may not write.
    """
    make_private_folder(path.parent)
    for ending in BESIDE:
        with open_place(f"{path}{ending}") as place:
            place.refuse_irregular()
            place.refuse_alias()
            place.refuse_stranger()
    # Only for a new file: closing one in use would release all locks that this process holds on it.
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
    """Return whether a file, existing or not, is the store of a group."""
    with suppress(OSError, RuntimeError, ValueError), open_place(expand_home(where)) as place:
        status = place.status()
        return place.group is not None and (status is None or bool(status.st_mode & stat.S_IWGRP))
    return False


def suggest_sharing() -> str:
    """Return how users of one machine can share a store."""
    where = name_setting("quota_store", "DIR/quota.sqlite")
    return f"users of a group share one in a folder of theirs: install -d -m 2770 -g GROUP DIR, and {where} for each"
