"""How many connections the limit on open files leaves room for."""

import resource
from contextlib import suppress
from pathlib import Path

RESERVE = 26
"""Files that a run opens besides its connections: the pipes of a token command 7, the quota store 3, to look a name up
3, to import a module 3, what stands beside the result file 2, to hear signals 6; and two to spare."""
OPEN_AT_FIRST = 16
"""How many files are taken to be open where the system does not list them."""


def fitting(concurrency: int) -> int:
    """Give how many of `concurrency` connections can be open at once, at least 1; a low soft limit is raised."""
    used = _open_files() + RESERVE
    limit = _raised_to(used + concurrency)
    return concurrency if limit is None else max(1, min(concurrency, limit - used))


def _open_files() -> int:
    try:
        return len(list(Path("/dev/fd").iterdir())) - 1  # one of them is the listing's own
    except OSError:
        return OPEN_AT_FIRST


def _raised_to(wanted: int) -> int | None:
    """Have the soft limit be `wanted`, as far as the hard one lets it; give what it is then, None for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        higher = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # some systems have a lower limit than the one they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (higher, hard))
            soft = higher
    return None if soft == resource.RLIM_INFINITY else soft
