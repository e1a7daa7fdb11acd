"""What the processes of a load test tell each other: a child what it has measured, its parent what to do."""

import asyncio
import pickle
import struct
from typing import NamedTuple

from bulkstop.errors import BulkstopError
from bulkstop.report.load.intervals import EVERY_S, Interval
from bulkstop.report.load.metrics import Measured

DRAIN, ABORT, BEGIN = b"drain", b"abort", b"begin"
"""The orders of the parent, a line each; the moment to begin at follows its own."""
_LENGTH = struct.Struct("!I")


class Ready(NamedTuple):
    """It can begin, with so many requests in flight."""

    places: int


class Lines(NamedTuple):
    """Whole lines, of some requests."""

    data: bytes


class Second(NamedTuple):
    """What was measured from `start_s` up to `upto_s`, and how many requests are in flight then."""

    start_s: float
    upto_s: float
    in_flight: int
    measured: Measured

    @property
    def interval(self) -> Interval:
        """Its requests."""
        length_s = min(EVERY_S, max(self.upto_s - self.start_s, 0.001))
        measured = self.measured
        return Interval(self.start_s, length_s, measured.outcomes, measured.latency, measured.service)


class Ended(NamedTuple):
    """It has ended, by this fault if by any."""

    fault: BulkstopError | None


def packed(message: object) -> bytes:
    """Write a message down."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


async def unpacked(reader: asyncio.StreamReader) -> object:
    """Read the next message; None when there is nobody to send another."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - of a process of our own
    except (asyncio.IncompleteReadError, OSError):
        return None
