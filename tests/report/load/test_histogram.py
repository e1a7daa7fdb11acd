"""Histograms: nothing lost, three digits kept, and what is written is read by the library's own reader."""

import math
import pickle
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.report.load.histogram import (
    HIGHEST_US,
    PERCENTILES,
    Histogram,
    format_log_head,
    format_log_line,
    percentile_name,
)

# As many short as long ones: each power of two has as many counters.
durations_us = st.floats(0, math.log2(HIGHEST_US)).map(lambda power: min(HIGHEST_US, round(2**power)))
many = st.lists(durations_us, min_size=1, max_size=200)


def counted(values_us: list[int]) -> Histogram:
    """Count microseconds."""
    histogram = Histogram()
    for us in values_us:
        histogram.record(us / 1e6)
    return histogram


@settings(max_examples=30)
@given(values_us=many)
def test_counted_as_the_library_counts(values_us: list[int]) -> None:
    """The library reads the same counts as if it had counted itself."""
    reference = HdrHistogram(1, HIGHEST_US, 3)
    for us in values_us:
        reference.record_value(us)
    assert counted(values_us).encode() == reference.encode().decode()


@settings(max_examples=30)
@given(values_us=many, percentile=st.one_of(st.sampled_from(PERCENTILES), st.floats(0.01, 100)))
def test_percentiles(values_us: list[int], percentile: float) -> None:
    """A percentile is the value of the nearest rank, rounded up, to a thousandth or a microsecond; all are counted."""
    histogram = counted(values_us)
    rank = max(1, math.ceil(percentile / 100 * len(values_us) - 1e-9))
    exact = sorted(values_us)[rank - 1]
    assert histogram.at(percentile) == [pytest.approx(exact / 1e6, rel=1e-3, abs=1.1e-6)]
    assert len(histogram) == len(values_us)
    assert histogram.max_s == max(values_us) / 1e6
    assert histogram.mean_s == pytest.approx(sum(values_us) / len(values_us) / 1e6, rel=1e-3, abs=1.1e-6)


@settings(max_examples=20)
@given(values_us=many | st.just([]))
def test_sent_to_another_process(values_us: list[int]) -> None:
    """A pickled histogram is the same, counts on, and is no larger than what it has counted needs."""
    histogram = counted(values_us)
    data = pickle.dumps(histogram)
    found: Histogram = pickle.loads(data)
    assert (found.encode(), found.max_us) == (histogram.encode(), histogram.max_us)
    found.record(3600.0)
    assert len(found) == len(values_us) + 1
    assert len(data) < 200 + 8 * (max(values_us, default=0) + 1)


def test_rank_is_rounded_up() -> None:
    """Of 160 values the 99th percentile is the 159th, where a rank rounded to the nearest is the 158th."""
    assert counted([10] * 158 + [5000] * 2).at(99) == [0.005]


@settings(max_examples=20)
@given(one=many, other=many)
def test_merged(one: list[int], other: list[int]) -> None:
    """Two histograms added up are the one of all values, and the second stays as it was."""
    first, second = counted(one), counted(other)
    first.add(second)
    assert first.encode() == counted(one + other).encode()
    assert first.max_us == max(one + other)
    assert second.encode() == counted(other).encode()


@settings(max_examples=20)
@given(values_us=many)
def test_read_back(values_us: list[int]) -> None:
    """The library reads what is encoded."""
    hdr = HdrHistogram.decode(counted(values_us).encode())
    assert hdr.get_total_count() == len(values_us)
    assert hdr.get_max_value() == pytest.approx(max(values_us), rel=1e-3, abs=1)


def test_out_of_range() -> None:
    """Less than nothing is nothing, and more than an hour is an hour."""
    histogram = Histogram()
    for seconds in (-1.0, 0.0, 3600.0, 1e9):
        histogram.record(seconds)
    assert len(histogram) == 4
    assert histogram.at(50, 100) == [0.0, 3600.0]


def test_empty() -> None:
    """Without values everything is 0."""
    histogram = Histogram()
    assert (len(histogram), histogram.at(50, 100), histogram.max_s, histogram.mean_s) == (0, [0.0, 0.0], 0.0, 0.0)


def test_mean_is_the_library_s() -> None:
    """The mean is the one that the library finds by going through every class."""
    histogram = Histogram()
    for us in (1, 2, 999, 2_047, 2_048, 4_097, 5_000, 70_001, 1_000_003, 2_000_000, 40_000_000):
        histogram.record(us / 1e6)
    assert histogram.mean_s * 1e6 == pytest.approx(histogram._to_hdr().get_mean_value())


def test_mean_is_no_more_than_the_longest() -> None:
    """The mean of equal values is that value, not the one of their class."""
    for us in (2049, 4097, 100_001, 1_000_001):
        histogram = counted([us] * 3)
        assert histogram.mean_s <= histogram.max_s
        assert histogram.mean_s == pytest.approx(us / 1e6, rel=1e-3)


def test_clear() -> None:
    """Cleared, it is as new."""
    histogram = counted([1, 1000, 1_000_000])
    histogram.clear()
    assert (histogram.encode(), histogram.max_us) == (Histogram().encode(), 0)


def test_names() -> None:
    """Percentiles have short names."""
    assert [percentile_name(each) for each in PERCENTILES] == ["p50", "p90", "p95", "p99", "p99.9", "p99.99"]


def test_log(tmp_path: Path) -> None:
    """The library's reader finds every interval of a log, with its times, its tag and its values."""
    path = tmp_path / "latency.hlog"
    lines = [*format_log_head(1_764_892_800.5)]
    for second, values in enumerate(([100, 200], [300], [70_000, 4])):
        lines += [
            format_log_line(second, 1.0, counted(values)),
            format_log_line(second, 1.0, counted(values * 2), "service"),
        ]
    path.write_text("".join(lines))
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_US, 3))
    found = []
    while (interval := reader.get_next_interval_histogram()) is not None:
        found.append(interval)
    reader.close()
    assert reader.get_start_time_sec() == 1_764_892_800.5
    assert [each.get_tag() for each in found] == [None, "service"] * 3
    assert [each.get_total_count() for each in found] == [2, 4, 1, 2, 2, 4]
    # The times in the lines are since the start, which the reader adds.
    assert [each.get_start_time_stamp() for each in found[::2]] == [1_764_892_800_500.0 + n * 1000 for n in range(3)]
    assert found[4].get_max_value() == pytest.approx(70_000, rel=1e-3)
    assert path.read_text().splitlines()[1] == (
        "#[StartTime: 1764892800.500 (seconds since epoch), Fri Dec 05 00:00:00 UTC 2025]"
    )
    assert path.read_text().splitlines()[4].startswith("0.000,1.000,0.200,HISTFAAA")
