"""Durations, counted to three digits: HdrHistogram (http://hdrhistogram.org), and its log format.

A histogram takes 190 KB for any number of values, loses none, and can be added to another, of a different second or
process. The library does the rest; two parts are our own. Counting: the library takes 1.5 µs per value, and three
values a third of the time of a fast request; here it is a third of a microsecond. And the rank of a percentile, which
is rounded up as in the original in Java, while the library rounds to the nearest.
"""

import ctypes
import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hdrh.histogram import HdrHistogram

HIGHEST_US = 3_600_000_000
"""One hour; longer durations count as one hour."""
DIGITS = 3
# Finds the counter of a value, in fewer steps than the library's `get_counts_array_index`.
_BITS = (2 * 10**DIGITS).bit_length()
_HALF, _EXACT_US = _BITS - 1, 1 << _BITS
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99)
"""The percentiles that are shown."""


def percentile_name(percentile: float) -> str:
    """Return the name of a percentile: p50, p99.9."""
    return f"p{percentile:g}"


class Histogram:
    """Counts durations of up to an hour, each to the microsecond or to three digits, whichever is coarser."""

    def __init__(self) -> None:
        self.max_us = 0
        self._hdr: HdrHistogram = None  # made on demand: counting does without it
        self._counts = array("Q", bytes(8 * _model().counts_len))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle it without the zeros after the last count."""
        return _unpickled, (self.max_us, self._used.tobytes())

    def record(self, seconds: float) -> None:
        """Count one duration; ignore a negative one."""
        if not seconds:  # as the lateness of nearly all
            self._counts[0] += 1
            return
        us = int(seconds * 1e6 + 0.5)
        if us > self.max_us:
            self.max_us = us = min(us, HIGHEST_US)
        elif us < 0:
            us = 0
        if us < _EXACT_US:
            self._counts[us] += 1
        else:
            bucket = us.bit_length() - _BITS
            self._counts[(bucket << _HALF) + (us >> bucket)] += 1

    def __len__(self) -> int:
        """Return the number of durations."""
        return sum(self._used)

    def __bool__(self) -> bool:
        """Return whether any time was recorded."""
        return bool(self.max_us or self._counts[0])

    @property
    def _used(self) -> "array[int]":
        """The counts up to that of the longest duration."""
        return self._counts[: _model().get_counts_array_index(self.max_us) + 1]

    @property
    def max_s(self) -> float:
        """The longest duration in seconds, to the microsecond; 0 without any."""
        return self.max_us / 1e6

    @property
    def mean_s(self) -> float:
        """The mean in seconds; 0 without any."""
        # The library visits every class up to the longest: 50 ms each time, which block the caller's loop.
        total_us = sum(number * _middle_us(place) for place, number in enumerate(self._used) if number)
        mean_us = total_us / max(1, len(self))
        return min(mean_us, self.max_us) / 1e6  # the mean of the classes' middles can exceed a single value

    def at(self, *percentiles: float) -> list[float]:
        """Return, in seconds, the shortest duration that each percentage does not exceed; 0 without any."""
        upto = list(accumulate(self._used))
        return [self._at(upto, percentile) for percentile in percentiles]

    def add(self, other: "Histogram") -> None:
        """Add another's counts."""
        from pyhdrh import add_array  # a function of the same library; its `add` takes 20 times as long

        counts = other._counts  # noqa: SLF001 - an object of this class
        used = _model().get_counts_array_index(other.max_us) + 1
        add_array(self._counts.buffer_info()[0], counts.buffer_info()[0], used, counts.itemsize)
        self.max_us = max(self.max_us, other.max_us)

    def without(self, part: "Histogram") -> "Histogram":
        """Return the counts without those of another, which must be a part of this one."""
        rest = Histogram()
        rest._counts = array("Q", map(int.__sub__, self._used, part._counts))  # noqa: SLF001 - an object of this class
        last = next((place for place in reversed(range(len(rest._counts))) if rest._counts[place]), -1)
        rest._counts.extend(array("Q", bytes(8 * (len(self._counts) - len(rest._counts)))))
        rest.max_us = 0 if last < 0 else min(self.max_us, _highest_us(last))
        return rest

    def counts(self) -> Sequence[int]:
        """Return the count of each class of durations, the shortest first."""
        return self._used

    def of_ranks(self, *ranks: int) -> list[float]:
        """Return, in seconds, the values at some ranks, from 1."""
        upto = list(accumulate(self._used))
        return [self._of_rank(upto, min(max(1, rank), max(1, upto[-1]))) for rank in ranks]

    def clear(self) -> None:
        """Reset all counts."""
        ctypes.memset(self._counts.buffer_info()[0], 0, self._bytes)
        self.max_us = 0

    def encode(self) -> str:
        """Return it as text in the compressed format (V2) of all HdrHistogram libraries."""
        return str(self._to_hdr().encode(), "ascii")

    @property
    def _bytes(self) -> int:
        return len(self._counts) * self._counts.itemsize

    def _to_hdr(self) -> "HdrHistogram":
        """Return the library's histogram with the current counts."""
        if self._hdr is None:
            self._hdr = _new()
        ctypes.memmove(self._hdr.counts, self._counts.buffer_info()[0], self._bytes)
        self._hdr.max_value, self._hdr.total_count = self.max_us, len(self)
        return self._hdr

    def _at(self, upto: list[int], percentile: float) -> float:
        return self._of_rank(upto, max(1, math.ceil(percentile / 100 * upto[-1] - 1e-9)))

    def _of_rank(self, upto: list[int], rank: int) -> float:
        place = bisect_left(upto, rank)
        return 0.0 if place == len(upto) else min(_highest_us(place), self.max_us) / 1e6


def _new() -> "HdrHistogram":
    from hdrh.histogram import HdrHistogram

    return HdrHistogram(1, HIGHEST_US, DIGITS)


@cache
def _model() -> "HdrHistogram":
    """Return an empty one for the constants of all histograms."""
    return _new()


def _highest_us(place: int) -> int:
    """Return the longest duration that is counted at a position."""
    highest_us: int = _model().get_highest_equivalent_value(_model().get_value_from_index(place))
    return highest_us


def _middle_us(place: int) -> int:
    """Return the middle of the durations that are counted at a position."""
    lowest_us: int = _model().get_value_from_index(place)
    return (lowest_us + _highest_us(place) + 1) // 2


def _unpickled(max_us: int, counts: bytes) -> Histogram:
    histogram = Histogram()
    histogram.max_us = max_us
    memoryview(histogram._counts).cast("B")[: len(counts)] = counts  # noqa: SLF001 - it is under construction
    return histogram


def format_log_head(began: float) -> Iterator[str]:
    """Yield the head of a histogram log, for values in microseconds and a start in unix seconds."""
    yield "#[Histogram log format version 1.3]\n"
    date = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(began))
    yield f"#[StartTime: {began:.3f} (seconds since epoch), {date}]\n"
    yield "#[Values are in microseconds, Interval_Max in milliseconds]\n"
    yield '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'


def format_log_line(start_s: float, length_s: float, histogram: Histogram, tag: str = "") -> str:
    """Return the log line of an interval that began `start_s` after the start; the library's writer knows no tags."""
    tagged = f"Tag={tag}," if tag else ""
    return f"{tagged}{start_s:.3f},{length_s:.3f},{histogram.max_us / 1e3:.3f},{histogram.encode()}\n"
