"""Unforeseen errors are reported in one line, without their own words."""

import asyncio
import errno
import re

import pytest

from bulkstop.errors import BulkstopError, unforeseen
from bulkstop.workers.fork import fork_workers
from bulkstop.workers.link import Ended, ParentLink

SECRET = "a secret"
TOLD = re.compile(r"internal error, please report it: ZeroDivisionError at test_errors\.py:\d+")


def caught(error: BaseException) -> BaseException:
    """Return an error that was raised."""

    def fail() -> None:
        raise error

    try:
        fail()
    except BaseException as found:  # noqa: BLE001 - of any kind
        return found
    return error


def test_place() -> None:
    """Its kind and the line it came from are named; its text is not, which could hold a secret."""
    one = caught(ZeroDivisionError(SECRET))
    in_groups = caught(BaseExceptionGroup(SECRET, [BaseExceptionGroup(SECRET, [one])]))
    assert TOLD.fullmatch(unforeseen(one))
    assert unforeseen(in_groups) == unforeseen(one)


def test_without_a_place() -> None:
    """An exception that was never raised has no line."""
    assert unforeseen(KeyError(SECRET)) == "internal error, please report it: KeyError"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_no_files(number: int) -> None:
    """If no more files can be opened, the message says how to change that."""
    assert "(ulimit -n)" in unforeseen(caught(OSError(number, SECRET)))
    assert unforeseen(caught(OSError(errno.EIO, SECRET))).startswith("internal error, please report it: OSError at ")


@pytest.mark.real
def test_in_a_process() -> None:
    """A process that fails tells its parent so, in the same words."""

    def work(link: ParentLink, number: int) -> BulkstopError | None:
        raise ZeroDivisionError(SECRET)

    async def heard() -> object:
        await child.connect()
        try:
            return await child.read_message()
        finally:
            await child.disconnect()

    with fork_workers(work, 1) as (child,):
        told = asyncio.run(heard())
    assert isinstance(told, Ended)
    found = re.fullmatch("a process failed: (.*)", str(told.fault))
    assert found is not None
    assert TOLD.fullmatch(found[1])
