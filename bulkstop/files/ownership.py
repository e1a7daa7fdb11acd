"""Who else can write a file."""

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grp

_ACCESS_LIST = "system.posix_acl_access"


def others_who_write(fd: int) -> str | None:
    """Return who can write an open file or folder besides this user and root; None if nobody can.

    The user's own group does not count, because systems with a umask of 002 create one for each user.
    """
    status = os.fstat(fd)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to {name_user(status.st_uid)}, not to you or root"
    if mode & stat.S_IWOTH:
        return f"everybody on this machine can write it (mode {mode:04o})"
    if mode & stat.S_IWGRP and (_has_access_list(fd) or not is_own_group(status.st_gid, status.st_uid)):
        return f"others can write it (group {_name_group(status.st_gid)}, mode {mode:04o})"
    return None


def is_own_group(gid: int, uid: int) -> bool:
    """Return whether a group is root's, or the private one of this user or of `uid`.

    A private group has its user's name and no other member. A group without an entry, as in a container, is the user's.
    """
    import grp  # rarely needed, as is pwd

    users = {os.geteuid(), uid}
    if gid == 0:
        return True
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid in users
    return any(_is_private(group, user) for user in users)


def _is_private(group: "grp.struct_group", uid: int) -> bool:
    import pwd

    with suppress(KeyError):
        user = pwd.getpwuid(uid)
        others = {each.pw_name for each in pwd.getpwall() if each.pw_gid == group.gr_gid} | set(group.gr_mem)
        return user.pw_gid == group.gr_gid and group.gr_name == user.pw_name and others <= {user.pw_name}
    return False


def name_user(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    import pwd

    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name}"
    return f"user {uid}"


def _name_group(gid: int) -> str:
    import grp

    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def _has_access_list(fd: int) -> bool:
    """Return whether a file has an access control list: then its mode does not show who can write it."""
    with suppress(OSError, AttributeError):
        return bool(os.getxattr(fd, _ACCESS_LIST))
    return False
